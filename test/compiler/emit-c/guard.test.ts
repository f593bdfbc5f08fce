/** Lanes that a mask turns off are never touched: buffers end at a page that cannot be read or written. */
import { dlopen } from "bun:ffi";
import { describe, expect, test } from "bun:test";
import { bool, dim, f16, f32, i32, i8, kernel, out, ptr, u8 } from "../../../src/compiler/language/index.ts";
import { compileProgram } from "../../../src/compiler/program.ts";
import { device, TESTABLE } from "./harness.ts";

const PAGE = 16384;
const linux = process.platform === "linux";

/** A function that gives memory whose last byte is the last before an inaccessible page. */
function guarded(): (bytes: number) => { address: number; bytes: number } {
  const libc = dlopen("libc.so.6", {
    mmap: { args: ["ptr", "u64", "i32", "i32", "i32", "i64"], returns: "ptr" },
    mprotect: { args: ["ptr", "u64", "i32"], returns: "i32" },
  });
  return (bytes) => {
    const size = Math.ceil(bytes / PAGE) * PAGE;
    const base = Number(libc.symbols.mmap(null, size + PAGE, 3, 0x22, -1, 0));
    expect(libc.symbols.mprotect((base + size) as never, PAGE, 0)).toBe(0);
    return { address: base + size - bytes, bytes };
  };
}

const copies = (
  [
    ["f32", f32],
    ["f16", f16],
    ["i8", i8],
    ["bool", bool],
  ] as const
).map(([name, type]) =>
  kernel(`guard_${name}`, { x: ptr(type), index: ptr(i32), y: out(type), z: out(type), n: dim }, (al, { x, index, y, z, n }) => {
    const i = al.arange(100);
    al.store(y + i, al.load(x + i, { mask: i < n }), { mask: i < n });
    // The same under a mask that is data, with offsets that are data.
    const at = al.load(index + i, { mask: i < n });
    const some = at >= 0 && i < n;
    al.store(z + i, al.load(x + at, { mask: some }), { mask: some });
  }),
);
const rows = kernel("guard_rows", { x: ptr(u8), y: out(f32), n: dim, m: dim }, (al, { x, y, n, m }) => {
  const r = al.col(al.arange(8));
  const c = al.row(al.arange(40));
  const mask = r < m && c < n;
  al.store(y + r * n + c, al.cast(al.load(x + r * n + c, { mask }), al.f32), { mask });
});

describe.skipIf(!linux).each([...TESTABLE])("masked access next to an inaccessible page (Linux only) on %s", (isa) => {
  const memory = linux ? guarded() : undefined!;
  const d = device(isa);
  test("rows of every remainder, gathers, two dimensions", () => {
    for (const k of copies) {
      const bytes = k.name === "guard_f32" ? 4 : k.name === "guard_f16" ? 2 : 1;
      for (const n of [1, 2, 3, 5, 15, 16, 17, 31, 64, 99, 100]) {
        const [x, y, z] = [0, 1, 2].map(() => memory(n * bytes));
        const index = memory(n * 4);
        const view = (m: { address: number; bytes: number }): Uint8Array => d.wrap(m.address, m.bytes).view();
        view(x).forEach((_, i, a) => (a[i] = k.name === "guard_bool" ? i & 1 : i + 1));
        const at = new Int32Array(view(index).slice().buffer).map((_, i) => (i % 3 === 2 ? -1 : n - 1 - i));
        view(index).set(new Uint8Array(at.buffer));
        const plan = d.plan(
          [{ program: compileProgram(d, k), grid: [1, 1, 1], args: [x.address, index.address, y.address, z.address, n] }],
          0,
        );
        plan.run();
        plan.free();
        expect(view(y)).toEqual(view(x));
        for (let i = 0; i < n; i++)
          for (let b = 0; b < bytes; b++) expect(view(z)[i * bytes + b]).toBe(at[i] < 0 ? 0 : view(x)[at[i] * bytes + b]);
      }
    }
    for (const [m, n] of [
      [1, 1],
      [3, 7],
      [8, 40],
      [5, 33],
    ]) {
      const x = memory(m * n);
      const y = memory(m * n * 4);
      d.wrap(x.address, x.bytes).view().fill(7);
      const plan = d.plan([{ program: compileProgram(d, rows), grid: [1, 1, 1], args: [x.address, y.address, n, m] }], 0);
      plan.run();
      plan.free();
      expect([...new Float32Array(d.wrap(y.address, y.bytes).view().slice().buffer)]).toEqual(Array.from({ length: m * n }, () => 7));
    }
  }, 120_000);
});
