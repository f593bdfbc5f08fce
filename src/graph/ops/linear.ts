import type { Span } from "../../../kernels/families.ts";
import type { DeviceBuffer } from "../../runtime/device.ts";
import { AlloyError } from "../../support/errors.ts";
import type { Graph, OpDef } from "../graph.ts";
import type { LowerContext } from "../lower.ts";
import { dimSize, type Tensor } from "../tensor.ts";
import type { WeightRef, WeightStore } from "../weights.ts";

export interface LinearPart {
  weight: WeightRef;
  bias?: string;
  /** Output features. */
  n: number;
}

export interface LinearAttrs {
  parts: readonly LinearPart[];
  k: number;
  /** Values that share a scale in the quantised activations that a part takes; 0: it takes them as they are. */
  spans: readonly (Span | 0)[];
  residual: boolean;
}

/** The quantised forms that are inputs, in their order after x. */
const forms = (spans: readonly (Span | 0)[]): Span[] => ([32, 256] as const).filter((s) => spans.includes(s));
const rowsOf = (t: Tensor): "T" | "R" => (t.shape[0] === "R" ? "R" : "T");
const rowSlot = (ctx: LowerContext, rows: "T" | "R") => ctx.slot(rows, (s) => s[rows]);

/**
 * Activations as int8 with a scale per `span` values: x [rows, K] float32 -> opaque bytes, laid out for the token tile of the plan's class. Only for
 * weights that the device's kernels pack.
 */
export const quantize: OpDef<{ span: Span }> = {
  name: "quantize",
  shape: ([x]) => ({
    shape: x.shape,
    dtype: "bytes",
    bytes: (sizes, kernels) => kernels.quantizedBytes(dimSize(x.shape[0], sizes), x.shape[1] as number),
  }),
  cost: ([x], _, sizes) => {
    const n = dimSize(x.shape[0], sizes) * (x.shape[1] as number);
    return { flops: 3 * n, bytes: 5 * n };
  },
  lower(ctx, { inputs: [x], attrs, output }) {
    const rows = rowsOf(x);
    return ctx.kernels.quantize(ctx, {
      x: ctx.buffer(x),
      xq: ctx.buffer(output!),
      T: rowSlot(ctx, rows),
      maxT: ctx.max[rows],
      k: x.shape[1] as number,
      span: attrs.span,
      rows,
    });
  },
};

/**
 * y = x Wᵀ (+ bias) (+ residual), several weights side by side in one output row: x [rows, K] -> [rows, Σ n].
 * Inputs: x, quantised x in as many forms as the parts take, [residual]. With a residual the output takes its memory.
 */
export const linear: OpDef<LinearAttrs> = {
  name: "linear",
  matrices: (a) => a.parts.map((p) => p.weight),
  vectors: (a) => a.parts.flatMap((p) => p.bias ?? []),
  inPlace: (a) => (a.residual ? 1 + forms(a.spans).length : undefined),
  shape([x], { parts, k }) {
    if (x.shape[1] !== k)
      throw new AlloyError("internal", `linear ${parts[0].weight.name}: input has ${String(x.shape[1])} columns, the weight takes ${k}`);
    return { shape: [x.shape[0], parts.reduce((n, p) => n + p.n, 0)] };
  },
  cost: ([x], { parts, k }, sizes) => {
    const rows = dimSize(x.shape[0], sizes);
    const n = parts.reduce((s, p) => s + p.n, 0);
    return { flops: 2 * rows * n * k, bytes: n * k + 4 * rows * (n + k) };
  },
  lower(ctx, { inputs, attrs, output }) {
    const [x] = inputs;
    const spans = forms(attrs.spans);
    const residual = attrs.residual ? ctx.buffer(inputs[inputs.length - 1]) : undefined;
    const rows = rowsOf(x);
    const yStride = output!.shape[1] as number;
    const y = ctx.buffer(output!);
    const single = ctx.max[rows] === 1;
    let column = 0;
    return attrs.parts.flatMap((part, i) => {
      const m = ctx.weights.matrix(part.weight);
      const from = column;
      column += part.n;
      // The parts of a single row are ranges of memory: as such nothing makes them wait for each other.
      const own = (b: DeviceBuffer): DeviceBuffer => (single ? b.slice(from * 4, part.n * 4) : b);
      return ctx.kernels.linear(ctx, {
        type: m.type,
        n: m.n,
        k: m.k,
        packed: m.packed,
        w: m.buffer,
        x: ctx.buffer(x),
        xq: attrs.spans[i] === 0 ? undefined : ctx.buffer(inputs[1 + spans.indexOf(attrs.spans[i])]),
        y: own(y),
        yStride,
        yOffset: single ? 0 : from,
        T: rowSlot(ctx, rows),
        maxT: ctx.max[rows],
        rows,
        bias: part.bias ? ctx.weights.vector(part.bias) : undefined,
        residual: residual && own(residual),
      });
    });
  },
};

/** Adds a linear layer to a graph, quantising its input where the weights are packed (equal inputs are quantised once). */
export function applyLinear(
  g: Graph,
  weights: WeightStore,
  x: Tensor,
  parts: readonly LinearPart[],
  options: { residual?: Tensor; label: string },
): Tensor {
  const k = x.shape[1] as number;
  const spans = parts.map((p): Span | 0 => {
    const [n, columns] = p.weight.transpose ? [p.n, k] : weights.expect(p.weight.name, [p.n, k]).shape;
    if (n !== p.n || columns !== k) throw new AlloyError("internal", `linear ${p.weight.name}: unexpected shape`);
    return p.weight.transpose ? 0 : weights.packs(p.weight);
  });
  const inputs = [x, ...forms(spans).map((span) => g.apply(quantize, [x], { span }, `${options.label}.quantize`))];
  if (options.residual) inputs.push(options.residual);
  return g.apply(linear, inputs, { parts, k, spans, residual: options.residual !== undefined }, options.label);
}
