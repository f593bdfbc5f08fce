/**
 * Activations for the integer matmul: f32 rows to int8 with one scale per SPAN values, interleaved by token tile so that the matmul
 * broadcasts words from one pointer. SPAN is 32 (the numerics of llama.cpp's Q8_0) or, for weights of k types, 256 (those of its Q8_K), with
 * the scale kept in f32.
 *
 * Layout: `[tile][k / 32][MR][RECORD]` 32-bit words, MR tokens to a tile. A record's words:
 * 0 … 7 the 32 quants, four to a word; 8 the scale (f32); 9 the sum of the quants times -8 (i32); 10 scale times the sum (f32);
 * 11, 12 the sums of the two halves times -32; 13, 14 scale times those sums; 15 the sum times -128: products that weights' offsets ask for.
 * Tokens that fill up the last tile are zeros.
 */
import { activate } from "./elementwise.ts";
import type { Instance } from "./instances.ts";
import { constexpr, dim, f32, i32, i8, kernel, ptr, scalar } from "../src/compiler/language/index.ts";

/** 32-bit words per 32 values of one token. */
export const RECORD = 16;

/**
 * Grid: (token tiles, any): the spans of a row are dealt over the second axis. What SOURCE names is computed on the way, which saves its way to memory and
 * back: "rows" takes rows of x as they are, "norm" their RMSNorm by w, "gated" act(gate) · up of rows that hold gate and, `up` columns on, up.
 */
export const quantize = kernel(
  "quantize",
  {
    x: ptr(f32),
    w: ptr(f32),
    q: ptr(i32),
    q8: ptr(i8),
    t: dim,
    blocks: dim,
    stride: dim,
    up: dim,
    eps: scalar(f32),
    MR: constexpr(1),
    SPAN: constexpr(32),
    SOURCE: constexpr("rows"),
    ACT: constexpr("silu"),
  },
  (al, { x, w, q, q8, t, blocks, stride, up, eps, MR, SPAN, SOURCE, ACT }) => {
    const tile = al.programId(0);
    const BLOCKS = SPAN / 32;
    const lane = al.arange(8);
    // Integers below 2^22 are the low bits of their sums with this, which costs less than a conversion that minds larger ones.
    const SHIFT = 12582912;
    const SHIFTED = 0x4b400000;
    // Memory of a program: what it computes is needed twice.
    const factors = SOURCE === "norm" ? al.local(MR) : w;
    const values = SOURCE === "rows" ? x : al.local(SPAN);
    if (SOURCE === "norm")
      for (let m = 0; m < MR; m++) {
        const row = tile * MR + m;
        // Added in the order of ./norm.ts: a token's values must not depend on how many others a step has.
        let squares = al.zeros([64]);
        for (let i = 0; i < blocks * 32; i += 64) {
          const k = i + al.arange(64);
          const v = al.load(x + row * stride + k, { mask: k < blocks * 32 && row < t });
          squares = al.fma(v, v, squares);
        }
        al.store(factors + m, 1 / al.sqrt(al.sum(squares) / (blocks * 32) + eps));
      }
    for (let span = al.programId(1); span * BLOCKS < blocks; span += al.numPrograms(1)) {
      for (let m = 0; m < MR; m++) {
        const row = tile * MR + m;
        const from = x + row * stride + span * SPAN + al.arange(32);
        let most = al.zeros([32]);
        // Other threads wrote much of this: the next tile's is asked for.
        al.prefetch(x + (row + MR) * stride + span * SPAN + al.arange(SPAN));
        if (SOURCE === "gated") al.prefetch(x + (row + MR) * stride + up + span * SPAN + al.arange(SPAN));
        for (const b of al.unroll(BLOCKS)) {
          let v = al.load(from + b * 32, { mask: row < t });
          if (SOURCE === "norm") v = v * al.load(factors + m) * al.load(w + span * SPAN + b * 32 + al.arange(32));
          if (SOURCE === "gated") v = activate(ACT, v) * al.load(from + b * 32 + up, { mask: row < t });
          if (SOURCE !== "rows") al.store(values + b * 32 + al.arange(32), v);
          most = al.max(most, al.abs(v));
        }
        const peak = al.max(most);
        const inverse = al.where(peak > 0, 127 / peak, 0);
        const d = peak / 127;
        for (let b = 0; b < BLOCKS; b++) {
          const record = ((tile * blocks + span * BLOCKS + b) * MR + m) * 16;
          const v = SOURCE === "rows" ? al.load(from + b * 32, { mask: row < t }) : al.load(values + b * 32 + al.arange(32));
          const rounded = al.round(v * inverse);
          al.store(q8 + record * 4 + al.arange(32), al.cast(al.bitcast(rounded + SHIFT, al.i32), al.i8));
          const halves = al.sum(al.reshape(rounded, [2, 16]), 1);
          const first = al.extract(halves, 0);
          const second = al.extract(halves, 1);
          const sum = al.where(lane === 3 || lane === 5, first, al.where(lane === 4 || lane === 6, second, first + second));
          const times = al.where(lane === 1, -8, al.where(lane === 7, -128, -32));
          const product = al.bitcast(sum * al.cast(times, al.f32) + SHIFT, al.i32) - SHIFTED;
          const scaled = al.bitcast(al.where(lane === 0, d, sum * d), al.i32);
          al.store(q + record + 8 + lane, al.where(lane === 0 || lane === 2 || lane === 5 || lane === 6, scaled, product));
        }
      }
    }
  },
  { uses: { activate } },
);

/** Tiles, spans and sources that are compiled ahead; what a source computes is taken along only for many tokens, where memory is the limit. */
export const instances: Instance[] = [
  ...[1, 2, 4, 6, 8].flatMap((MR) =>
    ([32, 256] as const).map((SPAN) => ({ kernel: quantize, constexprs: { MR, SPAN, SOURCE: "rows", ACT: "silu" } })),
  ),
  ...["norm", "gated"].flatMap((SOURCE) =>
    ([32, 256] as const).map((SPAN) => ({ kernel: quantize, constexprs: { MR: 6, SPAN, SOURCE, ACT: "silu" } })),
  ),
];
