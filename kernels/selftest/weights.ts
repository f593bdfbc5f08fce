/** Cases of the kernels that read weights: embedding, dequantising, packing, and the products of both kernel sets, for every storage type. */
import { interpret } from "../../src/compiler/ir/interpret.ts";
import { quantize as encode } from "../../src/formats/quant/table.ts";
import type { TensorType } from "../../src/formats/weights.ts";
import { isIsa } from "../../src/runtime/cpu/isa.ts";
import {
  CHUNK,
  dequantFloatKernels,
  dequantQuantisedKernels,
  embedFloatKernels,
  embedQuantisedKernels,
  valueConstexprs,
} from "../embed.ts";
import { FAMILIES, type FloatType, panelBytes, QUANTISED_TYPES, type QuantisedType } from "../families.ts";
import { matmulFloatKernels, matmulQuantisedKernels } from "../gpu/matmul.ts";
import { EPILOGUE, matvecFloatKernels, matvecQuantisedKernels } from "../gpu/matvec.ts";
import { DEBUG_TUNING, GPU_TUNING } from "../gpu/tuning.ts";
import { FLOAT_TILES, linearFloats, linearPanels, panelTile, ROWS } from "../linear-float.ts";
import { linearPrefill, PREFILL_TILE, prefillConstexprs } from "../linear-prefill.ts";
import { linear, linearConstexprs } from "../linear.ts";
import { quantize, RECORD } from "../quantize.ts";
import { packConstexprs, packKernels } from "../repack.ts";
import { below, type Case, type CaseArgs, type Data, floats, ints, type KernelCases, type Random, SUMS } from "./case.ts";

const FLOAT_TYPES: readonly FloatType[] = ["f32", "f16", "bf16"];
const MATRIX_UNITS = "matrix units sum in an order, and may round in a way, of their own";

/** Random weights as they lie in a file. */
function stored(next: Random, type: TensorType, count: number): Uint8Array {
  return Uint8Array.from(encode(type, floats(next, count)));
}

function floatWeight(next: Random, type: FloatType, count: number): Data {
  const bytes = stored(next, type, count).buffer;
  return type === "f32" ? new Float32Array(bytes) : type === "f16" ? new Float16Array(bytes) : new Uint16Array(bytes);
}

/** One buffer as the bytes and 16-bit words that kernels of quantised weights take. */
const blocks = (bytes: Uint8Array) => ({ b: bytes, h: new Uint16Array(bytes.buffer, 0, bytes.length >> 1) });

/** Rows and columns: one block, several; odd numbers of rows. */
const shapesOf = (next: Random, type: QuantisedType): [number, number][] => [
  [1, FAMILIES[type].block],
  [3 + 2 * below(next, 3), FAMILIES[type].block === 32 ? 96 : 512],
];
const floatShapes = (next: Random): [number, number][] => [
  [1, 1],
  [5, 37],
  [3, 256 + below(next, 80)],
];

/** Ids inside the table and beyond both of its ends. */
const idsOf = (next: Random, rows: number): Int32Array => Int32Array.of(-1, rows + 3, ...ints(next, 2, rows));

function embedCase(
  next: Random,
  weight: Readonly<Record<string, Data>>,
  rows: number,
  columns: number,
  constexprs: Case["constexprs"],
): Case {
  const ids = idsOf(next, rows);
  const stride = columns + 3;
  const args = { ...weight, ids, y: floats(next, ids.length * stride), rows, columns, stride, scale: 1.5 };
  return { what: `[${rows}, ${columns}]`, constexprs, grid: [ids.length, Math.ceil(columns / CHUNK), 1], args };
}

function dequantCase(
  next: Random,
  weight: Readonly<Record<string, Data>>,
  rows: number,
  columns: number,
  constexprs: Case["constexprs"],
): Case {
  const args = { ...weight, y: floats(next, rows * columns), columns };
  return { what: `[${rows}, ${columns}]`, constexprs, grid: [rows, Math.ceil(columns / CHUNK), 1], args };
}

const reading: readonly KernelCases[] = [
  ...QUANTISED_TYPES.flatMap((type): KernelCases[] => [
    {
      kernel: embedQuantisedKernels[type],
      tolerance: 1e-6,
      why: "one rounding or two",
      *cases(next) {
        for (const [n, k] of shapesOf(next, type)) yield embedCase(next, blocks(stored(next, type, n * k)), n, k, valueConstexprs(type));
      },
    },
    {
      kernel: dequantQuantisedKernels[type],
      tolerance: 1e-6,
      why: "one rounding or two",
      *cases(next) {
        for (const [n, k] of shapesOf(next, type)) yield dequantCase(next, blocks(stored(next, type, n * k)), n, k, valueConstexprs(type));
      },
    },
    {
      kernel: packKernels[type],
      tolerance: 0,
      *cases(next) {
        const [n, k] = [17 + below(next, 3), FAMILIES[type].block === 32 ? 96 : 256];
        yield packCase(type, stored(next, type, n * k), n, k);
      },
    },
  ]),
  ...FLOAT_TYPES.flatMap((type): KernelCases[] => [
    {
      kernel: embedFloatKernels[type],
      tolerance: 0,
      *cases(next) {
        for (const [n, k] of floatShapes(next)) yield embedCase(next, { w: floatWeight(next, type, n * k) }, n, k, {});
      },
    },
    {
      kernel: dequantFloatKernels[type],
      tolerance: 0,
      *cases(next) {
        for (const [n, k] of floatShapes(next)) yield dequantCase(next, { w: floatWeight(next, type, n * k) }, n, k, {});
      },
    },
  ]),
];

function packCase(type: QuantisedType, bytes: Uint8Array, n: number, k: number): Case {
  const size = panelBytes(FAMILIES[type], k);
  const dst8 = new Uint8Array(Math.ceil(n / 16) * size);
  const dst = { dst: new Int32Array(dst8.buffer), dst8, dst16: new Uint16Array(dst8.buffer) };
  const args = { ...blocks(bytes), ...dst, n, blocks: k / 32, panelWords: size / 4 };
  return { what: `[${n}, ${k}]`, constexprs: packConstexprs(type), grid: [Math.ceil(n / 16), 1, 1], args };
}

/**
 * Where the result goes: rows of y further apart than they are long, from a column on; with and without bias and residual, which for GPUs is
 * a buffer of its own or what the result overwrites.
 */
function output(next: Random, t: number, n: number, epilogue: number) {
  const offset = below(next, 4);
  const stride = offset + n + below(next, 3);
  const y = floats(next, t * stride);
  const none = new Float32Array(1);
  const residual = epilogue & EPILOGUE.residual ? floats(next, y.length) : none;
  return { y, bias: epilogue & EPILOGUE.bias ? floats(next, n) : none, residual, t, n, stride, offset, epilogue };
}

/** A product of CPUs in integers, over panels and activations (tiles of MR tokens) that the interpreter has made. */
function integerCase(
  next: Random,
  type: QuantisedType,
  [n, k, t]: readonly [number, number, number],
  MR: number,
  epilogue: number,
): CaseArgs {
  const pack = packCase(type, stored(next, type, n * k), n, k);
  interpret(packKernels[type].ir(pack.constexprs), pack.grid, pack.args);
  const xq = new Int32Array(Math.ceil(t / MR) * MR * (k / 32) * RECORD);
  const views = { q: xq, q8: new Int8Array(xq.buffer), qf: new Float32Array(xq.buffer) };
  const x = floats(next, t * k, 3);
  const activations = { x, w: x, ...views, t, blocks: k / 32, stride: k, up: 0, eps: 0 };
  interpret(quantize.ir({ MR }), [Math.ceil(t / MR), 1, 1], activations);
  const w = pack.args.dst8 as Uint8Array;
  const panels = { w: new Int32Array(w.buffer), w8: w, w16: new Float16Array(w.buffer) };
  const sizes = { blocks: k / 32, panelWords: pack.args.panelWords as number };
  return { ...panels, x: xq, xf: new Float32Array(xq.buffer), ...output(next, t, n, epilogue), ...sizes };
}
/** Packed bytes may be NaN as floats; only the result is compared. */
const results = (a: CaseArgs) => ({ y: a.y as Data });

const fewTokens: KernelCases = {
  kernel: linear,
  tolerance: 1e-5,
  why: SUMS,
  *cases(next, target, own) {
    const isa = isIsa(own) ? own : "baseline";
    // GPUs never run it: one type of each way to scale says that the target computes what it says.
    for (const [i, type] of (target === "cpu" ? QUANTISED_TYPES : (["q4_0", "q5_k", "mxfp4"] as const)).entries()) {
      // Types take turns with NEON, which is mostly tested under an emulator.
      for (const MR of target === "gpu" ? [1] : isa === "neon-dotprod" ? [i % 2 ? 1 : 4] : [1, 4]) {
        const [n, k, t] = [18, FAMILIES[type].block === 32 ? 96 : 256, MR === 1 ? 1 : 5];
        const args = integerCase(next, type, [n, k, t], MR, MR === 1 ? 3 : 0);
        yield { what: `${type} [${n}, ${k}], ${t} tokens`, constexprs: linearConstexprs(type, MR, isa), grid: [2, 1, 1], args, results };
      }
    }
  },
};

const manyTokens: KernelCases = {
  kernel: linearPrefill,
  only: "cpu",
  tolerance: 1e-5,
  why: SUMS,
  *cases(next, _, own) {
    // Every way to hold sums in registers with every type; under an emulator of arm64, where that would take long, its own.
    const isas = own === "neon-dotprod" ? ([own] as const) : (["avx512-vnni", "avx2", "neon-dotprod"] as const);
    for (const [i, type] of QUANTISED_TYPES.entries()) {
      // Columns for one and for two pieces of a panel take turns.
      for (const [j, isa] of isas.entries()) {
        const small = FAMILIES[type].block === 32 ? 96 : 256;
        const [n, k, t] = [34, (i + j) % 3 === 0 ? 1024 + small : small, 8];
        const constexprs = prefillConstexprs(type, isa);
        const args = integerCase(next, type, [n, k, t], PREFILL_TILE, (i + j) % 4);
        const grid = [Math.ceil(n / (16 * constexprs.NV)), 1 + (i % 2), 1] as const;
        yield { what: `${type} [${n}, ${k}], ${t} tokens, ${constexprs.SUB} × ${constexprs.NV}`, constexprs, grid, args, results };
      }
    }
  },
};

const inPlace = (type: FloatType): KernelCases => ({
  kernel: linearFloats[type],
  tolerance: 1e-5,
  why: SUMS,
  *cases(next, target) {
    for (const MT of target === "cpu" ? FLOAT_TILES : [2]) {
      for (const [i, [n, k]] of floatShapes(next).entries()) {
        const t = MT + (i % 2);
        const args = { w: floatWeight(next, type, n * k), x: floats(next, t * k, 3), ...output(next, t, n, i), k, xStride: k };
        yield { what: `[${n}, ${k}], ${t} tokens`, constexprs: { RN: ROWS, MT }, grid: [Math.ceil(n / ROWS), 1, 1], args };
      }
    }
  },
});

const panels = (type: FloatType): KernelCases => ({
  kernel: linearPanels[type],
  tolerance: 1e-5,
  why: SUMS,
  only: "cpu",
  *cases(next, _, isa) {
    // Several panels, started ones; columns in several parts, each with a remainder; several tiles, dealt over programs.
    const shapes: [n: number, k: number, t: number][] = [
      [1, 1, 1],
      [70, 37, 7],
      [65, 69 + below(next, 80), 13],
    ];
    for (const [i, [n, k, t]] of shapes.entries()) {
      const tile = panelTile(isIsa(isa) ? isa : "baseline");
      const constexprs = i === 2 ? { ...tile, KB: 64 } : tile;
      const args = { w: floatWeight(next, type, n * k), x: floats(next, t * k, 3), ...output(next, t, n, i), k, xStride: k };
      yield { what: `[${n}, ${k}], ${t} tokens`, constexprs, grid: [Math.ceil(n / constexprs.NR), 1 + (i % 2), 1], args };
    }
  },
});

const tuned = (target: "cpu" | "gpu") => (target === "cpu" ? DEBUG_TUNING : GPU_TUNING);

/** Compiling takes longest, so types take turns: one token or four, small tiles or large ones. */
const turn = (type: TensorType): number => [...QUANTISED_TYPES, ...FLOAT_TYPES].indexOf(type as FloatType) % 2;

function* matvecCases(
  next: Random,
  target: "cpu" | "gpu",
  type: TensorType,
  shapes: [number, number][],
  weight: (n: number, k: number) => Record<string, Data>,
) {
  const { rows, lanes } = tuned(target);
  const MT = target === "cpu" || turn(type) ? 1 : 4;
  const ROWS = Math.max(1, MT === 4 ? rows / 2 : rows);
  for (const [i, [n, k]] of shapes.entries()) {
    const t = MT === 1 ? 1 + (i % 2) : 3;
    const args = { ...weight(n, k), x: activations(next, t, k), ...output(next, t, n, [1, 6, 3, 4, 0][(i + MT) % 5]), k };
    const constexprs = { ROWS, MT, LANES: lanes };
    yield { what: `[${n}, ${k}], ${t} tokens`, constexprs, grid: [Math.ceil(n / ROWS), Math.ceil(t / MT), 1], args } satisfies Case;
  }
}

/** [t, k] activations. Of several tokens the first holds what is no number: it must not reach the others. */
function activations(next: Random, t: number, k: number): Float32Array {
  const x = floats(next, t * k, 3);
  if (t > 1) x[below(next, k)] = NaN;
  return x;
}

function* matmulCases(
  next: Random,
  target: "cpu" | "gpu",
  type: TensorType,
  shapes: [number, number][],
  weight: (n: number, k: number) => Record<string, Data>,
  step: (k: number) => Case["constexprs"],
) {
  const { tile, small } = tuned(target);
  for (const [i, [n, k]] of shapes.entries()) {
    // Whole and started tiles; nothing to do.
    const { BM, BN } = turn(type) ? tile : small;
    const t = [0, BM + 1, 3][i];
    const wide = i % 2 ? n : n + BN;
    const args = { ...weight(wide, k), x: activations(next, t, k), ...output(next, t, wide, [0, 5, 2][i % 3]), k };
    const grid = [Math.ceil(wide / BN), Math.ceil(t / BM), 1] as const;
    yield { what: `[${wide}, ${k}], ${t} tokens`, constexprs: { BM, BN, ...step(k) }, grid, args } satisfies Case;
  }
}

const products: readonly KernelCases[] = [
  ...QUANTISED_TYPES.flatMap((type): KernelCases[] => [
    {
      kernel: matvecQuantisedKernels[type],
      tolerance: 1e-5,
      why: SUMS,
      cases: (next, target) => matvecCases(next, target, type, shapesOf(next, type), (n, k) => blocks(stored(next, type, n * k))),
    },
    {
      kernel: matmulQuantisedKernels[type],
      tolerance: 1e-4,
      why: MATRIX_UNITS,
      cases: (next, target) =>
        matmulCases(
          next,
          target,
          type,
          [...shapesOf(next, type), [3, FAMILIES[type].block]],
          (n, k) => blocks(stored(next, type, n * k)),
          (k) => ({ BQ: k % 64 === 0 ? 16 : 8 }),
        ),
    },
  ]),
  ...FLOAT_TYPES.flatMap((type): KernelCases[] => [
    {
      kernel: matvecFloatKernels[type],
      tolerance: 1e-5,
      why: SUMS,
      cases: (next, target) => matvecCases(next, target, type, floatShapes(next), (n, k) => ({ w: floatWeight(next, type, n * k) })),
    },
    {
      kernel: matmulFloatKernels[type],
      tolerance: 1e-4,
      why: MATRIX_UNITS,
      cases: (next, target) =>
        matmulCases(
          next,
          target,
          type,
          floatShapes(next),
          (n, k) => ({ w: floatWeight(next, type, n * k) }),
          () => ({ BK: 32 }),
        ),
    },
  ]),
];

export const weightCases: readonly KernelCases[] = [
  ...reading,
  fewTokens,
  manyTokens,
  ...FLOAT_TYPES.map(inPlace),
  ...FLOAT_TYPES.map(panels),
  ...products,
];
