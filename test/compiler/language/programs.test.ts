/** Whole kernels on the interpreter against plain JavaScript, and variables whose type only a later turn of a loop tells. */
import { describe, expect, test } from "bun:test";
import { emitMetal } from "../../../src/compiler/emit/metal/index.ts";
import { interpret } from "../../../src/compiler/ir/interpret.ts";
import { verify } from "../../../src/compiler/ir/verify.ts";
import { constexpr, dim, f16, f32, kernel, out, ptr } from "../../../src/compiler/language/index.ts";
import { Random, seed } from "../random-kernels.ts";
import { floats, ints } from "./on-interpreter.ts";

console.log(`programs: seed ${seed} (ALLOY_TEST_SEED)`);
const random = new Random(seed);

const blur = kernel("blur", { src: ptr(f32), dst: out(f32), W: dim, H: dim }, (al, { src, dst, W, H }) => {
  const x = al.programId(0);
  const y = al.programId(1);
  let acc = 0;
  let count = 0;
  for (let dy = -1; dy < 2; dy++)
    for (let dx = -1; dx < 2; dx++) {
      const nx = x + dx;
      const ny = y + dy;
      if (nx >= 0 && nx < W && ny >= 0 && ny < H) {
        acc += al.load(src + ny * W + nx);
        count += 1;
      }
    }
  al.store(dst + y * W + x, acc / count);
});

const matmul = kernel(
  "matmul",
  { a: ptr(f16), b: ptr(f16), c: out(f32), M: dim, N: dim, K: dim, BM: constexpr(64), BN: constexpr(64), BK: constexpr(32) },
  (al, { a, b, c, M, N, K, BM, BN, BK }) => {
    const rm = al.programId(0) * BM + al.arange(BM);
    const rn = al.programId(1) * BN + al.arange(BN);
    let acc = al.zeros([BM, BN], f32);
    for (let k = 0; k < K; k += BK) {
      const rk = k + al.arange(BK);
      const x = al.load(a + al.col(rm) * K + al.row(rk), { mask: al.col(rm) < M && al.row(rk) < K });
      const w = al.load(b + al.col(rn) * K + al.row(rk), { mask: al.col(rn) < N && al.row(rk) < K });
      acc = al.dot(x, w, acc, { transposeB: true });
    }
    al.store(c + al.col(rm) * N + al.row(rn), acc, { mask: al.col(rm) < M && al.row(rn) < N });
  },
);

test("blur of an image", () => {
  const [W, H] = [7, 5];
  const src = Float32Array.from({ length: W * H }, () => random.int(0, 255));
  const dst = new Float32Array(W * H);
  const ir = blur.specialize();
  verify(ir);
  interpret(ir, [W, H], { src, dst, W, H });
  for (let y = 0; y < H; y++) {
    for (let x = 0; x < W; x++) {
      const near = [...src].filter((_, i) => Math.abs((i % W) - x) <= 1 && Math.abs(Math.floor(i / W) - y) <= 1);
      expect(dst[y * W + x]).toBe(Math.fround(near.reduce((a, b) => a + b) / near.length));
    }
  }
});

test("matmul of sizes that no block divides", () => {
  const [M, N, K] = [5, 7, 9];
  const make = (n: number): Float16Array => Float16Array.from({ length: n }, () => random.int(-8, 8) / 4);
  const [a, b, c] = [make(M * K), make(N * K), new Float32Array(M * N)];
  const ir = matmul.specialize({ BM: 4, BN: 4, BK: 8 });
  verify(ir);
  interpret(ir, [2, 2], { a, b, c, M, N, K });
  const wanted = Array.from({ length: M * N }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < K; k++) sum += a[Math.floor(i / N) * K + k] * b[(i % N) * K + k];
    return sum;
  });
  expect([...c]).toEqual(wanted);
});

describe("a variable that starts as a literal takes its type", () => {
  test("in a loop within a loop, also after an if gave it another literal", () => {
    const got = floats(2, (al, { x, y }) => {
      let sum = 0;
      let mixed = 0;
      for (let i = 0; i < 4; i++) {
        if (i > 2) mixed = 1;
        for (let j = 0; j < 2; j++) {
          sum += al.load(x + i);
          mixed += al.load(x + j) * 0.25;
        }
      }
      al.store(y, sum);
      al.store(y + 1, mixed);
    });
    expect(got).toEqual([-26, -0.875]);
  });

  test("from a tile: it broadcasts", () => {
    const got = floats(4, (al, { x, y }) => {
      let sum = 0;
      for (let i = 0; i < 2; i++) for (let j = 0; j < 2; j++) sum += al.load(x + al.arange(4));
      al.store(y + al.arange(4), sum);
    });
    expect(got).toEqual([-16, -14, -12, -10]);
  });

  test("but a type that was written down stays", () => {
    const cast = kernel("cast", { x: ptr(f32), y: out(f32) }, (al, { x, y }) => {
      let sum = al.cast(0, al.i32);
      for (let i = 0; i < 4; i++) sum += al.load(x + i);
      al.store(y, sum);
    });
    expect(() => cast.specialize()).toThrow("sum is i32 before this loop and f32 after one turn");
  });
});

test("Math.floor of a quotient of integers rounds down, Math.trunc towards 0", () => {
  const got = ints(24, (al, { n, y }) => {
    const v = al.load(n + al.arange(8) + 4);
    al.store(y + al.arange(8), Math.floor(v / 3));
    al.store(y + 8 + al.arange(8), Math.floor(v / 4));
    al.store(y + 16 + al.arange(8), Math.trunc(v / 3));
  });
  const v = Array.from({ length: 8 }, (_, i) => i - 4);
  expect(got).toEqual([...v.map((x) => Math.floor(x / 3)), ...v.map((x) => Math.floor(x / 4)), ...v.map((x) => Math.trunc(x / 3) + 0)]);
});

test("all literal divisors of both signs", () => {
  const got = ints(32, (al, { n, y }) => {
    const v = al.load(n + al.arange(8) + 4);
    for (const d of al.unroll(4)) al.store(y + d * 8 + al.arange(8), Math.floor(v / [-3, -1, 1, 7][d]));
  });
  expect(got).toEqual([-3, -1, 1, 7].flatMap((d) => Array.from({ length: 8 }, (_, i) => Math.floor((i - 4) / d) + 0)));
});

describe("memory of a program", () => {
  const reversed = kernel("reversed", { x: ptr(f32), y: out(f32), N: dim }, (al, { x, y, N }) => {
    const kept = al.local(64);
    const from = al.programId(0) * 64;
    for (let i = 0; i < N; i += 8) al.store(kept + i + al.arange(8), al.load(x + from + i + al.arange(8)) * 2);
    for (let i = 0; i < N; i++) al.store(y + from + i, al.load(kept + (N - 1 - i)));
  });

  test("is filled in one loop and read in another, on the interpreter and the CPU", async () => {
    const x = Float32Array.from({ length: 128 }, () => random.next());
    const expected = Float32Array.from([...x.subarray(0, 64)].reverse().concat([...x.subarray(64)].reverse()), (v) => v * 2);
    const y = new Float32Array(128);
    interpret(reversed.ir(), [2], { x, y, N: 64 });
    expect(y).toEqual(expected);
    const own = new Float32Array(128);
    await reversed.grid(2)({ x, y: own, N: 64 });
    expect(own).toEqual(expected);
  });

  test("holds nothing of the program before", () => {
    const late = kernel("late", { y: out(f32) }, (al, { y }) => {
      const kept = al.local(1);
      if (al.programId(0) === 0) al.store(kept, 1);
      al.store(y + al.programId(0), al.load(kept));
    });
    expect(() => interpret(late.ir(), [2], { y: new Float32Array(2) })).toThrow(
      "load of kept[0], which was never written (program 1, 0, 0)",
    );
  });

  test("is refused by Metal", () => {
    expect(() => emitMetal(reversed.ir(), "reversed")).toThrow("kept is local memory of a program, which a GPU has for threads only");
  });
});
