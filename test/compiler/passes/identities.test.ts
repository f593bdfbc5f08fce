/** Every op with every special operand, folded and not: the same bits. */
import { expect, test } from "bun:test";
import { Builder } from "../../../src/compiler/ir/build.ts";
import { interpret } from "../../../src/compiler/ir/interpret.ts";
import type { HostMemory } from "../../../src/compiler/ir/interpret.ts";
import { allocate } from "../../../src/compiler/ir/memory.ts";
import { OPS, TypeRuleError } from "../../../src/compiler/ir/ops.ts";
import type { DType, KernelIR, Value } from "../../../src/compiler/ir/types.ts";
import { DTYPE_BYTES, isFloat } from "../../../src/compiler/ir/types.ts";
import { verify } from "../../../src/compiler/ir/verify.ts";
import { optimize } from "../../../src/compiler/passes/index.ts";

const FLOATS = [0, -0, 1, -1, 2, 0.5, Infinity, -Infinity, NaN, 1e-40, 3e38];
const INTS = [0, 1, -1, 2, 3, 31, 127, -128, 2147483647, -2147483648];
const VALUES: Readonly<Record<string, readonly (number | bigint)[]>> = {
  bool: [0, 1],
  i32: INTS,
  u32: INTS.map((n) => n >>> 0),
  i64: [...INTS.map(BigInt), 2n ** 63n - 1n, -(2n ** 63n)],
  u64: INTS.map((n) => BigInt.asUintN(64, BigInt(n))),
  f32: FLOATS,
  f64: FLOATS,
};

/** The results' bytes as the IR stands, then after the passes. */
function bothWays(make: (b: Builder, x: Value) => Value[], dtype: DType): [string, string, KernelIR] {
  const values = VALUES[dtype];
  const b = new Builder();
  b.params.push({ name: "x", kind: "ptr", dtype, output: false });
  const lane = b.one("arange", [], { start: 0, n: values.length });
  const results = make(b, b.one("load", [lane], { param: 0 }));
  results.forEach((v, i) => {
    const type = v.type.dtype;
    b.params.push({ name: `y${i}`, kind: "ptr", dtype: type, output: true });
    b.emit("store", [lane, v], { param: i + 1 });
  });
  const ir = b.finish("identities", {});
  const x = allocate(dtype, values.length);
  values.forEach((v, i) => (x[i] = v));
  const run = (): string => {
    const ys = results.map((v) => allocate(v.type.dtype, values.length) as HostMemory & Uint8Array);
    const args = Object.fromEntries([["x", x as HostMemory], ...ys.map((y, i) => [`y${i}`, y] as const)]);
    interpret(ir, [1], args);
    // NaNs are one value; zeros have signs.
    return ys.map((y) => [...y].map((v) => (Object.is(v, -0) ? "-0" : String(v))).join()).join("\n");
  };
  const before = run();
  optimize(ir, verify);
  return [before, run(), ir];
}

const attempt = (f: () => Value): Value[] => {
  try {
    return [f()];
  } catch (e) {
    if (e instanceof TypeRuleError) return [];
    throw e;
  }
};

const constant = (b: Builder, x: Value, v: number | bigint): Value => b.const(x.type, x.type.dtype === "bool" ? Boolean(v) : v);

test("elementwise ops on special values and constants", () => {
  let folded = 0;
  for (const [name, info] of Object.entries(OPS)) {
    if (!info.elementwise || ["cast", "bitcast", "dot4", "dot2", "dotPairs", "byteSign", "byteLookup", "pack4", "select"].includes(name))
      continue;
    for (const dtype of Object.keys(VALUES) as DType[]) {
      const make = (b: Builder, x: Value): Value[] => {
        const emit = (...args: Value[]): Value[] => attempt(() => b.one(name, args));
        if (info.args[0] === 1)
          return [...emit(x), ...emit(x).flatMap((v) => emit(v)), ...VALUES[dtype].flatMap((v) => emit(constant(b, x, v)))];
        const constants = VALUES[dtype].map((v) => constant(b, x, v));
        if (info.args[0] === 3) return constants.flatMap((k) => [...emit(x, k, x), ...emit(k, constants[1], constants.at(-1)!)]);
        return [...emit(x, x), ...constants.flatMap((k) => [...emit(x, k), ...emit(k, x), ...constants.flatMap((l) => emit(k, l))])];
      };
      const [before, after, ir] = bothWays(make, dtype);
      expect(`${name} ${dtype}\n${after}`).toBe(`${name} ${dtype}\n${before}`);
      folded += ir.body.ops.filter((o) => o.op === "const").length;
    }
  }
  expect(folded).toBeGreaterThan(100);
});

test("casts and bitcasts of constants, and there and back", () => {
  const all = Object.keys(DTYPE_BYTES) as DType[];
  for (const dtype of Object.keys(VALUES) as DType[]) {
    for (const to of all) {
      const make = (b: Builder, x: Value): Value[] =>
        [x, ...VALUES[dtype].map((v) => constant(b, x, v))].flatMap((v) => {
          const there = b.one("cast", [v], { to });
          // Not through floats: a number of JavaScript, which the interpreter computes with, does not keep which NaN it is.
          const same = DTYPE_BYTES[to] === DTYPE_BYTES[dtype] && to !== "bool" && dtype !== "bool" && (isFloat(dtype) || !isFloat(to));
          return [
            there,
            b.one("cast", [there], { to: dtype }),
            ...(same ? [b.one("bitcast", [b.one("bitcast", [v], { to })], { to: dtype })] : []),
          ];
        });
      const [before, after] = bothWays(make, dtype);
      expect(`${dtype} ${to}\n${after}`).toBe(`${dtype} ${to}\n${before}`);
    }
  }
});

test("comparisons decided by ranges", () => {
  const make = (b: Builder, x: Value): Value[] => {
    const n = VALUES.i32.length;
    const lane = b.one("arange", [], { start: 3, n });
    const k = (v: number): Value => b.const(x.type, v);
    const forms = [
      lane,
      b.one("add", [lane, k(-6)]),
      b.one("sub", [k(5), lane]),
      b.one("mul", [lane, k(-2)]),
      b.one("min", [lane, k(7)]),
      b.one("max", [lane, k(7)]),
      b.one("div", [lane, k(4)]),
      b.one("rem", [lane, k(4)]),
      b.one("and", [x, k(3)]),
      b.one("shr", [lane, k(1)]),
      b.one("mul", [lane, k(2147483647)]),
    ];
    const bounds = [-25, -24, -7, -6, -3, -2, 0, 1, 2, 3, 4, 6, 7, 8, 9, 12, 13].map(k);
    const comparisons = ["lt", "le", "gt", "ge", "eq", "ne", "min", "max"];
    return forms.flatMap((f) => bounds.flatMap((c) => comparisons.flatMap((op) => [b.one(op, [f, c]), b.one(op, [c, f])])));
  };
  const [before, after, ir] = bothWays(make, "i32");
  expect(after).toBe(before);
  // A good part of them is decided: fewer comparisons than were written.
  expect(ir.body.ops.filter((o) => ["lt", "le", "gt", "ge"].includes(o.op)).length).toBeLessThan(11 * 17 * 8 * 0.6);
});
