/** docs/kernel-language.md, "Vocabulary", on the interpreter. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { interpret } from "../../../src/compiler/ir/interpret.ts";
import { constexpr, f16, f32, i32, kernel, out, ptr } from "../../../src/compiler/language/index.ts";
import { VOCABULARY } from "../../../src/compiler/language/vocabulary.ts";
import { floats, ints } from "./on-interpreter.ts";

test("the page names every operation", () => {
  const page = readFileSync(new URL("../../../docs/kernel-language.md", import.meta.url), "utf8");
  const words = new Set(page.match(/[A-Za-z]\w*/g));
  expect(VOCABULARY.filter((name) => !words.has(name))).toEqual([]);
});

test("grid: programId and numPrograms of each axis", () => {
  const got = ints(
    24,
    (al, { y }) => {
      const at = (al.programId(2) * al.numPrograms(1) + al.programId(1)) * al.numPrograms(0) + al.programId();
      al.store(y + at, al.programId(0) + 10 * al.programId(1) + 100 * al.programId(2) + 1000 * al.numPrograms(2));
    },
    {},
    [2, 3, 4],
  );
  expect(got).toEqual(Array.from({ length: 24 }, (_, i) => 4000 + (i % 2) + 10 * (((i / 2) | 0) % 3) + 100 * ((i / 6) | 0)));
});

test("make: arange(n), arange(a, b), zeros, full", () => {
  expect(
    ints(8, (al, { y }) => {
      al.store(y + al.arange(2), al.arange(2));
      al.store(y + 2 + al.arange(2), al.arange(5, 7));
      al.store(y + 4 + al.arange(2), al.zeros(2, al.i32) + al.cast(al.zeros([2]), al.i32));
      al.store(y + 6 + al.arange(2), al.full([2], 9, al.u8));
    }),
  ).toEqual([0, 1, 5, 6, 0, 0, 9, 9]);
});

describe("shape", () => {
  test("col, row, reshape, expand, broadcast, trans", () => {
    expect(
      ints(24, (al, { y }) => {
        const m = al.col(al.arange(2)) * 3 + al.row(al.arange(3));
        al.store(y + al.arange(6), al.reshape(m, 6));
        al.store(y + 6 + al.arange(6), al.reshape(al.trans(m), [6]));
        al.store(y + 12 + al.arange(6), al.reshape(al.broadcast(al.expand(al.arange(2), 1), [2, 3]), 6));
        al.store(y + 18 + al.arange(6), al.reshape(al.broadcast(al.expand(al.arange(3), 0), [2, 3]), 6));
      }),
    ).toEqual([0, 1, 2, 3, 4, 5, 0, 3, 1, 4, 2, 5, 0, 0, 0, 1, 1, 1, 0, 1, 2, 0, 1, 2]);
  });
  test("cat on the last axis, slice of an axis, extract", () => {
    expect(
      ints(8, (al, { y }) => {
        const c = al.cat(al.arange(2), al.arange(5, 7));
        al.store(y + al.arange(4), c);
        const m = al.reshape(c, [2, 2]);
        al.store(y + 4 + al.arange(2), al.reshape(al.slice(m, 1, 1, 1), 2));
        al.store(y + 6, al.extract(m, 1, 0));
        al.store(y + 7, al.extract(c, 3));
      }),
    ).toEqual([0, 1, 5, 6, 1, 6, 5, 6]);
  });
});

describe("memory", () => {
  test("load: masked elements are other, default 0, and memory is not touched", () => {
    expect(
      ints(6, (al, { n, y }) => {
        const i = al.arange(3);
        al.store(y + i, al.load(n + 62 + i, { mask: i < 2 }));
        al.store(y + 3 + i, al.load(n + 62 + i, { mask: i < 2, other: -1 }));
      }),
    ).toEqual([54, 55, 0, 54, 55, -1]);
  });
  test("store: the value is cast to the pointer's type and broadcast to its shape; the mask leaves memory alone; prefetch does nothing", () => {
    expect(
      ints(4, (al, { n, y }) => {
        al.prefetch(n + al.arange(4));
        al.store(y + al.arange(4), al.load(n) * -0.3625, { mask: al.arange(4) !== 1 });
      }),
    ).toEqual([2, 0, 2, 2]);
  });
});

describe("math", () => {
  test("every function, and Math's of the same name", () => {
    const got = floats(26, (al, { x, y }) => {
      const v = al.load(x + 11);
      const results = [
        al.exp(v),
        al.exp2(v),
        al.log(v),
        al.log2(v),
        al.sin(v),
        al.cos(v),
        al.tanh(v),
        al.sqrt(v),
        al.rsqrt(v),
        al.abs(-v),
        al.floor(v),
        al.ceil(v),
        al.round(v),
        al.round(v + 1),
        al.trunc(-v),
        al.erf(v),
        al.sigmoid(v),
        al.pow(v, 2.5),

        al.min(v, 1, 2),
        al.max(v, 1, 2),
        al.fma(v, 2, 1),
        al.clamp(v, 0, 1),
        Math.exp(v),
        Math.max(v, 7),
        Math.min(v, v - 1),
        Math.sqrt(v),
      ];
      for (const u of al.unroll(26)) al.store(y + u, results[u]);
    });
    const v = 1.5;
    const wanted = [
      Math.exp(v),
      2 ** v,
      Math.log(v),
      Math.log2(v),
      Math.sin(v),
      Math.cos(v),
      Math.tanh(v),
      Math.sqrt(v),
      1 / Math.sqrt(v),
      v,
      1,
      2,
      2,
      2,
      -1,
      0.9661051464753108,
      1 / (1 + Math.exp(-v)),
      v ** 2.5,
      1,
      2,
      4,
      1,
      Math.exp(v),
      7,
      0.5,
      Math.sqrt(v),
    ];
    got.forEach((g, i) => expect(g).toBeCloseTo(wanted[i], 5));
  });
  test("idiv and cdiv", () => {
    expect(
      ints(3, (al, { n, y }) => {
        al.store(y, al.idiv(al.load(n + 15), 2));
        al.store(y + 1, al.cdiv(al.load(n + 15), 2));
        al.store(y + 2, al.cdiv(al.load(n + 14), 2));
      }),
    ).toEqual([3, 4, 3]);
  });
  test("f16 computes in f32 and rounds once", () => {
    const k = kernel("test", { a: ptr(f16), y: out(f16) }, (al, { a, y }) => al.store(y, al.load(a) * al.load(a + 1)));
    const y = new Float16Array(1);
    interpret(k.specialize(), [1], { a: new Float16Array([1.0009765625, 1.0009765625]), y });
    expect(y[0]).toBe(Math.f16round(1.0009765625 ** 2));
  });
});

test("where chooses per element; cast saturates, NaN is 0; bitcast keeps bits", () => {
  expect(
    ints(
      6,
      (al, { y }) => {
        al.store(y + al.arange(2), al.where(al.arange(2) > 0, 5, 6));
        al.store(y + 2 + al.arange(1), al.cast(al.full(1, 3e9, al.f32), al.i32));
        al.store(y + 3 + al.arange(1), al.cast(al.log(al.full(1, -1, al.f32)), al.i32));
        al.store(y + 4 + al.arange(1), al.cast(al.full(1, -2.9, al.f32), i32));
        al.store(y + 5 + al.arange(1), al.bitcast(al.full(1, 1, al.f32), al.i32));
      },
      { i32 } as never,
    ),
  ).toEqual([6, 5, 2147483647, 0, -2, 0x3f800000]);
});

describe("reduce", () => {
  test("of all elements, along an axis given as number, negative number or { axis }", () => {
    const got = ints(24, (al, { y }) => {
      const m = al.col(al.arange(2)) * 3 + al.row(al.arange(3));
      const scalars = [
        al.sum(m),
        al.max(m),
        al.min(m),
        al.argmax(m),
        al.argmin(m),
        al.cast(al.any(m > 4), al.i32),
        al.cast(al.all(m > 4), al.i32),
      ];
      for (const u of al.unroll(7)) al.store(y + u, scalars[u]);
      const rows = [
        al.sum(m, 1),
        al.sum(m, -1),
        al.sum(m, { axis: 1 }),
        al.max(m, { axis: 1 }),
        al.min(m, { axis: -1 }),
        al.argmax(m, 1),
        al.cast(al.any(m > 4, 1), al.i32),
      ];
      for (const u of al.unroll(7)) al.store(y + 7 + 2 * u + al.arange(2), rows[u]);
      al.store(y + 21 + al.arange(3), al.sum(m, 0));
    });
    expect(got).toEqual([15, 5, 0, 5, 0, 1, 0, 3, 12, 3, 12, 3, 12, 2, 5, 0, 3, 2, 2, 0, 1, 3, 5, 7]);
  });
  test("min and max of a vector and a number compare each element", () => {
    expect(ints(3, (al, { y }) => al.store(y + al.arange(3), al.max(al.arange(3), 1)))).toEqual([1, 1, 2]);
  });
  test("ties give the lowest index; max and min prefer numbers to NaN", () => {
    const got = floats(4, (al, { y }) => {
      const v = al.cast(al.arange(4) & 1, al.f32);
      al.store(y, al.argmax(v));
      al.store(y + 1, al.argmin(v));
      const w = al.where(al.arange(4) === 0, al.log(al.full(4, -1, al.f32)), v);
      al.store(y + 2, al.max(w));
      al.store(y + 3, al.extract(al.max(w, -5), 0));
    });
    expect(got).toEqual([1, 0, 1, -5]);
  });
});

test("dot with and without accumulator and transposes", () => {
  const run = (t: boolean): number[] => {
    const k = kernel("test", { y: out(f32), T: constexpr(false) }, (al, { y, T }) => {
      const a = al.cast(al.col(al.arange(2)) * 2 + al.row(al.arange(2)), al.f32);
      const at = al.col(al.arange(2)) * 2 + al.row(al.arange(2));
      al.store(y + at, al.dot(a, a, { transposeA: T, transposeB: T }));
      al.store(y + 4 + at, al.dot(a, a, al.full([2, 2], 100, al.f32), { transposeB: T }));
    });
    const y = new Float32Array(8);
    interpret(k.specialize({ T: t }), [1], { y });
    return [...y];
  };
  expect(run(false)).toEqual([2, 3, 6, 11, 102, 103, 106, 111]);
  expect(run(true)).toEqual([2, 6, 3, 11, 101, 103, 103, 113]);
});

test("dot4, byteLookup and pack4 work on bytes", () => {
  const table = Array.from({ length: 16 }, (_, i) => i * 16 - 128);
  const got = ints(
    4,
    (al, { y, table }) => {
      const a = al.pack4(al.full(1, 255, al.i32), 2, 3, 4);
      const b = al.pack4(-1, 2, 3, al.full(1, -4, al.i32));
      al.store(y + al.arange(1), al.dot4(a, b, 1000));
      al.store(y + 1 + al.arange(1), al.dot4(a, b, 1000, { signedA: true }));
      al.store(y + 2 + al.arange(1), al.byteLookup(table, al.full(1, 0x0f080100, al.i32)));
      al.store(y + 3 + al.arange(1), a);
    },
    { table },
  );
  expect(got).toEqual([1000 - 255 + 4 + 9 - 16, 1000 + 1 + 4 + 9 - 16, 0x70009080, 0x040302ff]);
});

test("dot2 works on signed halves", () => {
  const got = ints(2, (al, { y }) => {
    const a = al.full(1, (-3 << 16) | 5, al.i32);
    al.store(y + al.arange(1), al.dot2(a, al.full(1, (7 << 16) | 0xfffe, al.i32), 1000));
    al.store(y + 1 + al.arange(1), al.dot2(a, 2, 1000));
  });
  expect(got).toEqual([1000 - 21 - 10, 1010]);
});

test("dotPairs adds to each half by itself, and wraps", () => {
  const got = ints(2, (al, { y }) => {
    const a = al.pack4(al.full(1, 100, al.i32), 2, 128, 128);
    const b = al.pack4(al.full(1, -100, al.i32), 3, 127, 127);
    al.store(y + al.arange(1), al.dotPairs(a, b, (5 << 16) | 0x8000));
    al.store(y + 1 + al.arange(1), al.dot2(al.dotPairs(a, b, 0), (3 << 16) | 3, 1000));
  });
  const [low, high] = [-10000 + 6, 128 * 254];
  expect(got).toEqual([((high + 5) << 16) | ((0x8000 + low) & 0xffff), 1000 + 3 * (low + high)]);
});

test("byteSign moves signs", () => {
  const got = ints(2, (al, { y }) => {
    const x = al.full(1, 0x80ff0305, al.i32);
    al.store(y + al.arange(1), al.byteSign(x, 0x7f8000ff));
    al.store(y + 1 + al.arange(1), al.byteSign(x, x));
  });
  expect(got).toEqual([0x800100fb | 0, 0x80010305 | 0]);
});

test("isConst and staticAssert", () => {
  expect(
    ints(2, (al, { n, y }) => {
      al.staticAssert(al.isConst(3), "a literal is known");
      al.store(y, al.isConst(al.load(n)) ? 1 : 2);
      al.store(y + 1, al.isConst(4 * 2) ? 1 : 2);
    }),
  ).toEqual([2, 1]);
});
