/**
 * y = x Wᵀ over packed panels (./repack.ts) and quantised activations (./quantize.ts), in integers with one float scaling per
 * group of columns. One source for every type, for decode (one token tile, weights stream from memory) and for prefill (the
 * panels of a program stay in cache while all token tiles pass).
 */
import type { Instance } from "./instances.ts";
import { constexpr, dim, f16, f32, i32, kernel, ptr, u8, type Tile } from "../src/compiler/language/index.ts";
import { halfPower } from "./embed.ts";
import { FAMILIES, FP4_TABLE, IQ4_TABLE, QUANTISED_TYPES, type QuantisedType } from "./families.ts";

/**
 * Panels per program, by tokens per tile. With few tokens memory is the limit, and one panel at a time is one stream that
 * prefetches run ahead of: two lose half of the bandwidth. With many, two panels share every broadcast of an activation.
 */
export const PANELS: Readonly<Record<number, number>> = { 1: 1, 2: 1, 4: 1, 6: 2, 8: 1 };
/** Words ahead of the panel's reads that a stream of panels is prefetched, measured; 0: the whole panel, before the first tile. */
const ahead = (MR: number): number => (MR === 6 ? 0 : 2048);

const iq4 = IQ4_TABLE;
const fp4 = FP4_TABLE;

/**
 * Grid: (groups of NV panels, splits): token tiles are dealt over the second axis.
 * The panels are passed once per element type they hold. `blocks`: 32-column blocks of a row. `epilogue` adds bias [n] (bit 0)
 * and residual, laid out as y (bit 1; may be y itself); without them any buffer will do. y[token, row] is at
 * token * stride + offset + row.
 */
export const linear = kernel(
  "linear",
  {
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
    MR: constexpr(1),
    NV: constexpr(1),
    AHEAD: constexpr(0),
  },
  (al, p) => {
    const { w, w8, w16, x, xf, y, bias, residual, t, n, blocks, panelWords, stride, offset, epilogue } = p;
    const { BASE, HIGH, GROUP, SCALES, OFFSET, TABLE, MR, NV, AHEAD } = p;
    const lanes = al.arange(16);
    const WIDE = SCALES === "k" || SCALES === "kn" || SCALES === "km";
    const PER = WIDE ? 8 : SCALES === "d" ? 2 : SCALES === "dm" ? 1 : 4;
    const STEPS = GROUP / 4;
    const FIELDS = 8 / BASE;
    const VECS = STEPS / FIELDS;
    const MIN = SCALES === "dm" || SCALES === "kn" || SCALES === "km";
    const SMALL = BASE < 8 && TABLE !== "iq4";
    const PARTS = 256 / GROUP;
    const bytes = SCALES === "km" ? PARTS * 32 : PARTS * 16;
    const lines = WIDE ? Math.ceil((SCALES === "k" ? bytes + 32 : bytes + 64) / 64) : 1;
    const panels = al.cdiv(n, 16);
    const plane = (BASE + HIGH) * 16;
    const starts: Tile[] = [];
    for (const v of al.unroll(NV)) starts.push(al.min(al.programId(0) * NV + v, panels - 1) * panelWords);
    if (AHEAD === 0) for (let line = 0; line < NV * panelWords; line += 16) al.prefetch(w + starts[0] + line);
    for (let tile = al.programId(1); tile * MR < t; tile += al.numPrograms(1)) {
      const f: Tile[] = [];
      for (const _ of al.unroll(MR * NV)) f.push(al.zeros([16]));
      for (let i = 0; i < al.cdiv(blocks, PER); i++) {
        const d: Tile[] = [];
        const dm: Tile[] = [];
        const planes: Tile[] = [];
        const scales: Tile[] = [];
        for (const v of al.unroll(NV)) {
          planes.push(starts[v] + i * (PER * plane + lines * 16));
          // In words: 8-bit and 16-bit offsets are products of it, which cannot overflow as shifts of byte offsets would.
          scales.push(planes[v] + PER * plane);
          if (AHEAD > 0) for (const line of al.unroll(lines)) al.prefetch(w + scales[v] + AHEAD + line * 16);
          if (WIDE) {
            const units = w16 + scales[v] * 2 + bytes / 2 + lanes;
            d.push(al.cast(al.load(units), al.f32));
            if (MIN) dm.push(al.cast(al.load(units + 16), al.f32));
          }
        }
        for (let j = 0; j < (WIDE || PER === 1 ? PER : al.min(PER, blocks - i * PER)); j++) {
          const block = i * PER + j;
          if (AHEAD > 0) {
            for (const v of al.unroll(NV))
              for (const line of al.unroll(BASE + HIGH)) al.prefetch(w + planes[v] + AHEAD + j * plane + line * 16);
          }
          const xr = (tile * blocks + block) * (16 * MR);
          for (const g of al.unroll(32 / GROUP)) {
            const c: Tile[] = [];
            for (const m of al.unroll(MR)) {
              const start = OFFSET === 0 ? 0 : al.load(x + xr + m * 16 + (GROUP === 32 ? 9 : 11 + g)) * -OFFSET;
              for (const _ of al.unroll(NV)) c.push(al.full([16], start, al.i32));
            }
            for (const i of al.unroll(VECS)) {
              const raw: Tile[] = [];
              for (const v of al.unroll(NV)) raw.push(al.load(w + planes[v] + j * plane + (g * VECS + i) * 16 + lanes));
              for (const field of al.unroll(FIELDS)) {
                const step = g * STEPS + i + field * VECS;
                const u: Tile[] = [];
                for (const v of al.unroll(NV)) {
                  let value = BASE === 8 ? raw[v] : (raw[v] >> (field * BASE)) & (BASE === 4 ? 0x0f0f0f0f : 0x03030303);
                  if (TABLE === "iq4") value = al.byteLookup(iq4, value);
                  if (TABLE === "fp4") value = al.byteLookup(fp4, value);
                  if (HIGH > 0) {
                    const vector = HIGH === 1 ? 0 : step >> 2;
                    const from = HIGH === 1 ? step : 2 * (step & 3);
                    const high = al.load(w + planes[v] + j * plane + (BASE + vector) * 16 + lanes);
                    const moved = from > BASE ? high >> (from - BASE) : high << (BASE - from);
                    value = value | (moved & ((HIGH === 1 ? 0x01010101 : 0x03030303) << BASE));
                  }
                  u.push(value);
                }
                for (const m of al.unroll(MR)) {
                  const a = al.load(x + xr + m * 16 + step);
                  for (const v of al.unroll(NV)) c[m * NV + v] = al.dot4(u[v], a, c[m * NV + v], { smallA: SMALL });
                }
              }
            }
            const scale: Tile[] = [];
            const min: Tile[] = [];
            for (const v of al.unroll(NV)) {
              if (SCALES === "e") scale.push(halfPower(al.load(w8 + scales[v] * 4 + j * 16 + lanes)));
              if (SCALES === "d") scale.push(al.cast(al.load(w16 + scales[v] * 2 + j * 16 + lanes), al.f32));
              if (SCALES === "dm") {
                scale.push(al.cast(al.load(w16 + scales[v] * 2 + lanes), al.f32));
                min.push(al.cast(al.load(w16 + scales[v] * 2 + 16 + lanes), al.f32));
              }
              if (WIDE) {
                const part = j * (32 / GROUP) + g;
                const byte = al.load(w8 + scales[v] * 4 + part * 16 + lanes);
                if (SCALES === "k") scale.push(d[v] * al.cast(al.bitcast(byte, al.i8), al.f32));
                if (SCALES === "kn") {
                  scale.push(d[v] * al.cast(byte & 15, al.f32));
                  min.push(dm[v] * al.cast(byte >> 4, al.f32));
                }
                if (SCALES === "km") {
                  scale.push(d[v] * al.cast(byte, al.f32));
                  const low = al.load(w8 + scales[v] * 4 + (PARTS + part) * 16 + lanes);
                  min.push(dm[v] * al.cast(low, al.f32));
                }
              }
            }
            for (const m of al.unroll(MR)) {
              const sx = al.load(xf + xr + m * 16 + 8);
              for (const v of al.unroll(NV)) f[m * NV + v] += al.cast(c[m * NV + v], al.f32) * (scale[v] * sx);
              if (MIN) {
                const sum = al.load(xf + xr + m * 16 + (GROUP === 32 ? 10 : 13 + g));
                // A minimum of the k kinds is taken away, that of `dm` is added.
                for (const v of al.unroll(NV)) f[m * NV + v] += (SCALES === "dm" ? min[v] : -min[v]) * sum;
              }
            }
          }
        }
      }
      for (const v of al.unroll(NV)) {
        const columns = (al.programId(0) * NV + v) * 16 + lanes;
        for (const m of al.unroll(MR)) {
          const row = tile * MR + m;
          const mask = columns < n && row < t;
          let value = f[m * NV + v];
          const at = row * stride + offset + columns;
          if ((epilogue & 1) !== 0) value += al.load(bias + columns, { mask });
          if ((epilogue & 2) !== 0) value += al.load(residual + at, { mask });
          al.store(y + at, value, { mask });
        }
      }
    }
  },
  { uses: { halfPower, iq4, fp4 } },
);

/** Constexprs of `linear` for a type. */
export const linearConstexprs = (type: QuantisedType, MR: number, NV: number) => {
  const { base, high, group, scales, offset, table } = FAMILIES[type];
  return { BASE: base, HIGH: high, GROUP: group, SCALES: scales, OFFSET: offset, TABLE: table, MR, NV, AHEAD: ahead(MR) };
};

export const instances: Instance[] = QUANTISED_TYPES.flatMap((type) =>
  Object.entries(PANELS).map(([MR, NV]) => ({ kernel: linear, constexprs: linearConstexprs(type, Number(MR), NV) })),
);
