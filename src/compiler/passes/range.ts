/** Bounds of integer values that follow from the program text alone: sizes, constants, loop bounds. */
import type { Op, Value } from "../ir/types.ts";
import { SIMD_WIDTH } from "../ir/types.ts";

/** Lowest and highest value of any element. */
export type Range = readonly [number, number];

const I32: Range = [-(2 ** 31), 2 ** 31 - 1];

const inside = (r: Range): Range | undefined => (r[0] >= I32[0] && r[1] <= I32[1] ? r : undefined);

/** What is known about an i32 operand; constants included. */
export type Known = (v: Value) => Range | undefined;

type Rule = (a: Range, b: Range) => Range | undefined;

const BINARY: Readonly<Record<string, Rule>> = {
  add: (a, b) => [a[0] + b[0], a[1] + b[1]],
  sub: (a, b) => [a[0] - b[1], a[1] - b[0]],
  mul: (a, b) => {
    const products = a.flatMap((x) => b.map((y) => x * y));
    return [Math.min(...products), Math.max(...products)];
  },
  min: (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1])],
  max: (a, b) => [Math.max(a[0], b[0]), Math.max(a[1], b[1])],
  div: (a, b) => (a[0] >= 0 && b[0] > 0 ? [Math.trunc(a[0] / b[1]), Math.trunc(a[1] / b[0])] : undefined),
  rem: (a, b) => (a[0] >= 0 && b[0] > 0 ? [0, Math.min(a[1], b[1] - 1)] : undefined),
  and: (a, b) => (a[0] >= 0 || b[0] >= 0 ? [0, a[0] < 0 ? b[1] : b[0] < 0 ? a[1] : Math.min(a[1], b[1])] : undefined),
  shr: (a, b) => (a[0] >= 0 && b[0] === b[1] && b[0] >= 0 && b[0] < 32 ? [a[0] >> b[0], a[1] >> b[0]] : undefined),
};

/** Range of an i32 op's result, or undefined when it may be anything or may wrap around. `threads`: of a thread-level kernel. */
export function rangeOf(op: Op, known: Known, threads?: readonly number[]): Range | undefined {
  if (op.results[0]?.type.dtype !== "i32") return undefined;
  switch (op.op) {
    case "arange": {
      const { start, n } = op.attrs as { start: number; n: number };
      return inside([start, start + n - 1]);
    }
    case "programId":
      return [0, I32[1]];
    case "threadId":
      return [0, (threads?.[op.attrs.axis as number] ?? 1) - 1];
    case "laneId":
      return [0, SIMD_WIDTH - 1];
    case "simdgroupId":
      return [0, Math.ceil((threads ?? []).reduce((a, b) => a * b, 1) / SIMD_WIDTH) - 1];
    case "numPrograms":
      return [1, I32[1]];
    case "broadcast":
    case "reshape":
    case "transpose":
    case "slice":
    case "extract":
      return known(op.args[0]);
  }
  const rule = BINARY[op.op];
  if (!rule) return undefined;
  const [a, b] = op.args.map(known);
  // A bound on one side is enough for `and` with a number that is not negative.
  const result = a && b ? rule(a, b) : op.op === "and" ? rule(a ?? I32, b ?? I32) : undefined;
  return result && inside(result);
}

/** Whether a comparison holds for every pair of elements (true), for none (false), or depends. */
export function decide(op: string, a: Range, b: Range): boolean | undefined {
  switch (op) {
    case "lt":
      return a[1] < b[0] ? true : a[0] >= b[1] ? false : undefined;
    case "le":
      return a[1] <= b[0] ? true : a[0] > b[1] ? false : undefined;
    case "gt":
      return decide("lt", b, a);
    case "ge":
      return decide("le", b, a);
    case "eq":
      return a[1] < b[0] || b[1] < a[0] ? false : a[0] === a[1] && b[0] === b[1] && a[0] === b[0] ? true : undefined;
    case "ne": {
      const equal = decide("eq", a, b);
      return equal === undefined ? undefined : !equal;
    }
  }
  return undefined;
}
