/** The host's own semantics, value by value: see features.metal. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { metalExecutor } from "./build.ts";
import type { Dispatch, Library } from "./run.ts";
import { compile } from "./run.ts";

const host = metalExecutor();
const text = readFileSync(new URL("features.metal", import.meta.url), "utf8");
const libraries = new Map<string, Library>();
const library = (mode: string): Library => libraries.get(mode) ?? libraries.set(mode, compile(text, mode)).get(mode)!;

const lanes = (f: (i: number) => number): number[] => Array.from({ length: 32 }, (_, i) => f(i));
const half = (values: readonly number[]): Float16Array => Float16Array.from(values);
const rounded = (x: number): number => Math.fround(x);
const bits = (a: Uint16Array): number[] => [...a];

if (!host.available) console.log(host.why);

describe.skipIf(!host.available).each(["checked", "fast", "unoptimised", "checked order=reverse", "checked order=5"])(
  "MSL on the host, %s",
  (mode) => {
    /** Runs a kernel in one threadgroup, with no findings. */
    const run = (kernel: string, buffers: Dispatch["buffers"], more: Partial<Dispatch> = {}): void => {
      expect(
        library(`${mode}${mode.includes("order") ? "" : " order=forward"}`).run({ kernel, buffers, grid: 1, threads: 1, ...more }),
      ).toEqual([]);
    };
    const floats = (kernel: string, n: number, more?: Partial<Dispatch>): number[] => {
      const o = new Float32Array(n);
      run(kernel, [o], more);
      return [...o];
    };

    test("vectors", () => {
      expect(floats("vectors", 16)).toEqual([1, 20, 30, 4, 1, 2, 5, 4, 3, 4, 12, 1, 20, 2, 5, 8]);
    });

    test("conversions", () => {
      const o = new Float32Array(12);
      const p = new Int32Array(10);
      run("conversions", [o, p]);
      expect([...o]).toEqual([1, -1, 3, 2, half([0.1])[0], half([1000.3])[0], 65504, 1, 1, 2, 1, 2]);
      expect([...p]).toEqual([7, 0x3f800000, 0x3c00, 0x3f80, 4, -56, -1, 3, 4, 11]);
    });

    test("literals", () => {
      expect(floats("literals", 8)).toEqual([0.1, 1e-3, 1.5, 2, 16, 2.5, 16777216, half([3 * half([0.1])[0]])[0]].map(rounded));
    });

    test("mathematics", () => {
      const x = rounded(0.7);
      const expected = [
        Math.exp(x),
        Math.log(x),
        Math.sqrt(x),
        1 / Math.sqrt(x),
        Math.sin(x),
        Math.cos(x),
        Math.tanh(x),
        x ** 3,
        2 * x + 1,
        -1,
        -0,
        2,
        3,
        -1,
        1.5,
        1,
        2,
        -1,
        8,
        3,
        Math.PI / 4,
        -1,
        1,
        0.25,
        Math.exp(x),
        Math.exp(x),
        2,
        2,
        3.5,
        Math.exp(0.5),
        Math.E,
        2,
        Math.tan(x),
        0,
        1,
        1,
        2,
      ];
      floats("mathematics", 37).forEach((got, i) =>
        expect(Math.abs(got - expected[i]), `o[${i}]: ${got}`).toBeLessThan(i === 29 ? 1e-3 : 1e-6),
      );
    });

    test("integers", () => {
      const o = new Int32Array(26);
      run("integers", [o]);
      const extracted = (0xabcd >> 4) & 0xff;
      expect([...o]).toEqual([3, -4, 5, 7, 4, 31, 3, 3, 2, extracted, 8, -3, -1, -4, 15, 9, 260, 1, 15, 5, 16, 8, 1, 1, 1, 2]);
    });

    test("select", () => {
      expect(floats("selects", 8)).toEqual([4, 3, 3, 4, 1, 6, 1, 4]);
    });

    test("address spaces", () => {
      const input = Float32Array.from({ length: 8 }, (_, i) => i);
      const o = new Float32Array(8);
      const args = new DataView(new ArrayBuffer(24));
      args.setUint32(8, 7, true);
      args.setInt32(16, 1000, true);
      args.setFloat32(20, 2, true);
      run("spaces", [input, o, args, Float32Array.of(0.25, 0.5)], { threads: 8, threadgroup: [32], readOnly: [0, 2, 3] });
      expect([...o]).toEqual(Array.from({ length: 8 }, (_, i) => 4 * (7 - i) + ((7 - i) & 1 ? 0.5 : 0.25) + 1000 + 1 + 7));
    });

    test("vectors in memory", () => {
      const input = Float32Array.from({ length: 16 }, (_, i) => i + 1);
      const o = new Float32Array(16);
      const h = new Float16Array(16);
      run("vector_memory", [input, o, h], { grid: 4, threads: 2, exact: true });
      const expected = [1, 2, 3, 1, 5, 6, 7, 5, 9, 10, 11, 9, 13, 14, 15, 13];
      expect([...o]).toEqual(expected);
      expect([...h]).toEqual(expected);
    });

    test("the grid, with an edge", () => {
      const o = new Uint32Array(5 * 2 * 12);
      run("grid", [o], { grid: [5, 2], threads: [4, 1], exact: true });
      expect(Array.from(o.subarray(4 * 12, 5 * 12))).toEqual([4, 0, 1, 0, 502, 22, 1, 4, 0, 0, 1, 32]);
      expect(Array.from(o.subarray(8 * 12, 9 * 12))).toEqual([3, 1, 0, 3, 502, 22, 4, 4, 3, 3, 1, 32]);
    });

    test("simdgroup operations", () => {
      const o = new Float32Array(13 * 32);
      const p = new Uint32Array(6 * 32);
      run("simd_operations", [o, p], { threads: 32 });
      const part = (a: Float32Array | Uint32Array, k: number): number[] => Array.from(a.subarray(32 * k, 32 * k + 32));
      const sums = lanes((i) => (i * (i + 1)) / 2);
      const expected = [
        lanes(() => 496),
        lanes(() => 31 - 31 + 2),
        sums,
        lanes((i) => sums[i] - i),
        lanes((i) => 31 - i),
        lanes((i) => (i < 3 ? i : i - 3)),
        lanes((i) => (i > 28 ? i : i + 3)),
        lanes((i) => i ^ 5),
        lanes(() => 7),
        lanes((i) => 4 * (i & ~3) + 6),
        lanes((i) => (i + 1) % 32),
        lanes(() => 32496),
        lanes(() => 16),
      ];
      expected.forEach((e, k) => expect(part(o, k)).toEqual(e));
      const integers = [
        lanes(() => 68),
        lanes(() => 0xffffffff),
        lanes(() => 0xaaaaaaaa),
        lanes(() => 3),
        lanes(() => 32),
        lanes((i) => (i < 1 ? 1 : 2)),
      ];
      integers.forEach((e, k) => expect(part(p, k)).toEqual(e));
    });

    test("matrices", () => {
      const a = Float32Array.from({ length: 64 }, (_, i) => i % 7);
      const b = half(Array.from({ length: 64 }, (_, i) => (i % 5) - 2));
      const o = new Float32Array(256);
      run("matrices", [a, b, o], { threads: 32 });
      for (let r = 0; r < 8; r++)
        for (let c = 0; c < 8; c++) {
          let sum = 1;
          for (let k = 0; k < 8; k++) sum += a[r * 8 + k] * b[k * 8 + c];
          expect(o[r * 8 + c]).toBe(sum);
          expect(o[64 + r * 8 + c]).toBe(a[c * 8 + r]);
          expect(o[192 + r * 8 + c]).toBe(2 * a[r * 8 + c]);
        }
      // Which lane holds what: the layout of public kernels.
      for (let l = 0; l < 32; l++) {
        const row = ((l >> 1) & 3) | (((l >> 4) & 1) << 2);
        const column = ((l & 1) << 1) | (((l >> 3) & 1) << 2);
        expect(Array.from(o.subarray(128 + row * 8 + column, 130 + row * 8 + column))).toEqual([l, l + 0.5]);
      }
    });

    test("atomics", () => {
      const u = Uint32Array.of(0, 0, 1000, 0, 0, 0xffffffff, 0, 0);
      const s = Int32Array.of(0, 0);
      const f = new Float32Array(1);
      const o = new Uint32Array(2);
      run("atomics", [u, s, f, o], { grid: 2, threads: 50 });
      let xor = 0;
      let and = 0xffffffff;
      for (let i = 0; i < 100; i++) {
        xor ^= i;
        and &= ~i;
      }
      expect([...u]).toEqual([100, 99, 5, 255, xor, and >>> 0, u[6], 42]);
      expect(u[6]).toBe(o[1] + 100);
      expect([...s, ...f, o[0]]).toEqual([-99, -200, 50, 50]);
    });

    test("function constants", () => {
      const constants = { WIDTH: 6, SCALE: 0.5, FLAG: true };
      expect(floats("constants", 6, { constants })).toEqual([6, 0.5, 1, -1, 12, 0]);
      expect(floats("constants", 6, { constants: { ...constants, OPTIONAL: -9, FLAG: false } })).toEqual([6, 0.5, 0, -9, 12, 1]);
      expect(() => floats("constants", 6, { constants: { WIDTH: 1 } })).toThrow("needs a value for function constant 'SCALE' (index 1)");
    });

    test("control flow, templates and guards", () => {
      const input = Float32Array.from({ length: 8 }, (_, i) => i + 1);
      const o = new Float32Array(8);
      run("control", [input, o], { grid: 8, threads: 8, exact: true });
      const expected = Array.from({ length: 8 }, (_, i) => {
        let total = 0;
        for (let k = 0; k <= i && k < 6; k++) if (k !== 3) total += 2 * input[k];
        return total + 1 + (i === 0 || (i > 1 && i % 2 === 0) ? 100 : 200) + 4;
      });
      expect([...o]).toEqual(expected);
    });

    test("limits of a pipeline", () => {
      expect(() => floats("limited", 1, { threads: 65 })).toThrow("there must be 1 to 64");
      expect(floats("limited", 1, { threads: 1 })).toEqual([1]);
    });

    test("half and bfloat round at each step", () => {
      const a = half(Array.from({ length: 64 }, (_, i) => 0.37 * i - 3));
      const o = new Float16Array(64);
      const b = new Uint16Array(64);
      run("halves", [a, o, b], { grid: 64, threads: 32, exact: true });
      expect([...o]).toEqual(Array.from(a, (x) => half([half([x * x])[0] + 1])[0]));
      const word = new Uint32Array(1);
      const single = new Float32Array(word.buffer);
      const bfloat = (x: number): number => {
        single[0] = x;
        return (word[0] + 0x7fff + ((word[0] >>> 16) & 1)) >>> 16;
      };
      const value = (h: number): number => {
        word[0] = h << 16;
        return single[0];
      };
      expect(bits(b)).toEqual(Array.from(a, (x) => bfloat(value(bfloat(x)) * 3)));
    });
  },
);
