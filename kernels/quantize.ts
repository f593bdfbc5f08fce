/**
 * Activations for the integer matmul: f32 rows to int8 with one scale per 32 values (the numerics of llama.cpp's Q8_0, with
 * the scale kept in f32), interleaved by token tile so that the matmul broadcasts words from one pointer.
 *
 * Layout: `[tile][k / 32][RECORD][MR]` 32-bit words, MR tokens to a tile. A record's words of one token:
 * 0 … 7 the 32 quants, four to a word; 8 the scale (f32); 9 the sum of the quants (i32); 10 scale times that sum (f32);
 * 11, 12 the sums of the two halves; 13, 14 scale times those; 15 nothing. Tokens that fill up the last tile are zeros.
 */
import type { Instance } from "./instances.ts";
import { constexpr, dim, f32, i32, kernel, ptr } from "../src/compiler/language/index.ts";

/** 32-bit words per 32 values of one token. */
export const RECORD = 16;

/** Grid: (token tiles, any): the 32-blocks of a row are dealt over the second axis. */
export const quantize = kernel(
  "quantize",
  { x: ptr(f32), q: ptr(i32), qf: ptr(f32), t: dim, blocks: dim, stride: dim, MR: constexpr(1) },
  (al, { x, q, qf, t, blocks, stride, MR }) => {
    const tile = al.programId(0);
    for (let block = al.programId(1); block < blocks; block += al.numPrograms(1)) {
      const record = (tile * blocks + block) * (16 * MR);
      for (const m of al.unroll(MR)) {
        const row = tile * MR + m;
        const v = al.load(x + row * stride + block * 32 + al.arange(32), { mask: row < t });
        const peak = al.max(al.abs(v));
        const inverse = al.where(peak > 0, 127 / peak, 0);
        const d = peak / 127;
        const ints = al.cast(al.round(v * inverse), al.i32);
        const quads = al.reshape(ints, [8, 4]);
        const words = al.pack4(al.slice(quads, 1, 0, 1), al.slice(quads, 1, 1, 1), al.slice(quads, 1, 2, 1), al.slice(quads, 1, 3, 1));
        al.store(q + record + m + al.arange(8) * MR, al.reshape(words, [8]));
        const halves = al.sum(al.reshape(ints, [2, 16]), 1);
        const first = al.extract(halves, 0);
        const second = al.extract(halves, 1);
        al.store(qf + record + 8 * MR + m, d);
        al.store(q + record + 9 * MR + m, first + second);
        al.store(qf + record + 10 * MR + m, d * (first + second));
        al.store(q + record + 11 * MR + m, first);
        al.store(q + record + 12 * MR + m, second);
        al.store(qf + record + 13 * MR + m, d * first);
        al.store(qf + record + 14 * MR + m, d * second);
      }
    }
  },
);

export const instances: Instance[] = [1, 2, 4, 6, 8].map((MR) => ({ kernel: quantize, constexprs: { MR } }));
