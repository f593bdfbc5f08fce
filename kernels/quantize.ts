/**
 * Activations for the integer matmul: f32 rows to int8 with one scale per 32 values (the numerics of llama.cpp's Q8_0, with
 * the scale kept in f32), interleaved by token tile so that the matmul broadcasts words from one pointer.
 *
 * Layout: `[tile][k / 32][MR][RECORD]` 32-bit words, MR tokens to a tile. A record's words:
 * 0 … 7 the 32 quants, four to a word; 8 the scale (f32); 9 the sum of the quants (i32); 10 scale times that sum (f32);
 * 11, 12 the sums of the two halves; 13, 14 scale times those; 15 the sum times -128. Tokens that fill up the last tile are zeros.
 */
import type { Instance } from "./instances.ts";
import { constexpr, dim, f32, i32, i8, kernel, ptr } from "../src/compiler/language/index.ts";

/** 32-bit words per 32 values of one token. */
export const RECORD = 16;

/** Grid: (token tiles, any): the 32-blocks of a row are dealt over the second axis. */
export const quantize = kernel(
  "quantize",
  { x: ptr(f32), q: ptr(i32), q8: ptr(i8), qf: ptr(f32), t: dim, blocks: dim, stride: dim, MR: constexpr(1) },
  (al, { x, q, q8, qf, t, blocks, stride, MR }) => {
    const tile = al.programId(0);
    for (let block = al.programId(1); block < blocks; block += al.numPrograms(1)) {
      for (const m of al.unroll(MR)) {
        const record = ((tile * blocks + block) * MR + m) * 16;
        const row = tile * MR + m;
        const v = al.load(x + row * stride + block * 32 + al.arange(32), { mask: row < t });
        const peak = al.max(al.abs(v));
        const inverse = al.where(peak > 0, 127 / peak, 0);
        const d = peak / 127;
        const ints = al.cast(al.round(v * inverse), al.i32);
        al.store(q8 + record * 4 + al.arange(32), al.cast(ints, al.i8));
        const halves = al.sum(al.reshape(ints, [2, 16]), 1);
        const first = al.extract(halves, 0);
        const second = al.extract(halves, 1);
        al.store(qf + record + 8, d);
        al.store(q + record + 9, first + second);
        al.store(qf + record + 10, d * (first + second));
        al.store(q + record + 11, first);
        al.store(q + record + 12, second);
        al.store(qf + record + 13, d * first);
        al.store(qf + record + 14, d * second);
        al.store(q + record + 15, (first + second) * -128);
      }
    }
  },
);

export const instances: Instance[] = [1, 2, 4, 6, 8].map((MR) => ({ kernel: quantize, constexprs: { MR } }));
