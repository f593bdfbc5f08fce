/** What the interpreter finds in thread-level kernels while it runs them. */
import { describe, expect, test } from "bun:test";
import { interpret } from "../../../src/compiler/ir/interpret.ts";
import { parse } from "../../../src/compiler/ir/parse.ts";
import { message } from "../error-text.ts";
import type { Body, Setup } from "./run.ts";
import { run } from "./run.ts";

const mistake = (body: Body, setup: Setup = {}): string => message(() => run(body, setup));

describe("races", () => {
  test("a store that another thread reads before a barrier", () => {
    expect(
      mistake((al, { x, y }) => {
        const tile = al.shared(64);
        const t = al.threadId();
        al.store(tile + t, al.load(x + t));
        al.store(y + t, al.load(tile + ((t + 1) % 64)));
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel test: load of tile[1], which was never written (program 0, 0, 0, thread 0)
        al.store(y + t, al.load(tile + (t + 1) % 64));
      Store to it first (with al.barrier() between, if another thread does): declared memory holds nothing.
      "
    `);
  });
  test("no barrier before the tile is written again", () => {
    expect(
      mistake((al, { x, y }) => {
        const tile = al.shared(64);
        const t = al.threadId();
        let sum = 0;
        for (let i = 0; i < 3; i++) {
          al.store(tile + t, al.load(x + t + i));
          al.barrier({ memory: "shared" });
          sum += al.load(tile + (63 - t));
        }
        al.store(y + t, sum);
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel test: load of tile[31] races with the store of thread 31 (line 5): no barrier between them (program 0, 0, 0, thread 32)
        sum += al.load(tile + (63 - t));
      Put al.barrier() between the two, let one thread do it, or use an atomic.
      "
    `);
  });
  test("all threads store one element of device memory", () => {
    expect(mistake((al, { y }) => al.store(y, al.threadId()))).toMatchInlineSnapshot(`
      "
      kernel test: store of y[0] races with the store of thread 0 (line 1): no barrier between them (program 0, 0, 0, thread 1)
        (al, { y }) => al.store(y, al.threadId())
      Put al.barrier() between the two, let one thread do it, or use an atomic.
      "
    `);
  });
  test("a barrier for shared memory does not order device memory", () => {
    expect(
      mistake((al, { y }) => {
        const t = al.threadId();
        al.store(y + t, 1);
        al.barrier({ memory: "shared" });
        al.store(y + t, al.load(y + (t ^ 1)));
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel test: load of y[1] races with the store of thread 1 (line 3): no barrier between them (program 0, 0, 0, thread 0)
        al.store(y + t, al.load(y + (t ^ 1)));
      Put al.barrier() between the two, let one thread do it, or use an atomic.
      "
    `);
  });
  test("atomic and plain access", () => {
    expect(
      mistake((al, { z }) => {
        al.atomicAdd(z, 1);
        if (al.threadId() === 3) al.store(z, 0);
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel test: store of z[0] races with the atomic of thread 0 (line 2): no barrier between them (program 0, 0, 0, thread 3)
        al.store(z, 0);
      Put al.barrier() between the two, let one thread do it, or use an atomic.
      "
    `);
  });
  test("threadgroups", () => {
    expect(mistake((al, { y }) => al.store(y + al.threadId(), al.programId()), { grid: [2] })).toMatchInlineSnapshot(`
      "
      kernel test: store of y[0] races with threadgroup number 0, which accesses it too (program 1, 0, 0, thread 0)
        (al, { y }) => al.store(y + al.threadId(), al.programId())
      Nothing orders threadgroups of one launch: use an atomic, or two launches.
      "
    `);
  });
  test("a simdgroup barrier orders its own threads only", () => {
    const neighbours: Body = (al, { x, y, other }) => {
      const tile = al.shared(64);
      const t = al.threadId();
      al.store(tile + t, al.load(x + t));
      al.simdBarrier();
      al.store(y + t, al.load(tile + (t ^ other)));
    };
    expect(run(neighbours, { uses: { other: 31 } }).y[0]).toBe(11.5);
    expect(mistake(neighbours, { uses: { other: 32 } })).toMatchInlineSnapshot(`
      "
      kernel test: load of tile[32] races with the store of thread 32 (line 3): no barrier between them (program 0, 0, 0, thread 0)
        al.store(y + t, al.load(tile + (t ^ other)));
      Put al.barrier() between the two, let one thread do it, or use an atomic.
      "
    `);
  });
});

describe("memory", () => {
  test("shared and local memory that was never written", () => {
    expect(
      mistake((al, { y }) => {
        const tile = al.shared(64);
        al.store(tile + al.threadId(), 1, { mask: al.threadId() < 60 });
        al.barrier();
        al.store(y + al.threadId(), al.load(tile + al.threadId()));
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel test: load of tile[60], which was never written (program 0, 0, 0, thread 60)
        al.store(y + al.threadId(), al.load(tile + al.threadId()));
      Store to it first (with al.barrier() between, if another thread does): declared memory holds nothing.
      "
    `);
    expect(
      mistake((al, { y }) => {
        const own = al.local(2);
        al.store(own, 1);
        al.store(y + al.threadId(), al.load(own + 1));
      }),
    ).toMatchInlineSnapshot(`
      "
      kernel test: load of own[1], which was never written (program 0, 0, 0, thread 0)
        al.store(y + al.threadId(), al.load(own + 1));
      Store to it first (with al.barrier() between, if another thread does): declared memory holds nothing.
      "
    `);
  });
  test("outside", () => {
    expect(
      mistake(
        (al) => {
          const tile = al.shared([4, 8]);
          al.store(tile + al.threadId(0) + 8 * al.threadId(1), 1);
        },
        { threads: [8, 8] },
      ),
    ).toMatchInlineSnapshot(`
      "
      kernel test: store of tile[32] is outside its 32 elements (program 0, 0, 0, thread 0, 4, element 0 of the tile)
        al.store(tile + al.threadId(0) + 8 * al.threadId(1), 1);
      Give the access a mask that is false outside the buffer, or pass a larger buffer.
      "
    `);
  });
});

// The front end refuses such kernels, so this is IR as an emitter's bug or a pass might leave it.
describe("operations that not all threads reach", () => {
  const kernel = (body: string): string => `kernel k {}
  threads [64, 1, 1]
  param y: out f32
{
  %t.0: i32 = threadId {axis = 0}
  %1: i32 = const {value = 40}
  %2: bool = lt %t.0, %1
  if %2 () {
    ${body}
    yield
  } () {
    yield
  }
  barrier {scope = "both"} @3:0
}`;
  test("a barrier, a lane operation", () => {
    const text = (body: string): string =>
      message(() => interpret(parse(kernel(body), "a\n  al.barrier(1);\n  al.barrier(2);"), [1], { y: new Float32Array(1) }));
    expect(text(`barrier {scope = "both"} @2:0`)).toMatchInlineSnapshot(`
      "
      kernel k: barrier in line 2 must be reached by all threads of the threadgroup: program 0, 0, 0, thread 0 waits there, thread 40 waits at barrier in line 3
        al.barrier(1);
      Keep operations that threads do together out of conditions and loops in which threads differ.
      "
    `);
    expect(text(`%3: i32 = simdReduce %t.0 {kind = "sum"} @2:0`)).toMatchInlineSnapshot(`
      "
      kernel k: simdReduce in line 2 must be reached by all threads of the simdgroup: program 0, 0, 0, thread 32 waits there, thread 40 waits at barrier in line 3
        al.barrier(1);
      Keep operations that threads do together out of conditions and loops in which threads differ.
      "
    `);
  });
});
