/** The same text with threads in another order and without the optimiser: a barrier that is missing shows in one of them. */
import { describe, expect, test } from "bun:test";
import { f16, f32, i32, kernel, out, ptr, constexpr, dim } from "../../../src/compiler/language/index.ts";
import type { KernelIR } from "../../../src/compiler/ir/types.ts";
import { both, METAL, worst, type Arrays } from "./harness.ts";
import { configure } from "../../metal-host/run.ts";

const softmax = kernel("softmax", { x: ptr(f32), y: out(f32), W: constexpr(64), H: constexpr(32) }, (al, { x, y, W, H }) => {
  const at = al.col(al.arange(H)) * W + al.row(al.arange(W));
  const v = al.load(x + at);
  const e = al.exp(v - al.col(al.max(v, { axis: 1 })));
  al.store(y + at, e / al.col(al.sum(e, 1)));
});

/** Two products in a row, the first one's result the second one's operand: attention's inside. */
const chain = kernel(
  "chain",
  { a: ptr(f16), b: ptr(f16), c: ptr(f16), y: out(f32), n: dim },
  (al, { a, b, c, y, n }) => {
    const i = al.arange(32);
    const x = al.load(a + al.col(i) * 32 + al.row(i));
    let acc = al.zeros([32, 32], al.f32);
    for (let k = 0; k < n; k += 32) {
      const w = al.load(b + al.col(k + i) * 32 + al.row(i));
      const s = al.dot(x, w, al.zeros([32, 32], al.f32), { transposeB: true });
      acc = al.dot(al.cast(s, al.f16), al.load(c + al.col(k + i) * 32 + al.row(i)), acc * 0.5);
    }
    al.store(y + al.col(i) * 32 + al.row(i), acc);
  },
  { simdgroups: 4 },
);

/** Memory that a program writes and reads back, in loops: what attention and sampling do with scratch. */
const scratch = kernel("scratch", { x: ptr(f32), s: ptr(f32), z: out(i32), y: out(f32), n: dim }, (al, { x, s, z, y, n }) => {
  const i = al.arange(64);
  al.store(s + i, al.load(x + i));
  for (let k = 0; k < n; k++) {
    const turned = al.load(s + (63 - i));
    al.store(s + i, turned + al.load(s + k));
    al.store(z + k, al.argmax(turned));
  }
  al.store(y + i, al.load(s + ((i + 5) & 63)));
});

const floats = (n: number): Float32Array<ArrayBuffer> => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898) * 2);
const halves = (n: number): Float16Array<ArrayBuffer> => Float16Array.from(floats(n));

const CASES: [string, KernelIR, Arrays, string, number][] = [
  ["softmax over simdgroups", softmax.specialize(), { x: floats(2048), y: new Float32Array(2048) }, "y", 1e-6],
  [
    "a product behind a product",
    chain.specialize(),
    { a: halves(1024), b: halves(4096), c: halves(4096), y: new Float32Array(1024), n: 128 },
    "y",
    2e-2,
  ],
  [
    "memory written and read back",
    scratch.specialize(),
    { x: floats(64), s: new Float32Array(64), z: new Int32Array(8), y: new Float32Array(64), n: 8 },
    "y",
    1e-5,
  ],
];

describe.skipIf(!METAL.available)("threads in any order", () => {
  test.each(["checked order=forward", "checked order=reverse", "checked order=7", "unoptimised order=forward"])(
    "%s",
    (mode) => {
      configure(mode);
      try {
        for (const [, ir, args, name, tolerance] of CASES) {
          const { want, got } = both(ir, [1], args);
          expect(worst(want[name] as Float32Array, got[name] as Float32Array)).toBeLessThan(tolerance);
        }
      } finally {
        configure("checked order=forward");
      }
    },
    120_000,
  );
});
