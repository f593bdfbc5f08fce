/** Mistakes in calls and declarations, as their author sees them. */
import { describe, expect, test } from "bun:test";
import type { Signature, Uses } from "../../src/compiler/language/index.ts";
import { constexpr, dim, f32, fn, kernel, ptr, scalar } from "../../src/compiler/language/index.ts";
import { message } from "./error-text.ts";

// oxlint-disable-next-line typescript/no-explicit-any -- the tests write what the types forbid
type Body = (al: any, p: any) => void;

const SIGNATURE = { x: ptr(f32), N: dim, s: scalar(f32), B: constexpr(8) } satisfies Signature;
const mistake = (body: Body, uses: Uses = {}): string => message(() => void kernel("blur", SIGNATURE, body as never, { uses }).lower());

describe("calls", () => {
  test("too few and too many arguments of an operation", () => {
    expect(mistake((al) => al.where(1, 2))).toMatchInlineSnapshot(`
      "
      kernel blur: al.where takes 3 arguments, got 2 (errors-calls.test.ts:LINE)
        expect(mistake((al) => al.where(1, 2)))
                               ^
      docs/kernel-language.md lists every operation with its arguments.
      "
    `);
    expect(mistake((al, { s }) => al.sin(s, s))).toMatchInlineSnapshot(`
      "
      kernel blur: al.sin takes 1 argument, got 2 (errors-calls.test.ts:LINE)
        expect(mistake((al, { s }) => al.sin(s, s)))
                                      ^
      docs/kernel-language.md lists every operation with its arguments.
      "
    `);
  });
  const average = fn((al, p: number, size: number) => al.sum(al.load(p + al.arange(size))) / size);
  test("of a helper", () => {
    expect(mistake((_, { x, average }) => average(x), { average })).toMatchInlineSnapshot(`
      "
      kernel blur: average is missing its argument size (errors-calls.test.ts:LINE)
        expect(mistake((_, { x, average }) => average(x), { average }))
                                              ^
      It is average(p, size).
      "
    `);
    expect(mistake((_, { x, average }) => average(x, 1, 2), { average })).toMatchInlineSnapshot(`
      "
      kernel blur: average takes 2 arguments, got 3 (errors-calls.test.ts:LINE)
        expect(mistake((_, { x, average }) => average(x, 1, 2), { average }))
                                              ^
      It is average(p, size).
      "
    `);
  });
  test("a mistake inside a helper names its caller", () => {
    expect(mistake((_, { x, N, average }) => average(x, N), { average })).toMatchInlineSnapshot(`
      "
      fn average, called from kernel blur: a bound of al.arange must be an integer known at compile time, got a run-time i32 (errors-calls.test.ts:LINE)
        (al, p, size) => al.sum(al.load(p + al.arange(size))) / size
                                            ^
      Use a literal, a constexpr parameter or an al.unroll variable.
      "
    `);
  });
  test("a body with types in it is found line by line", () => {
    expect(
      mistake((al, { x, N }: { x: number; N: number }) => {
        const wide: number = al.idiv(N, 2);
        al.store(x + 1, "text");
        al.store(x, wide);
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: argument 2 of al.store must be a number or a tile, got "text" (errors-calls.test.ts:LINE)
        al.store(x + 1, "text");
                        ^
      "
    `);
  });
  test("recursion, and what is no function", () => {
    expect(
      mistake(() => {
        const f = (a: number): number => (a > 0 ? f(a) : 1);
        f(1);
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: f calls itself: recursion is not possible in a kernel (errors-calls.test.ts:LINE)
        const f = (a) => a > 0 ? f(a) : 1;
                                 ^
      Write a loop.
      "
    `);
    expect(mistake((_, { N }) => N(1))).toMatchInlineSnapshot(`
      "
      kernel blur: N is a run-time i32, not a function (errors-calls.test.ts:LINE)
        expect(mistake((_, { N }) => N(1)))
                                     ^
      Operations are al.*; helpers are made with fn and handed over in uses.
      "
    `);
  });
  test("a helper called outside of a kernel", () => {
    expect(message(() => average(1, 2))).toMatchInlineSnapshot(`
      "
      a kernel helper was called outside of a kernel
      Hand it to a kernel with { uses: { helper } } and call it there.
      "
    `);
  });
  test("staticAssert", () => {
    expect(mistake((al, { B }) => al.staticAssert(B % 16 === 0, "B must be a multiple of 16"))).toMatchInlineSnapshot(`
      "
      kernel blur: B must be a multiple of 16 (errors-calls.test.ts:LINE)
        expect(mistake((al, { B }) => al.staticAssert(B % 16 === 0, "B must be a multiple of 16")))
                                      ^
      "
    `);
  });
});

describe("declarations", () => {
  const k = kernel("scale", { x: ptr(f32), BLOCK: constexpr(64), WIDTH: constexpr() }, () => {});
  test("missing and unknown constexprs", () => {
    expect(message(() => k.lower())).toMatchInlineSnapshot(`
      "
      kernel scale: constexpr WIDTH has no default and was not given
      Give it: { WIDTH: … }.
      "
    `);
    expect(message(() => k.lower({ WIDTH: 1, BLOKC: 2 }))).toMatchInlineSnapshot(`
      "
      kernel scale has no constexpr BLOKC
      Did you mean BLOCK?
      "
    `);
    expect(message(() => k.lower({ WIDTH: 1, x: 2 }))).toMatchInlineSnapshot(`
      "
      kernel scale has no constexpr x
      Its constexprs are BLOCK, WIDTH.
      "
    `);
  });
  test("names, bodies and scalar types", () => {
    expect(message(() => void kernel("my kernel", {}, () => {}))).toMatchInlineSnapshot(`
      "
      a kernel's name must be an identifier, got "my kernel"
      "
    `);
    expect(message(() => void kernel("k", {}, Math.sin as never))).toMatchInlineSnapshot(`
      "
      kernel k: its body cannot be read as a function (errors-calls.test.ts:LINE)
      Pass an arrow function or a function expression, not a method or a built-in.
      "
    `);
    expect(message(() => void kernel("k", {}, (async () => {}) as never))).toMatchInlineSnapshot(`
      "
      kernel k: its body must not be async or a generator (errors-calls.test.ts:LINE)
      Kernels run to completion on the device.
      "
    `);
    expect(message(() => scalar({ kind: "dtype", dtype: "i8" } as never))).toMatchInlineSnapshot(`
      "
      scalar(i8) cannot be passed as an argument
      Use one of i32, u32, i64, u64, f32, f64 and cast in the body.
      "
    `);
  });
  test("results and uses that a kernel cannot have", () => {
    expect(
      mistake((al) => {
        return al.arange(4);
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: a kernel returns nothing (errors-calls.test.ts:LINE)
        mistake((al) => {
                        ^
      Write results with al.store.
      "
    `);
    expect(mistake(() => {}, { when: new Date(0) as never, f: (() => {}) as never })).toMatchInlineSnapshot(`
      "
      kernel blur: uses.f is function, which a kernel cannot see
      Hand over fn helpers, numbers, strings, booleans, or arrays and objects of these.
      "
    `);
  });
});
