/** When things run, what memory they take, launches of kernels among lazy buffers, and mistakes. */
import { describe, expect, test } from "bun:test";
import { useDevice } from "../../src/compiler/default-device.ts";
import { InterpreterDevice } from "../../src/compiler/interpreter-device.ts";
import { bf16, dim, f32, fn, kernel, out, ptr } from "../../src/compiler/language/index.ts";
import { attention, buffer, crossEntropy, dot, evaluate, LazyBuffer, rmsNorm, softmax, type LazyOperand } from "../../src/lazy/index.ts";
import { DEVICES, on } from "./devices.ts";

const PATIENCE = 300_000;

/** y = 2x and z = -x, n elements. */
const twoWays = kernel(
  "lazy_two_ways",
  { x: ptr(f32), y: out(f32, (a) => (a.x as { length: number }).length), z: out(f32, (a) => (a.x as { length: number }).length), n: dim },
  (al, { x, y, z, n }) => {
    const i = al.programId(0) * 8 + al.arange(8);
    const v = al.load(x + i, { mask: i < n });
    al.store(y + i, v * 2, { mask: i < n });
    al.store(z + i, -v, { mask: i < n });
  },
);

const inPlace = kernel("lazy_in_place", { x: ptr(f32), y: out(f32) }, (al, { x, y }) => {
  al.store(x + al.programId(0), 1);
  al.store(y + al.programId(0), 1);
});

describe.each(DEVICES)("lazy buffers on $name", ({ device }) => {
  const check = (name: string, f: () => Promise<void>) => test(name, () => on(device, f), PATIENCE);

  check("arrays are copied, results too", async () => {
    const array = Float32Array.of(1, 2);
    const x = buffer(array);
    array[0] = 9;
    const first = await x.read();
    expect([...(first as Float32Array)]).toEqual([1, 2]);
    first[0] = 7;
    expect(await x.array()).toEqual([1, 2]);
  });

  check("a result is computed once, whoever reads it and when", async () => {
    const y = buffer(Float32Array.of(1, 2)).add(1);
    const [a, b] = await Promise.all([y.array(), y.array()]);
    expect([a, b]).toEqual([
      [2, 3],
      [2, 3],
    ]);
    expect(y.explain().dispatches).toEqual([]);
    expect(y.explain().toString()).toContain("nothing to run");
    // What builds on it starts from the result.
    expect(
      y
        .mul(2)
        .explain()
        .dispatches.map((d) => d.operations),
    ).toEqual([["mul"]]);
  });

  check("temporary memory is used again along a chain", async () => {
    const x = buffer(new Float32Array(32 * 32).fill(0.01), [32, 32]);
    let y = x;
    for (let i = 0; i < 10; i++) y = dot(y, x);
    expect(y.explain().dispatches).toHaveLength(10);
    expect(y.explain().temporaryBytes).toBe(2 * 32 * 32 * 4);
    expect(((await y.array()) as number[][])[3][4]).toBeCloseTo(0.01 * 0.32 ** 10, 8);
  });

  check("a kernel's launch takes and gives lazy buffers, and runs once", async () => {
    const x = buffer(Float32Array.of(1, 2, 3)).add(1);
    const { y, z } = twoWays.grid(1)({ x, n: 3 });
    expect([y.shape, y.dtype]).toEqual([[3], "f32"]);
    const sum = y.add(z).exp();
    expect(sum.explain().dispatches.map((d) => d.operations.join(" "))).toEqual(["add", "lazy_two_ways", "add exp"]);
    expect(await sum.log().round().array()).toEqual([2, 3, 4]);
    expect(z.explain().dispatches).toEqual([]);
    expect(await z.array()).toEqual([-2, -3, -4]);
    // Plain arrays may stand among the arguments, and a launch without lazy ones is as ever.
    expect((await twoWays.grid(1)({ x: Float32Array.of(5), n: 1 })).y).toEqual(Float32Array.of(10));
  });

  check("free gives memory back, and using the buffer is an error", async () => {
    const x = buffer(Float32Array.of(1, 2));
    const y = x.add(1);
    x.free();
    await expect(y.read()).rejects.toThrow("used after free()");
    await expect(x.read()).rejects.toThrow("shape [2] is used after free()");
  });

  check("a long chain", async () => {
    let x = buffer(Float32Array.of(0));
    for (let i = 0; i < 300; i++) x = x.add(1);
    expect(x.explain().dispatches.length).toBeLessThan(8);
    expect(await x.array()).toEqual([300]);
  });

  check("reshape shares memory; bf16 comes as numbers in array()", async () => {
    const x = buffer(Uint16Array.of(0x3f80, 0x4000, 0x4040, 0x4080), { shape: [4], dtype: bf16 });
    const y = x.reshape(2, -1);
    expect(y.explain().dispatches).toEqual([]);
    expect(await y.array()).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(await y.add(1).reshape(4).array()).toEqual([2, 3, 4, 5]);
  });
});

test("memory of forgotten buffers is taken again", async () => {
  let allocated = 0;
  class Counting extends InterpreterDevice {
    override allocate(bytes: number) {
      allocated += bytes;
      return super.allocate(bytes);
    }
  }
  await on(new Counting(), async () => {
    for (let i = 0; i < 200; i++) {
      await buffer(new Float32Array(50_000)).reshape(1, 50_000).max().read();
      if (i % 20 === 0) {
        Bun.gc(true);
        await Bun.sleep(1);
      }
    }
  });
  expect(allocated).toBeLessThan(100 * 200_000);
}, 120_000);

describe("mistakes", () => {
  const x = (...shape: number[]) => buffer(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape);

  test.each<[string, () => unknown, string]>([
    ["shapes", () => x(2, 3).add(x(2)), "add: shapes [2, 3] and [2] do not broadcast"],
    ["inner sizes", () => dot(x(2, 3), x(2, 3)), "dot: shapes [2, 3] and [2, 3] do not fit"],
    ["vectors", () => dot(x(3), x(3, 2)), "dot takes matrices, got shapes [3] and [3, 2]"],
    ["batches", () => dot(x(2, 3, 4), x(3, 4, 5)), "shapes [2] and [3] do not broadcast"],
    ["no axis", () => softmax(x()), "softmax works along the last axis"],
    ["weights", () => rmsNorm(x(2, 3), x(2)), "rmsNorm: shapes [2, 3] of x and [2] of a weight do not fit"],
    ["labels' type", () => crossEntropy(x(2, 3), x(2)), "labels of i32, got f32"],
    ["labels' shape", () => crossEntropy(x(2, 3), buffer(new Int32Array(3))), "shapes [2, 3] and [3] do not fit"],
    ["heads", () => attention(x(3, 2, 4), x(2, 2, 4), x(2, 2, 4)), "shapes [3, 2, 4], [2, 2, 4] and [2, 2, 4] of q, k and v"],
    ["elements", () => buffer(new Float32Array(5), [2, 3]), "shape [2, 3] has 6 elements, the array 5"],
    ["sizes", () => buffer(new Float32Array(5), [-5, -1]), "[-5, -1] is no shape"],
    ["no array", () => buffer([1, 2] as never), "made of a typed array, got object"],
    ["types", () => buffer(new Float32Array(1), { dtype: bf16 }), "A Float32Array cannot hold bf16"],
    ["reshape", () => x(2, 3).reshape(4, -1), "reshape: [2, 3] does not become [4, -1]"],
    ["functions", () => x(2).map(((v: number) => v) as never), "map takes a helper, got function"],
    ["operands", () => x(2).add("2" as unknown as LazyOperand), "must be a lazy buffer or a number, got string"],
    ["writes", () => inPlace.grid(2)({ x: x(2) }), "lazy_in_place writes its argument x"],
    [
      "types of arguments",
      () => twoWays.grid(1)({ x: buffer(new Int32Array(1)), n: 1 }),
      "argument x must hold f32, got a lazy buffer of i32",
    ],
  ])("%s", (_, f, message) => {
    expect(f).toThrow(message);
  });

  test("in a user's helper: the reader gets an error that shows it, and nothing else breaks", async () => {
    const wrong = fn((al, v: number) => (al as unknown as { expp(x: number): number }).expp(v));
    const y = x(2).map(wrong);
    await expect(y.read()).rejects.toThrow("expp");
    expect(await x(2).add(1).array()).toEqual([1, 1]);
  });

  test("devices that meet", async () => {
    const here = x(2);
    useDevice(new InterpreterDevice());
    const there = x(2);
    useDevice(undefined);
    expect(here).toBeInstanceOf(LazyBuffer);
    await expect(evaluate(here.add(there))).rejects.toThrow("several devices meet");
  });
});
