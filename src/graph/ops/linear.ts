import type { Span } from "../../../kernels/families.ts";
import type { DeviceBuffer } from "../../runtime/device.ts";
import { AlloyError } from "../../support/errors.ts";
import type { Graph, OpDef } from "../graph.ts";
import type { LowerContext } from "../lower.ts";
import { dimSize, type Tensor } from "../tensor.ts";
import type { WeightRef, WeightStore } from "../weights.ts";
import { gated, type GatedAttrs } from "./elementwise.ts";
import { norm, type NormAttrs } from "./norm.ts";

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

/** What the values that are quantised come from, computed on the way (../fuse.ts). */
export type QuantizedFrom = { op: "norm"; attrs: NormAttrs } | { op: "gated"; attrs: GatedAttrs };

export interface QuantizeAttrs {
  span: Span;
  from?: QuantizedFrom;
}

/**
 * Activations as int8 with a scale per `span` values: x [rows, K] float32, or the input of `from`, -> opaque bytes, laid out for the token tile of the
 * plan's class. Only for weights that the device's kernels pack.
 */
export const quantize: OpDef<QuantizeAttrs> = {
  name: "quantize",
  vectors: ({ from }) => (from?.op === "norm" ? norm.vectors!(from.attrs) : []),
  shape([x], { from }) {
    const shape = from?.op === "gated" ? gated.shape([x], from.attrs)!.shape : x.shape;
    return {
      shape,
      dtype: "bytes",
      bytes: (sizes, kernels) => kernels.quantizedBytes(dimSize(x.shape[0], sizes), shape[1] as number),
    };
  },
  cost(inputs, { from }, sizes) {
    const [x] = inputs;
    const n = dimSize(x.shape[0], sizes) * (x.shape[1] as number);
    if (!from) return { flops: 3 * n, bytes: 5 * n };
    const source = from.op === "norm" ? norm.cost(inputs, from.attrs, sizes) : gated.cost(inputs, from.attrs, sizes);
    const values = from.op === "norm" ? n : n / 2;
    return { flops: source.flops + 3 * values, bytes: 4 * n + values };
  },
  lower(ctx, { inputs, attrs, output, label }) {
    const [x] = inputs;
    const { from, span } = attrs;
    const rows = rowsOf(x);
    const [maxT, k] = [ctx.max[rows], output!.shape[1] as number];
    const rest = { xq: ctx.buffer(output!), T: rowSlot(ctx, rows), maxT, k, span, rows };
    if (!from) return ctx.kernels.quantize(ctx, { x: ctx.buffer(x), ...rest });
    if (ctx.kernels.takesSources(maxT)) {
      const source =
        from.op === "norm"
          ? ({ kind: "norm", w: ctx.weights.vector(from.attrs.weight), eps: from.attrs.eps } as const)
          : ({ kind: "gated", act: from.attrs.act } as const);
      return ctx.kernels.quantize(ctx, { x: ctx.buffer(x), source, ...rest });
    }
    const values: Tensor = { id: -1, shape: output!.shape, dtype: "f32" };
    const memory = ctx.scratch(maxT * k * 4);
    const inner: LowerContext = { ...ctx, buffer: (t) => (t === values ? memory : ctx.buffer(t)) };
    const first =
      from.op === "norm"
        ? norm.lower(inner, { op: norm, inputs, attrs: from.attrs, output: values, label })
        : gated.lower(inner, { op: gated, inputs, attrs: from.attrs, output: values, label });
    return [...first, ...ctx.kernels.quantize(ctx, { x: memory, ...rest })];
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
  unread: (a) => (a.spans.includes(0) ? [] : [0]),
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
      const quantised = attrs.spans[i] === 0 ? undefined : ctx.buffer(inputs[1 + spans.indexOf(attrs.spans[i])]);
      return ctx.kernels.linear(ctx, {
        type: m.type,
        n: m.n,
        k: m.k,
        packed: m.packed,
        w: m.buffer,
        x: quantised ?? ctx.buffer(x),
        xq: quantised,
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
