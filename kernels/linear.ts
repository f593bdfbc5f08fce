/**
 * y = x Wᵀ of few tokens over packed panels (./repack.ts) and quantised activations (./quantize.ts), in integers with one float scaling
 * per group of columns: weights stream from memory and are unpacked in registers. One source for every type. Many tokens: ./linear-prefill.ts.
 */
import type { Instance } from "./instances.ts";
import { constexpr, dim, f16, f32, fn, i32, kernel, ptr, u8, type Tile } from "../src/compiler/language/index.ts";
import { ISAS, type IsaName } from "../src/runtime/cpu/isa.ts";
import { halfPower } from "./embed.ts";
import { FAMILIES, FP4_TABLE, IQ4_TABLE, QUANTISED_TYPES, type QuantisedType } from "./families.ts";

/** Tokens per tile. */
export const DECODE_TILES = [1, 2, 4, 8] as const;
/** Words ahead of its reads that a panel is prefetched, measured. */
const AHEAD = 2048;

const iq4 = IQ4_TABLE;
const fp4 = FP4_TABLE;

/**
 * Of instruction sets whose byte products are signed (NEON), or exact only with smaller bytes (x86 without VNNI): stored bytes less SHIFT, which fits a signed byte. Meanwhile the top bit is set, so
 * that no byte borrows from the next.
 */
export const signedBytes = fn((al, bytes, SHIFT) => {
  if (SHIFT === 0) return bytes;
  if (SHIFT === 128) return bytes ^ 0x80808080;
  return ((bytes | 0x80808080) - SHIFT * 0x01010101) ^ 0x80808080;
});

/** Four quants of a record of activations. Where products take one lane of a vector (LANES), as that. */
export const quants = fn((al, record, step, LANES) => {
  if (LANES) return al.extract(al.load(record + (step & ~3) + al.arange(4)), step & 3);
  return al.load(record + step);
});

/** What a sum of products starts with where OFFSET is subtracted from the weights: -OFFSET times the sum of the activations (./quantize.ts). */
export const firstSum = fn((al, record, OFFSET, g) => {
  if (OFFSET === 0) return 0;
  if (OFFSET === 4) return al.load(record + 11 + g) >> 3;
  if (OFFSET === 8) return al.load(record + 9);
  if (OFFSET === 16) return al.load(record + 9) << 1;
  if (OFFSET === 32) return al.load(record + 11 + g);
  return al.load(record + 15);
});

/**
 * Operands of a product over packed panels, which are passed once per element type they hold, and how their type is laid out. `blocks`:
 * 32-column blocks of a row. `epilogue` adds bias [n] (bit 0) and residual, laid out as y (bit 1; may be y itself); without them any buffer
 * will do. y[token, row] is at token * stride + offset + row.
 */
export const PANEL_OPERANDS = {
  w: ptr(i32),
  w8: ptr(u8),
  w16: ptr(f16),
  x: ptr(i32),
  xf: ptr(f32),
  y: ptr(f32),
  bias: ptr(f32),
  residual: ptr(f32),
  t: dim,
  n: dim,
  blocks: dim,
  panelWords: dim,
  stride: dim,
  offset: dim,
  epilogue: dim,
  BASE: constexpr(8),
  HIGH: constexpr(0),
  GROUP: constexpr(32),
  SCALES: constexpr("d"),
  OFFSET: constexpr(0),
  TABLE: constexpr(""),
  SHIFT: constexpr(0),
  LANES: constexpr(false),
};

/**
 * Grid: (panels, splits): token tiles are dealt over the second axis. One panel at a time is one stream that prefetches run ahead of: two
 * lose half of the bandwidth.
 */
export const linear = kernel(
  "linear",
  {
    ...PANEL_OPERANDS,
    MR: constexpr(1),
    SUB: constexpr(1),
    AHEAD: constexpr(0),
  },
  (al, p) => {
    const { w, w8, w16, x, xf, y, bias, residual, t, n, blocks, panelWords, stride, offset, epilogue } = p;
    const { BASE, HIGH, GROUP, SCALES, OFFSET, TABLE, SHIFT, LANES, MR, SUB, AHEAD } = p;
    const lanes = al.arange(16);
    const WIDE = SCALES === "k" || SCALES === "kn" || SCALES === "km";
    const PER = WIDE ? 8 : SCALES === "d" ? 2 : SCALES === "dm" ? 1 : 4;
    const STEPS = GROUP / 4;
    const FIELDS = 8 / BASE;
    const VECS = STEPS / FIELDS;
    const MIN = SCALES === "dm" || SCALES === "kn" || SCALES === "km";
    const LARGEST = SHIFT > 0 ? 128 : TABLE === "iq4" ? 255 : TABLE === "fp4" ? 28 : (1 << (BASE + HIGH)) - 1;
    const PARTS = 256 / GROUP;
    const bytes = SCALES === "km" ? PARTS * 32 : PARTS * 16;
    const lines = WIDE ? Math.ceil((SCALES === "k" ? bytes + 32 : bytes + 64) / 64) : 1;
    const plane = (BASE + HIGH) * 16;
    // More sums than registers hold wait in memory for the next group of columns.
    const WAIT = MR > SUB;
    const waiting = WAIT ? al.local(MR * 16) : y;
    const start = al.programId(0) * panelWords;
    for (let tile = al.programId(1); tile * MR < t; tile += al.numPrograms(1)) {
      const f: Tile[] = [];
      for (const m of al.unroll(MR)) {
        if (WAIT) al.store(waiting + m * 16 + lanes, al.zeros([16]));
        else f.push(al.zeros([16]));
      }
      for (let i = 0; i < al.cdiv(blocks, PER); i++) {
        const planes = start + i * (PER * plane + lines * 16);
        // In words: 8-bit and 16-bit offsets are products of it, which cannot overflow as shifts of byte offsets would.
        const scales = planes + PER * plane;
        for (const line of al.unroll(lines)) al.prefetch(w + scales + AHEAD + line * 16);
        const units = w16 + scales * 2 + bytes / 2 + lanes;
        const d = WIDE ? al.cast(al.load(units), al.f32) : al.zeros([16]);
        const dm = WIDE && MIN ? al.cast(al.load(units + 16), al.f32) : al.zeros([16]);
        for (let j = 0; j < (WIDE || PER === 1 ? PER : al.min(PER, blocks - i * PER)); j++) {
          const block = i * PER + j;
          for (const line of al.unroll(BASE + HIGH)) al.prefetch(w + planes + AHEAD + j * plane + line * 16);
          const xr = (tile * blocks + block) * (16 * MR);
          for (const g of al.unroll(32 / GROUP)) {
            let scale = al.zeros([16]);
            let min = al.zeros([16]);
            if (SCALES === "e") scale = halfPower(al.load(w8 + scales * 4 + j * 16 + lanes));
            if (SCALES === "d") scale = al.cast(al.load(w16 + scales * 2 + j * 16 + lanes), al.f32);
            if (SCALES === "dm") {
              scale = al.cast(al.load(w16 + scales * 2 + lanes), al.f32);
              min = al.cast(al.load(w16 + scales * 2 + 16 + lanes), al.f32);
            }
            if (WIDE) {
              const part = j * (32 / GROUP) + g;
              const byte = al.load(w8 + scales * 4 + part * 16 + lanes);
              if (SCALES === "k") scale = d * al.cast(al.bitcast(byte, al.i8), al.f32);
              if (SCALES === "kn") {
                scale = d * al.cast(byte & 15, al.f32);
                min = -dm * al.cast(byte >> 4, al.f32);
              }
              if (SCALES === "km") {
                scale = d * al.cast(byte, al.f32);
                min = -dm * al.cast(al.load(w8 + scales * 4 + (PARTS + part) * 16 + lanes), al.f32);
              }
            }
            // As many tokens at a time as have room in registers; the codes of the others are unpacked again, or kept on the stack.
            for (const from of al.unroll(0, MR, SUB)) {
              const c: Tile[] = [];
              for (const m of al.unroll(from, from + SUB, 1)) c.push(al.full([16], firstSum(x + xr + m * 16, OFFSET, g), al.i32));
              for (const i of al.unroll(VECS)) {
                const raw = al.load(w + planes + j * plane + (g * VECS + i) * 16 + lanes);
                for (const field of al.unroll(FIELDS)) {
                  const step = g * STEPS + i + field * VECS;
                  let u = BASE === 8 ? raw : (raw >> (field * BASE)) & (BASE === 4 ? 0x0f0f0f0f : 0x03030303);
                  if (TABLE === "iq4") u = al.byteLookup(iq4, u);
                  if (TABLE === "fp4") u = al.byteLookup(fp4, u);
                  if (HIGH > 0) {
                    const vector = HIGH === 1 ? 0 : step >> 2;
                    const bit = HIGH === 1 ? step : 2 * (step & 3);
                    const high = al.load(w + planes + j * plane + (BASE + vector) * 16 + lanes);
                    const moved = bit > BASE ? high >> (bit - BASE) : high << (BASE - bit);
                    u = u | (moved & ((HIGH === 1 ? 0x01010101 : 0x03030303) << BASE));
                  }
                  u = signedBytes(u, SHIFT);
                  for (const m of al.unroll(SUB)) {
                    const a = quants(x + xr + (from + m) * 16, step, LANES);
                    c[m] = al.dot4(u, a, c[m], { signedA: SHIFT > 0, maxA: LARGEST, maxB: 127 });
                  }
                }
              }
              for (const m of al.unroll(SUB)) {
                const token = from + m;
                let sum = WAIT ? al.load(waiting + token * 16 + lanes) : f[token];
                sum += al.cast(c[m], al.f32) * (scale * al.load(xf + xr + token * 16 + 8));
                if (MIN) sum += min * al.load(xf + xr + token * 16 + (GROUP === 32 ? 10 : 13 + g));
                if (WAIT) al.store(waiting + token * 16 + lanes, sum);
                else f[token] = sum;
              }
            }
          }
        }
      }
      const columns = al.programId(0) * 16 + lanes;
      for (const m of al.unroll(MR)) {
        const row = tile * MR + m;
        const mask = columns < n && row < t;
        let value = WAIT ? al.load(waiting + m * 16 + lanes) : f[m];
        const at = row * stride + offset + columns;
        if ((epilogue & 1) !== 0) value += al.load(bias + columns, { mask });
        if ((epilogue & 2) !== 0) value += al.load(residual + at, { mask });
        al.store(y + at, value, { mask });
      }
    }
  },
  { uses: { firstSum, halfPower, iq4, fp4, quants, signedBytes } },
);

/**
 * How a type's values are laid out, for an instruction set: whether what is subtracted from stored bytes is subtracted from sums (OFFSET), which
 * the sums' first values do, or from the bytes (SHIFT): with signed products those above 127 at least, or where it is `cheap`.
 */
export function layoutConstexprs(type: QuantisedType, isa: IsaName, cheap: boolean) {
  const { base, high, group, scales, offset, table } = FAMILIES[type];
  const LANES = isa === "neon-dotprod";
  const signed = LANES || isa === "avx2" || isa === "avx512";
  const SHIFT = (LANES && cheap) || (signed && offset === 128) ? offset : 0;
  return { BASE: base, HIGH: high, GROUP: group, SCALES: scales, OFFSET: offset - SHIFT, TABLE: table, SHIFT, LANES };
}

/** Constexprs of `linear` for a type on an instruction set. SUB: tokens whose sums are in registers at a time, four where there are 16 registers. */
export const linearConstexprs = (type: QuantisedType, MR: number, isa: IsaName) => {
  const SUB = isa.startsWith("avx512") || isa === "neon-dotprod" ? MR : Math.min(MR, 4);
  return { ...layoutConstexprs(type, isa, false), MR, SUB, AHEAD };
};

export const instances: Instance[] = ISAS.flatMap(({ name: isa }) =>
  QUANTISED_TYPES.flatMap((type) => DECODE_TILES.map((MR) => ({ kernel: linear, constexprs: linearConstexprs(type, MR, isa), isa }))),
);
