import { activation, addScaled, gatedActivation, gatherRows, scaleRows, type Activation } from "../../../kernels/elementwise.ts";
import type { OpDef } from "../graph.ts";
import { dimSize, type Sizes, type Tensor } from "../tensor.ts";
import type { LowerContext } from "../lower.ts";

/** Columns per program. */
const blockOf = (ctx: LowerContext): number => ctx.kernels.blocks.elementwise;
const rows = (ctx: LowerContext, t: Tensor) => (t.shape[0] === "R" ? ctx.slot("R", (s) => s.R) : ctx.slot("T", (s) => s.T));
const columns = (t: Tensor): number => t.shape[1] as number;
const count = (t: Tensor, sizes: Sizes): number => dimSize(t.shape[0], sizes) * columns(t);

export interface GatedAttrs {
  act: Activation;
}

/** act(gate) · up over a row that holds gate at 0 and up at N: [rows, 2N] -> [rows, N]. */
export const gated: OpDef<GatedAttrs> = {
  name: "gated",
  shape: ([x]) => ({ shape: [x.shape[0], columns(x) / 2] }),
  cost: ([x], _, sizes) => ({ flops: 5 * count(x, sizes), bytes: 6 * count(x, sizes) }),
  lower(ctx, { inputs: [x], attrs, output }) {
    const N = columns(x) / 2;
    const BLOCK = blockOf(ctx);
    return [
      {
        program: ctx.program(gatedActivation, { ACT: attrs.act, BLOCK }),
        grid: [Math.ceil(N / BLOCK), rows(ctx, x), 1],
        args: [ctx.buffer(x), ctx.buffer(output!), 2 * N, 0, N, N],
      },
    ];
  },
};

/** act(x): [rows, N] -> [rows, N]. */
export const act: OpDef<{ act: Activation }> = {
  name: "act",
  inPlace: () => 0,
  shape: ([x]) => ({ shape: x.shape }),
  cost: ([x], _, sizes) => ({ flops: 8 * count(x, sizes), bytes: 8 * count(x, sizes) }),
  lower(ctx, { inputs: [x], attrs, output }) {
    const BLOCK = blockOf(ctx);
    const program = ctx.program(activation, { ACT: attrs.act, BLOCK });
    return [{ program, grid: [Math.ceil(columns(x) / BLOCK), rows(ctx, x), 1], args: [ctx.buffer(x), ctx.buffer(output!), columns(x)] }];
  },
};

/** x + scale · z, into x's memory: the residual stream. */
export const add: OpDef<{ scale: number }> = {
  name: "add",
  inPlace: () => 0,
  shape: ([x]) => ({ shape: x.shape }),
  cost: ([x], _, sizes) => ({ flops: 2 * count(x, sizes), bytes: 12 * count(x, sizes) }),
  lower(ctx, { inputs: [x, z], attrs, output }) {
    const BLOCK = blockOf(ctx);
    const program = ctx.program(addScaled, { BLOCK });
    const grid = [Math.ceil(columns(x) / BLOCK), rows(ctx, x), 1] as const;
    return [{ program, grid, args: [ctx.buffer(x), ctx.buffer(z), ctx.buffer(output!), columns(x), attrs.scale] }];
  },
};

/** scale · x, then cap · tanh(· / cap) when softcap > 0; in place. */
export const scale: OpDef<{ scale: number; softcap: number }> = {
  name: "scale",
  inPlace: () => 0,
  shape: ([x]) => ({ shape: x.shape }),
  cost: ([x], _, sizes) => ({ flops: count(x, sizes), bytes: 8 * count(x, sizes) }),
  lower(ctx, { inputs: [x], attrs, output }) {
    const BLOCK = blockOf(ctx);
    const program = ctx.program(scaleRows, { SOFTCAP: attrs.softcap > 0, BLOCK });
    const grid = [Math.ceil(columns(x) / BLOCK), rows(ctx, x), 1] as const;
    return [{ program, grid, args: [ctx.buffer(x), ctx.buffer(output!), columns(x), attrs.scale, attrs.softcap] }];
  },
};

/** Rows of x by index: x [T, N], index [R] int32 -> [R, N]. */
export const gather: OpDef<Record<string, never>> = {
  name: "gather",
  shape: ([x, index]) => ({ shape: [index.shape[0], columns(x)] }),
  cost: ([x, index], _, sizes) => ({ flops: 0, bytes: 8 * dimSize(index.shape[0], sizes) * columns(x) }),
  lower(ctx, { inputs: [x, index], output }) {
    const BLOCK = blockOf(ctx);
    const program = ctx.program(gatherRows, { BLOCK });
    const grid = [Math.ceil(columns(x) / BLOCK), rows(ctx, output!), 1] as const;
    return [{ program, grid, args: [ctx.buffer(x), ctx.buffer(index), ctx.buffer(output!), columns(x)] }];
  },
};
