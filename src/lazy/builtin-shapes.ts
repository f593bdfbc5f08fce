/** Shapes of the builtins' results; errors name the shapes that do not fit. */
import { AlloyError } from "../support/errors.ts";
import { broadcast, checkShape, shapeText, type Shape } from "./shapes.ts";

const mistake = (message: string, hint: string): AlloyError => new AlloyError("bad_argument", message, { hint });

/** The axes before the last two, broadcast. */
export const broadcastBatches = (a: Shape, b: Shape): Shape => broadcast(a.slice(0, -2), b.slice(0, -2), "dot");

/** [.., M, K] · [.., K, N], or · [.., N, K]ᵀ -> [.., M, N]. */
export function dotShape(a: Shape, b: Shape, transposed: boolean): Shape {
  const name = transposed ? "dotTransposeB" : "dot";
  const form = transposed ? "[.., M, K] and [.., N, K]" : "[.., M, K] and [.., K, N]";
  if (a.length < 2 || b.length < 2)
    throw mistake(`${name} takes matrices, got shapes ${shapeText(a)} and ${shapeText(b)}`, "reshape a vector to [1, n] or [n, 1].");
  const [k, n] = transposed ? [b.at(-1)!, b.at(-2)!] : [b.at(-2)!, b.at(-1)!];
  if (a.at(-1) !== k) throw mistake(`${name}: shapes ${shapeText(a)} and ${shapeText(b)} do not fit`, `They must be ${form}.`);
  return checkShape([...broadcast(a.slice(0, -2), b.slice(0, -2), name), a.at(-2)!, n], name);
}

/** At least one axis. */
export function rowsShape(shape: Shape, name: string): Shape {
  if (shape.length === 0) throw mistake(`${name} works along the last axis, and shape [] has none`, "reshape it to [1].");
  return shape;
}

/** q [.., H, T, D], k and v [.., KVH, S, D] -> [.., H, T, D]. */
export function attentionShape(q: Shape, k: Shape, v: Shape): Shape {
  const shapes = `${shapeText(q)}, ${shapeText(k)} and ${shapeText(v)}`;
  const same = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((n, i) => n === b[i]);
  const heads = [q.at(-3) ?? 1, k.at(-3) ?? 1];
  const fits = q.length >= 2 && q.length === k.length && same(k, v) && q.at(-1) === k.at(-1) && same(q.slice(0, -3), k.slice(0, -3));
  if (!fits || (heads[0] !== heads[1] && (heads[1] === 0 || heads[0] % heads[1] !== 0))) {
    throw mistake(
      `attention: shapes ${shapes} of q, k and v do not fit`,
      "They must be [.., H, T, D], [.., KVH, S, D] and [.., KVH, S, D], with KVH a divisor of H.",
    );
  }
  return q;
}
