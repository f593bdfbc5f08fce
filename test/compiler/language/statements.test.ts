/** docs/kernel-language.md, "Parameters" and "Statements", sentence by sentence, on the interpreter. */
import { describe, expect, test } from "bun:test";
import { interpret } from "../../../src/compiler/ir/interpret.ts";
import { constexpr, dim, dim64, f32, fn, i32, i64, kernel, out, ptr, scalar } from "../../../src/compiler/language/index.ts";
import { floats, ints, ops } from "./on-interpreter.ts";

describe("parameters", () => {
  test("pointers, outputs, dims, scalars and constexprs of every kind", () => {
    const k = kernel(
      "test",
      {
        x: ptr(f32),
        y: out(i32),
        n: dim,
        m: dim64,
        s: scalar(f32),
        A: constexpr(3),
        S: constexpr("no"),
        B: constexpr(false),
        N: constexpr(),
      },
      (al, { x, y, n, m, s, A, S, B, N }) => {
        al.store(y, n + A);
        al.store(y + 1, al.cast(m >> 33, al.i32));
        al.store(y + 2, al.cast(s * al.load(x), al.i32));
        al.store(y + 3, S === "yes" && B ? N : -N);
        al.store(x, 5);
      },
    );
    const run = (constexprs: Record<string, number | string | boolean>): number[] => {
      const y = new Int32Array(4);
      const x = new Float32Array([4]);
      interpret(k.specialize(constexprs), [1], { x, y, n: 2, m: 2n ** 34n, s: 2.5 });
      return [...y, ...x];
    };
    expect(run({ N: 7 })).toEqual([5, 2, 10, -7, 5]);
    expect(run({ N: 7, S: "yes", B: true, A: 1 })).toEqual([3, 2, 10, 7, 5]);
    expect(k.ir({ N: 7 }).params.map((p) => p.dtype)).toEqual(["f32", "i32", "i32", "i64", "f32"]);
    expect(i64.dtype).toBe("i64");
  });

  test("uses: helpers, numbers, strings, booleans, arrays and objects, by name or as property of the second parameter", () => {
    const twice = fn((_, v: number) => v * 2);
    const uses = { twice, TABLE: [3, 5], NAME: "b", ON: true, SIZES: { rows: 4 } };
    expect(
      ints(
        4,
        (al, { n, y, twice, TABLE, NAME, ON, SIZES }) => {
          al.store(y, twice(al.load(n + 9)));
          al.store(y + 1, TABLE[1] + TABLE.length);
          al.store(y + 2, NAME === "b" && ON ? 1 : 0);
          al.store(y + 3, SIZES.rows);
        },
        uses,
      ),
    ).toEqual([2, 7, 1, 4]);
  });
});

describe("helpers", () => {
  test("have uses of their own, take pointers, tiles and constexprs, return one or several values", () => {
    const scaleBy = fn((_, v: number, k: number) => v * k);
    const read = fn(
      (al, p: number, N: number) => {
        const v = al.load(p + al.arange(N));
        const { total, top } = { total: al.sum(v), top: al.max(v) };
        return [scaleBy(total, 10), top];
      },
      { uses: { scaleBy } },
    );
    const named = fn((_, a: number) => ({ a, negative: -a }));
    expect(
      ints(
        3,
        (al, { n, y, read, named }) => {
          const [total, top] = read(n + 9, 3);
          const { negative } = named(top);
          al.store(y, total);
          al.store(y + 1, top);
          al.store(y + 2, negative);
        },
        { read, named },
      ),
    ).toEqual([60, 3, -3]);
  });
  test("return early, also at a run-time condition", () => {
    const sign = fn((_, v: number) => {
      if (v < 0) return -1;
      if (v > 0) return 1;
      return 0;
    });
    expect(
      ints(
        3,
        (al, { n, y, sign }) => {
          al.store(y, sign(al.load(n)));
          al.store(y + 1, sign(al.load(n + 8)));
          al.store(y + 2, sign(al.load(n + 20)));
        },
        { sign },
      ),
    ).toEqual([-1, 0, 1]);
  });
  test("local functions are inlined too, with default values", () => {
    expect(
      ints(2, (al, { y }) => {
        const add = (a: number, b = 5) => a + b;
        function three(): number {
          return 3;
        }
        al.store(y, add(three()));
        al.store(y + 1, add(1, 1));
      }),
    ).toEqual([8, 2]);
  });
});

describe("loops", () => {
  test("for with <, <=, >, >=, += -= ++ --", () => {
    expect(
      ints(5, (al, { n, y }) => {
        const end = al.load(n + 13);
        let [a, b, c, d, e] = [0, 0, 0, 0, 0];
        for (let i = 0; i < end; i++) a += i;
        for (let i = 1; i <= end; i += 2) b += i;
        for (let i = end; i > 0; i--) c += i;
        for (let i = end; i >= 1; i -= 3) d += i;
        for (let i = end; i < end; i++) e = 1;
        al.store(y, a);
        al.store(y + 1, b);
        al.store(y + 2, c);
        al.store(y + 3, d);
        al.store(y + 4, e);
      }),
    ).toEqual([10, 9, 15, 7, 0]);
  });
  test("a for of any other form and while", () => {
    expect(
      ints(2, (al, { n, y }) => {
        let a = 0;
        for (let i = 1; i < al.load(n + 60); i = i * 2) a += 1;
        let b = al.load(n + 60);
        while (b > 5) b = al.idiv(b, 2);
        al.store(y, a);
        al.store(y + 1, b);
      }),
    ).toEqual([6, 3]);
  });
  test("a variable takes the type of what a loop adds to it", () => {
    expect(
      floats(4, (al, { x, y }) => {
        let acc = 0;
        for (let i = 0; i < 4; i++) acc += al.load(x + 8 + i * 4 + al.arange(4));
        al.store(y + al.arange(4), acc);
      }),
    ).toEqual([12, 14, 16, 18]);
  });
  test("al.unroll(n), (a, b) and (a, b, step) at compile time; the body may index arrays", () => {
    expect(
      ints(3, (al, { y }) => {
        const sums: number[] = [];
        for (const u of al.unroll(3)) sums.push(al.arange(2) * u);
        for (const u of al.unroll(2)) sums[u] = sums[u] + 100;
        for (const u of al.unroll(1, 3)) sums[u] = sums[u] + 1000;
        for (const u of al.unroll(3)) al.store(y + u, al.sum(sums[u]));
        for (const u of al.unroll(2, -1, -2)) sums[u] = 0;
      }),
    ).toEqual([200, 2201, 2002]);
    expect(ops((al, { y }) => al.unroll(3) && al.store(y, 1))).not.toContain("for");
  });
  test("an array of accumulators is carried through a run-time loop", () => {
    expect(
      ints(2, (al, { n, y }) => {
        const acc = [0, 100];
        for (let i = 0; i < al.load(n + 11); i++) for (const u of al.unroll(2)) acc[u] += i + u;
        for (const u of al.unroll(2)) al.store(y + u, acc[u]);
      }),
    ).toEqual([3, 106]);
  });
});

describe("conditions", () => {
  test("if and else at run time merge variables", () => {
    expect(
      ints(2, (al, { n, y }) => {
        let v = 1;
        let w = 0;
        if (al.load(n) < 0) {
          v = 5;
          w += 2;
        } else if (al.load(n) > 9) v = 6;
        else w = 9;
        al.store(y, v);
        al.store(y + 1, w);
      }),
    ).toEqual([5, 2]);
  });
  test("a constexpr condition compiles the taken side only", () => {
    const k = kernel("test", { y: out(i32), MODE: constexpr("a") }, (al, { y, MODE }) => {
      if (MODE === "a") al.store(y, 1);
      else al.staticAssert(false, "the other side");
      al.store(y + 1, MODE === "a" ? 2 : al.arange(0));
    });
    expect(k.lower().body.ops.map((o) => o.op)).not.toContain("if");
    expect(() => k.lower({ MODE: "b" })).toThrow("the other side");
  });
  test("return ends the program early", () => {
    const got = ints(
      4,
      (al, { y }) => {
        const i = al.programId(0);
        if (i === 1) return;
        {
          if (i === 2) {
            al.store(y + i, 7);
            return;
          }
        }
        al.store(y + i, 5);
      },
      {},
      [4],
    );
    expect(got).toEqual([5, 0, 7, 5]);
  });
});

describe("variables", () => {
  test("all assignments and updates", () => {
    const got = ints(1, (al, { n, y }) => {
      let a = al.load(n + 18);
      a += 3;
      a -= 1;
      a *= 2;
      a %= 17;
      a <<= 3;
      a >>= 1;
      a |= 1;
      a &= 0xff;
      a ^= 2;
      a++;
      --a;
      al.store(y, a++);
    });
    let a = 10;
    a = ((((((a + 3 - 1) * 2) % 17) << 3) >> 1) | 1) & 0xff;
    expect(got).toEqual([a ^ 2]);
  });
  test("arrays and objects hold values; destructuring, spread, length, map, forEach, reduce, default values", () => {
    expect(
      ints(6, (al, { n, y }) => {
        const [a, , b = 40, ...rest] = [1, 2, undefined, al.load(n + 12), 5];
        const base = { p: 3 };
        const { p, q: renamed, r = 9 } = { ...base, q: a };
        const all = [...rest, p];
        al.store(y, b + all.length);
        al.store(y + 1, rest[0] + renamed + r);
        al.store(
          y + 2,
          all.reduce((s, v) => s + v, 0),
        );
        all.map((v, i) => v * i).forEach((v, i) => al.store(y + 3 + i, v));
      }),
    ).toEqual([43, 14, 12, 0, 5, 6]);
  });
  test("a swap by destructuring", () => {
    expect(
      ints(2, (al, { n, y }) => {
        let [a, b] = [al.load(n), al.load(n + 1)];
        [a, b] = [b, a];
        al.store(y, a);
        al.store(y + 1, b);
      }),
    ).toEqual([-7, -8]);
  });
});
