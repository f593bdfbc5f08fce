/** Interpreter rules of ops that move, combine or reinterpret elements. */
import type { DType, Op } from "./types.ts";
import { DTYPE_BYTES, elements, isFloat, isSigned } from "./types.ts";
import type { Num } from "./scalar.ts";
import { binaryFunction, wrap } from "./scalar.ts";
import { MemoryView } from "./memory.ts";
import type { Machine } from "./machine.ts";

type Rule = (m: Machine, op: Op) => void;

/** Element strides of a row-major shape. */
export function strides(shape: readonly number[]): number[] {
  const out = Array.from({ length: shape.length }, () => 1);
  for (let i = shape.length - 2; i >= 0; i--) out[i] = out[i + 1] * shape[i + 1];
  return out;
}

/** Fills the result: element with the given index comes from element `source(index)` of the operand. */
function gather(m: Machine, op: Op, source: (index: readonly number[]) => number): void {
  const x = m.get(op.args[0]);
  const { shape } = op.results[0].type;
  const out = m.result(op);
  const index = Array.from({ length: shape.length }, () => 0);
  for (let i = 0; i < out.length; i++) {
    out[i] = x[source(index)];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
}

const dotIndex = (index: readonly number[], steps: readonly number[]): number => index.reduce((sum, n, i) => sum + n * steps[i], 0);

const byte = (x: Num, i: number): number => ((x as number) >>> (8 * i)) & 0xff;
const signedByte = (x: Num, i: number): number => (byte(x, i) << 24) >> 24;

function reduce(m: Machine, op: Op): void {
  const x = m.get(op.args[0]);
  const { dtype, shape } = op.args[0].type;
  const axis = op.attrs.axis as number;
  const kind = op.attrs.kind as string;
  const inner = elements(shape.slice(axis + 1));
  const n = shape[axis];
  const out = m.result(op);
  const at = (o: number, k: number): Num => x[Math.floor(o / inner) * n * inner + k * inner + (o % inner)];
  const isNaN_ = (v: Num): boolean => typeof v === "number" && Number.isNaN(v);
  for (let o = 0; o < out.length; o++) {
    if (kind === "argmax" || kind === "argmin") {
      let best = 0;
      for (let k = 1; k < n; k++) {
        const [v, b] = [at(o, k), at(o, best)];
        if (!isNaN_(v) && (isNaN_(b) || (kind === "argmax" ? v > b : v < b))) best = k;
      }
      out[o] = best;
    } else {
      const f = binaryFunction({ sum: "add", max: "max", min: "min", any: "max", all: "min" }[kind]!, dtype === "bool" ? "i32" : dtype);
      let acc = at(o, 0);
      for (let k = 1; k < n; k++) acc = wrap(dtype, f(acc, at(o, k)));
      out[o] = acc;
    }
  }
}

/** Where a scan starts: combining it with x gives x. */
export function scanIdentity(kind: string, dtype: DType): Num {
  if (kind === "sum" || kind === "prod") return wrap(dtype, kind === "sum" ? 0 : 1);
  const lowest = kind === "max";
  if (isFloat(dtype)) return lowest ? -Infinity : Infinity;
  const bits = 8n * BigInt(DTYPE_BYTES[dtype]);
  const [low, high] = isSigned(dtype) ? [-(1n << (bits - 1n)), (1n << (bits - 1n)) - 1n] : [0n, (1n << bits) - 1n];
  const value = lowest ? low : high;
  return dtype === "i64" || dtype === "u64" ? value : Number(value);
}

/** What each kind of scan combines with. */
export const SCAN_STEP: Readonly<Record<string, string>> = { sum: "add", prod: "mul", max: "max", min: "min" };

function scan(m: Machine, op: Op): void {
  const x = m.get(op.args[0]);
  const { dtype, shape } = op.args[0].type;
  const { axis, kind, reverse, exclusive } = op.attrs as { axis: number; kind: string; reverse: boolean; exclusive: boolean };
  const inner = elements(shape.slice(axis + 1));
  const n = shape[axis];
  const f = binaryFunction(SCAN_STEP[kind], dtype);
  const out = m.result(op);
  for (let o = 0; o < out.length / n; o++) {
    let acc = scanIdentity(kind, dtype);
    for (let step = 0; step < n; step++) {
      const k = reverse ? n - 1 - step : step;
      const at = Math.floor(o / inner) * n * inner + k * inner + (o % inner);
      const next = step === 0 ? x[at] : wrap(dtype, f(acc, x[at]));
      out[at] = exclusive ? acc : next;
      acc = next;
    }
  }
}

function dot(m: Machine, op: Op): void {
  const [a, b, acc] = op.args.map((v) => m.get(v));
  const [rows, cols] = op.results[0].type.shape;
  const { transposeA, transposeB } = op.attrs;
  const inner = op.args[0].type.shape[transposeA ? 0 : 1];
  const out = m.result(op);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) {
      let sum = acc[i * cols + j] as number;
      for (let k = 0; k < inner; k++) {
        const x = a[transposeA ? k * rows + i : i * inner + k] as number;
        const y = b[transposeB ? j * inner + k : k * cols + j] as number;
        sum = Math.fround(sum + Math.fround(x * y));
      }
      out[i * cols + j] = sum;
    }
  }
}

function bitcast(m: Machine, op: Op): void {
  const [from, to] = [op.args[0].type.dtype, op.results[0].type.dtype];
  const x = m.get(op.args[0]);
  const out = m.result(op);
  const bytes = new Uint8Array(x.length * DTYPE_BYTES[from]);
  const write = new MemoryView("", from as DType, bytes);
  const read = new MemoryView("", to as DType, bytes);
  for (let i = 0; i < x.length; i++) write.set(i, x[i]);
  for (let i = 0; i < x.length; i++) out[i] = read.get(i);
}

export const SHAPE_RULES: Readonly<Record<string, Rule>> = {
  broadcast: (m, op) => {
    const from = op.args[0].type.shape;
    const lead = op.results[0].type.shape.length - from.length;
    const step = strides(from).map((s, i) => (from[i] === 1 ? 0 : s));
    gather(m, op, (index) => dotIndex(index.slice(lead), step));
  },
  reshape: (m, op) => m.set(op.results[0], m.get(op.args[0])),
  transpose: (m, op) => {
    const axes = op.attrs.axes as readonly number[] | undefined;
    if (axes) {
      const step = strides(op.args[0].type.shape);
      return gather(m, op, (index) =>
        dotIndex(
          index,
          axes.map((a) => step[a]),
        ),
      );
    }
    const cols = op.args[0].type.shape[1];
    gather(m, op, ([i, j]) => j * cols + i);
  },
  cat: (m, op) => {
    const [a, b] = op.args.map((v) => m.get(v));
    const [p, q] = op.args.map((v) => v.type.shape.at(-1)!);
    const out = m.result(op);
    for (let i = 0; i < out.length; i++) {
      const [row, k] = [Math.floor(i / (p + q)), i % (p + q)];
      out[i] = k < p ? a[row * p + k] : b[row * q + k - p];
    }
  },
  slice: (m, op) => {
    const { axis, start } = op.attrs as { axis: number; start: number };
    const step = strides(op.args[0].type.shape);
    gather(m, op, (index) => dotIndex(index, step) + start * step[axis]);
  },
  extract: (m, op) => {
    m.result(op)[0] = m.get(op.args[0])[dotIndex(op.attrs.index as readonly number[], strides(op.args[0].type.shape))];
  },
  bitcast,
  reduce,
  scan,
  dot,
  dot4: (m, op) => {
    const [a, b, acc] = op.args.map((v) => m.get(v));
    const out = m.result(op);
    const first = op.attrs.signedA ? signedByte : byte;
    for (let i = 0; i < out.length; i++) {
      let sum = acc[i] as number;
      for (let k = 0; k < 4; k++) sum += first(a[i], k) * signedByte(b[i], k);
      out[i] = sum;
    }
  },
  dot2: (m, op) => {
    const [a, b, acc] = op.args.map((v) => m.get(v) as ArrayLike<number>);
    const out = m.result(op);
    const low = (x: number): number => (x << 16) >> 16;
    for (let i = 0; i < out.length; i++) out[i] = acc[i] + low(a[i]) * low(b[i]) + (a[i] >> 16) * (b[i] >> 16);
  },
  dotPairs: (m, op) => {
    const [a, b, acc] = op.args.map((v) => m.get(v) as ArrayLike<number>);
    const out = m.result(op);
    const half = (i: number, k: number): number => byte(a[i], k) * signedByte(b[i], k) + byte(a[i], k + 1) * signedByte(b[i], k + 1);
    for (let i = 0; i < out.length; i++) out[i] = ((acc[i] + half(i, 0)) & 0xffff) | (((acc[i] >> 16) + half(i, 2)) << 16);
  },
  byteSign: (m, op) => {
    const [x, s] = op.args.map((v) => m.get(v));
    const out = m.result(op);
    for (let i = 0; i < out.length; i++) {
      let word = 0;
      for (let k = 0; k < 4; k++) word |= ((byte(x[i], k) * Math.sign(signedByte(s[i], k))) & 0xff) << (8 * k);
      out[i] = word;
    }
  },
  byteLookup: (m, op) => {
    const x = m.get(op.args[0]);
    const table = op.attrs.table as readonly number[];
    const out = m.result(op);
    for (let i = 0; i < out.length; i++) {
      let word = 0;
      for (let k = 0; k < 4; k++) word |= (table[byte(x[i], k) & 15] & 0xff) << (8 * k);
      out[i] = word;
    }
  },
  pack4: (m, op) => {
    const parts = op.args.map((v) => m.get(v));
    const out = m.result(op);
    for (let i = 0; i < out.length; i++) out[i] = parts.reduce((word, p, k) => word | (byte(p[i], 0) << (8 * k)), 0);
  },
};
