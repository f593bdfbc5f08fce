/** docs/kernel-language.md, "Thread level", scans and atomics, on the interpreter. */
import { describe, expect, test } from "bun:test";
import { constexpr, f32, kernel, out } from "../../../src/compiler/language/index.ts";
import { compare, TESTABLE } from "../emit-c/harness.ts";
import { compareCases, METAL } from "../emit-metal/harness.ts";
import { ran, run } from "./run.ts";

const upTo = (n: number, f: (i: number) => number): number[] => Array.from({ length: n }, (_, i) => f(i));

describe("place", () => {
  test("threadId, numThreads, globalId on each axis; programId counts threadgroups", () => {
    const { z } = run(
      (al, { z }) => {
        const at = al.globalId(0) + 8 * (al.globalId(1) + 4 * al.globalId(2));
        al.store(z + at, al.threadId(0) + 10 * al.threadId(1) + 100 * al.threadId(2) + 1000 * al.programId(0) + al.numThreads(1) * 10000);
      },
      { threads: [4, 2, 2], grid: [2, 2, 1] },
    );
    expect(z).toEqual(
      upTo(64, (i) => {
        const [x, y, w] = [i % 8, Math.floor(i / 8) % 4, Math.floor(i / 32)];
        return (x % 4) + 10 * (y % 2) + 100 * w + 1000 * Math.floor(x / 4) + 20000;
      }),
    );
  });
  test("threads and simdgroups that depend on constexprs", () => {
    const k = kernel("sized", { y: out(f32), W: constexpr(16) }, (al, { y }) => al.store(y + al.globalId(), al.numThreads(1)), {
      threads: ({ W }) => [W, 64 / W],
    });
    expect([k.specialize().threads, k.specialize({ W: 32 }).threads]).toEqual([
      [16, 4, 1],
      [32, 2, 1],
    ]);
    const hinted = kernel("hinted", { y: out(f32), BIG: constexpr(true) }, () => {}, { simdgroups: ({ BIG }) => (BIG ? 8 : 2) });
    expect([hinted.specialize().simdgroups, hinted.specialize({ BIG: false }).simdgroups]).toEqual([8, 2]);
  });
  test("laneId and simdgroupId count axis 0 fastest", () => {
    const { z } = run((al, { z }) => al.store(z + al.threadId(0) + 16 * al.threadId(1), al.laneId() + 100 * al.simdgroupId()), {
      threads: [16, 4],
    });
    expect(z).toEqual(upTo(64, (i) => (i % 32) + 100 * Math.floor(i / 32)));
  });
});

describe("memory", () => {
  test("shared memory, turned round across a barrier", () => {
    const { y } = run((al, { x, y }) => {
      const turned = al.shared(64);
      const t = al.threadId();
      al.store(turned + (63 - t), al.load(x + t));
      al.barrier();
      al.store(y + t, al.load(turned + t));
    });
    expect(y).toEqual(upTo(64, (i) => (63 - i) / 2 - 4));
  });
  test("local memory is a thread's own; tiles are private", () => {
    const { y } = run((al, { x, y }) => {
      const own = al.local(4);
      const t = al.threadId();
      for (let i = 0; i < 4; i++) al.store(own + i, al.load(x + t) * i);
      const tile = al.load(own + al.arange(4));
      al.store(y + t, al.sum(tile) + al.load(own + (t % 4)));
    });
    expect(y).toEqual(upTo(64, (i) => (i / 2 - 4) * (6 + (i % 4))));
  });
  test("vectors", () => {
    const { y } = run(
      (al, { x, y }) => {
        const v = al.loadVector(x + al.threadId() * 4, 4);
        al.storeVector(y + al.threadId() * 4, v * 2, { mask: al.threadId() < 15 });
      },
      { threads: 16 },
    );
    expect(y).toEqual(upTo(64, (i) => (i < 60 ? i - 8 : 0)));
  });
  test.each([
    [[16, 4], 6, 16],
    [[8, 4], 5, 16],
    [64, 5, 7],
    [32, 3, 20],
  ] as const)("a block that %p threads load: %i x %i", (threads, rows, cols) => {
    const { y } = run(
      (al, { x, y, rows, cols, n }) => {
        const block = al.shared([rows, cols]);
        al.cooperativeLoad(block, x + 3, { rows, cols, stride: 30, validRows: rows - 1, validCols: al.load(n + 8) + cols - 1, other: -1 });
        al.barrier();
        if (al.threadId() === 0 && al.threadId(1) === 0) for (let i = 0; i < rows * cols; i++) al.store(y + i, al.load(block + i));
      },
      { threads, size: 128, uses: { rows, cols } },
    );
    const wanted = upTo(rows * cols, (i) => {
      const [r, c] = [Math.floor(i / cols), i % cols];
      return r < rows - 1 && c < cols - 1 ? (3 + 30 * r + c) / 2 - 4 : -1;
    });
    expect(y.slice(0, rows * cols)).toEqual(wanted);
  });
});

describe("private tiles", () => {
  const at = (i: number): number => i / 2 - 4;
  test("trans, cat, slice, extract, reshape, expand", () => {
    const { y } = run((al, { x, y }) => {
      const t = al.threadId();
      const tile = al.load(x + t + al.col(al.arange(2)) * 10 + al.row(al.arange(3)));
      const turned = al.trans(tile);
      const both = al.cat(turned, turned * 100);
      const part = al.slice(both, 1, 1, 2);
      al.store(
        y + t,
        al.extract(part, 2, 1) + 1000 * al.extract(al.reshape(both, [2, 6]), 1, 0) + al.sum(al.cat(al.arange(2) + t, al.arange(3))),
      );
    });
    // both[k][j]: row k of turned is [x(t + k), x(t + k + 10)], then the same times 100.
    expect(y).toEqual(upTo(64, (t) => at(t + 2) * 100 + 100000 * at(t + 1) + (2 * t + 1 + 3)));
  });
  test("dot, transposed operands, half floats", () => {
    const { y } = run((al, { x, y }) => {
      const t = al.threadId();
      const a = al.load(x + t + al.col(al.arange(2)) * 3 + al.row(al.arange(3)));
      const b = al.load(x + al.col(al.arange(3)) * 4 + al.row(al.arange(4)));
      const plain = al.dot(a, b);
      const turned = al.dot(al.trans(a), al.trans(b), plain, { transposeA: true, transposeB: true });
      const half = al.dot(al.cast(a, al.f16), al.cast(b, al.f16));
      al.store(y + t, al.extract(turned, 1, 2) + 10000 * al.extract(half, 0, 1));
    });
    const product = (t: number, m: number, n: number): number =>
      upTo(3, (k) => at(t + 3 * m + k) * at(4 * k + n)).reduce((p, q) => p + q, 0);
    expect(y).toEqual(upTo(64, (t) => Math.fround(2 * product(t, 1, 2) + 10000 * product(t, 0, 1))));
  });
  test("reductions of every kind, uniform tiles beside private ones", () => {
    const { z } = run((al, { n, z }) => {
      const t = al.threadId();
      const same = al.load(n + al.arange(8));
      const own = (same * (t % 5) + t) % 7;
      const best = al.argmax(own) + 10 * al.argmin(own) + 100 * al.max(own) + 1000 * al.cast(al.any(own === 3), al.i32);
      al.store(z + t, best + al.sum(same));
    });
    const own = (t: number): number[] => upTo(8, (i) => ((i - 8) * (t % 5) + t) % 7);
    expect(z).toEqual(
      upTo(64, (t) => {
        const v = own(t);
        const [high, low] = [Math.max(...v), Math.min(...v)];
        return v.indexOf(high) + 10 * v.indexOf(low) + 100 * high + 1000 * Number(v.includes(3)) - 36;
      }),
    );
  });
  test("shared memory of bool, f16 and bf16; local memory on two axes of threads", () => {
    const { y } = run(
      (al, { x, y }) => {
        const [flags, halves, brains] = [al.shared(64, al.bool), al.shared(64, al.f16), al.shared(64, al.bf16)];
        const own = al.local([3], al.f16);
        const t = al.threadId(0) + 16 * al.threadId(1);
        al.store(flags + t, t % 3 === 0);
        al.store(halves + t, al.load(x + t));
        al.store(brains + t, al.load(x + t));
        for (let i = 0; i < 3; i++) al.store(own + i, i + t);
        al.barrier();
        const r = 63 - t;
        al.store(y + t, al.where(al.load(flags + r), 100, 0) + al.load(halves + r) + al.load(brains + r) + al.load(own + (t % 3)));
      },
      { threads: [16, 4] },
    );
    expect(y).toEqual(upTo(64, (t) => ((63 - t) % 3 === 0 ? 100 : 0) + 2 * at(63 - t) + (t % 3) + t));
  });
});

describe("lanes", () => {
  const lanes = (f: (lane: number, x: (lane: number) => number) => number): number[] =>
    upTo(64, (i) => f(i % 32, (lane) => (Math.floor(i / 32) * 32 + lane) / 2 - 4));

  test("shuffles; a lane outside keeps its own", () => {
    const { y } = run((al, { x, y }) =>
      al.store(y + al.threadId(), al.simdShuffle(al.load(x + al.threadId()), (al.laneId() * 5 + 1) % 40)),
    );
    expect(y).toEqual(lanes((l, x) => x((l * 5 + 1) % 40 < 32 ? (l * 5 + 1) % 40 : l)));
    const up = run((al, { x, y }) => al.store(y + al.threadId(), al.simdShuffleUp(al.load(x + al.threadId()), 3)));
    expect(up.y).toEqual(lanes((l, x) => x(l < 3 ? l : l - 3)));
    const down = run((al, { x, y }) => al.store(y + al.threadId(), al.simdShuffleDown(al.load(x + al.threadId()), al.load(x + 10))));
    expect(down.y).toEqual(lanes((l, x) => x(l + 1 > 31 ? l : l + 1)));
    const xor = run((al, { x, y }) => al.store(y + al.threadId(), al.simdShuffleXor(al.load(x + al.threadId()), 17)));
    expect(xor.y).toEqual(lanes((l, x) => x(l ^ 17)));
    const one = run((al, { x, y }) => al.store(y + al.threadId(), al.simdBroadcast(al.load(x + al.threadId()), 7)));
    expect(one.y).toEqual(lanes((_, x) => x(7)));
  });
  test("shuffles of a tile, of bool and of half floats", () => {
    const { y } = run((al, { x, y }) => {
      const t = al.threadId();
      const pair = al.simdShuffleXor(al.load(x + t + al.arange(2)), 1);
      const flag = al.simdShuffleXor(t % 3 === 0, 2);
      const half = al.simdShuffleXor(al.cast(t, al.f16), 4);
      al.store(y + t, al.sum(pair) + al.where(flag, 1000, 0) + al.cast(half, al.f32) * 2000);
    });
    expect(y).toEqual(upTo(64, (i) => ((i ^ 1) / 2 - 4) * 2 + 0.5 + ((i ^ 2) % 3 === 0 ? 1000 : 0) + (i ^ 4) * 2000));
  });
  test("reductions", () => {
    const { z } = run((al, { n, z }) => {
      const v = al.load(n + al.threadId());
      const parts = [
        al.simdSum(v),
        al.simdMin(v),
        al.simdMax(v),
        al.simdAnd(v),
        al.simdOr(v),
        al.simdXor(v),
        al.simdReduce((v % 3) + 2, "prod"),
      ];
      const votes = [al.simdAny(v === 5), al.simdAll(v > -9), al.simdAll(v < 50)].map((b) => al.cast(b, al.i32));
      let mine = al.simdSum(v > 0);
      [...parts, ...votes].forEach((p, i) => {
        mine = al.where(al.laneId() === i, p, mine);
      });
      al.store(z + al.threadId(), mine);
    });
    const group = (g: number): number[] => {
      const v = upTo(32, (i) => g * 32 + i - 8);
      const all = (f: (a: number, b: number) => number): number => v.reduce(f);
      const listed = [
        all((a, b) => a + b),
        Math.min(...v),
        Math.max(...v),
        all((a, b) => a & b),
        all((a, b) => a | b),
        all((a, b) => a ^ b),
        v.map((a) => (a % 3) + 2).reduce((a, b) => Math.imul(a, b)),
        Number(v.includes(5)),
        Number(v.every((a) => a > -9)),
        Number(v.every((a) => a < 50)),
      ];
      return [...listed, ...upTo(22, () => v.filter((a) => a > 0).length)];
    };
    expect(z).toEqual([...group(0), ...group(1)]);
  });
  test("one lane stores for its simdgroup, under a mask and under a condition", () => {
    const { y } = run(
      (al, { x, y }) => {
        const [parts, late] = [al.shared(4), al.shared(4)];
        const [lane, group] = [al.laneId(), al.simdgroupId()];
        const own = al.simdSum(al.load(x + al.threadId()));
        al.store(parts + group, own, { mask: lane === 3 });
        if (lane === 5) {
          const again = al.load(x + 100 + group);
          al.store(late + group, again * 2);
        }
        if (group > 1) al.store(y + 60 + group, al.simdMax(al.load(x + al.threadId())), { mask: lane === 0 });
        al.barrier();
        const t = al.threadId();
        al.store(y + t, al.load(parts + (t & 3)) + al.load(late + (t & 3)), { mask: t < 8 });
      },
      { threads: 128 },
    );
    const at = (i: number): number => i / 2 - 4;
    const sum = (g: number): number => upTo(32, (i) => at(g * 32 + i)).reduce((a, b) => a + b, 0);
    expect(y.slice(0, 8)).toEqual(upTo(8, (t) => sum(t & 3) + 2 * at(100 + (t & 3))));
    expect(y.slice(60)).toEqual([0, 0, at(95), at(127)]);
  });
  test("ballot and prefix sums", () => {
    const { z } = run((al, { n, z }) => {
      const v = al.load(n + al.threadId());
      const before = al.simdPrefixSum(v, { exclusive: true });
      const ballot = al.simdBallot(v % 2 === 0);
      al.store(z + al.threadId(), al.where(al.laneId() === 0, al.bitcast(ballot, al.i32), al.simdPrefixSum(v) * 1000 + before));
    });
    const prefix = (i: number, from: number): number => upTo(i - from, (k) => from + k - 8).reduce((a, b) => a + b, 0);
    expect(z).toEqual(upTo(64, (i) => (i % 32 ? prefix(i + 1, i & 32) * 1000 + prefix(i, i & 32) : 0x55555555)));
  });
  test("8x8 matrices: load, transpose, multiply, store", () => {
    const { y } = run(
      (al, { x, y }) => {
        const a = al.simdLoad(x, { stride: 9 });
        const b = al.simdLoad(x + 2, { stride: 11, transpose: true });
        al.simdStore(y, al.simdMma(a, b, al.simdMma(al.cast(a, al.f16), al.simdMatrix(0.5, al.f16), al.simdMatrix(1))), { stride: 8 });
      },
      { threads: 32 },
    );
    const at = (i: number): number => i / 2 - 4;
    expect(y).toEqual(
      upTo(64, (i) => {
        const [r, c] = [Math.floor(i / 8), i % 8];
        return upTo(8, (k) => at(r * 9 + k) * at(2 + c * 11 + k) + at(r * 9 + k) * 0.5).reduce((a, b) => a + b, 1);
      }),
    );
  });
});

describe("scans and atomics", () => {
  test("scans of tiles", () => {
    const { z } = run(
      (al, { n, z }) => {
        const tile = al.load(n + al.col(al.arange(4)) * 4 + al.row(al.arange(4)));
        const at = z + al.col(al.arange(4)) * 4 + al.row(al.arange(4));
        al.store(at, al.cumsum(tile));
        al.store(at + 16, al.cumsum(tile, { axis: 0, reverse: true, exclusive: true }));
        al.store(at + 32, al.cummax(al.where(tile % 3 === 0, tile, -100), 0));
        al.store(at + 48, al.scan(tile, { kind: "prod", exclusive: true }));
      },
      { threads: 1 },
    );
    const v = (r: number, c: number): number => r * 4 + c - 8;
    const cells = (f: (r: number, c: number) => number): number[] => upTo(16, (i) => f(Math.floor(i / 4), i % 4));
    const sum = (n: number, f: (k: number) => number): number => upTo(n, f).reduce((a, b) => a + b, 0);
    expect(z).toEqual([
      ...cells((r, c) => sum(c + 1, (k) => v(r, k))),
      ...cells((r, c) => sum(3 - r, (k) => v(r + 1 + k, c))),
      ...cells((r, c) => Math.max(...upTo(r + 1, (k) => (v(k, c) % 3 === 0 ? v(k, c) : -100)))),
      ...cells((r, c) => upTo(c, (k) => v(r, k)).reduce((a, b) => a * b, 1)),
    ]);
  });
  test("atomics give the value before", () => {
    const { z, y } = run(
      (al, { y, z }) => {
        const t = al.threadId();
        const ticket = al.atomicAdd(z, 1);
        al.store(z + 1 + ticket, 1);
        al.atomicAdd(y, 0.5, { mask: t < 10 });
        al.atomicMax(y + 1, al.cast(t, al.f32));
        al.atomicMin(y + 2, -t);
        al.atomicOr(z + 62, 1 << (t % 5));
        al.atomicXor(z + 61, t);
        al.atomicCas(z + 60, 0, t + 7);
        al.atomicExchange(z + 59, 3);
      },
      { threads: 32 },
    );
    expect(z.slice(0, 33)).toEqual([32, ...upTo(32, () => 1)]);
    expect(y.slice(0, 3)).toEqual([5, 31, -31]);
    expect(z.slice(59, 63)).toEqual([3, 7, 0, 31]);
  });
});

describe.each([...TESTABLE])("all of these on %s", (isa) => {
  test("as on the interpreter", () => {
    compare(isa, ran);
    expect(ran.length).toBeGreaterThan(15);
  }, 240_000);
});

test.skipIf(!METAL.available)("all of these on the Metal host", () => expect(compareCases(ran).failures).toEqual([]), 120_000);
