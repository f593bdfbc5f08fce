/**
 * y = x Wᵀ of many tokens over packed panels (./repack.ts) and quantised activations (./quantize.ts). A program takes NV panels of 16 rows
 * and brings KC columns of them at a time into the form that the multiplication wants, in local memory that stays in the second-level cache:
 * bytes in the order of use, scales as float32. All token tiles pass over that, so that unpacking is paid once. SUB tokens × NV vectors of
 * integer and of float sums stay in registers, how many the instruction set decides.
 */
import { constexpr, kernel, type Tile } from "../src/compiler/language/index.ts";
import type { IsaName } from "../src/runtime/cpu/isa.ts";
import { halfPower } from "./embed.ts";
import { FAMILIES, FP4_TABLE, IQ4_TABLE, QUANTISED_TYPES, type QuantisedType } from "./families.ts";
import type { Instance } from "./instances.ts";
import { PANEL_OPERANDS } from "./linear.ts";

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
  avx2: NARROW,
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
  },
  (al, p) => {
    const { w, w8, w16, x, xf, y, bias, residual, t, n, blocks, panelWords, stride, offset, epilogue } = p;
    const { BASE, HIGH, GROUP, SCALES, OFFSET, TABLE, MR, SUB, NV, KC } = p;
    const lanes = al.arange(16);
    const K_KIND = SCALES === "k" || SCALES === "kn" || SCALES === "km";
    const PER = K_KIND ? 8 : SCALES === "d" ? 2 : SCALES === "dm" ? 1 : 4;
    const GROUPS = 32 / GROUP;
    const STEPS = GROUP / 4;
    const FIELDS = 8 / BASE;
    const VECS = STEPS / FIELDS;
    const MIN = SCALES === "dm" || SCALES === "kn" || SCALES === "km";
    const SMALL = BASE < 8 && TABLE !== "iq4";
    const PARTS = 256 / GROUP;
    const bytes = SCALES === "km" ? PARTS * 32 : PARTS * 16;
    const lines = K_KIND ? Math.ceil((SCALES === "k" ? bytes + 32 : bytes + 64) / 64) : 1;
    const plane = (BASE + HIGH) * 16;
    const record = PER * plane + lines * 16;
    const codes = al.local(KC * 8 * NV * 16, al.i32);
    const scales = al.local(KC * GROUPS * NV * 16, al.f32);
    const minima = al.local(MIN ? KC * GROUPS * NV * 16 : 16, al.f32);
    const panels = al.cdiv(n, 16);

    for (let from = 0; from < blocks; from += KC) {
      const count = al.min(blocks - from, KC);
      for (let b = 0; b < count; b++) {
        const block = from + b;
        const inside = block % PER;
        for (const v of al.unroll(NV)) {
          const start = al.min(al.programId(0) * NV + v, panels - 1) * panelWords + al.idiv(block, PER) * record;
          const planes = start + inside * plane;
          const unit = start + PER * plane;
          for (const line of al.unroll(BASE + HIGH)) al.prefetch(w + planes + 2048 + line * 16);
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
              al.store(codes + ((b * 8 + step) * NV + v) * 16 + lanes, value);
            }
            const to = ((b * GROUPS + g) * NV + v) * 16 + lanes;
            if (SCALES === "e") al.store(scales + to, halfPower(al.load(w8 + unit * 4 + inside * 16 + lanes)));
            if (SCALES === "d") al.store(scales + to, al.cast(al.load(w16 + unit * 2 + inside * 16 + lanes), al.f32));
            if (SCALES === "dm") {
              al.store(scales + to, al.cast(al.load(w16 + unit * 2 + lanes), al.f32));
              al.store(minima + to, al.cast(al.load(w16 + unit * 2 + 16 + lanes), al.f32));
            }
            if (K_KIND) {
              const units = w16 + unit * 2 + bytes / 2 + lanes;
              const d = al.cast(al.load(units), al.f32);
              const part = inside * GROUPS + g;
              const byte = al.load(w8 + unit * 4 + part * 16 + lanes);
              if (SCALES === "k") al.store(scales + to, d * al.cast(al.bitcast(byte, al.i8), al.f32));
              if (SCALES === "kn") {
                al.store(scales + to, d * al.cast(byte & 15, al.f32));
                al.store(minima + to, -al.cast(al.load(units + 16), al.f32) * al.cast(byte >> 4, al.f32));
              }
              if (SCALES === "km") {
                al.store(scales + to, d * al.cast(byte, al.f32));
                const low = al.load(w8 + unit * 4 + (PARTS + part) * 16 + lanes);
                al.store(minima + to, -al.cast(al.load(units + 16), al.f32) * al.cast(low, al.f32));
              }
            }
          }
        }
      }
      for (let tile = al.programId(1); tile * MR < t; tile += al.numPrograms(1)) {
        for (let first = 0; first < MR; first += SUB) {
          const f: Tile[] = [];
          for (const _ of al.unroll(SUB * NV)) f.push(al.zeros([16]));
          for (let b = 0; b < count; b++) {
            const xr = ((tile * blocks + from + b) * MR + first) * 16;
            for (const g of al.unroll(GROUPS)) {
              const c: Tile[] = [];
              for (const m of al.unroll(SUB)) {
                // For an offset of 128 the product is there: a broadcast from memory costs less than one from a scalar register.
                const at = x + xr + m * 16;
                const initial = OFFSET === 128 && GROUP === 32 ? al.load(at + 15) : al.load(at + (GROUP === 32 ? 9 : 11 + g)) * -OFFSET;
                for (const _ of al.unroll(NV)) c.push(al.full([16], OFFSET === 0 ? 0 : initial, al.i32));
              }
              for (const s of al.unroll(STEPS)) {
                const u: Tile[] = [];
                for (const v of al.unroll(NV)) u.push(al.load(codes + ((b * 8 + g * STEPS + s) * NV + v) * 16 + lanes));
                for (const m of al.unroll(SUB)) {
                  const a = al.load(x + xr + m * 16 + g * STEPS + s);
                  for (const v of al.unroll(NV)) c[m * NV + v] = al.dot4(u[v], a, c[m * NV + v], { smallA: SMALL });
                }
              }
              const scale: Tile[] = [];
              const min: Tile[] = [];
              for (const v of al.unroll(NV)) {
                const at = ((b * GROUPS + g) * NV + v) * 16 + lanes;
                scale.push(al.load(scales + at));
                if (MIN) min.push(al.load(minima + at));
              }
              for (const m of al.unroll(SUB)) {
                const sx = al.load(xf + xr + m * 16 + 8);
                for (const v of al.unroll(NV)) f[m * NV + v] += al.cast(c[m * NV + v], al.f32) * (scale[v] * sx);
                if (MIN) {
                  const sum = al.load(xf + xr + m * 16 + (GROUP === 32 ? 10 : 13 + g));
                  for (const v of al.unroll(NV)) f[m * NV + v] += min[v] * sum;
                }
              }
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
  { uses: { halfPower, iq4, fp4 } },
);

/** Constexprs of `linearPrefill` for a type on an instruction set. */
export function prefillConstexprs(type: QuantisedType, isa: IsaName) {
  const { base, high, group, scales, offset, table } = FAMILIES[type];
  const sizes = { MR: PREFILL_TILE, KC, ...REGISTER_TILES[isa] };
  return { BASE: base, HIGH: high, GROUP: group, SCALES: scales, OFFSET: offset, TABLE: table, ...sizes };
}

export const instances: Instance[] = Object.entries(REGISTER_TILES).flatMap(([isa]) =>
  QUANTISED_TYPES.map((type) => ({
    kernel: linearPrefill,
    constexprs: prefillConstexprs(type, isa as IsaName),
    isa: isa as IsaName,
  })),
);
