/** The shim, as it ships to Macs, from bun:ffi down to kernels that run: on the fake Metal, with the checker watching. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { ptr, toArrayBuffer } from "bun:ffi";
import type { Pointer } from "bun:ffi";
import { METAL_HEADER } from "../../src/runtime/metal/programs.ts";
import { FACT, Shim } from "../../src/runtime/metal/shim.ts";
import { frameworks } from "./frameworks.ts";
import { plan, slots } from "./plans.ts";
import { failure, useShim } from "./shim-harness.ts";

const host = frameworks();
if (!host.available) console.log(host.why);
setDefaultTimeout(120_000);

describe.skipIf(!host.available)("the shim", () => {
  if (!host.available) return;
  const { fake, shim: path } = host;
  const s = useShim(path, fake);

  test("tells facts of the device", () => {
    fake.inject("pressure=2 cores=10");
    const other = new Shim(path);
    const { name, facts } = other.facts();
    expect(name).toBe("Metal host");
    expect(facts[FACT.unified]).toBe(1);
    expect(facts[FACT.family]).toBe(7);
    expect(facts[FACT.threadgroupMemory]).toBe(32768);
    expect(facts[FACT.page]).toBe(16384);
    expect(facts[FACT.cores]).toBe(10);
    expect(facts[FACT.pressure]).toBe(2);
    expect(facts[FACT.osVersion]).toBe(150200);
    expect(facts[FACT.workingSet]).toBeGreaterThan(1 << 30);
    const before = facts[FACT.allocated];
    const b = other.create(1 << 20);
    expect(other.facts().facts[FACT.allocated]).toBe(before + (1 << 20));
    other.free(b.handle);
    expect(other.facts().facts[FACT.allocated]).toBe(before);
    other.close();
  });

  const addThenSum = (barrier: boolean) => {
    const n = 1000;
    const a = s.floats(Array.from({ length: n }, (_, i) => i));
    const b = s.floats(Array.from({ length: n }, () => 2));
    const c = s.floats(new Float32Array(n));
    const out = s.floats([0, 0]);
    const add = { pipeline: s.pipeline("add"), perThread: true, grid: [n], threads: [256], scalars: [n, { f32: 0.5 }] };
    const sum = { pipeline: s.pipeline("sum"), grid: [2], threads: [128], scalars: [n / 2, 0], barrier };
    return { out: out.view, plan: plan({ ...add, buffers: [a.handle, b.handle, c.handle] }, { ...sum, buffers: [c.handle, out.handle] }) };
  };

  test("runs a vector addition and a reduction of its result in one plan", () => {
    const { out, plan: p } = addThenSum(true);
    s.gpu.wait(s.gpu.submit(p, slots()));
    expect([...out]).toEqual([(499 * 500) / 2 + 500, (999 * 1000) / 2 - (499 * 500) / 2 + 500]);
  });

  test("a barrier that is missing between them is found", () => {
    const [code, words] = failure(() => s.gpu.wait(s.gpu.submit(addThenSum(false).plan, slots())));
    expect(code).toBe(-6);
    expect(words).toMatch(/sum/);
    expect(fake.all().join()).toMatch(/race/);
  });

  test("packs grid and scalars as the kernels read them", () => {
    const out = s.floats(new Float32Array(12));
    const words = new Uint32Array(out.view.buffer);
    const p = { pipeline: s.pipeline("args"), perThread: true, grid: [12, 1, 1], threads: [32] };
    const scalars = [-7, { slot: 1 }, { slot: 2, as: "float" as const }, { slot: 2, as: "double" as const }];
    s.gpu.wait(s.gpu.submit(plan({ ...p, buffers: [out.handle], scalars }), slots(0, 0x123456789abcn, { double: 1.5 })));
    expect([...words]).toEqual([12, 1, 1, 0, 0xfffffff9, 0, 0x56789abc, 0x1234, 0x3fc00000, 0, 0, 0x3ff80000]);
  });

  test("reads grids, scalars and addresses from slots at submission", () => {
    const n = 64;
    const a = s.floats(Array.from({ length: n }, (_, i) => i));
    const c = s.floats(new Float32Array(2 * n));
    const values = slots(n, n, { double: 3 }, a.handle, 0, c.handle, 4 * n);
    const scalars = [{ slot: 1 }, { slot: 2, as: "float" as const }];
    const p = plan({
      pipeline: s.pipeline("add"),
      perThread: true,
      grid: [{ slot: 0 }],
      threads: [32],
      scalars,
      buffers: [{ slot: 3 }, { slot: 3 }, { slot: 5, offset: 4 }],
    });
    values[6] = BigInt(4 * n - 4);
    const first = s.gpu.submit(p, values);
    values[2] = 0n;
    s.gpu.wait(first);
    expect(Array.from(c.view.subarray(n))).toEqual(Array.from(a.view, (x) => 4 * x));
    expect(c.view[n - 1]).toBe(0);
  });

  test("skips dispatches without programs, but not their barriers", () => {
    const n = 32;
    const a = s.floats(new Float32Array(n).fill(1));
    const add = {
      pipeline: s.pipeline("add"),
      perThread: true,
      threads: [32],
      scalars: [n, { f32: 1 }],
      buffers: [a.handle, a.handle, a.handle],
    };
    const p = plan(
      { ...add, grid: [n] },
      { ...add, grid: [{ slot: 0 }], barrier: true },
      { ...add, grid: [n, { slot: 1 }] },
      { ...add, grid: [n] },
    );
    s.gpu.wait(s.gpu.submit(p, slots(0, -5)));
    expect([...a.view]).toEqual(Array.from({ length: n }, () => 4));
  });

  test("wraps host memory in place, wherever it starts", () => {
    const memory = new Float32Array(40000);
    const n = 20000;
    // Within a Mac's page of 16 KiB, and beyond its first 4 KiB.
    const start = Array.from({ length: 4096 }, (_, i) => i + 1).find((i) => (ptr(memory) + 4 * i) % 16384 === 8204)!;
    const input = memory.subarray(start, start + n);
    input.fill(1.5);
    const c = s.floats(new Float32Array(n));
    const { handle, offset } = s.gpu.wrap(ptr(input), input.byteLength);
    s.keep(handle);
    s.gpu.resident(handle);
    const wrapped = { handle, offset };
    const p = s.pipeline("add");
    s.run({ pipeline: p, perThread: true, grid: [n], threads: [256], scalars: [n, { f32: 1 }], buffers: [wrapped, wrapped, c.handle] });
    expect(c.view.every((x) => x === 3)).toBe(true);
    s.run({ pipeline: p, perThread: true, grid: [n], threads: [256], scalars: [n, { f32: 1 }], buffers: [c.handle, c.handle, wrapped] });
    expect(input.every((x) => x === 6)).toBe(true);
    expect([memory[start - 1], memory[start + n]]).toEqual([0, 0]);
  });

  test("has buffers without bytes, and zeroed ones", () => {
    const empty = s.gpu.create(0);
    expect(empty.address).toBeGreaterThan(0);
    s.gpu.free(empty.handle);
    for (const bytes of [4, 1000, 1 << 21]) {
      const { handle, address } = s.gpu.create(bytes);
      s.keep(handle);
      expect(new Uint8Array(toArrayBuffer(address as Pointer, 0, bytes)).every((b) => b === 0)).toBe(true);
    }
  });

  test("refuses to wrap what cannot be a buffer", () => {
    fake.inject("max-buffer=65536");
    expect(failure(() => s.gpu.wrap(0, 100))[0]).toBe(-5);
    expect(failure(() => s.gpu.wrap(65536, 0))[0]).toBe(-5);
    expect(failure(() => s.gpu.wrap(65536 + 16, 65536))).toEqual([-5, expect.stringContaining("1 to 65536 can")]);
    expect(failure(() => s.gpu.create(65537))).toEqual([-2, expect.stringContaining("65537 bytes; the largest is 65536")]);
  });

  test("specialises functions by constants", () => {
    const constants = (factor: number, negate: boolean, bias: number, shift: number) => [
      { index: 0, name: "FACTOR", type: "i32" as const, value: factor },
      { index: 1, name: "NEGATE", type: "bool" as const, value: negate },
      { index: 2, name: "BIAS", type: "f32" as const, value: bias },
      { index: 3, name: "SHIFT", type: "u32" as const, value: shift },
    ];
    const a = s.floats([1, 2, 3, 4]);
    const scale = { perThread: true, grid: [4], threads: [4], buffers: [a.handle] };
    const [one, two] = [s.pipeline("scale", constants(-3, true, 0.5, 2)), s.pipeline("scale", constants(2, false, 0, 0))];
    s.run({ ...scale, pipeline: one });
    expect([...a.view]).toEqual([-1.5, 1.5, 4.5, 7.5]);
    s.run({ ...scale, pipeline: two });
    expect([...a.view]).toEqual([-2, 4, 10, 16]);
    expect(failure(() => s.pipeline("scale", constants(1, true, 0, 0).slice(1)))).toEqual([-4, expect.stringContaining("FACTOR")]);
    const wrong = constants(1, true, 0, 0);
    expect(failure(() => s.pipeline("scale", [{ ...wrong[0], type: "u32" }, ...wrong.slice(1)]))[0]).toBe(-4);
    // One that the function does not have.
    s.pipeline("add", constants(1, true, 0, 0));
  });

  test("gives the compiler's words with their line", () => {
    const [code, words] = failure(() =>
      s.gpu.library(`${METAL_HEADER}kernel void k(device float *a [[buffer(0)]]) {\n  a[0] = nonsense;\n}\n`),
    );
    expect(code).toBe(-3);
    expect(words).toMatch(/program_source:4:\d+: error: .*nonsense/);
    expect(failure(() => s.pipeline("absent"))).toEqual([-4, expect.stringContaining("absent")]);
  });

  test("refuses pipelines with more threadgroup memory than there is", () => {
    const big = s.gpu.library(`${METAL_HEADER}kernel void big(device float *a [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  threadgroup float block[8193];
  block[i] = a[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  a[i] = block[i];
}`);
    expect(failure(() => s.gpu.pipeline(big, "big", []))).toEqual([-4, expect.stringContaining("32768")]);
    s.gpu.freeLibrary(big);
  });

  test("refuses malformed plans and commits nothing of them", () => {
    const n = 32;
    const a = s.floats(new Float32Array(n));
    const good = {
      pipeline: s.pipeline("add"),
      perThread: true,
      grid: [n],
      threads: [32],
      buffers: [a.handle, a.handle, a.handle],
      scalars: [n, { f32: 1 }],
    };
    const bad = (change: object): [number, string] =>
      failure(() => s.gpu.submit(plan({ ...good, scalars: [n, { f32: 1 }] }, { ...good, ...change }), slots(1)));
    const cases: [object, RegExp][] = [
      [{ pipeline: 0 }, /Dispatch 1 has no pipeline/],
      [{ grid: [{ slot: 1 }] }, /its grid names slot 1 of 1/],
      [{ grid: [2 ** 32] }, /Dispatch 1: 4294967296 programs of 1 threads on axis 0/],
      [{ grid: [1, 2 ** 27], threads: [1, 32], perThread: false }, /134217728 programs of 32 threads on axis 1/],
      [{ threads: [33, 32] }, /a threadgroup of 33 x 32 x 1 threads; its pipeline allows 1 to 1024/],
      [{ threads: [0] }, /a threadgroup of 0 x 1 x 1 threads/],
      [{ buffers: [0, a.handle, a.handle] }, /buffer 0 is null/],
      [{ buffers: [a.handle, { handle: a.handle, offset: 4 * n + 1 }] }, /buffer 1 has 128 bytes, and offset 129 is beyond/],
      [{ buffers: [{ slot: 0 }] }, /buffer 0 names slots 0 and the next, of 1/],
      [{ buffers: Array.from({ length: 31 }, () => a.handle) }, /has 31 buffers and 2 scalars; 30 and 510 are the most/],
      [{ scalars: [{ slot: 7 }] }, /scalar 0 has tag 1 and value 7 in a plan with 1 slots/],
      [{ scalars: Array.from({ length: 511 }, () => 0) }, /has 3 buffers and 511 scalars/],
    ];
    for (const [change, words] of cases) {
      const [code, said] = bad(change);
      expect(said).toMatch(words);
      expect(code).toBe(-5);
    }
    const { words, count } = plan(good, good);
    for (const end of [0, 1, 7, words.length - 1]) {
      expect(failure(() => s.gpu.submit({ words: words.slice(0, end), count }, slots()))).toEqual([
        -5,
        expect.stringContaining("The plan ends within dispatch"),
      ]);
    }
    expect([...a.view]).toEqual(Array.from({ length: n }, () => 0));
    // As many scalars as can be.
    s.run({ ...good, scalars: Array.from({ length: 510 }, () => 0) });
  });
});
