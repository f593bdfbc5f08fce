/** docs/kernel-language.md, "Values", sentence by sentence, on the interpreter. */
import { describe, expect, test } from "bun:test";
import { interpret } from "../../../src/compiler/ir/interpret.ts";
import {
  bf16,
  bool,
  f16,
  f32,
  f64,
  i16,
  i32,
  i64,
  i8,
  kernel,
  out,
  ptr,
  u16,
  u32,
  u64,
  u8,
  type DTypeObject,
} from "../../../src/compiler/language/index.ts";
import { floats, ints, ops, typeOf } from "./on-interpreter.ts";

test("binary operators broadcast like NumPy", () => {
  expect(
    ints(6, (al, { y }) => {
      const r = al.col(al.arange(2)) * 10 + al.row(al.arange(3));
      al.store(y + al.col(al.arange(2)) * 3 + al.arange(3), r);
    }),
  ).toEqual([0, 1, 2, 10, 11, 12]);
});

describe("types", () => {
  const both = (a: DTypeObject, b: DTypeObject): string =>
    typeOf({ a: ptr(a), b: ptr(b) }, (al, { a, b, y }) => al.store(y, al.where(al.load(a) === al.load(a), al.load(a), al.load(b))));

  test("mixed types meet in the higher of the order", () => {
    const order = [[bool], [i8, u8], [i16, u16], [i32], [u32], [i64], [u64], [f16, bf16], [f32], [f64]];
    order.forEach((lower, i) => {
      for (const higher of order.slice(i + 1))
        for (const a of lower) for (const b of higher) expect([a.dtype, both(a, b)]).toEqual([a.dtype, b.dtype]);
    });
    expect([both(u8, i8), both(u16, i16), both(f16, bf16)]).toEqual(["i16", "i32", "f32"]);
  });

  test("8- and 16-bit integers widen to i32 in arithmetic", () => {
    for (const t of [i8, u8, i16, u16]) expect(typeOf({ a: ptr(t) }, (al, { a, y }) => al.store(y, al.load(a) + al.load(a)))).toBe("i32");
    const k = kernel("test", { a: ptr(u8), y: out(i32) }, (al, { a, y }) => al.store(y, al.load(a) + al.load(a)));
    const y = new Int32Array(1);
    interpret(k.specialize(), [1], { a: new Uint8Array([200]), y });
    expect(y[0]).toBe(400);
  });

  test("integer literals adapt; float literals are f32 beside integers and adapt to other floats", () => {
    const plus = (t: DTypeObject, by: "int" | "float"): string =>
      by === "int"
        ? typeOf({ a: ptr(t) }, (al, { a, y }) => al.store(y, al.load(a) + 1))
        : typeOf({ a: ptr(t) }, (al, { a, y }) => al.store(y, al.load(a) + 1.5));
    for (const t of [i32, u32, i64, u64, f16, bf16, f64]) expect(plus(t, "int")).toBe(t.dtype);
    for (const t of [f16, bf16, f32, f64]) expect(plus(t, "float")).toBe(t.dtype);
    for (const t of [i32, u32, i64]) expect(plus(t, "float")).toBe("f32");
  });
});

describe("operators", () => {
  test("/ is true division, of integers in f32", () => {
    expect(floats(3, (al, { n, y }) => al.store(y + al.arange(3), al.load(n + 9 + al.arange(3)) / 2))).toEqual([0.5, 1, 1.5]);
  });
  test("integer division: al.idiv, Math.trunc of a / b and (a / b) | 0 truncate, Math.floor rounds down, also beyond 2^24", () => {
    const got = ints(6, (al, { n, y }) => {
      const big = al.load(n + 9) * 1000000007;
      al.store(y, al.idiv(al.load(n + 1), 2));
      al.store(y + 1, Math.floor(big / 10));
      al.store(y + 2, (big / 10) | 0);
      al.store(y + 3, Math.trunc(al.load(n + 1) / 2));
      al.store(y + 4, ~~(big / 10));
      al.store(y + 5, Math.floor(al.load(n + 1) / 2));
    });
    expect(got).toEqual([-3, 100000000, 100000000, -3, 100000000, -4]);
  });
  test("% truncates as in C, ** is pow", () => {
    expect(ints(2, (al, { n, y }) => al.store(y + al.arange(2), al.load(n + 1 + 14 * al.arange(2)) % 4))).toEqual([-3, 3]);
    expect(floats(3, (al, { x, y }) => al.store(y + al.arange(3), al.load(x + 10 + al.arange(3)) ** 2))).toEqual([1, 2.25, 4]);
    expect(floats(1, (al, { x, y }) => al.store(y, al.load(x + 12) ** al.load(x + 14)))).toEqual([8]);
  });
  test("&& || ! on tiles are elementwise, and numbers count as true when not 0", () => {
    const got = ints(4, (al, { y }) => {
      const i = al.arange(4);
      al.store(y + i, al.where((i > 0 && i < 3) || !(i < 3), 1, 0) + al.where(i && 1, 10, 0));
    });
    expect(got).toEqual([0, 11, 11, 11]);
  });
  test("no short circuit: both sides of && are computed", () => {
    expect(
      ops((al, { x, y }) => al.store(y, al.where(al.load(x) > 0 && al.load(x + 1) > 0, 1, 0))).filter((o) => o === "load"),
    ).toHaveLength(2);
  });
  test(">> is arithmetic on signed, logical on unsigned; >>> logical", () => {
    const k = kernel("test", { y: out(u32) }, (al, { y }) => {
      const m = al.full(1, -8, al.i32);
      al.store(y + al.arange(1), al.cast(m >> 1, al.u32));
      al.store(y + 1 + al.arange(1), al.cast(m >>> 1, al.u32));
      al.store(y + 2 + al.arange(1), al.cast(m, al.u32) >> 1);
      al.store(y + 3 + al.arange(1), al.cast(m << 1, al.u32));
    });
    const y = new Uint32Array(4);
    interpret(k.specialize(), [1], { y });
    expect([...y]).toEqual([0xfffffffc, 0x7ffffffc, 0x7ffffffc, 0xfffffff0]);
  });
  test("& | ^ ~ on integers, unary - and +", () => {
    const got = ints(6, (al, { n, y }) => {
      const [a, b] = [al.load(n + 20), al.load(n + 18)];
      al.store(y, a & b);
      al.store(y + 1, a | b);
      al.store(y + 2, a ^ b);
      al.store(y + 3, ~a);
      al.store(y + 4, -a);
      al.store(y + 5, +a);
    });
    expect(got).toEqual([12 & 10, 12 | 10, 12 ^ 10, ~12, -12, 12]);
  });
  test("comparisons give bool: < <= > >= === !== == !=", () => {
    const got = ints(8, (al, { n, y }) => {
      const [a, b] = [al.load(n + 9), al.load(n + 10)];
      al.store(y, a < b);
      al.store(y + 1, a <= b);
      al.store(y + 2, a > b);
      al.store(y + 3, a >= b);
      al.store(y + 4, a === b);
      al.store(y + 5, a !== b);
      al.store(y + 6, a == b);
      al.store(y + 7, a != b);
    });
    expect(got).toEqual([1, 1, 0, 0, 0, 1, 0, 1]);
  });
  test("c ? a : b is an if with memory operations on a scalar condition, else a select", () => {
    expect(ops((al, { x, n, y }) => al.store(y, al.load(n) > 0 ? al.load(x) : 0))).toContain("if");
    const plain = ops((al, { n, y }) => al.store(y, al.load(n) > 0 ? 1 : 0));
    expect(plain).toContain("select");
    expect(plain).not.toContain("if");
    expect(ints(4, (al, { y }) => al.store(y + al.arange(4), al.arange(4) > 1 ? al.arange(4) : -1))).toEqual([-1, -1, 2, 3]);
  });
  test("the untaken side of such a ? : touches no memory", () => {
    expect(floats(1, (al, { x, n, y }) => al.store(y, al.load(n) > 0 ? al.load(x + 1000000) : 7))).toEqual([7]);
  });
});

describe("pointers", () => {
  test("offsets are elements, scalar or tile; variables and subtraction", () => {
    const got = ints(4, (al, { n, y }) => {
      const p = n + 8;
      const q = p + al.arange(2);
      al.store(y + al.arange(2), al.load(q));
      al.store(y + 2 + al.arange(2), al.load(q - 2));
    });
    expect(got).toEqual([0, 1, -2, -1]);
  });
  test("a pointer variable may move in a loop", () => {
    const got = ints(1, (al, { n, y }) => {
      let p = n + 8;
      let sum = 0;
      for (let i = 0; i < 4; i++) {
        sum += al.load(p);
        p += 2;
      }
      al.store(y, sum);
    });
    expect(got).toEqual([12]);
  });
});
