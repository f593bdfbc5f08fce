import { describe, expect, test } from "bun:test";
import { ropeFrequencies, writeRopeRow } from "../../src/models/rope.ts";

const base = 10000;
const dim = 8;
const plain = Array.from({ length: 4 }, (_, i) => base ** ((-2 * i) / dim));

describe("rope frequencies", () => {
  test("unscaled", () => {
    expect([...ropeFrequencies({ base, dim, scaling: { type: "none" } }, 1).frequencies]).toEqual(plain);
  });
  test("linear divides every frequency", () => {
    const f = ropeFrequencies({ base, dim, scaling: { type: "linear", factor: 4 } }, 1).frequencies;
    expect([...f]).toEqual(plain.map((p) => p / 4));
  });
  test("llama3 keeps the high frequencies, divides the low ones, blends between", () => {
    const scaling = { type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 64 } as const;
    const f = ropeFrequencies({ base, dim, scaling }, 1).frequencies;
    // Wavelengths: 6.3, 62.8, 628, 6283; kept below 16, divided above 64.
    expect(f[0]).toBe(plain[0]);
    expect(f[1]).toBeGreaterThan(plain[1] / 8);
    expect(f[1]).toBeLessThan(plain[1]);
    expect(f[2]).toBe(plain[2] / 8);
    expect(f[3]).toBe(plain[3] / 8);
  });
  test("yarn: extrapolates the fast dimensions, interpolates the slow ones, scales magnitude by 0.1 ln s + 1", () => {
    const scaling = { type: "yarn", factor: 4, originalContext: 128, betaFast: 32, betaSlow: 1, truncate: true } as const;
    const r = ropeFrequencies({ base, dim, scaling }, 1);
    expect(r.frequencies[0]).toBe(plain[0]);
    expect(r.frequencies[3]).toBe(plain[3] / 4);
    expect(r.magnitude).toBeCloseTo(0.1 * Math.log(4) + 1, 12);
  });
  test("longrope picks the factors by the sequence's length", () => {
    const scaling = {
      type: "longrope",
      shortFactors: [1, 1, 1, 1],
      longFactors: [1, 2, 3, 4],
      originalContext: 16,
      attentionFactor: 1.25,
    } as const;
    expect([...ropeFrequencies({ base, dim, scaling }, 16).frequencies]).toEqual(plain);
    expect([...ropeFrequencies({ base, dim, scaling }, 17).frequencies]).toEqual(plain.map((p, i) => p / (i + 1)));
    expect(ropeFrequencies({ base, dim, scaling }, 17).magnitude).toBe(1.25);
  });
  test("tables hold magnitude · cos and sin of position · frequency", () => {
    const cos = new Float32Array(8);
    const sin = new Float32Array(8);
    writeRopeRow({ frequencies: Float64Array.from(plain), magnitude: 2 }, 100000, 1, cos, sin);
    expect([...cos.subarray(0, 4)]).toEqual([0, 0, 0, 0]);
    plain.forEach((f, i) => {
      expect(cos[4 + i]).toBe(Math.fround(2 * Math.cos(100000 * f)));
      expect(sin[4 + i]).toBe(Math.fround(2 * Math.sin(100000 * f)));
    });
  });
});
