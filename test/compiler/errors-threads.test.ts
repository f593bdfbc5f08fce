/** Mistakes in thread-level kernels, atomics, scans and prints, as their author sees them. */
import { describe, expect, test } from "bun:test";
import type { Signature } from "../../src/compiler/language/index.ts";
import { bf16, bool, dim, f16, f32, functionConstant, i32, i64, kernel, ptr } from "../../src/compiler/language/index.ts";
import type { Threads } from "../../src/compiler/language/kernel.ts";
import { message } from "./error-text.ts";

// oxlint-disable-next-line typescript/no-explicit-any -- the tests write what the types forbid
type Body = (al: any, p: any) => void;

const SIGNATURE = { x: ptr(f32), h: ptr(f16), n: ptr(i32), w: ptr(i64), N: dim } satisfies Signature;
const mistake = (body: Body, threads: Threads | undefined = 64): string =>
  message(() => void kernel("sums", SIGNATURE, body as never, threads === 0 ? {} : { threads }).specialize());

describe("threads", () => {
  test("not declared", () => {
    expect(mistake((al) => al.threadId(), 0)).toMatchInlineSnapshot(`
      "
      kernel sums: al.threadId works in kernels of the thread level only (errors-threads.test.ts:LINE)
        expect(mistake((al) => al.threadId(), 0))
                               ^
      Declare the threads of a threadgroup in kernel's last argument: { threads: 256 } or { threads: [16, 16] }. Then every thread runs the body.
      "
    `);
    expect(mistake((al, { x }) => al.simdSum(al.load(x)), 0)).toMatchInlineSnapshot(`
      "
      kernel sums: al.simdSum works in kernels of the thread level only (errors-threads.test.ts:LINE)
        expect(mistake((al, { x }) => al.simdSum(al.load(x)), 0))
                                      ^
      Declare the threads of a threadgroup in kernel's last argument: { threads: 256 } or { threads: [16, 16] }. Then every thread runs the body.
      "
    `);
    expect(mistake((al) => al.barrier(), 0)).toMatchInlineSnapshot(`
      "
      kernel sums: al.barrier works in kernels of the thread level only (errors-threads.test.ts:LINE)
        expect(mistake((al) => al.barrier(), 0))
                               ^
      Declare the threads of a threadgroup in kernel's last argument: { threads: 256 } or { threads: [16, 16] }. Then every thread runs the body.
      "
    `);
  });
  test("too many, or no sizes", () => {
    expect(mistake(() => {}, [64, 32])).toMatchInlineSnapshot(`
      "
      kernel sums: a threadgroup has at most 1024 threads, got 2048
      Use fewer threads and more threadgroups, or a loop in each thread.
      "
    `);
    expect(mistake(() => {}, 0.5)).toMatchInlineSnapshot(`
      "
      kernel sums: threads must be one to three positive integers, got 0.5
      Write threads: 256 or threads: [16, 16].
      "
    `);
    const both = (): void => void kernel("both", {}, () => {}, { threads: 32, simdgroups: 4 }).specialize();
    expect(message(both)).toMatchInlineSnapshot(`
      "
      kernel both: threads and simdgroups exclude each other
      With threads, a thread-level kernel has its size already.
      "
    `);
    expect(message(() => void kernel("many", {}, () => {}, { simdgroups: 64 }).specialize())).toMatchInlineSnapshot(`
      "
      kernel many: simdgroups must be an integer from 1 to 32, got 64
      It is a hint: leave it out if unsure.
      "
    `);
  });
  test("an axis that does not exist", () => {
    expect(mistake((al) => al.threadId(3))).toMatchInlineSnapshot(`
      "
      kernel sums: al.threadId: threads have axes 0, 1 and 2, got 3 (errors-threads.test.ts:LINE)
        expect(mistake((al) => al.threadId(3)))
                               ^
      "
    `);
  });
  test("no whole simdgroups", () => {
    expect(mistake((al, { x }) => al.simdSum(al.load(x)), 48)).toMatchInlineSnapshot(`
      "
      kernel sums: al.simdSum works on simdgroups of 32 threads, but a threadgroup has 48 (errors-threads.test.ts:LINE)
        expect(mistake((al, { x }) => al.simdSum(al.load(x)), 0))
                                      ^
      Declare a multiple of 32 threads.
      "
    `);
  });
});

describe("operations that threads reach together", () => {
  test("a barrier under a condition that differs", () => {
    expect(
      mistake((al, { x }) => {
        if (al.threadId() < 3) {
          al.store(x, 1);
          al.barrier();
        }
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel sums: al.barrier must be reached by all threads of the threadgroup, but stands in a condition that differs between threads (errors-threads.test.ts:LINE)
        al.barrier();
        ^
      Put only the memory accesses under the condition (or give them a mask) and this operation after it. A return before it counts as a condition too.
      "
    `);
  });
  test("a barrier after some threads have returned", () => {
    expect(
      mistake((al, { x, N }) => {
        const i = al.globalId();
        if (i >= N) return;
        al.store(x + i, 1);
        al.barrier();
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel sums: al.barrier must be reached by all threads of the threadgroup, but stands in a condition that differs between threads (errors-threads.test.ts:LINE)
        al.barrier();
        ^
      Put only the memory accesses under the condition (or give them a mask) and this operation after it. A return before it counts as a condition too.
      "
    `);
  });
  test("a lane operation in a loop that threads leave at different turns", () => {
    expect(
      mistake((al, { x, n }) => {
        let sum = 0;
        for (let i = 0; i < al.load(n + al.threadId()); i++) sum += al.simdSum(al.load(x + i));
        al.store(x + al.threadId(), sum);
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel sums: al.simdSum must be reached by all threads of the simdgroup, but stands in a loop that threads leave at different turns (errors-threads.test.ts:LINE)
        for (let i = 0; i < al.load(n + al.threadId()); i++) sum += al.simdSum(al.load(x + i));
                                                                    ^
      Let the loop run equally often in all threads and mask the work of those that are done.
      "
    `);
  });
  test("a barrier under a condition that differs between simdgroups; lane operations may stand there", () => {
    expect(
      mistake((al) => {
        if (al.simdgroupId() === 0) al.barrier();
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel sums: al.barrier must be reached by all threads of the threadgroup, but stands in a condition that differs between threads (errors-threads.test.ts:LINE)
        if (al.simdgroupId() === 0) al.barrier();
                                    ^
      Put only the memory accesses under the condition (or give them a mask) and this operation after it. A return before it counts as a condition too.
      "
    `);
    const allowed = (): string =>
      mistake((al, { x }) => {
        if (al.simdgroupId() === 0) al.store(x + al.laneId(), al.simdSum(1));
      });
    expect(allowed).toThrow("no error");
  });
});

describe("memory of a threadgroup", () => {
  test("a size that is not compile-time", () => {
    expect(mistake((al, { N }) => al.shared(N))).toMatchInlineSnapshot(`
      "
      kernel sums: the size of al.shared must be an integer known at compile time, got a run-time i32 (errors-threads.test.ts:LINE)
        expect(mistake((al, { N }) => al.shared(N)))
                                      ^
      Use a literal, a constexpr parameter or an al.unroll variable.
      "
    `);
    expect(mistake((al, { N }) => al.local([4, N]))).toMatchInlineSnapshot(`
      "
      kernel sums: the size of al.local must be an integer known at compile time, got a run-time i32 (errors-threads.test.ts:LINE)
        expect(mistake((al, { N }) => al.local([4, N])))
                                      ^
      Use a literal, a constexpr parameter or an al.unroll variable.
      "
    `);
  });
  test("too much", () => {
    expect(mistake((al) => al.shared(9000))).toMatchInlineSnapshot(`
      "
      kernel sums: al.shared: 36000 bytes, a threadgroup has 32768 (errors-threads.test.ts:LINE)
        expect(mistake((al) => al.shared(9000)))
                               ^
      Use smaller blocks or a smaller type, or work in several rounds.
      "
    `);
    expect(
      mistake((al) => {
        al.shared([64, 64]);
        al.shared([64, 96], al.f16);
        al.shared([128, 32]);
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel sums: al.shared: 16384 bytes, 45056 with what was declared before, a threadgroup has 32768 (errors-threads.test.ts:LINE)
        al.shared([128, 32]);
        ^
      Use smaller blocks or a smaller type, or work in several rounds.
      "
    `);
    expect(mistake((al) => al.local(5000))).toMatchInlineSnapshot(`
      "
      kernel sums: al.local: 20000 bytes, a thread has 16384 (errors-threads.test.ts:LINE)
        expect(mistake((al) => al.local(5000)))
                               ^
      Use smaller blocks or a smaller type, or work in several rounds.
      "
    `);
  });
  test("of a program", () => {
    expect(mistake((al) => al.local(70_000), 0)).toContain("al.local: 280000 bytes, a program has 262144");
    expect(mistake((al) => al.shared(8), 0)).toContain("al.shared works in kernels of the thread level only");
  });
  test("declared in a loop", () => {
    expect(
      mistake((al, { N }) => {
        for (let i = 0; i < N; i++) al.shared(32);
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel sums: al.shared stands inside a run-time loop or condition (errors-threads.test.ts:LINE)
        for (let i = 0; i < N; i++) al.shared(32);
                                    ^
      Declare memory at the top of the kernel: it exists once, for the whole run of the body.
      "
    `);
  });
  test("blocks", () => {
    expect(mistake((al, { x }) => al.cooperativeLoad(x, x, { cols: 8 }))).toMatchInlineSnapshot(`
      "
      kernel sums: argument 1 of al.cooperativeLoad must point to shared memory (errors-threads.test.ts:LINE)
        expect(mistake((al, { x }) => al.cooperativeLoad(x, x, { cols: 8 })))
                                                         ^
      Declare it: const block = al.shared([rows, cols]).
      "
    `);
    expect(mistake((al, { x }) => al.cooperativeLoad(al.shared(64), x, { rows: 8 }))).toMatchInlineSnapshot(`
      "
      kernel sums: al.cooperativeLoad needs the option cols (errors-threads.test.ts:LINE)
        expect(mistake((al, { x }) => al.cooperativeLoad(al.shared(64), x, { rows: 8 })))
                                      ^
      Give { rows, cols, stride }: the block's size and the distance of the source's rows.
      "
    `);
    expect(mistake((al, { x }) => al.cooperativeLoad(al.shared(64), x, { rows: 8, columns: 8 }))).toMatchInlineSnapshot(`
      "
      kernel sums: al.cooperativeLoad has no option columns (errors-threads.test.ts:LINE)
        expect(mistake((al, { x }) => al.cooperativeLoad(al.shared(64), x, { rows: 8, columns: 8 })))
                                      ^
      Its options are rows, cols, stride, pitch, validRows, validCols, other.
      "
    `);
  });
  test("a barrier for unknown memory", () => {
    expect(mistake((al) => al.barrier({ memory: "global" }))).toMatchInlineSnapshot(`
      "
      kernel sums: option memory of al.barrier must be "shared", "device" or "both", got "global" (errors-threads.test.ts:LINE)
        expect(mistake((al) => al.barrier({ memory: "global" })))
                               ^
      Left out, it is both.
      "
    `);
  });
});

describe("lanes", () => {
  test("64-bit values", () => {
    expect(mistake((al, { w }) => al.simdShuffleXor(al.load(w), 1))).toMatchInlineSnapshot(`
      "
      kernel sums: al.simdShuffleXor does not work on i64: lanes exchange 32 bits (errors-threads.test.ts:LINE)
        expect(mistake((al, { w }) => al.simdShuffleXor(al.load(w), 1)))
                                                        ^
      Cast to a 32-bit type, or take the halves one by one.
      "
    `);
  });
  test("bits of floats", () => {
    expect(mistake((al, { x }) => al.simdXor(al.load(x)))).toMatchInlineSnapshot(`
      "
      kernel sums: al.simdXor works on integers, got a run-time f32 (errors-threads.test.ts:LINE)
        expect(mistake((al, { x }) => al.simdXor(al.load(x))))
                                                 ^
      Reinterpret the bits with al.bitcast(x, al.u32).
      "
    `);
  });
  test("an unknown kind of reduction", () => {
    expect(mistake((al, { x }) => al.simdReduce(al.load(x), "average"))).toMatchInlineSnapshot(`
      "
      kernel sums: the kind of al.simdReduce must be one of sum, prod, min, max, and, or, xor, any, all, got "average" (errors-threads.test.ts:LINE)
        expect(mistake((al, { x }) => al.simdReduce(al.load(x), "average")))
                                      ^
      "
    `);
  });
  test("matrices", () => {
    expect(mistake((al) => al.simdMma(al.zeros([8, 8]), al.simdMatrix()))).toMatchInlineSnapshot(`
      "
      kernel sums: argument 1 of al.simdMma must be a thread's part of an 8x8 matrix, got a tile f32[8,8] (errors-threads.test.ts:LINE)
        expect(mistake((al) => al.simdMma(al.zeros([8, 8]), al.simdMatrix())))
                                          ^
      Make it with al.simdLoad or al.simdMatrix.
      "
    `);
    expect(mistake((al) => al.simdMma(al.simdMatrix(0, al.i32), al.simdMatrix(0, al.i32)))).toMatchInlineSnapshot(`
      "
      kernel sums: al.simdMma multiplies f16, bf16 or f32 matrices, got i32 (errors-threads.test.ts:LINE)
        expect(mistake((al) => al.simdMma(al.simdMatrix(0, al.i32), al.simdMatrix(0, al.i32))))
                               ^
      Cast them, or use al.dot4 for bytes.
      "
    `);
  });
});

describe("atomics, scans, prints", () => {
  test("types without atomics", () => {
    expect(mistake((al, { h }) => al.atomicAdd(h, 1), 0)).toMatchInlineSnapshot(`
      "
      kernel sums: al.atomicAdd does not work on f16 (errors-threads.test.ts:LINE)
        expect(mistake((al, { h }) => al.atomicAdd(h, 1), 0))
                                                   ^
      It works on pointers to i32, u32, f32, i64, u64: declare h as one of these.
      "
    `);
    expect(mistake((al, { x }) => al.atomicOr(x, 1), 0)).toMatchInlineSnapshot(`
      "
      kernel sums: al.atomicOr does not work on f32 (errors-threads.test.ts:LINE)
        expect(mistake((al, { x }) => al.atomicOr(x, 1), 0))
                                                  ^
      It works on pointers to i32, u32, i64, u64: declare x as one of these.
      "
    `);
    expect(mistake((al) => al.atomicAdd(al.local(4), 1))).toMatchInlineSnapshot(`
      "
      kernel sums: al.atomicAdd on local memory: no other thread sees it (errors-threads.test.ts:LINE)
        expect(mistake((al) => al.atomicAdd(al.local(4), 1)))
                                            ^
      Load, change and store it, or declare it with al.shared.
      "
    `);
  });
  test("a value that is larger than the addresses", () => {
    expect(mistake((al, { x }) => al.atomicAdd(x, al.arange(8)), 0)).toMatchInlineSnapshot(`
      "
      kernel sums: the value of al.atomicAdd has shape [8], the addresses [] (errors-threads.test.ts:LINE)
        expect(mistake((al, { x }) => al.atomicAdd(x, al.arange(8)), 0))
                                      ^
      Add a tile of offsets to the pointer: one address per element.
      "
    `);
  });
  test("a scan of a scalar, of an unknown kind, along no axis", () => {
    expect(mistake((al, { x }) => al.cumsum(al.load(x)))).toMatchInlineSnapshot(`
      "
      kernel sums: al.cumsum runs along an axis of a tile, got a run-time f32 (errors-threads.test.ts:LINE)
        expect(mistake((al, { x }) => al.cumsum(al.load(x))))
                                                ^
      Among threads: al.simdPrefixSum.
      "
    `);
    expect(mistake((al) => al.scan(al.arange(8), { kind: "mean" }))).toMatchInlineSnapshot(`
      "
      kernel sums: option kind of al.scan must be one of sum, prod, max, min, got "mean" (errors-threads.test.ts:LINE)
        expect(mistake((al) => al.scan(al.arange(8), { kind: "mean" })))
                               ^
      "
    `);
    expect(mistake((al) => al.cumsum(al.arange(8), 1))).toMatchInlineSnapshot(`
      "
      kernel sums: al.cumsum: axis 1 of a tile with 1 axes (errors-threads.test.ts:LINE)
        expect(mistake((al) => al.cumsum(al.arange(8), 1)))
                               ^
      Axes count from 0, or from the end with -1.
      "
    `);
    expect(mistake((al, { N }) => al.cumsum(al.arange(8), { reverse: N > 2 }))).toMatchInlineSnapshot(`
      "
      kernel sums: option reverse of al.cumsum must be true or false, known at compile time, got a run-time bool (errors-threads.test.ts:LINE)
        expect(mistake((al, { N }) => al.cumsum(al.arange(8), { reverse: N > 2 })))
                                      ^
      "
    `);
  });
  test("a print without a label, or of too much", () => {
    expect(mistake((al, { x }) => al.print(al.load(x)))).toMatchInlineSnapshot(`
      "
      kernel sums: argument 1 of al.print must be a label, got a run-time f32 (errors-threads.test.ts:LINE)
        expect(mistake((al, { x }) => al.print(al.load(x))))
                                               ^
      Write al.print("x", x).
      "
    `);
    expect(mistake((al) => al.print("all", al.zeros(2048)))).toMatchInlineSnapshot(`
      "
      kernel sums: al.print shows at most 1024 elements at once, got 2048 (errors-threads.test.ts:LINE)
        expect(mistake((al) => al.print("all", al.zeros(2048))))
                               ^
      Print a slice, or a sum.
      "
    `);
  });
});

test("function constants", () => {
  const flagged = kernel("flagged", { y: ptr(f32), flag: functionConstant(bool, true), k: functionConstant(i32, 3) }, () => {});
  expect(message(() => void flagged.specialize({ flag: 1 }))).toMatchInlineSnapshot(`
    "
    kernel flagged: function constant flag is bool, got 1
    Give a value of bool.
    "
  `);
  expect(message(() => void flagged.specialize({ k: 0.5 }))).toMatchInlineSnapshot(`
    "
    kernel flagged: function constant k is i32, got 0.5
    Give a value of i32.
    "
  `);
  expect(message(() => void functionConstant(bf16 as never, 1))).toMatchInlineSnapshot(`
    "
    functionConstant(bf16) is not possible
    Use one of bool, i32, u32, f32 and cast in the body.
    "
  `);
  const shape = kernel("shape", { y: ptr(f32), k: functionConstant(i32, 3) }, (al, { k }) => al.zeros(k) as never);
  expect(message(() => void shape.specialize())).toMatchInlineSnapshot(`
    "
    kernel shape: the shape of al.zeros must be an integer known at compile time, got a run-time i32 (errors-threads.test.ts:LINE)
      const shape = kernel("shape", { y: ptr(f32), k: functionConstant(i32, 3) }, (al, { k }) => al.zeros(k) as never);
                                                                                                 ^
    Use a literal, a constexpr parameter or an al.unroll variable.
    "
  `);
});
