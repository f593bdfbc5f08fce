/** Shapes of lazy buffers. */
import type { DType } from "../compiler/ir/types.ts";
import { DTYPE_BYTES } from "../compiler/ir/types.ts";
import { AlloyError } from "../support/errors.ts";

export type Shape = readonly number[];

export const elementsOf = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);
export const shapeText = (shape: Shape): string => `[${shape.join(", ")}]`;
export const bytesOf = (shape: Shape, dtype: DType): number => elementsOf(shape) * DTYPE_BYTES[dtype];

/** The most elements that a kernel can count. */
const MAX_ELEMENTS = 2 ** 31 - 1;

/** Throws `bad_argument` for a size that is no count, and for more elements than a kernel can count. */
export function checkShape(shape: Shape, what: string): Shape {
  if (!shape.every((n) => Number.isInteger(n) && n >= 0))
    throw new AlloyError("bad_argument", `${what}: ${shapeText(shape)} is no shape`, { hint: "Sizes are integers from 0 on." });
  if (elementsOf(shape) > MAX_ELEMENTS)
    throw new AlloyError("bad_argument", `${what}: ${shapeText(shape)} has more than ${MAX_ELEMENTS} elements`, {
      hint: "Work on a part at a time.",
    });
  return [...shape];
}

/** NumPy's rule: aligned at the last axis, sizes are equal or one of them is 1. Throws `bad_argument` that names both shapes. */
export function broadcast(a: Shape, b: Shape, what: string): Shape {
  const rank = Math.max(a.length, b.length);
  const shape = Array.from({ length: rank }, (_, i) => {
    const [x, y] = [a[i - rank + a.length] ?? 1, b[i - rank + b.length] ?? 1];
    if (x !== y && x !== 1 && y !== 1) {
      throw new AlloyError("bad_argument", `${what}: shapes ${shapeText(a)} and ${shapeText(b)} do not broadcast`, {
        hint: "Aligned at the last axis, sizes must be equal or 1. reshape adds axes of size 1.",
      });
    }
    return x === 1 ? y : x;
  });
  return checkShape(shape, what);
}

/** How an operand moves along axes of a larger shape: sizes, and elements from one index to the next (0 where it stretches). */
export interface Axis {
  size: number;
  stride: number;
}

/** Axes of an operand of `shape` inside `whole`, one for each axis of it. */
export function axesIn(shape: Shape, whole: Shape): Axis[] {
  let stride = 1;
  return whole
    .map((size, i): Axis => ({ size, stride: shape[i - whole.length + shape.length] ?? 1 }))
    .toReversed()
    .map(({ size, stride: own }): Axis => {
      const step = own === 1 ? 0 : stride;
      stride *= Math.max(1, own);
      return { size, stride: step };
    })
    .toReversed();
}

/** The same walk over fewer axes: those of size 1 dropped, and neighbours joined where every operand takes them in one stride. */
export function joinAxes(operands: readonly (readonly Axis[])[]): Axis[][] {
  const joined: Axis[][] = operands.map(() => []);
  const rank = operands[0]?.length ?? 0;
  for (let i = 0; i < rank; i++) {
    if (operands[0][i].size === 1) continue;
    const fits = joined[0].length > 0 && operands.every((axes, k) => joined[k].at(-1)!.stride === axes[i].stride * axes[i].size);
    operands.forEach((axes, k) => {
      const last = joined[k].at(-1);
      if (fits && last) joined[k][joined[k].length - 1] = { size: last.size * axes[i].size, stride: axes[i].stride };
      else joined[k].push({ ...axes[i] });
    });
  }
  return joined;
}
