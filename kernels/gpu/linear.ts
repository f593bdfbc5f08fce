/** y = x Wᵀ on a GPU: the mat-vec for a few tokens, tiles for more. Weights are read as they lie in the file, activations are float32. */
import type { Dispatch } from "../../src/runtime/device.ts";
import type { LinearOptions, StepContext } from "../api.ts";
import { isFloatType } from "../families.ts";
import { quantised, tileCount } from "../linear-api.ts";
import { matmulFloatKernels, matmulQuantisedKernels } from "./matmul.ts";
import { EPILOGUE, MATVEC_TOKENS, matvecFloatKernels, matvecQuantisedKernels, matvecTokens } from "./matvec.ts";
import type { GpuTuning } from "./tuning.ts";

export function gpuLinear(tuning: GpuTuning, ctx: StepContext, o: LinearOptions): Dispatch[] {
  const own = o.residual?.address === o.y.address;
  const epilogue = (o.bias ? EPILOGUE.bias : 0) + (o.residual ? (own ? EPILOGUE.own : EPILOGUE.residual) : 0);
  const rest = [o.x, o.y, o.bias ?? o.y, o.residual ?? o.y, o.T, o.n, o.k, o.yStride, o.yOffset, epilogue];
  const few = o.maxT <= MATVEC_TOKENS;
  const MT = matvecTokens(o.maxT);
  // More tokens in the registers leave room for fewer rows.
  const vec = { MT, ROWS: Math.max(1, MT === 4 ? tuning.rows / 2 : tuning.rows), LANES: tuning.lanes };
  const tiles = o.maxT <= tuning.small.BM ? tuning.small : tuning.tile;
  const grid: Dispatch["grid"] = few
    ? [Math.ceil(o.n / vec.ROWS), tileCount(ctx, o, vec.MT), 1]
    : [Math.ceil(o.n / tiles.BN), tileCount(ctx, o, tiles.BM), 1];
  if (isFloatType(o.type)) {
    const program = few ? ctx.program(matvecFloatKernels[o.type], vec) : ctx.program(matmulFloatKernels[o.type], { ...tiles, BK: 32 });
    return [{ program, grid, args: [o.w, ...rest] }];
  }
  const type = quantised(o);
  // Whole steps, so that no word needs a mask: every type has blocks of at least 32 columns.
  const BQ = o.k % 64 === 0 ? 16 : 8;
  const program = few ? ctx.program(matvecQuantisedKernels[type], vec) : ctx.program(matmulQuantisedKernels[type], { ...tiles, BQ });
  return [{ program, grid, args: [o.w, o.w, ...rest] }];
}
