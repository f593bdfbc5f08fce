/**
 * The weight-side kernels of CPUs: sizes of their buffers, and the dispatches that pack a weight, quantise activations and multiply; and
 * for every device those that embed and dequantise.
 */
import type { TensorType } from "../src/formats/weights.ts";
import type { DeviceBuffer, Dispatch, Slot } from "../src/runtime/device.ts";
import type { IsaName } from "../src/runtime/cpu/isa.ts";
import { AlloyError } from "../src/support/errors.ts";
import type { KernelContext, LinearOptions, QuantizeOptions, StepContext, WeightShape } from "./api.ts";
import { CHUNK, dequantFloatKernels, dequantQuantisedKernels, embedFloatKernels, embedQuantisedKernels, valueConstexprs } from "./embed.ts";
import { FAMILIES, isFloatType, isQuantised, panelBytes, type QuantisedType } from "./families.ts";
import { FEW_TOKENS, FLOAT_TILES, linearFloats, linearPanels, panelTile, ROWS } from "./linear-float.ts";
import { PREFILL_TILE, prefillConstexprs, linearPrefill } from "./linear-prefill.ts";
import { DECODE_TILES, linear, linearConstexprs } from "./linear.ts";
import { quantize, RECORD } from "./quantize.ts";
import { packConstexprs, packKernels } from "./repack.ts";

/** Whether the linear kernels want a weight packed, and how many bytes the packed form takes. */
export function packedLayout(type: TensorType, n: number, k: number): { packed: boolean; bytes: number } {
  if (!isQuantised(type) || k % FAMILIES[type].block !== 0) return { packed: false, bytes: 0 };
  return { packed: true, bytes: Math.ceil(n / 16) * panelBytes(FAMILIES[type], k) };
}

/** Packs a weight `src` as it lies in the file to `dst` (packedLayout(...).bytes). */
export function packDispatches(ctx: KernelContext, o: WeightShape & { src: DeviceBuffer; dst: DeviceBuffer }): Dispatch[] {
  const type = quantised(o);
  const program = ctx.program(packKernels[type], packConstexprs(type));
  const args = [o.src, o.src, o.dst, o.dst, o.dst, o.n, o.k / 32, panelBytes(FAMILIES[type], o.k) / 4];
  return [{ program, grid: [Math.ceil(o.n / 16), 1, 1], args, label: "pack" }];
}

/** Changes whenever the packed form of a type does. */
export function packFingerprint(type: TensorType): string {
  return isQuantised(type) ? packKernels[type].fingerprint(packConstexprs(type)) : "";
}

/**
 * Most tokens of a plan that go through the tiles of decoding: a prompt's kernel prepares blocks of weights, which so few do not pay for. Without an
 * instruction for byte dots decoding's tiles are the slower ones from half as many on.
 */
const fewTokens = (isa: IsaName): number => (isa.endsWith("vnni") || isa === "neon-dotprod" ? 64 : 32);

/** Tokens per tile (MR) in plans of at most `maxTokens` tokens. */
export function tokenTile(isa: IsaName, maxTokens: number): number {
  return (
    DECODE_TILES.find((tile) => maxTokens <= tile) ?? (maxTokens <= fewTokens(isa) ? DECODE_TILES[DECODE_TILES.length - 1] : PREFILL_TILE)
  );
}

/** Bytes of the quantised form of [maxTokens, k] activations. */
export function quantizedActivationBytes(isa: IsaName, maxTokens: number, k: number): number {
  const tile = tokenTile(isa, maxTokens);
  return Math.ceil(maxTokens / tile) * tile * Math.ceil(k / 32) * RECORD * 4;
}

/** Tiles of `tile` tokens that T tokens make, known now or when the plan runs. */
export const tileCount = (ctx: StepContext, o: { T: Slot | number; rows: string }, tile: number): Slot | number =>
  typeof o.T === "number" ? Math.ceil(o.T / tile) : ctx.slot(`${o.rows}/${tile}`, (s) => Math.ceil(s[o.rows] / tile));

/** Quantises x [T, k], or what a source makes of it, for packed weights. */
export function quantizeDispatches(isa: IsaName, ctx: StepContext, o: QuantizeOptions): Dispatch[] {
  const blocks = o.k / 32;
  const { source } = o;
  const tile = tokenTile(isa, o.maxT);
  const tiles = tileCount(ctx, o, tile);
  // A single tile is split over its columns, but not so that threads would spend longer meeting than working.
  const splits = o.maxT <= tile ? Math.max(1, Math.min(8, (blocks * tile) >> 7)) : 1;
  const ACT = source?.kind === "gated" ? source.act : "silu";
  const [w, stride, eps] = [
    source?.kind === "norm" ? source.w : o.x,
    source?.kind === "gated" ? 2 * o.k : o.k,
    source?.kind === "norm" ? source.eps : 0,
  ];
  return [
    {
      program: ctx.program(quantize, { MR: tile, SPAN: o.span, SOURCE: source?.kind ?? "rows", ACT }),
      grid: [tiles, splits, 1],
      args: [o.x, w, o.xq, o.xq, o.T, blocks, stride, o.k, eps],
      label: "quantize",
    },
  ];
}

/** Fewest programs that a large matmul is cut into, for machines with many cores. */
const PROGRAMS = 64;

/** y = x Wᵀ (+ bias) (+ residual), with the register tiles of an instruction set. */
export function linearDispatches(isa: IsaName, ctx: KernelContext, o: LinearOptions): Dispatch[] {
  const bias = o.bias ?? o.y;
  const residual = o.residual ?? o.y;
  const epilogue = (o.bias ? 1 : 0) + (o.residual ? 2 : 0);
  const grid = (groups: number, tile: number, programs = PROGRAMS): Dispatch["grid"] => {
    const splits = Math.min(Math.ceil(o.maxT / tile), Math.ceil(programs / groups));
    return [groups, Math.max(1, splits), 1];
  };
  if (isFloatType(o.type)) {
    const args = [o.w, o.x, o.y, bias, residual, o.T, o.n, o.k, o.k, o.yStride, o.yOffset, epilogue];
    if (o.maxT > FEW_TOKENS) {
      // Programs that share a group of rows each make its panel, so there are no more of them than keep the threads busy.
      const panel = panelTile(isa);
      const program = ctx.program(linearPanels[o.type], panel);
      return [{ program, grid: grid(Math.ceil(o.n / panel.NR), panel.MR, 2 * (ctx.threads ?? 1)), args }];
    }
    const MT = FLOAT_TILES.find((tile) => o.maxT <= tile) ?? FLOAT_TILES[FLOAT_TILES.length - 1];
    const program = ctx.program(linearFloats[o.type], { RN: ROWS, MT });
    return [{ program, grid: grid(Math.ceil(o.n / ROWS), MT), args }];
  }
  const type = quantised(o);
  if (!o.xq) throw new AlloyError("internal", `linear: a packed ${type} weight needs quantised activations`);
  const tile = tokenTile(isa, o.maxT);
  const many = prefillConstexprs(type, isa);
  const [program, NV] =
    tile === PREFILL_TILE ? [ctx.program(linearPrefill, many), many.NV] : [ctx.program(linear, linearConstexprs(type, tile, isa)), 1];
  const size = panelBytes(FAMILIES[type], o.k) / 4;
  const args = [o.w, o.w, o.w, o.xq, o.xq, o.y, bias, residual, o.T, o.n, o.k / 32, size, o.yStride, o.yOffset, epilogue];
  return [{ program, grid: grid(Math.ceil(o.n / (16 * NV)), tile), args }];
}

/** y [T, k] = rows `ids` (i32 [T]) of a table of any type, times `scale`. Ids are clamped to the table. */
export function embedDispatches(
  ctx: KernelContext,
  o: WeightShape & { buffer: DeviceBuffer; ids: DeviceBuffer; y: DeviceBuffer; T: Slot | number; scale: number },
): Dispatch[] {
  const grid: Dispatch["grid"] = [o.T, Math.ceil(o.k / CHUNK), 1];
  const rest = [o.ids, o.y, o.n, o.k, o.k, o.scale];
  if (isFloatType(o.type)) return [{ program: ctx.program(embedFloatKernels[o.type], {}), grid, args: [o.buffer, ...rest] }];
  const type = quantised(o);
  return [{ program: ctx.program(embedQuantisedKernels[type], valueConstexprs(type)), grid, args: [o.buffer, o.buffer, ...rest] }];
}

/** dst [n, k] f32 = a weight of any type. */
export function dequantDispatches(ctx: KernelContext, o: WeightShape & { src: DeviceBuffer; dst: DeviceBuffer }): Dispatch[] {
  const grid: Dispatch["grid"] = [o.n, Math.ceil(o.k / CHUNK), 1];
  if (isFloatType(o.type)) return [{ program: ctx.program(dequantFloatKernels[o.type], {}), grid, args: [o.src, o.dst, o.k] }];
  const type = quantised(o);
  return [{ program: ctx.program(dequantQuantisedKernels[type], valueConstexprs(type)), grid, args: [o.src, o.src, o.dst, o.k] }];
}

/** The type, checked to be one with whole blocks in a row. */
export function quantised(o: WeightShape): QuantisedType {
  if (!isQuantised(o.type) || o.k % FAMILIES[o.type].block !== 0)
    throw new AlloyError("unsupported_model", `no kernel reads a [${o.n}, ${o.k}] weight of type ${o.type}`, {
      hint: "Use a file in Q4_K_M, Q8_0, F16 or another common type.",
    });
  return o.type;
}
