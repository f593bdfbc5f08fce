/** Memory of a program of a tile-level kernel (al.local), tiles turned in registers, loops run for some columns at a time. */
import { describe, expect, test } from "bun:test";
import { constexpr, dim, f32, i32, kernel, ptr } from "../../../src/compiler/language/index.ts";
import { emitFunction } from "../../../src/compiler/emit/c/index.ts";
import { isaByName } from "../../../src/runtime/cpu/isa.ts";
import { type Case, compare, Random, randomArray, seed, TESTABLE } from "../emit-c/harness.ts";

/** y = a b, from a copy of bᵀ in the program's memory, plus bᵀ's last row as the loop wrote it anew: b [N, K], a [M, K], y [programs, M, N]. */
const product = kernel(
  "product",
  { a: ptr(f32), b: ptr(f32), y: ptr(f32), K: dim, M: constexpr(6), N: constexpr(64) },
  (al, { a, b, y, K, M, N }) => {
    const turned = al.local([32, N]);
    const written = al.local([32, N]);
    const side = al.arange(16);
    const from = al.programId(0) * (N * K);
    for (let n = 0; n < N; n += 16)
      for (let k = 0; k < K; k += 16) {
        const block = al.load(b + from + (n + al.col(side)) * K + k + al.row(side), { mask: k + al.row(side) < K });
        al.store(turned + (k + al.col(side)) * N + n + al.row(side), al.trans(block));
      }
    let sums = al.zeros([M, N]);
    let count = al.zeros([1, N]);
    for (let k = 0; k < K; k++) {
      const v = al.row(al.load(turned + k * N + al.arange(N)));
      al.store(written + k * N + al.row(al.arange(N)), v * 2);
      sums = al.fma(al.load(a + al.col(al.arange(M)) * K + k), v, sums);
      count = count + al.where(v > 0, 1, 0);
    }
    al.store(
      y + (al.programId(0) * M + al.col(al.arange(M))) * N + al.row(al.arange(N)),
      sums + count + al.row(al.load(written + (K - 1) * N + al.arange(N))),
    );
  },
);

const turn = kernel("turn", { x: ptr(i32), y: ptr(i32), R: constexpr(16), C: constexpr(32) }, (al, { x, y, R, C }) => {
  const v = al.load(x + al.col(al.arange(R)) * C + al.row(al.arange(C)));
  al.store(y + al.col(al.arange(C)) * R + al.row(al.arange(R)), al.trans(v));
});

const r = new Random(seed);
const cases: Case[] = [
  ...[
    [6, 64, 23],
    [3, 48, 32],
    [1, 16, 1],
  ].map(([M, N, K]): Case => {
    const arrays = { a: randomArray(r, "f32", M * K, 2, false), b: randomArray(r, "f32", 2 * N * K, 2, false) };
    const args = { ...arrays, y: randomArray(r, "f32", 2 * M * N), K };
    return { ir: { ...product.ir({ M, N }), name: `product_${M}_${N}` }, grid: [2, 1, 1], args, absolute: 1e-4 };
  }),
  ...[
    [16, 32],
    [8, 8],
    [4, 16],
    [3, 16],
  ].map(([R, C]): Case => {
    const args = { x: Int32Array.from({ length: R * C }, (_, i) => i), y: new Int32Array(R * C) };
    return { ir: { ...turn.ir({ R, C }), name: `turn_${R}_${C}` }, grid: [1, 1, 1], args: args as never };
  }),
];

test.each([...TESTABLE])("as on the interpreter, on %s", (isa) => compare(isa, cases), 120_000);

describe("text", () => {
  test("a tile is turned by shuffles; those for 16 lanes, worked out here", () => {
    const c = emitFunction(turn.ir({ R: 16, C: 16 }), isaByName("avx512"), "turn");
    const vectors = new Map<string, number[]>();
    for (const [, name, at] of c.matchAll(/ (\w+) = LD\(i32x16, p_x \+ (\d+)\)/g))
      vectors.set(
        name,
        Array.from({ length: 16 }, (_, i) => Number(at) + i),
      );
    const shuffles = [...c.matchAll(/ (\w+) = SHUFFLE\(i32x16, (\w+), (\w+), ([^)]*)\)/g)];
    expect(shuffles).toHaveLength(64);
    for (const [, name, a, b, picks] of shuffles) {
      const both = [...vectors.get(a)!, ...vectors.get(b)!];
      vectors.set(
        name,
        picks.split(", ").map((i) => both[Number(i)]),
      );
    }
    const rows = [...c.matchAll(/ST\(i32x16, p_y \+ (\d+), (\w+)\)/g)].map(([, at, name]) => [Number(at), vectors.get(name)]);
    expect(rows).toEqual(Array.from({ length: 16 }, (_, r) => [16 * r, Array.from({ length: 16 }, (_, i) => 16 * i + r)]));
  });
  test("what fits the registers is one loop, otherwise columns are worked on in parts", () => {
    const loops = (isa: string): number =>
      (emitFunction(product.ir(), isaByName(isa), "p").match(/\+ sums|sums_\w+ = v_|for \(/g) ?? []).length;
    expect(loops("avx2")).toBeGreaterThan(loops("avx512"));
  });
});
