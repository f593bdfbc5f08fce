/** Functions on lazy buffers. Sums are f32 whatever the type; elementwise work before and behind them joins their kernels. */
import { AlloyError } from "../support/errors.ts";
import { attentionShape, dotShape, rowsShape } from "./builtin-shapes.ts";
import { floats, LazyBuffer, operandNodes, type LazyOperand } from "./buffer.ts";
import { Node } from "./node.ts";
import { pointwise } from "./pointwise.ts";
import { promote } from "../compiler/language/promote.ts";
import { shapeText } from "./shapes.ts";

/** Matrix product: a [.., M, K], b [.., K, N] -> [.., M, N]; the axes before broadcast. */
export const dot = (a: LazyBuffer, b: LazyBuffer): LazyBuffer => product(a, b, false);

/** a · bᵀ: a [.., M, K], b [.., N, K] -> [.., M, N]: how weights are stored. */
export const dotTransposeB = (a: LazyBuffer, b: LazyBuffer): LazyBuffer => product(a, b, true);

function product(a: LazyBuffer, b: LazyBuffer, transposed: boolean): LazyBuffer {
  const inputs = [floats(a.node), floats(b.node)];
  const shape = dotShape(a.shape, b.shape, transposed);
  return new LazyBuffer(new Node({ kind: "dot", transposed }, inputs, shape, promote(inputs[0].dtype, inputs[1].dtype)));
}

/** exp(x) over the sum of exp(x) along the last axis. */
export function softmax(x: LazyBuffer): LazyBuffer {
  const input = floats(x.node);
  return new LazyBuffer(new Node({ kind: "softmax" }, [input], rowsShape(x.shape, "softmax"), input.dtype));
}

export interface NormOptions {
  /** Added to the variance; default 1e-5. */
  eps?: number;
}

/** (x - mean) / sqrt(variance + eps) along the last axis (Ba et al. 2016), times `weight`, plus `bias`, of the last axis' size. */
export const layerNorm = (x: LazyBuffer, weight?: LazyBuffer, bias?: LazyBuffer, options: NormOptions = {}): LazyBuffer =>
  normalized("layerNorm", true, x, weight, bias, options);

/** x / sqrt(mean(x²) + eps) along the last axis (Zhang & Sennrich 2019), times `weight`. */
export const rmsNorm = (x: LazyBuffer, weight?: LazyBuffer, options: NormOptions = {}): LazyBuffer =>
  normalized("rmsNorm", false, x, weight, undefined, options);

function normalized(
  name: string,
  center: boolean,
  x: LazyBuffer,
  weight: LazyBuffer | undefined,
  bias: LazyBuffer | undefined,
  { eps = 1e-5 }: NormOptions,
): LazyBuffer {
  const input = floats(x.node);
  const shape = rowsShape(x.shape, name);
  for (const v of [weight, bias]) {
    if (v && (v.shape.length !== 1 || v.shape[0] !== shape.at(-1))) {
      throw new AlloyError("bad_argument", `${name}: shapes ${shapeText(shape)} of x and ${shapeText(v.shape)} of a weight do not fit`, {
        hint: "Weight and bias have one element for each of the last axis.",
      });
    }
  }
  let y = new LazyBuffer(new Node({ kind: "normalize", center, eps }, [input], shape, input.dtype));
  if (weight) y = y.mul(weight);
  return bias ? y.add(bias) : y;
}

export interface CrossEntropyOptions {
  /** "mean" (default) over all rows, or one loss for each. */
  reduction?: "mean" | "none";
}

/** -log softmax(scores)[label]: scores [.., C], labels [..] integers below C. A label that is no class gives NaN. */
export function crossEntropy(scores: LazyBuffer, labels: LazyBuffer, { reduction = "mean" }: CrossEntropyOptions = {}): LazyBuffer {
  const input = floats(scores.node);
  const lead = rowsShape(scores.shape, "crossEntropy").slice(0, -1);
  if (labels.dtype !== "i32")
    throw new AlloyError("bad_argument", `crossEntropy takes labels of i32, got ${labels.dtype}`, {
      hint: "Use an Int32Array, or cast(i32).",
    });
  if (labels.shape.length !== lead.length || labels.shape.some((n, i) => n !== lead[i])) {
    throw new AlloyError("bad_argument", `crossEntropy: shapes ${shapeText(scores.shape)} and ${shapeText(labels.shape)} do not fit`, {
      hint: "Scores are [.., classes], labels the same without the last axis.",
    });
  }
  const loss = new LazyBuffer(new Node({ kind: "crossEntropy" }, [input, labels.node], lead, "f32"));
  return reduction === "mean" ? loss.mean({ all: true }) : loss;
}

export interface AttentionOptions {
  /** Query t sees keys up to t + S - T: the last query sees them all. */
  causal?: boolean;
  /** Default 1 / sqrt(D). */
  scale?: number;
}

/**
 * softmax(scale · q kᵀ) v without the scores in memory: q [.., H, T, D], k and v [.., KVH, S, D] -> [.., H, T, D]. H is a multiple of KVH: query
 * heads share KV heads. A query that sees no key gives 0.
 */
export function attention(q: LazyBuffer, k: LazyBuffer, v: LazyBuffer, { causal = false, scale }: AttentionOptions = {}): LazyBuffer {
  const shape = attentionShape(q.shape, k.shape, v.shape);
  const dtype = [q, k, v].map((x) => floats(x.node).dtype).reduce(promote);
  const inputs = [q, k, v].map((x) => (x.dtype === dtype ? x.node : x.cast({ kind: "dtype", dtype }).node));
  return new LazyBuffer(
    new Node({ kind: "attention", causal, scale: scale ?? 1 / Math.sqrt(Math.max(1, q.shape.at(-1)!)) }, inputs, shape, dtype),
  );
}

/** a where the condition is true, else b; all three broadcast. */
export const where = (condition: LazyBuffer, a: LazyOperand, b: LazyOperand): LazyBuffer =>
  new LazyBuffer(pointwise("where", operandNodes([condition, a, b])));
