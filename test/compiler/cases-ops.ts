/** Kernels of one elementwise op each: every op on every dtype it takes, on random shapes. */
import type { DType } from "../../src/compiler/ir/types.ts";
import { DTYPE_BYTES, elements, isFloat } from "../../src/compiler/ir/types.ts";
import type { Case } from "./emit-c/harness.ts";
import { Make, Random, randomArray, seed, SPECIAL } from "./emit-c/harness.ts";

const r = new Random(seed);
const COMPUTE: DType[] = ["i32", "u32", "i64", "u64", "f32", "f64"];
const ALL: DType[] = [...COMPUTE, "bool", "i8", "u8", "i16", "u16", "f16", "bf16"];
const SHAPES: readonly (readonly number[])[] = [
  [],
  [1],
  [3],
  [16],
  [37],
  [100],
  [5, 7],
  [1, 32],
  [6, 1],
  [4, 40],
  [2, 3, 5],
  [300],
  [1024],
  [70, 33],
  [40, 64],
];
let serial = 0;

function unary(op: string, dtype: DType, shape: readonly number[], attrs = {}, result?: DType): Case {
  const m = new Make();
  const x = m.ptr("x", dtype);
  const y = m.ptr("y", result ?? dtype, true);
  m.storeTile(y, m.one(op, [m.loadTile(x, shape)], attrs));
  const n = elements(shape) * 2;
  const math = isFloat(dtype) && !["neg", "abs", "floor", "ceil", "round", "trunc", "cast", "bitcast"].includes(op);
  const scale = op === "exp" || op === "exp2" ? 90 : op === "log" || op === "log2" || op === "sqrt" || op === "rsqrt" ? 1000 : 8;
  return {
    ir: m.finish(`${op}_${dtype}_${result ?? ""}_${serial++}`, {}),
    grid: [2, 1, 1],
    args: { x: randomArray(r, dtype, n, scale), y: randomArray(r, result ?? dtype, n) },
    ulp: math ? (op === "erf" || op === "tanh" ? 6 : 3) : 0,
    absolute: dtype === "f64" && op === "erf" ? 1e-14 : op === "sin" || op === "cos" ? 1e-7 : op === "log" || op === "log2" ? 1e-7 : 0,
  };
}

function nary(
  op: string,
  dtypes: DType[],
  result: DType,
  shape: readonly number[],
  attrs: Record<string, boolean | number> = {},
  ulp = 0,
): Case {
  const m = new Make();
  const args: Case["args"] = {};
  const n = elements(shape) * 2;
  const values = dtypes.map((d, i) => {
    args[`x${i}`] = randomArray(r, d, n);
    return m.loadTile(m.ptr(`x${i}`, d), shape);
  });
  args.y = randomArray(r, result, n);
  m.storeTile(m.ptr("y", result, true), m.one(op, values, attrs));
  return { ir: m.finish(`${op}_${dtypes[0]}_${serial++}`, {}), grid: [2, 1, 1], args, ulp };
}

/** A bound that is a number, beside values that may be none. */
function bounded(op: "min" | "max", shape: readonly number[]): Case {
  const m = new Make();
  const n = elements(shape) * 2;
  const bound = m.const({ dtype: "f32", shape: [...shape] }, 0.5);
  m.storeTile(m.ptr("y", "f32", true), m.one(op, [m.loadTile(m.ptr("x", "f32"), shape), bound]));
  return {
    ir: m.finish(`${op}_bound_${serial++}`, {}),
    grid: [2, 1, 1],
    args: { x: randomArray(r, "f32", n), y: randomArray(r, "f32", n) },
  };
}

/** Bytes of random sizes up to `max`, the largest among them often: unsigned, or of both signs. */
function bytes(n: number, max: number, signed: boolean): Int32Array {
  const one = (): number => (r.next() < 0.3 ? max : r.int(0, max)) * (signed && r.next() < 0.5 ? -1 : 1);
  return new Int32Array(Int8Array.from({ length: 4 * n }, one).buffer);
}

/** `dots` byte dots one upon the other, of bytes that keep the promise. A third of the words are all of the largest size. */
function dots(shape: readonly number[], count: number, attrs: { signedA: boolean; maxA: number; maxB: number }, op = "dot4"): Case {
  const m = new Make();
  const args: Case["args"] = { acc: randomArray(r, "i32", elements(shape) * 2) };
  let sum = m.loadTile(m.ptr("acc", "i32"), shape);
  for (let i = 0; i < count; i++) {
    const n = elements(shape) * 2;
    const [a, b] = [bytes(n, attrs.maxA, attrs.signedA), bytes(n, attrs.maxB, true)];
    for (let k = 0; k < n; k += 3) {
      a[k] = Math.imul(attrs.maxA, 0x01010101);
      b[k] = Math.imul(r.next() < 0.5 ? attrs.maxB : 256 - attrs.maxB, 0x01010101);
    }
    args[`a${i}`] = a;
    args[`b${i}`] = b;
    sum = m.one(op, [m.loadTile(m.ptr(`a${i}`, "i32"), shape), m.loadTile(m.ptr(`b${i}`, "i32"), shape), sum], op === "dot4" ? attrs : {});
  }
  args.y = randomArray(r, "i32", elements(shape) * 2);
  m.storeTile(m.ptr("y", "i32", true), sum);
  return { ir: m.finish(`dots_${serial++}`, {}), grid: [2, 1, 1], args };
}

const shape = (): readonly number[] => r.pick(SHAPES);
/** Their inputs are drawn from the test's seed. */
export const OP_CASES: Case[] = [];
for (const d of COMPUTE) {
  for (const op of ["neg", "abs"]) OP_CASES.push(unary(op, d, shape()));
  for (const op of ["add", "sub", "mul", "div", "rem", "min", "max"])
    OP_CASES.push(nary(op, [d, d], d, shape()), nary(op, [d, d], d, shape()));
  for (const op of ["eq", "ne", "lt", "le", "gt", "ge"]) OP_CASES.push(nary(op, [d, d], "bool", shape()));
  OP_CASES.push(nary("select", ["bool", d, d], d, shape()));
}
for (const d of ["i32", "u32", "i64", "u64"] as const) {
  OP_CASES.push(unary("not", d, shape()));
  for (const op of ["and", "or", "xor", "shl", "shr"]) OP_CASES.push(nary(op, [d, d], d, shape()));
}
OP_CASES.push(unary("not", "bool", shape()));
for (const op of ["and", "or", "xor"]) OP_CASES.push(nary(op, ["bool", "bool"], "bool", shape()));
for (const d of ["f32", "f64"] as const) {
  for (const op of ["exp", "exp2", "log", "log2", "sin", "cos", "tanh", "sqrt", "rsqrt", "floor", "ceil", "round", "trunc", "erf"])
    for (const s of [shape(), [64]]) OP_CASES.push(unary(op, d, s));
  // The engine's own ** on doubles, which the interpreter uses, is off by some units for large results.
  OP_CASES.push(nary("pow", [d, d], d, shape(), {}, d === "f64" ? 256 : 4));
}
/** Every special value to the power of every other. */
export const SPECIAL_POWERS: Case = (() => {
  const pairs = SPECIAL.flatMap((x) => SPECIAL.map((y) => [x, y]));
  const c = nary("pow", ["f32", "f32"], "f32", [pairs.length], {}, 4);
  const repeated = [...pairs, ...pairs];
  return { ...c, args: { ...c.args, x0: Float32Array.from(repeated, ([x]) => x), x1: Float32Array.from(repeated, ([, y]) => y) } };
})();
OP_CASES.push(SPECIAL_POWERS);
for (const s of [[64], [37]]) OP_CASES.push(bounded("min", s), bounded("max", s));
for (const s of [shape(), [16], [33]]) {
  OP_CASES.push(nary("dot4", ["i32", "i32", "i32"], "i32", s), nary("dot4", ["i32", "i32", "i32"], "i32", s, { signedA: true }));
  OP_CASES.push(nary("dot2", ["i32", "i32", "i32"], "i32", s));
  OP_CASES.push(nary("byteSign", ["i32", "i32"], "i32", s));
  OP_CASES.push(nary("pack4", ["i32", "i32", "i32", "i32"], "i32", s));
}
for (const [maxA, maxB] of [
  [127, 128],
  [63, 128],
  [31, 127],
  [15, 127],
  [15, 128],
  [3, 128],
])
  for (const s of [[16], [2, 8]]) OP_CASES.push(dots(s, r.int(1, 9), { signedA: false, maxA, maxB }));
for (const s of [[16], [20], [1], [2, 3]]) OP_CASES.push(dots(s, 3, { signedA: false, maxA: 128, maxB: 127 }, "dotPairs"));
for (const s of [[16], [20]]) OP_CASES.push(dots(s, 2, { signedA: true, maxA: 128, maxB: 127 }));
for (const from of ALL) for (const to of ALL) if (from !== to) OP_CASES.push(unary("cast", from, shape(), { to }, to));
for (const from of ALL)
  for (const to of ALL)
    if (from !== to && from !== "bool" && to !== "bool" && DTYPE_BYTES[from] === DTYPE_BYTES[to])
      OP_CASES.push(unary("bitcast", from, shape(), { to }, to));
