/** Frequencies and tables of rotary position embedding, in double precision, with the scaling rules in use. */

export type RopeScaling =
  | { type: "none" }
  /** Positions divided by the factor. */
  | { type: "linear"; factor: number }
  /** Llama 3.1: low frequencies divided, high kept, smooth in between. */
  | { type: "llama3"; factor: number; lowFreqFactor: number; highFreqFactor: number; originalContext: number }
  /** YaRN (Peng et al. 2023, arXiv 2309.00071). */
  | {
      type: "yarn";
      factor: number;
      originalContext: number;
      betaFast: number;
      betaSlow: number;
      attentionFactor?: number;
      truncate: boolean;
    }
  /** LongRoPE (Ding et al. 2024): a divisor per frequency, one set up to the original context and one beyond. */
  | { type: "longrope"; shortFactors: readonly number[]; longFactors: readonly number[]; originalContext: number; attentionFactor: number }
  /** Divisors per frequency as stored in a GGUF file (rope_freqs.weight). */
  | { type: "factors"; factors: readonly number[] };

export interface RopeConfig {
  base: number;
  /** Rotary dimensions R (even). */
  dim: number;
  scaling: RopeScaling;
}

export interface RopeFrequencies {
  /** [R/2] radians per position. */
  frequencies: Float64Array;
  /** Multiplies cosines and sines. */
  magnitude: number;
}

/** Frequencies for a sequence of `length` tokens (only longrope depends on the length). */
export function ropeFrequencies(config: RopeConfig, length: number): RopeFrequencies {
  const { base, dim, scaling } = config;
  const half = dim / 2;
  const plain = Float64Array.from({ length: half }, (_, i) => base ** ((-2 * i) / dim));
  switch (scaling.type) {
    case "none":
      return { frequencies: plain, magnitude: 1 };
    case "linear":
      return { frequencies: plain.map((f) => f / scaling.factor), magnitude: 1 };
    case "factors":
      return { frequencies: plain.map((f, i) => f / scaling.factors[i]), magnitude: 1 };
    case "llama3":
      return { frequencies: plain.map((f) => llama3(f, scaling)), magnitude: 1 };
    case "longrope": {
      const factors = length > scaling.originalContext ? scaling.longFactors : scaling.shortFactors;
      return { frequencies: plain.map((f, i) => f / factors[i]), magnitude: scaling.attentionFactor };
    }
    case "yarn":
      return yarn(plain, base, dim, scaling);
  }
}

function llama3(f: number, s: Extract<RopeScaling, { type: "llama3" }>): number {
  const wavelength = (2 * Math.PI) / f;
  if (wavelength < s.originalContext / s.highFreqFactor) return f;
  if (wavelength > s.originalContext / s.lowFreqFactor) return f / s.factor;
  const smooth = (s.originalContext / wavelength - s.lowFreqFactor) / (s.highFreqFactor - s.lowFreqFactor);
  return ((1 - smooth) * f) / s.factor + smooth * f;
}

function yarn(plain: Float64Array, base: number, dim: number, s: Extract<RopeScaling, { type: "yarn" }>): RopeFrequencies {
  // The dimension whose wavelength turns `rotations` times within the original context.
  const dimension = (rotations: number): number => (dim * Math.log(s.originalContext / (rotations * 2 * Math.PI))) / (2 * Math.log(base));
  const round = (v: number, f: (x: number) => number): number => (s.truncate ? f(v) : v);
  const low = Math.max(round(dimension(s.betaFast), Math.floor), 0);
  const high = Math.min(round(dimension(s.betaSlow), Math.ceil), dim - 1);
  const width = high === low ? 0.001 : high - low;
  const frequencies = plain.map((f, i) => {
    const interpolate = Math.min(Math.max((i - low) / width, 0), 1);
    return f * (1 - interpolate) + (f / s.factor) * interpolate;
  });
  return { frequencies, magnitude: s.attentionFactor ?? (s.factor > 1 ? 0.1 * Math.log(s.factor) + 1 : 1) };
}

/** Writes cos and sin of row `row` of a [rows, R/2] table for a position. */
export function writeRopeRow(f: RopeFrequencies, position: number, row: number, cos: Float32Array, sin: Float32Array): void {
  const half = f.frequencies.length;
  for (let i = 0; i < half; i++) {
    const angle = position * f.frequencies[i];
    cos[row * half + i] = Math.cos(angle) * f.magnitude;
    sin[row * half + i] = Math.sin(angle) * f.magnitude;
  }
}
