/** Elementwise operations: which there are, and the shape and type of their results. */
import { POINTWISE } from "../../kernels/pointwise.ts";
import type { DType } from "../compiler/ir/types.ts";
import { isFloat } from "../compiler/ir/types.ts";
import type { Helper } from "../compiler/language/index.ts";
import { promote } from "../compiler/language/promote.ts";
import { AlloyError } from "../support/errors.ts";
import { Node } from "./node.ts";
import { broadcast, type Shape } from "./shapes.ts";

export type PointwiseName = keyof typeof POINTWISE;

/** Results that are not of the operands' own type: floats even of integers, and truth values. */
const FLOATS: readonly string[] = [
  "div",
  "pow",
  "sqrt",
  "rsqrt",
  "exp",
  "exp2",
  "log",
  "log2",
  "sin",
  "cos",
  "tanh",
  "erf",
  "sigmoid",
  "silu",
].concat(["gelu", "geluTanh"]);
const TRUTHS: readonly string[] = ["less", "lessEqual", "greater", "greaterEqual", "equal", "notEqual"];

/** Type that operands meet in. A number adapts to tiles; half floats stay half, and compute in f32. */
function commonType(inputs: readonly Node[]): DType {
  const typed = inputs.filter((n) => n.op.kind !== "number");
  const type = typed.length ? typed.map((n) => n.dtype).reduce(promote) : "f32";
  const fractions = inputs.some((n) => n.op.kind === "number" && n.dtype === "f32");
  if (isFloat(type)) return type;
  return fractions ? "f32" : promote(type, "i32");
}

/** Throws `bad_argument` when shapes do not broadcast. */
export function pointwise(name: PointwiseName, inputs: readonly Node[]): Node {
  const common = commonType(name === "where" ? inputs.slice(1) : inputs);
  const dtype = TRUTHS.includes(name) ? "bool" : FLOATS.includes(name) && !isFloat(common) ? "f32" : common;
  return new Node({ kind: "pointwise", name, fn: POINTWISE[name] }, inputs, commonShape(inputs, name), dtype);
}

/** A user's own helper on the elements of several inputs. */
export function mapped(fn: Helper, inputs: readonly Node[]): Node {
  if (typeof fn !== "function" || fn.kind !== "helper") {
    throw new AlloyError("bad_argument", `map takes a helper, got ${typeof fn}`, {
      hint: "Make one with fn: map(fn((al, x) => x * x)).",
    });
  }
  return new Node({ kind: "pointwise", name: "map", fn }, inputs, commonShape(inputs, "map"), commonType(inputs));
}

export function cast(input: Node, dtype: DType): Node {
  return input.dtype === dtype ? input : new Node({ kind: "pointwise", name: "cast" }, [input], input.shape, dtype);
}

const commonShape = (inputs: readonly Node[], what: string): Shape => inputs.map((n) => n.shape).reduce((a, b) => broadcast(a, b, what));
