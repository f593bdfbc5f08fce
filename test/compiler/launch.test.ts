/** kernel.grid(…)(args) on the CPU: outputs left out are allocated and returned. */
import { describe, expect, test } from "bun:test";
import { useDevice } from "../../src/compiler/default-device.ts";
import { InterpreterDevice } from "../../src/compiler/interpreter-device.ts";
import { constexpr, dim, f32, i32, kernel, out, ptr, scalar } from "../../src/compiler/language/index.ts";

const scale = kernel(
  "launch_scale",
  { x: ptr(f32), y: out(f32, (a) => (a.x as Float32Array).length), n: dim, k: scalar(f32), BLOCK: constexpr(64) },
  (al, { x, y, n, k, BLOCK }) => {
    const i = al.programId(0) * BLOCK + al.arange(BLOCK);
    al.store(y + i, al.load(x + i, { mask: i < n }) * k, { mask: i < n });
  },
);

const blur = kernel("launch_blur", { src: ptr(f32), dst: out(f32), W: dim, H: dim }, (al, { src, dst, W, H }) => {
  const x = al.programId(0);
  const y = al.programId(1);
  let acc: number = al.cast(0, al.f32);
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

const two = kernel("launch_two", { a: out(i32), b: out(f32) }, (al, { a, b }) => {
  al.store(a + al.programId(0), al.programId(0));
  al.store(b + al.programId(0), al.cast(al.programId(0), al.f32) * 0.5);
});

describe("launch", () => {
  test("one output is returned itself, with the size its declaration gives", async () => {
    const x = Float32Array.from({ length: 100 }, (_, i) => i);
    const y = await scale.grid(2)({ x, n: 100, k: 3 });
    expect(y).toEqual(x.map((v) => v * 3));
    const mine = new Float32Array(100);
    expect(await scale.grid(2)({ x, y: mine, n: 100, k: 2, BLOCK: 128 })).toBeUndefined();
    expect(mine[99]).toBe(198);
  });

  test("neighbours under conditions, in loops", async () => {
    const dst = await blur.grid(3, 2)({ src: Float32Array.of(1, 2, 3, 4, 5, 6), W: 3, H: 2 });
    expect([...dst!]).toEqual([3, 3.5, 4, 3, 3.5, 4]);
  });

  test("several outputs come as an object", async () => {
    expect(await two.grid(3)({})).toEqual({ a: Int32Array.of(0, 1, 2), b: Float32Array.of(0, 0.5, 1) });
  });

  test("arguments that do not fit", async () => {
    const x = new Float32Array(4);
    const loose = scale.grid(1) as unknown as (args: Record<string, unknown>) => Promise<unknown>;
    expect(loose({ x, n: 4 })).rejects.toThrow("argument k is missing");
    expect(loose({ x: new Float64Array(4), n: 4, k: 1 })).rejects.toThrow("must hold f32");
    expect(loose({ x, n: 4, k: 1, z: 1 })).rejects.toThrow("no parameter z");
    expect(loose({ n: 4, k: 1, x: "text", y: x })).rejects.toThrow("typed array");
  });
});

describe("launch on the interpreter", () => {
  const onInterpreter = async <T>(f: () => Promise<T>): Promise<T> => {
    useDevice(new InterpreterDevice());
    try {
      return await f();
    } finally {
      useDevice(undefined);
    }
  };

  test("gives the same", async () => {
    const dst = await onInterpreter(() => blur.grid(3, 2)({ src: Float32Array.of(1, 2, 3, 4, 5, 6), W: 3, H: 2 }));
    expect([...dst]).toEqual([3, 3.5, 4, 3, 3.5, 4]);
    expect(await onInterpreter(() => two.grid(3)({}))).toEqual({ a: Int32Array.of(0, 1, 2), b: Float32Array.of(0, 0.5, 1) });
  });

  test("and names an access outside of an array", async () => {
    const x = new Float32Array(4);
    const run = onInterpreter(() => scale.grid(2)({ x, n: 5, k: 1 }));
    await expect(run).rejects.toThrow("load of x[4] is outside its 4 elements");
  });
});
