/**
 * y = x Wᵀ of many tokens over packed panels (./repack.ts) and quantised activations (./quantize.ts). A program takes NV panels of 16 rows
 * and brings KC columns of them at a time into the form that the multiplication wants, in local memory that stays in the second-level cache:
 * bytes in the order of use, scales as float32. All token tiles pass over that, so that unpacking is paid once. SUB tokens × NV vectors of
 * integer and of float sums stay in registers, how many the instruction set decides.
 */
import { constexpr, kernel, type Tile } from "../src/compiler/language/index.ts";
import type { IsaName } from "../src/runtime/cpu/isa.ts";
import { halfPower } from "./embed.ts";
import { FP4_TABLE, IQ4_TABLE, QUANTISED_TYPES, type QuantisedType } from "./families.ts";
import type { Instance } from "./instances.ts";
import { firstSum, layoutConstexprs, PANEL_OPERANDS, quants, signedBytes } from "./linear.ts";

const iq4 = IQ4_TABLE;
const fp4 = FP4_TABLE;

/** Tokens to a tile of the quantised activations. */
export const PREFILL_TILE = 6;

/** Tokens and vectors of rows whose sums are in registers at a time. */
interface RegisterTile {
  SUB: 2 | 3 | 6;
  NV: 1 | 2;
}
const WIDE: RegisterTile = { SUB: 6, NV: 2 };
const NARROW: RegisterTile = { SUB: 2, NV: 1 };
/** 32 registers of 16 lanes hold 6 × 2 sums twice; 16 of 8 lanes 2 × 1. */
const REGISTER_TILES: Readonly<Record<IsaName, RegisterTile>> = {
  "avx512-vnni": WIDE,
  avx512: WIDE,
  "avx-vnni": { SUB: 3, NV: 1 },
  avx2: { SUB: 3, NV: 1 },
  "neon-dotprod": { SUB: 3, NV: 1 },
  baseline: NARROW,
  scalar: NARROW,
};

/** Blocks of 32 columns that are brought into shape at a time. */
const KC = 32;

/** Grid: (groups of NV panels, splits): token tiles are dealt over the second axis. */
export const linearPrefill = kernel(
  "linear_prefill",
  {
    ...PANEL_OPERANDS,
    MR: constexpr(PREFILL_TILE),
    SUB: constexpr(6),
    NV: constexpr(2),
    KC: constexpr(KC),
    FOLD: constexpr(0),
    SIZES: constexpr(0),
  },
  (al, p) => {
    const { w, w8, w16, x, xf, y, bias, residual, t, n, blocks, panelWords, stride, offset, epilogue } = p;
    const { BASE, HIGH, GROUP, SCALES, OFFSET, TABLE, MR, SUB, NV, KC, FOLD, SIZES, SHIFT, LANES } = p;
    const lanes = al.arange(16);
    const K_KIND = SCALES === "k" || SCALES === "kn" || SCALES === "km";
    const PER = K_KIND ? 8 : SCALES === "d" ? 2 : SCALES === "dm" ? 1 : 4;
    const GROUPS = 32 / GROUP;
    // Multiplying a group's sum by its integer scale in 16 bits, as one number (FOLD 1) or as two halves (2): what is subtracted from the weights
    // meanwhile. With halves nothing is, not even what the type wants: minima make that good.
    const HALVES = FOLD === 2;
    const CENTRE = FOLD === 1 && SCALES === "km" ? 8 : HALVES ? -OFFSET : 0;
    const STEPS = GROUP / 4;
    const FIELDS = 8 / BASE;
    const VECS = STEPS / FIELDS;
    const LOWER = SCALES === "kn" || SCALES === "km";
    const MIN = SCALES === "dm" || LOWER || CENTRE !== 0;
    // Blocks after which minima are added, while their activations are in level 1; k types' activations have one scale for so many.
    const SPAN = K_KIND || MIN ? 8 : KC;
    const LARGEST = SHIFT > 0 ? 128 : TABLE === "iq4" ? 255 : TABLE === "fp4" ? 28 : (1 << (BASE + HIGH)) - 1;
    // Dots whose sums fit halves.
    const MOST = HALVES ? al.min(STEPS, Math.floor(32767 / (2 * LARGEST * 127))) : STEPS;
    const PARTS = 256 / GROUP;
    const bytes = SCALES === "km" ? PARTS * 32 : PARTS * 16;
    const lines = K_KIND ? Math.ceil((SCALES === "k" ? bytes + 32 : bytes + 64) / 64) : 1;
    const plane = (BASE + HIGH) * 16;
    const record = PER * plane + lines * 16;
    const codes = al.local(KC * 8 * NV * 16, al.i32);
    // Where signed bytes are multiplied as sizes by activations with their signs: the sizes.
    const sizes = al.local(SIZES ? KC * 8 * NV * 16 : 16, al.i32);
    const scales = al.local(FOLD > 0 ? 16 : KC * GROUPS * NV * 16, al.f32);
    const parts = al.local(FOLD > 0 ? KC * GROUPS * NV * 16 : 16, al.i32);
    const units = al.local(FOLD > 0 ? KC * 2 * NV : 16, al.f32);
    const minima = al.local(MIN ? KC * GROUPS * NV * 16 : 16, al.f32);
    const panels = al.cdiv(n, 16);
    // Few sums of minima would each wait for the one before: every other group adds to sums of its own.
    const TWO = K_KIND && SUB * NV < 6;
    const TURN = TWO && GROUPS === 1 ? 2 : 1;

    for (let from = 0; from < blocks; from += KC) {
      const count = al.min(blocks - from, KC);
      for (let b = 0; b < count; b++) {
        const block = from + b;
        const inside = block % PER;
        for (const v of al.unroll(NV)) {
          const start = al.min(al.programId(0) * NV + v, panels - 1) * panelWords + al.idiv(block, PER) * record;
          const planes = start + inside * plane;
          const unit = start + PER * plane;
          for (const line of al.unroll(Math.ceil(record / PER / 16)))
            al.prefetch(w + start + inside * Math.ceil(record / PER) + 2048 + line * 16);
          for (const g of al.unroll(GROUPS)) {
            for (const s of al.unroll(STEPS)) {
              const step = g * STEPS + s;
              const raw = al.load(w + planes + (g * VECS + (s % VECS)) * 16 + lanes);
              const field = Math.floor(s / VECS);
              let value = BASE === 8 ? raw : (raw >> (field * BASE)) & (BASE === 4 ? 0x0f0f0f0f : 0x03030303);
              if (TABLE === "iq4") value = al.byteLookup(iq4, value);
              if (TABLE === "fp4") value = al.byteLookup(fp4, value);
              if (HIGH > 0) {
                const vector = HIGH === 1 ? 0 : step >> 2;
                const bit = HIGH === 1 ? step : 2 * (step & 3);
                const high = al.load(w + planes + (BASE + vector) * 16 + lanes);
                const moved = bit > BASE ? high >> (bit - BASE) : high << (BASE - bit);
                value = value | (moved & ((HIGH === 1 ? 0x01010101 : 0x03030303) << BASE));
              }
              const to = ((b * 8 + step) * NV + v) * 16 + lanes;
              const code = signedBytes(value, SHIFT);
              al.store(codes + to, code);
              if (SIZES) al.store(sizes + to, al.byteSign(code, code));
            }
            const to = ((b * GROUPS + g) * NV + v) * 16 + lanes;
            if (SCALES === "e") al.store(scales + to, halfPower(al.load(w8 + unit * 4 + inside * 16 + lanes)));
            if (SCALES === "d") al.store(scales + to, al.cast(al.load(w16 + unit * 2 + inside * 16 + lanes), al.f32));
            if (SCALES === "dm") {
              al.store(scales + to, al.cast(al.load(w16 + unit * 2 + lanes), al.f32));
              al.store(minima + to, al.cast(al.load(w16 + unit * 2 + 16 + lanes), al.f32));
            }
            if (K_KIND) {
              const halfs = w16 + unit * 2 + bytes / 2 + lanes;
              const d = al.cast(al.load(halfs), al.f32);
              const part = inside * GROUPS + g;
              const byte = al.load(w8 + unit * 4 + part * 16 + lanes);
              const integer = al.cast(SCALES === "k" ? al.bitcast(byte, al.i8) : SCALES === "kn" ? byte & 15 : byte, al.i32);
              const scale = d * al.cast(integer, al.f32);
              if (FOLD > 0) {
                al.store(parts + to, HALVES ? (integer & 0xffff) | (integer << 16) : integer & 0xffff);
                al.store(units + (al.idiv(b, 8) * NV + v) * 16 + lanes, d);
              } else al.store(scales + to, scale);
              if (LOWER) {
                const low = SCALES === "kn" ? byte >> 4 : al.load(w8 + unit * 4 + (PARTS + part) * 16 + lanes);
                al.store(minima + to, scale * CENTRE - al.cast(al.load(halfs + 16), al.f32) * al.cast(low, al.f32));
              } else if (MIN) al.store(minima + to, scale * CENTRE);
            }
          }
        }
      }
      for (let tile = al.programId(1); tile * MR < t; tile += al.numPrograms(1)) {
        for (const v of al.unroll(NV))
          for (let row = tile * MR; row < tile * MR + MR; row++) al.prefetch(y + row * stride + offset + (al.programId(0) * NV + v) * 16);
        for (let first = 0; first < MR; first += SUB) {
          const f: Tile[] = [];
          for (const _ of al.unroll(SUB * NV)) f.push(al.zeros([16]));
          const records = x + (tile * blocks + from) * (MR * 16) + first * 16;
          const scaled = xf + (tile * blocks + from) * (MR * 16) + first * 16;
          for (let span = 0; span < count; span += SPAN) {
            const total: Tile[] = [];
            for (const _ of al.unroll(SUB * NV)) total.push(FOLD > 0 ? al.zeros([16], al.i32) : al.zeros([16]));
            const end = K_KIND ? span + SPAN : al.min(span + SPAN, count);
            for (let b = span; b < end; b++) {
              const xr = b * (MR * 16);
              for (const part of al.unroll(GROUPS * (STEPS / MOST))) {
                const g = Math.floor((part * MOST) / STEPS);
                const c: Tile[] = [];
                for (const m of al.unroll(SUB)) {
                  const initial = firstSum(records + xr + m * 16, OFFSET + CENTRE, g);
                  for (const _ of al.unroll(NV)) c.push(al.full([16], initial, al.i32));
                }
                for (const s of al.unroll(part * MOST, (part + 1) * MOST, 1)) {
                  const u: Tile[] = [];
                  const size: Tile[] = [];
                  for (const v of al.unroll(NV)) {
                    const at = ((b * 8 + s) * NV + v) * 16 + lanes;
                    u.push(al.load(codes + at));
                    if (SIZES) size.push(al.load(sizes + at));
                  }
                  for (const m of al.unroll(SUB)) {
                    const a = quants(records + xr + m * 16, s, LANES);
                    for (const v of al.unroll(NV)) {
                      const i = m * NV + v;
                      if (HALVES) c[i] = al.dotPairs(u[v], a, c[i]);
                      else if (SIZES) c[i] = al.dot4(size[v], al.byteSign(a, u[v]), c[i], { maxA: 128, maxB: 127 });
                      else c[i] = al.dot4(u[v], a, c[i], { signedA: SHIFT > 0, maxA: LARGEST, maxB: 127 });
                    }
                  }
                }
                for (const v of al.unroll(NV)) {
                  const at = ((b * GROUPS + g) * NV + v) * 16 + lanes;
                  const scale = FOLD > 0 ? al.load(parts + at) : al.load(scales + at);
                  for (const m of al.unroll(SUB)) {
                    const i = m * NV + v;
                    if (FOLD > 0) total[i] = al.dot2(c[i], scale, total[i]);
                    else if (K_KIND) total[i] += al.cast(c[i], al.f32) * scale;
                    else f[i] += al.cast(c[i], al.f32) * (scale * al.load(scaled + xr + m * 16 + 8));
                  }
                }
              }
            }
            if (K_KIND) {
              const d: Tile[] = [];
              if (FOLD > 0) for (const v of al.unroll(NV)) d.push(al.load(units + (al.idiv(span, 8) * NV + v) * 16 + lanes));
              for (const m of al.unroll(SUB)) {
                const sx = al.load(scaled + span * (MR * 16) + m * 16 + 8);
                for (const v of al.unroll(NV)) {
                  const i = m * NV + v;
                  if (FOLD > 0) f[i] += al.cast(total[i], al.f32) * (d[v] * sx);
                  else f[i] += total[i] * sx;
                }
              }
            }
            if (MIN) {
              const odd: Tile[] = [];
              if (TWO) for (const _ of al.unroll(SUB * NV)) odd.push(al.zeros([16]));
              for (let b = span; b < end; b += TURN)
                for (const g of al.unroll(TURN * GROUPS)) {
                  const block = scaled + (b + Math.floor(g / GROUPS)) * (MR * 16);
                  const min: Tile[] = [];
                  for (const v of al.unroll(NV)) min.push(al.load(minima + ((b * GROUPS + g) * NV + v) * 16 + lanes));
                  for (const m of al.unroll(SUB)) {
                    const sum = al.load(block + m * 16 + (GROUP === 32 ? 10 : 13 + (g % GROUPS)));
                    for (const v of al.unroll(NV)) {
                      const i = m * NV + v;
                      if (TWO && g % 2 === 1) odd[i] += min[v] * sum;
                      else f[i] += min[v] * sum;
                    }
                  }
                }
              if (TWO) for (const i of al.unroll(SUB * NV)) f[i] += odd[i];
            }
          }
          for (const v of al.unroll(NV)) {
            const columns = (al.programId(0) * NV + v) * 16 + lanes;
            for (const m of al.unroll(SUB)) {
              const row = tile * MR + first + m;
              const mask = columns < n && row < t;
              const at = row * stride + offset + columns;
              let value = f[m * NV + v];
              if (from > 0) value += al.load(y + at, { mask });
              else {
                if ((epilogue & 1) !== 0) value += al.load(bias + columns, { mask });
                if ((epilogue & 2) !== 0) value += al.load(residual + at, { mask });
              }
              al.store(y + at, value, { mask });
            }
          }
        }
      }
    }
  },
  { uses: { firstSum, halfPower, iq4, fp4, quants, signedBytes } },
);

/**
 * How a group's sum is multiplied by its integer scale (FOLD): 1 where the sum fits 16 bits and the instruction set adds products of such in one
 * instruction, 2 where it adds up products of bytes in 16 bits anyway and only then to 32.
 */
function fold(type: QuantisedType, isa: IsaName): 0 | 1 | 2 {
  if (isa.endsWith("vnni")) return ["q4_k", "q2_k", "q3_k"].includes(type) ? 1 : 0;
  return ["avx2", "avx512"].includes(isa) && /^q._k$/.test(type) ? 2 : 0;
}

/** Constexprs of `linearPrefill` for a type on an instruction set. */
export function prefillConstexprs(type: QuantisedType, isa: IsaName) {
  const layout = layoutConstexprs(type, isa, true);
  const SIZES = isa === "avx2" && layout.SHIFT > 0 ? 1 : 0;
  return { ...layout, MR: PREFILL_TILE, KC, ...REGISTER_TILES[isa], FOLD: fold(type, isa), SIZES };
}

export const instances: Instance[] = Object.entries(REGISTER_TILES).flatMap(([isa]) =>
  QUANTISED_TYPES.map((type) => ({
    kernel: linearPrefill,
    constexprs: prefillConstexprs(type, isa as IsaName),
    isa: isa as IsaName,
  })),
);
