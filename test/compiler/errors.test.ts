/** What a mistake in a kernel looks like to its author: the kernel, the line with a caret, what was found, what to do. */
import { describe, expect, test } from "bun:test";
import type { Signature, Uses } from "../../src/compiler/language/index.ts";
import { constexpr, dim, f32, i32, kernel, out, ptr, scalar } from "../../src/compiler/language/index.ts";
import { message } from "./error-text.ts";

// oxlint-disable-next-line typescript/no-explicit-any -- the tests write what the types forbid
type Body = (al: any, p: any) => void;

const SIGNATURE = { x: ptr(f32), n: ptr(i32), y: out(f32), z: out(i32), N: dim, s: scalar(f32), B: constexpr(8) } satisfies Signature;
const mistake = (body: Body, uses: Uses = {}): string => message(() => kernel("blur", SIGNATURE, body as never, { uses }).lower());

test("file and line are those of the mistake", () => {
  const here = Number(/errors\.test\.ts:(\d+)/.exec(new Error().stack!)![1]);
  const k = kernel("blur", SIGNATURE, (al, { y }) => {
    al.store(y, 1);
    al.store(y, y);
  });
  const text = ((): string => {
    try {
      k.lower();
    } catch (e) {
      return (e as Error).message;
    }
    return "";
  })();
  expect(text).toContain(`errors.test.ts:${here + 3})`);
});

describe("names", () => {
  test("undefined, with and without a near one", () => {
    expect(mistake((al, { x, y }) => al.store(y, al.load(x + xx)))).toMatchInlineSnapshot(`
      "
      kernel blur: xx is not defined (errors.test.ts:LINE)
        expect(mistake((al, { x, y }) => al.store(y, al.load(x + xx))))
                                                                 ^
      Did you mean x? A kernel sees its parameters and locals only: hand helpers and constants over as { uses: { xx } }.
      "
    `);
    expect(mistake((al, { y }) => al.store(y, SOMETHING_ELSE))).toMatchInlineSnapshot(`
      "
      kernel blur: SOMETHING_ELSE is not defined (errors.test.ts:LINE)
        expect(mistake((al, { y }) => al.store(y, SOMETHING_ELSE)))
                                                  ^
      A kernel sees its parameters and locals only: hand helpers and constants over as { uses: { SOMETHING_ELSE } }.
      "
    `);
  });
  test("unknown al.* and Math.*", () => {
    expect(mistake((al, { x, y }) => al.store(y, al.laod(x)))).toMatchInlineSnapshot(`
      "
      kernel blur: there is no al.laod (errors.test.ts:LINE)
        expect(mistake((al, { x, y }) => al.store(y, al.laod(x))))
                                                     ^
      Did you mean al.load?
      "
    `);
    expect(mistake((al, { y }) => al.store(y, al.quantumFourier(1)))).toMatchInlineSnapshot(`
      "
      kernel blur: there is no al.quantumFourier (errors.test.ts:LINE)
        expect(mistake((al, { y }) => al.store(y, al.quantumFourier(1))))
                                                  ^
      docs/kernel-language.md lists the vocabulary.
      "
    `);
    expect(mistake((_, { s }) => Math.sinh(s))).toMatchInlineSnapshot(`
      "
      kernel blur: Math.sinh is not part of the kernel language (errors.test.ts:LINE)
        expect(mistake((_, { s }) => Math.sinh(s)))
                                     ^
      Did you mean Math.sin?
      "
    `);
  });
  test("assignment to a parameter, and into a value", () => {
    expect(
      mistake((_, p) => {
        p.N = 1;
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: N cannot be assigned: it is a parameter or a constant (errors.test.ts:LINE)
        p.N = 1;
        ^
      Keep it in a variable declared with let.
      "
    `);
    expect(
      mistake((al, { N }) => {
        const half = [al.idiv(N, 2)];
        for (const h of half) h.x = 1;
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: a run-time i32 has no element to assign to (errors.test.ts:LINE)
        for (const h of half) h.x = 1;
                              ^
      Tiles are values: build a new one with al.where or al.cat.
      "
    `);
  });
  test("a property or option that does not exist", () => {
    expect(
      mistake((al, p) => {
        al.store(p.yy, 1);
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: there is no property yy (errors.test.ts:LINE)
        al.store(p.yy, 1);
                 ^
      Did you mean y?
      "
    `);
    expect(mistake((al, { x }) => al.load(x, { maks: true }))).toMatchInlineSnapshot(`
      "
      kernel blur: al.load has no option maks (errors.test.ts:LINE)
        expect(mistake((al, { x }) => al.load(x, { maks: true })))
                                      ^
      Its options are mask, other.
      "
    `);
  });
});

describe("types and shapes", () => {
  test("wrong types", () => {
    expect(mistake((al, { y }) => al.store(y, "text"))).toMatchInlineSnapshot(`
      "
      kernel blur: argument 2 of al.store must be a number or a tile, got "text" (errors.test.ts:LINE)
        expect(mistake((al, { y }) => al.store(y, "text")))
                                                  ^
      "
    `);
    expect(mistake((al, { s }) => al.load(s))).toMatchInlineSnapshot(`
      "
      kernel blur: argument 1 of al.load must be a pointer, got a run-time f32 (errors.test.ts:LINE)
        expect(mistake((al, { s }) => al.load(s)))
                                              ^
      Pass pointer + offset.
      "
    `);
    expect(mistake((al, { x, y }) => al.store(y, x + 1))).toMatchInlineSnapshot(`
      "
      kernel blur: argument 2 of al.store must be a number or a tile, got a pointer (errors.test.ts:LINE)
        expect(mistake((al, { x, y }) => al.store(y, x + 1)))
                                                     ^
      Read memory with al.load(p).
      "
    `);
    expect(mistake((al, { s }) => al.full(4, s & 1, al.f32))).toMatchInlineSnapshot(`
      "
      kernel blur: & works on integers, got a run-time f32 and 1 (errors.test.ts:LINE)
        expect(mistake((al, { s }) => al.full(4, s & 1, al.f32)))
                                                 ^
      Cast or bitcast to an integer type first.
      "
    `);
    expect(mistake((al, { s }) => al.cast(s, "f32"))).toMatchInlineSnapshot(`
      "
      kernel blur: argument 2 of al.cast must be a type such as al.f32, got "f32" (errors.test.ts:LINE)
        expect(mistake((al, { s }) => al.cast(s, "f32")))
                                      ^
      Types are al.f32, al.f16, al.i32 and so on, without quotes.
      "
    `);
    expect(mistake((al) => al.dot(al.zeros([2, 2], al.i32), al.zeros([2, 2], al.i32)))).toMatchInlineSnapshot(`
      "
      kernel blur: al.dot multiplies float tiles, got i32 (errors.test.ts:LINE)
        expect(mistake((al) => al.dot(al.zeros([2, 2], al.i32), al.zeros([2, 2], al.i32))))
                               ^
      Cast them, or use al.dot4 for four-byte dot products.
      "
    `);
  });
  test("shapes that do not broadcast", () => {
    expect(mistake((al) => al.arange(4) + al.arange(3))).toMatchInlineSnapshot(`
      "
      kernel blur: +: shapes [4] and [3] do not broadcast (errors.test.ts:LINE)
        expect(mistake((al) => al.arange(4) + al.arange(3)))
                               ^
      Aligned at the last axis, sizes must be equal or 1: use al.col, al.row or al.expand.
      "
    `);
    expect(mistake((al, { x, y }) => al.store(y, al.load(x + al.arange(4))))).toMatchInlineSnapshot(`
      "
      kernel blur: the value of al.store has shape [4], the addresses [] (errors.test.ts:LINE)
        expect(mistake((al, { x, y }) => al.store(y, al.load(x + al.arange(4)))))
                                         ^
      Add a tile of offsets to the pointer: one address per element.
      "
    `);
    expect(mistake((al) => al.dot(al.zeros([2, 3]), al.zeros([2, 3])))).toMatchInlineSnapshot(`
      "
      kernel blur: al.dot: inner sizes differ, 3 of a tile f32[2,3] and 2 of a tile f32[2,3] (errors.test.ts:LINE)
        expect(mistake((al) => al.dot(al.zeros([2, 3]), al.zeros([2, 3]))))
                               ^
      a is [M, K] and b [K, N]; { transposeA: true } and { transposeB: true } take them as [K, M] and [N, K].
      "
    `);
  });
  test("shapes that are not compile-time, or empty", () => {
    expect(mistake((al, { N }) => al.arange(N))).toMatchInlineSnapshot(`
      "
      kernel blur: a bound of al.arange must be an integer known at compile time, got a run-time i32 (errors.test.ts:LINE)
        expect(mistake((al, { N }) => al.arange(N)))
                                      ^
      Use a literal, a constexpr parameter or an al.unroll variable.
      "
    `);
    expect(mistake((al, { N }) => al.zeros([4, N]))).toMatchInlineSnapshot(`
      "
      kernel blur: the shape of al.zeros must be an integer known at compile time, got a run-time i32 (errors.test.ts:LINE)
        expect(mistake((al, { N }) => al.zeros([4, N])))
                                      ^
      Use a literal, a constexpr parameter or an al.unroll variable.
      "
    `);
    expect(mistake((al) => al.zeros([0]))).toMatchInlineSnapshot(`
      "
      kernel blur: the shape of al.zeros: a size must be at least 1, got 0 (errors.test.ts:LINE)
        expect(mistake((al) => al.zeros([0])))
                               ^
      Tiles have at least one element.
      "
    `);
  });
  test("float offsets", () => {
    expect(mistake((al, { x, N }) => al.load(x + N / 2))).toMatchInlineSnapshot(`
      "
      kernel blur: a pointer's offset must be an integer, got a run-time f32 (errors.test.ts:LINE)
        expect(mistake((al, { x, N }) => al.load(x + N / 2)))
                                                 ^
      Offsets count elements; use al.idiv or al.cast(x, al.i32).
      "
    `);
    expect(mistake((al, { x }) => al.load(x + 0.5))).toMatchInlineSnapshot(`
      "
      kernel blur: a pointer's offset must be an integer, got 0.5 (errors.test.ts:LINE)
        expect(mistake((al, { x }) => al.load(x + 0.5)))
                                              ^
      Offsets count elements; use al.idiv or al.cast(x, al.i32).
      "
    `);
  });
  test("an axis or a number", () => {
    expect(mistake((al) => al.max(al.zeros([2, 2]), 1))).toMatchInlineSnapshot(`
      "
      kernel blur: al.max(a tile f32[2,2], 1) could mean axis 1 or the number 1 (errors.test.ts:LINE)
        expect(mistake((al) => al.max(al.zeros([2, 2]), 1)))
                               ^
      Write al.max(x, { axis: 1 }) to reduce, Math.max(x, 1) to compare each element.
      "
    `);
    expect(mistake((al) => al.sum(al.zeros([2, 2]), 2))).toMatchInlineSnapshot(`
      "
      kernel blur: al.sum: axis 2 of a tile with 2 axes (errors.test.ts:LINE)
        expect(mistake((al) => al.sum(al.zeros([2, 2]), 2)))
                               ^
      Axes count from 0, or from the end with -1.
      "
    `);
  });
});

describe("control flow", () => {
  test("break, continue, return in a loop, and other statements", () => {
    expect(
      mistake((al, { N }) => {
        for (let i = 0; i < N; i++) {
          if (i === 3) break;
        }
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: break is not part of the kernel language (errors.test.ts:LINE)
        break;
        ^
      Put the condition into the loop: while (i < n && !done) { … }.
      "
    `);
    expect(
      mistake((al, { N }) => {
        for (let i = 0; i < N; i++) {
          if (i === 3) continue;
          al.store(N, 1);
        }
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: continue is not part of the kernel language (errors.test.ts:LINE)
        if (i === 3) continue;
                     ^
      Put the rest of the body into an if.
      "
    `);
    expect(
      mistake((al, { N }) => {
        for (let i = 0; i < N; i++) if (i === 3) return;
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: return inside a loop is not possible (errors.test.ts:LINE)
        for (let i = 0; i < N; i++) if (i === 3) return;
        ^
      Keep the result in a variable, and let the loop's condition end it.
      "
    `);
    expect(
      mistake((al, { N }) => {
        switch (N) {
          case 1:
        }
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: switch is not part of the kernel language (errors.test.ts:LINE)
        switch (N) {
        ^
      Write if … else if …; a constexpr condition costs nothing.
      "
    `);
  });
  test("a variable that changes shape or kind in a loop", () => {
    expect(
      mistake((al, { N }) => {
        let acc = al.zeros([2]);
        for (let i = 0; i < N; i++) acc = al.cat(acc, acc);
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: acc is f32[2] before this loop and f32[4] after one turn (errors.test.ts:LINE)
        for (let i = 0; i < N; i++) acc = al.cat(acc, acc);
        ^
      A variable that a loop changes must keep its type and shape: cast it, or start it as a tile of the final shape and type.
      "
    `);
    expect(
      mistake((al, { N, x, y }) => {
        let p = x;
        for (let i = 0; i < N; i++) p = y;
        al.store(p, 1);
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: p changes from one kind of value to another in a run-time loop (errors.test.ts:LINE)
        for (let i = 0; i < N; i++) p = y;
        ^
      In a run-time loop a pointer must keep its base, and arrays, objects and compile-time values their shape.
      "
    `);
  });
  test("a tile as condition", () => {
    expect(
      mistake((al, { y }) => {
        if (al.arange(4) > 2) al.store(y, 1);
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: a condition must be a scalar, got a tile [4] (errors.test.ts:LINE)
        if (al.arange(4) > 2) al.store(y, 1);
            ^
      Use al.where(c, a, b) to choose per element, or al.any / al.all to reduce.
      "
    `);
  });
  test("a value that exists on one way only", () => {
    expect(
      mistake((al, { N, y }) => {
        let v;
        if (N > 2) v = 1;
        al.store(y, v);
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: v has a value on one way of a run-time condition only; give it one before (errors.test.ts:LINE)
        al.store(y, v);
                    ^
      "
    `);
  });
  test("a loop that never ends, and one that is unrolled too often", () => {
    expect(
      mistake(() => {
        while (true) {}
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: the loop's condition is always true: it would never end (errors.test.ts:LINE)
        while (!0)
               ^
      "
    `);
    expect(
      mistake((al) => {
        for (const u of al.unroll(100000)) al.arange(u);
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: al.unroll: 100000 turns are too many to write out (errors.test.ts:LINE)
        for (const u of al.unroll(1e5))
                        ^
      Use a run-time loop.
      "
    `);
  });
  test("an index that is not compile-time", () => {
    expect(
      mistake((al, { N }) => {
        const a = [1, 2];
        a[N] = 3;
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel blur: an index must be known at compile time, got a run-time i32 (errors.test.ts:LINE)
        a[N] = 3;
        ^
      Index arrays with literals, constexpr parameters or al.unroll variables.
      "
    `);
  });
});

declare const xx: number;
declare const SOMETHING_ELSE: number;
