/** What is particular to the CPU: atomics between threads of the pool, local memory limits, the compiler of last resort, kept function constants. */
import { CFunction, ptr as address } from "bun:ffi";
import type { Pointer } from "bun:ffi";
import { describe, expect, test } from "bun:test";
import { emitC } from "../../../src/compiler/emit/c/index.ts";
import { interpret } from "../../../src/compiler/ir/interpret.ts";
import { print } from "../../../src/compiler/ir/print.ts";
import { verify } from "../../../src/compiler/ir/verify.ts";
import { bool, dim, f32, functionConstant, i32, i64, kernel, out, ptr, u32 } from "../../../src/compiler/language/index.ts";
import { tinyUnit } from "../../../src/runtime/cpu/cc.ts";
import { message } from "../error-text.ts";
import type { Case } from "../emit-c/harness.ts";
import { compare, device, Make, program, Random, randomArray, seed, TESTABLE } from "../emit-c/harness.ts";

console.log(`threads on the CPU: seed ${seed} (ALLOY_TEST_SEED)`);

const counters = kernel("counters", { x: ptr(f32), sums: ptr(f32), ints: ptr(i32), wide: ptr(i64) }, (al, { x, sums, ints, wide }) => {
  const i = al.programId() * 64 + al.arange(64);
  const v = al.load(x + i);
  const same = al.zeros(64, al.i32);
  al.atomicAdd(sums + (i & 7), v);
  al.atomicMax(sums + 8 + same, v);
  al.atomicMin(sums + 9 + same, v);
  al.atomicAdd(ints + same, 1);
  al.atomicMax(ints + 1 + same, i, { mask: i < 1000 });
  al.atomicXor(ints + 2 + (i & 3), i);
  al.atomicAdd(wide + same, al.cast(i, al.i64) << 20);
  // A lock-free sum by compare and exchange: each element retries until nobody came between.
  let waiting = al.full([64], true, al.bool);
  while (al.any(waiting)) {
    const seen = al.load(ints + 6 + (i & 1));
    const was = al.atomicCas(ints + 6 + (i & 1), seen, seen + 1, { mask: waiting });
    waiting = al.where(was === seen, false, waiting);
  }
});

describe.each([...TESTABLE])("on %s", (isa) => {
  test("atomics of programs that run side by side lose nothing", () => {
    const d = device(isa);
    const groups = 400;
    const n = groups * 64;
    const x = Float32Array.from({ length: n }, (_, i) => (i % 37) - 18);
    const buffers = [x, new Float32Array(10), new Int32Array(8), new BigInt64Array(1)].map((a) => {
      const b = d.allocate(a.byteLength);
      b.view().set(new Uint8Array(a.buffer));
      return b;
    });
    const plan = d.plan([{ program: program(d, counters.specialize()), grid: [groups, 1, 1], args: buffers }], 0);
    plan.run();
    plan.free();
    const read = <T>(k: number, make: new (b: ArrayBuffer) => T): T => new make(buffers[k].view().slice().buffer as ArrayBuffer);
    const sums = Array.from({ length: 8 }, (_, k) => x.reduce((s, v, i) => (i % 8 === k ? s + v : s), 0));
    expect([...read(1, Float32Array)]).toEqual([...sums, 18, -18]);
    const xor = (k: number): number => Array.from({ length: n / 4 }, (_, i) => i * 4 + k).reduce((a, b) => a ^ b);
    expect([...read(2, Int32Array)]).toEqual([n, 999, xor(0), xor(1), xor(2), xor(3), n / 2, n / 2]);
    expect(read(3, BigInt64Array)[0]).toBe(BigInt((n * (n - 1)) / 2) << 20n);
    for (const b of buffers) b.free();
  }, 120_000);

  test("scans along every axis, of every type", () => {
    const r = new Random(seed);
    const cases: Case[] = [];
    for (const dtype of ["i32", "u32", "i64", "u64", "f32", "f64"] as const) {
      for (const shape of [[7], [40], [5, 9], [3, 4, 8], [600], [70, 33]]) {
        const m = new Make();
        const x = m.loadTile(m.ptr("x", dtype), shape);
        const attrs = {
          kind: r.pick(["sum", "prod", "max", "min"]),
          axis: r.int(0, shape.length - 1),
          reverse: r.next() < 0.5,
          exclusive: r.next() < 0.5,
        };
        m.storeTile(m.ptr("y", dtype, true), m.one("scan", [x], attrs));
        const n = shape.reduce((a, b) => a * b, 1) * 2;
        const args: Case["args"] = {
          x: randomArray(r, dtype, n, 1, attrs.kind !== "sum" && attrs.kind !== "prod"),
          y: randomArray(r, dtype, n),
        };
        cases.push({
          ir: m.finish(`scan_${dtype}_${cases.length}`, {}),
          grid: [2, 1, 1],
          args,
          ulp: 4,
          absolute: dtype === "f32" ? 1e-4 : 1e-9,
        });
      }
    }
    compare(isa, cases);
  }, 120_000);
});

const everything = kernel(
  "everything",
  { x: ptr(f32), y: out(f32), bins: ptr(u32), n: dim },
  (al, { x, y, bins, n }) => {
    const block = al.shared(64);
    const t = al.threadId();
    const v = al.load(x + t);
    al.store(block + t, v);
    al.barrier();
    let sum = al.simdPrefixSum(v) + al.simdShuffle(v, al.load(bins + (t & 3)));
    for (let i = 0; i < t % n; i++) sum += al.load(block + (63 - t));
    al.atomicAdd(bins + 4 + (t & 3), 1);
    al.atomicMax(y + 64, sum);
    const a = al.simdLoad(block);
    al.store(y + t, sum + al.sum(al.simdMma(a, a)));
  },
  { threads: 64 },
);

test("the compiler of last resort understands all of it", () => {
  const run = tinyUnit(emitC(everything.specialize(), "scalar", "everything"), ["everything"]).lookup("everything");
  const make = (): { x: Float32Array; y: Float32Array; bins: Uint32Array; n: number } => ({
    x: Float32Array.from({ length: 64 }, (_, i) => (i % 9) - 3),
    y: new Float32Array(65),
    bins: Uint32Array.from({ length: 8 }, (_, i) => i * 9),
    n: 5,
  });
  const [wanted, got] = [make(), make()];
  interpret(everything.specialize(), [1], wanted as never);
  const words = new BigUint64Array([BigInt(address(got.x)), BigInt(address(got.y)), BigInt(address(got.bins)), BigInt(got.n)]);
  CFunction({ ptr: run as Pointer, args: ["ptr", "u32", "u32", "ptr"], returns: "void" })(words, 0, 1, new Uint32Array([1, 1, 1]));
  expect([...got.y]).toEqual([...wanted.y]);
  expect([...got.bins]).toEqual([...wanted.bins]);
});

test("a threadgroup that needs too much local memory", () => {
  const k = kernel(
    "large",
    { y: ptr(f32) },
    (al, { y }) => {
      const own = al.local(1024);
      const t = al.threadId();
      for (let i = 0; i < 1024; i++) al.store(own + i, i);
      al.store(y + t, al.load(own + t));
    },
    { threads: 1024 },
  );
  expect(message(() => emitC(k.specialize(), "scalar"))).toMatchInlineSnapshot(`
    "
    kernel large: its tiles need more than 768 KiB of local memory on a CPU
    Use fewer threads, or less shared and local memory and smaller tiles in each.
    "
  `);
});

type Given = Record<string, number | boolean>;

test("function constants: folded and kept give the same, and one symbol serves all values", () => {
  const k = kernel(
    "scaled",
    { x: ptr(f32), y: out(f32), twice: functionConstant(bool, true), k: functionConstant(i32, 3) },
    (al, { x, y, twice, k }) => {
      const i = al.programId();
      al.store(y + i, al.load(x + i) * (twice ? k * 2 : k));
    },
  );
  expect(k.symbol({ k: 5 })).toBe("scaled__twiceT_k5");
  expect(k.symbol({ k: 5 }, { keepConstants: true })).toBe("scaled");
  const text = (given: Given): string => print(k.specialize(given, { keepConstants: true })).replace(/value = \w+|\{twice.*/g, "");
  expect(text({ k: 5, twice: false })).toBe(text({}));
  for (const given of [{}, { k: 5 }, { twice: false }] as Given[]) {
    const results = [false, true].map((keepConstants) => {
      const ir = k.specialize(given, { keepConstants });
      verify(ir);
      expect(ir.params.some((p) => p.kind === "constant")).toBe(keepConstants);
      const y = new Float32Array(2);
      interpret(ir, [2], { x: Float32Array.of(1, 10), y });
      return [...y];
    });
    expect(results[0]).toEqual(results[1]);
    expect(results[0][0]).toBe(Number(given.k ?? 3) * (given.twice === false ? 1 : 2));
  }
});
