/** The thread pool and the plan walk: many small dispatches, values that change between runs, empty grids, one and more threads. */
import { afterAll, describe, expect, test } from "bun:test";
import { createDevice, firstDevice, preferredDevices } from "../../src/runtime/index.ts";
import { createCpuDevice } from "../../src/runtime/cpu/device.ts";
import type { Device, Dispatch, Program } from "../../src/runtime/device.ts";

/** x[i * 8 ...] of program i gets `add` more; counts programs, so that one run twice or left out is seen. */
const COUNT = `typedef unsigned int u32; typedef unsigned long long u64;
void count(const u64 *args, u32 begin, u32 end, const u32 *grid) {
  int *x = (int *)args[0]; int add = (int)args[1];
  for (u32 i = begin; i < end; i++) x[i] += add;
}`;
/** Writes x[1] = x[0] + 1 and so on: the order of dispatches matters. */
const CHAIN = `typedef unsigned int u32; typedef unsigned long long u64;
void chain(const u64 *args, u32 begin, u32 end, const u32 *grid) {
  int *x = (int *)args[0]; int from = (int)args[1];
  for (u32 i = begin; i < end; i++) x[(from + 1) * 64 + i] = x[from * 64 + (i + 17) % 64] + 1;
}`;
const FLOATS = `typedef unsigned int u32; typedef unsigned long long u64;
void floats(const u64 *args, u32 begin, u32 end, const u32 *grid) {
  union { u64 u; float f; double d; } a, b; a.u = args[1]; b.u = args[2];
  double *x = (double *)args[0]; x[0] = a.f; x[1] = b.d; x[2] = (double)(long long)args[3]; x[3] = grid[0] * 100 + grid[1] * 10 + grid[2];
}`;

const counter = (d: Device): Program => d.program({ symbol: "count", params: ["ptr", "i32"], text: () => COUNT });

/** The first program that another thread than the caller's takes waits until all others are done; the caller's first waits for that thread. */
const STUCK = `typedef unsigned int u32; typedef unsigned long long u64;
extern unsigned long pthread_self(void); extern int usleep(u32);
void stuck(const u64 *args, u32 begin, u32 end, const u32 *grid) {
  u64 *s = (u64 *)args[0]; /* caller, somebody stuck, done */
  u32 n = end - begin;
  if (pthread_self() == s[0]) while (!__atomic_load_n(&s[1], 5)) usleep(50);
  else if (!__atomic_exchange_n(&s[1], 1, 5)) while (__atomic_load_n(&s[2], 5) < grid[0] - n) usleep(50);
  __atomic_fetch_add(&s[2], n, 5);
}
void caller(const u64 *args, u32 begin, u32 end, const u32 *grid) { ((u64 *)args[0])[0] = pthread_self(); }`;

describe.each([1, 2, 3, 5, 16, 64, 128])("%d threads", (threads) => {
  const d = createCpuDevice({ threads });
  afterAll(() => d.close());

  test("properties", () => {
    expect(d.properties.kind).toBe("cpu");
    expect(d.properties.threads).toBe(threads);
  });

  test("every program of thousands of small dispatches runs once", () => {
    const n = 1000;
    const x = d.allocate(n * 4);
    const view = new Int32Array(x.view().buffer, x.view().byteOffset, n);
    const sizes = [1, 2, 3, 7, 64, 999, n];
    const dispatches: Dispatch[] = Array.from({ length: 3000 }, (_, i) => ({
      program: counter(d),
      grid: [sizes[i % sizes.length], 1, 1],
      args: [x, 1],
      parallel: i % 5 === 4 ? "serial" : undefined,
    }));
    const plan = d.plan(dispatches, 0);
    plan.run();
    plan.run();
    const expected = Array.from({ length: n }, (_, i) => 2 * dispatches.filter((q) => (q.grid[0] as number) > i).length);
    expect([...view]).toEqual(expected);
    plan.free();
    x.free();
  });

  test("a dispatch sees the results of those before it", () => {
    const x = d.allocate(301 * 64 * 4);
    const program = d.program({ symbol: "chain", params: ["ptr", "i32"], text: () => CHAIN });
    const plan = d.plan(
      Array.from({ length: 300 }, (_, i) => ({ program, grid: [64, 1, 1] as const, args: [x, i] })),
      0,
    );
    plan.run();
    expect([...new Int32Array(x.view().buffer, x.view().byteOffset).subarray(300 * 64)]).toEqual(Array.from({ length: 64 }, () => 300));
    plan.free();
    x.free();
  });

  test("slots: grids, integers, floats and pointers", () => {
    const x = d.allocate(4 * 8);
    const program = d.program({ symbol: "floats", params: ["ptr", "f32", "f64", "i64"], text: () => FLOATS });
    const plan = d.plan([{ program, grid: [{ slot: 0 }, 1, { slot: 1 }], args: [{ slot: 2 }, { slot: 3 }, { slot: 3 }, { slot: 4 }] }], 5);
    plan.setPointer({ slot: 2 }, x.address);
    plan.setFloat({ slot: 3 }, 0.1);
    plan.setInt({ slot: 4 }, -5);
    const values = new Float64Array(x.view().buffer, x.view().byteOffset, 4);
    plan.run();
    expect([...values]).toEqual([0, 0, 0, 0]); // slots 0 and 1 are 0: nothing runs
    plan.setInt({ slot: 0 }, 2);
    plan.setInt({ slot: 1 }, 3);
    plan.run();
    expect([...values]).toEqual([Math.fround(0.1), 0.1, -5, 213]);
    plan.free();
    x.free();
  });

  test("submit: order is kept, values may be set for the next run at once", async () => {
    const x = d.allocate(64 * 4);
    const plan = d.plan([{ program: counter(d), grid: [64, 1, 1], args: [x, { slot: 0 }] }], 1);
    plan.setInt({ slot: 0 }, 1);
    const first = plan.submit();
    plan.setInt({ slot: 0 }, 10);
    await Promise.all([first, plan.submit()]);
    expect(new Int32Array(x.view().buffer, x.view().byteOffset)[63]).toBe(11);
    plan.free();
    x.free();
  });

  test("threads that went to sleep come back, again and again", async () => {
    const x = d.allocate(64 * 4);
    const plan = d.plan([{ program: counter(d), grid: [64, 1, 1], args: [x, 1] }], 0);
    for (let i = 0; i < 50; i++) {
      plan.run();
      if (i % 5 === 0) await Bun.sleep(1);
    }
    expect([...new Int32Array(x.view().buffer, x.view().byteOffset, 64)]).toEqual(Array.from({ length: 64 }, () => 50));
    plan.free();
    x.free();
  });

  test.skipIf(threads === 1)("one that stands still holds nobody up: the others do the rest", () => {
    const x = d.allocate(3 * 8);
    const program = (symbol: string): Program => d.program({ symbol, params: ["ptr"], text: () => STUCK });
    const plan = d.plan(
      [
        { program: program("caller"), grid: [1, 1, 1], args: [x] },
        { program: program("stuck"), grid: [1000, 1, 1], args: [x] },
      ],
      0,
    );
    for (let round = 0; round < 10; round++) {
      x.view().fill(0);
      plan.run();
      expect(new BigUint64Array(x.view().buffer, x.view().byteOffset, 3)[2]).toBe(1000n);
    }
    plan.free();
    x.free();
  });

  test("profile has one entry per dispatch", () => {
    const x = d.allocate(64 * 4);
    const plan = d.plan(
      [
        { program: counter(d), grid: [64, 1, 1], args: [x, 1], label: "first" },
        { program: counter(d), grid: [0, 1, 1], args: [x, 1] },
      ],
      0,
    );
    const times = plan.profile();
    expect(times.map((t) => t.label)).toEqual(["first", "count"]);
    for (const t of times) expect(t.ms).toBeGreaterThanOrEqual(0);
    plan.free();
    x.free();
  });
});

test("pools begin and end in every state: never used, just used, asleep, with a plan under way", async () => {
  for (let round = 0; round < 12; round++) {
    const d = createCpuDevice({ threads: [2, 7, 128][round % 3] });
    const x = d.allocate(1000 * 4);
    const plan = d.plan([{ program: counter(d), grid: [1000, 1, 1], args: [x, 1] }], 0);
    if (round % 4 > 0) plan.run();
    if (round % 4 === 2) await Bun.sleep(2);
    const submitted = round % 4 === 3 ? plan.submit() : undefined;
    // It has begun by then.
    if (submitted) await new Promise((begun) => setImmediate(begun));
    d.close();
    await submitted;
    expect(new Int32Array(x.view().buffer, x.view().byteOffset, 1000)[999]).toBe([0, 1, 1, 2][round % 4]);
  }
});

test("idle threads burn no time", async () => {
  const d = createCpuDevice({ threads: 4 });
  const x = d.allocate(4096);
  const plan = d.plan([{ program: counter(d), grid: [1000, 1, 1], args: [x, 1] }], 0);
  plan.run();
  await Bun.sleep(20);
  // The quietest of three looks: the process has other work too, such as collecting what earlier tests left.
  let least = Infinity;
  for (let look = 0; look < 3 && least >= 100; look++) {
    const before = process.cpuUsage();
    await Bun.sleep(300);
    const used = process.cpuUsage(before);
    least = Math.min(least, (used.user + used.system) / 1000);
  }
  expect(least).toBeLessThan(100);
  d.close();
});

test("mistakes in a plan say what they are", () => {
  const d = createCpuDevice({ threads: 1 });
  const x = d.allocate(64);
  expect(() => d.plan([{ program: counter(d), grid: [1, 1, 1], args: [x] }], 0)).toThrow("takes 2 arguments");
  expect(() => d.plan([{ program: counter(d), grid: [1, 1, 1], args: [x, 1.5] }], 0)).toThrow("count takes i32 as argument 1, got 1.5");
  expect(() => d.plan([{ program: counter(d), grid: [-1, 1, 1], args: [x, 1] }], 0)).toThrow("grid axis of -1");
  expect(() => d.plan([{ program: counter(d), grid: [1, 1, 1], args: [x, { slot: 3 }] }], 2)).toThrow("slot 3");
  const huge = d.plan([{ program: counter(d), grid: [1 << 20, 1 << 20, 1], args: [x, 1] }], 0);
  expect(() => huge.run()).toThrow("2^32");
  expect(() => x.slice(60, 8)).toThrow("outside a buffer of 64 bytes");
  expect(() => x.view(0, 65)).toThrow("outside a buffer");
  d.close();
  expect(() => huge.run()).toThrow("closed");
});

test("devices by name", () => {
  expect(() => createDevice("cup")).toThrow('There is no device "cup"');
  if (process.platform === "linux") expect(() => createDevice("metal")).toThrow("There is no Metal on linux");
  expect(() => createDevice("cpu", { threads: 0 })).toThrow("number of threads");
  expect(() => createCpuDevice({ isa: "sse9" })).toThrow("sse9");
});

test("Metal is the default on Apple silicon, and the CPU where there is none", () => {
  expect(preferredDevices("darwin", "arm64")).toEqual(["metal", "cpu"]);
  expect([preferredDevices("darwin", "x64"), preferredDevices("linux", "arm64")]).toEqual([["cpu"], ["cpu"]]);
  // CUDA stands for a device that is not there, on every machine.
  const d = firstDevice(["cuda", "cpu"], { threads: 1 });
  expect(d.properties.kind).toBe("cpu");
  d.close();
  expect(() => firstDevice(["cuda"])).toThrow("not part of this build");
  expect(() => firstDevice(["cup", "cpu"])).toThrow('no device "cup"');
});
