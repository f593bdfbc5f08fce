/** How work is cut into tiles, by kind of device: the one place for these numbers. */
import type { DeviceProperties } from "../runtime/device.ts";

export interface Tiles {
  /** Elements of an elementwise program. */
  elementwise: number;
  /** Matrix product of M × N: rows and columns of a program, and how much of K it takes at a time. */
  dot(M: number, N: number, threads: number): { BM: number; BN: number; BK: number };
  /** Row kernels: the longest row that is read once, and the piece that a longer one is read in. */
  wholeRow: number;
  rowPiece: number;
  /** Attention: queries of a program, and keys that it takes at a time. */
  attention: { BM: number; BN: number };
}

// A CPU program fills the vector registers of one core; a dot's accumulators are blocks of 6 × 64.
const CPU: Tiles = {
  elementwise: 1024,
  // The more rows, the less often a block of b is brought into shape; but every thread should have some.
  dot(M, N, threads) {
    const BN = 64;
    const programs = Math.ceil(M / 96) * Math.ceil(N / BN);
    return { BM: M <= 8 ? 8 : M <= 24 || programs < 2 * threads ? 24 : 96, BN, BK: 64 };
  },
  wholeRow: 2048,
  rowPiece: 64,
  attention: { BM: 24, BN: 64 },
};

// A GPU program is a threadgroup: a few values for every thread of four simdgroups.
const GPU: Tiles = {
  elementwise: 1024,
  dot: () => ({ BM: 32, BN: 32, BK: 32 }),
  wholeRow: 1024,
  rowPiece: 512,
  attention: { BM: 16, BN: 32 },
};

export const tilesOf = (device: DeviceProperties): Tiles => (device.kind === "cpu" ? CPU : GPU);

/** The power of two from `n` on, at least `least`. */
export const powerOfTwo = (n: number, least = 1): number => Math.max(least, 2 ** Math.ceil(Math.log2(Math.max(1, n))));
