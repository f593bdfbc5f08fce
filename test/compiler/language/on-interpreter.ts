/** Runs small kernels on the interpreter, as written and as optimised, for tests of the language. */
import { interpret } from "../../../src/compiler/ir/interpret.ts";
import { walk } from "../../../src/compiler/ir/walk.ts";
import type { Al, DTypeObject, Signature, Uses } from "../../../src/compiler/language/index.ts";
import { f32, i32, kernel, out, ptr } from "../../../src/compiler/language/index.ts";

/** Parameters as the bodies of `floats` and `ints` see them: x[i] = i / 2 - 4 and n[i] = i - 8, 64 of each. */
export interface Params {
  x: number;
  n: number;
  y: number;
  // oxlint-disable-next-line typescript/no-explicit-any -- whatever a test hands over in `uses`
  [used: string]: any;
}
type Body = (al: Al, params: Params) => void;

function launch<A extends Float32Array | Int32Array>(
  dtype: DTypeObject,
  make: () => A,
  body: Body,
  uses: Uses,
  grid: readonly number[],
): number[] {
  const k = kernel("test", { x: ptr(f32), n: ptr(i32), y: out(dtype) }, body as never, { uses });
  const [plain, optimised] = [k.lower(), k.specialize()].map((ir) => {
    const y = make();
    const x = Float32Array.from({ length: 64 }, (_, i) => i / 2 - 4);
    interpret(ir, grid, { x, n: Int32Array.from({ length: 64 }, (_, i) => i - 8), y });
    return [...y];
  });
  if (String(plain) !== String(optimised)) throw new Error(`${String(plain)} as written, ${String(optimised)} after the passes`);
  return optimised;
}

/** The first `size` results of a kernel that writes f32. */
export const floats = (size: number, body: Body, uses: Uses = {}, grid: readonly number[] = [1]): number[] =>
  launch(f32, () => new Float32Array(size), body, uses, grid);

/** The same with i32 results. */
export const ints = (size: number, body: Body, uses: Uses = {}, grid: readonly number[] = [1]): number[] =>
  launch(i32, () => new Int32Array(size), body, uses, grid);

/** Names of the ops that a body is lowered to, before passes. */
export function ops(body: Body, uses: Uses = {}): string[] {
  const k = kernel("test", { x: ptr(f32), n: ptr(i32), y: out(f32) }, body as never, { uses });
  const names: string[] = [];
  walk(k.lower().body, (op) => names.push(op.op));
  return names;
}

/** The dtype of the expression in a body that ends with `al.store(y, expression)`. */
export function typeOf(signature: Signature, body: (al: Al, params: Record<string, number>) => void): string {
  const k = kernel("test", { ...signature, y: out(f32) }, body as never);
  let type = "";
  let last = "";
  walk(k.lower().body, (op) => {
    if (op.op === "cast" && op.attrs.to === "f32") last = op.args[0].type.dtype;
    else if (op.op === "store") type = last || op.args[1].type.dtype;
    else if (op.op !== "yield") last = "";
  });
  return type;
}
