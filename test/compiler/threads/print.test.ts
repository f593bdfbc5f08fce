/** al.print: the same lines on CPU and interpreter, in order, and a count of what was lost. */
import { afterEach, describe, expect, test } from "bun:test";
import { useDevice } from "../../../src/compiler/default-device.ts";
import { InterpreterDevice } from "../../../src/compiler/interpreter-device.ts";
import type { AnyKernel } from "../../../src/compiler/language/index.ts";
import { dim, f32, fn, kernel, out, ptr } from "../../../src/compiler/language/index.ts";
import { PrintLog } from "../../../src/compiler/prints.ts";
import { compileProgram } from "../../../src/compiler/program.ts";
import { createCpuDevice } from "../../../src/runtime/cpu/device.ts";
import type { Argument, Device } from "../../../src/runtime/device.ts";

const cpu = createCpuDevice({ threads: 2 });
const devices: [string, Device][] = [
  ["cpu", cpu],
  ["interpreter", new InterpreterDevice()],
];
afterEach(() => useDevice(undefined));

function printed(device: Device, k: AnyKernel, grid: readonly [number, number, number], args: Argument[]): string[] {
  const log = new PrintLog(device);
  const plan = device.plan([{ program: compileProgram(device, k), grid, args: [...args, ...log.arguments(k)] }], 0);
  plan.run();
  let text = "";
  log.flush((t) => (text += t));
  plan.free();
  log.free();
  return text.split("\n").slice(0, -1);
}

const filled = (device: Device, values: Float32Array): Argument => {
  const b = device.allocate(values.byteLength);
  b.view().set(new Uint8Array(values.buffer));
  return b;
};

describe.each(devices)("on %s", (_, device) => {
  test("threads, in conditions and loops, sorted", () => {
    const k = kernel(
      "show",
      { x: ptr(f32), n: dim },
      (al, { x, n }) => {
        const t = al.threadId(0);
        const y = al.threadId(1);
        const v = al.load(x + t);
        if (t % 4 === 3) al.print("v", v, t > 5);
        for (let i = 0; i < n; i++) if (t + y === 0) al.print("turn", i, al.arange(2) * i);
      },
      { threads: [8, 2] },
    );
    const x = filled(
      device,
      Float32Array.from({ length: 8 }, (_, i) => i / 10),
    );
    const group = (p: number): string[] => [
      `show program ${p},0,0 thread 0,0: turn 0 [0, 0]`,
      `show program ${p},0,0 thread 0,0: turn 1 [0, 1]`,
      ...[0, 1].flatMap((y) => [`show program ${p},0,0 thread 3,${y}: v 0.3 false`, `show program ${p},0,0 thread 7,${y}: v 0.7 true`]),
    ];
    expect(printed(device, k, [2, 1, 1], [x, 2])).toEqual([...group(0), ...group(1)]);
  });
  test("tiles of every type, from a helper", () => {
    const show = fn((al, v: number) =>
      al.print("types", v, al.cast(v, al.f16), al.cast(v, al.i64) - 5000000000, al.cast(v, al.u64), al.cast(v, al.f64) / 3),
    );
    const k = kernel("tile", { y: ptr(f32) }, (al, { y, show }) => show(al.reshape(al.load(y + al.arange(4)), [2, 2])), { uses: { show } });
    const y = filled(device, Float32Array.of(1, 0.1, -2, 1e10));
    const third = (x: number): string => String(Math.fround(x) / 3);
    expect(printed(device, k, [1, 1, 1], [y])).toEqual([
      `tile program 0,0,0: types [[1, 0.1], [-2, 10000000000]] [[1, 0.099975586], [-2, Infinity]] [[-4999999999, -5000000000], [-5000000002, 5000000000]] ` +
        `[[1, 0], [0, 10000000000]] [[${third(1)}, ${third(0.1)}], [${third(-2)}, ${third(1e10)}]]`,
    ]);
  });
  test("what does not fit is counted", () => {
    const k = kernel("many", { n: dim }, (al, { n }) => {
      for (let i = 0; i < n; i++) al.print("tile", al.zeros(1000));
    });
    const lines = printed(device, k, [3, 1, 1], [100]);
    expect(lines.length).toBe(Math.floor(2 ** 20 / (1005 * 4)) + 1);
    expect(lines.at(-1)).toBe(`many: ${300 - lines.length + 1} more prints did not fit into 1048576 bytes`);
  });
  test("a launch writes them to stderr and gives its result", async () => {
    useDevice(device);
    const k = kernel(
      "doubled",
      { x: ptr(f32), y: out(f32) },
      (al, { x, y }) => {
        const t = al.globalId();
        if (t === 1) al.print("at one", t);
        al.store(y + t, al.load(x + t) * 2);
      },
      { threads: 4 },
    );
    const write = process.stderr.write;
    let text = "";
    process.stderr.write = ((t: string) => ((text += t), true)) as typeof process.stderr.write;
    try {
      expect([...(await k.grid(2)({ x: Float32Array.from({ length: 8 }, (_, i) => i) }))]).toEqual([0, 2, 4, 6, 8, 10, 12, 14]);
    } finally {
      process.stderr.write = write;
    }
    expect(text).toBe("doubled program 0,0,0 thread 1: at one 1\n");
  });
});
