/**
 * Quantised weights of any type to packed panels: 16 rows together, one 64-byte vector holding four neighbouring columns of
 * the 16 rows, so that the matmul unpacks with nothing but shifts, ands and ors.
 *
 * A panel of `k` columns is made of records, read front to back: the bit planes of 256 columns (k kinds), 64 (`d`), 32 (`dm`) or
 * 128 (`e`), and then their scales, padded to 64 bytes. The last record may be only partly used. Per 32 columns the planes are
 * `base` vectors and `high` vectors.
 * The 32 columns are 8 steps of four; a group (16 or 32 columns) has STEPS steps:
 * - base plane: 8 / base steps share a vector: field f of vector i of a group is the group's step i + f * (vectors per group);
 * - high plane of 1 bit: bit s of every byte is the high bit of step s;
 * - high plane of 2 bits: bits 2f, 2f + 1 of vector i belong to step 4i + f.
 * Scales are records of 16 lanes per 32 columns (`d`: f16 d; `dm`: f16 d, f16 minimum; `e`: byte), or per 256 columns
 * (`k`: a signed byte per group, f16 d; `kn`: a byte scale | minimum << 4 per group, f16 d, f16 dmin; `km`: a byte scale per
 * group, a byte minimum per group, f16 d, f16 dmin). Rows beyond the last repeat it.
 */
import type { Instance } from "./instances.ts";
import { constexpr, dim, i32, kernel, ptr, u16, u8, type Tile } from "../src/compiler/language/index.ts";
import { BLOCKS } from "./blocks.ts";
import { FAMILIES, QUANTISED_TYPES, type QuantisedType } from "./families.ts";

/** Grid: (panels). `blocks` is the number of 32-column blocks of a row, `panelWords` a panel's size in 32-bit words. */
const packKernel = (type: QuantisedType) => {
  const { quads, unit, part } = BLOCKS[type];
  return kernel(
    `pack_${type}`,
    {
      b: ptr(u8),
      h: ptr(u16),
      dst: ptr(i32),
      dst8: ptr(u8),
      dst16: ptr(u16),
      n: dim,
      blocks: dim,
      panelWords: dim,
      PER: constexpr(1),
      BASE: constexpr(8),
      HIGH: constexpr(0),
      GROUP: constexpr(32),
      SCALES: constexpr("d"),
    },
    (al, { b, h, dst, dst8, dst16, n, blocks, panelWords, PER, BASE, HIGH, GROUP, SCALES }) => {
      const panel = al.programId(0);
      const lanes = al.arange(16);
      const rows = al.min(panel * 16 + lanes, n - 1);
      const perRow = al.idiv(blocks, PER);
      const PLANE = (BASE + HIGH) * 16;
      const PARTS = 256 / GROUP;
      const bytes = SCALES === "km" ? PARTS * 32 : PARTS * 16;
      const WIDE = PER === 8;
      // 32-column blocks and scale lines of a record.
      const RECORD = WIDE ? 8 : SCALES === "d" ? 2 : SCALES === "dm" ? 1 : 4;
      const lines = WIDE ? Math.ceil((SCALES === "k" ? bytes + 32 : bytes + 64) / 64) : 1;
      const STEPS = GROUP / 4;
      const FIELDS = 8 / BASE;
      const VECS = STEPS / FIELDS;
      for (let i = 0; i < perRow; i++) {
        const block = rows * perRow + i;
        // In words: the record, and the planes and scales of this block in it.
        const record = panel * panelWords + (WIDE ? i : al.idiv(i, RECORD)) * (RECORD * PLANE + lines * 16);
        const inside = WIDE ? 0 : i % RECORD;
        const planes = record + inside * PLANE;
        const scales = record + RECORD * PLANE + inside * (SCALES === "d" ? 8 : 4);
        const scales8 = dst8 + scales * 4 + lanes;
        const scales16 = dst16 + scales * 2 + lanes;
        for (let j = 0; j < PER; j++) {
          const at = dst + planes + j * PLANE + lanes;
          const u: Tile[] = [];
          for (const s of al.unroll(8)) u.push(quads(b, h, block, j * 8 + s));
          for (const v of al.unroll(BASE)) {
            const first = Math.floor(v / VECS) * STEPS + (v % VECS);
            let vector = u[first] & (BASE === 8 ? -1 : BASE === 4 ? 0x0f0f0f0f : 0x03030303);
            for (const f of al.unroll(1, FIELDS, 1))
              vector = vector | ((u[first + f * VECS] & (BASE === 4 ? 0x0f0f0f0f : 0x03030303)) << (f * BASE));
            al.store(at + v * 16, vector);
          }
          if (HIGH === 1) {
            let vector = al.zeros([16], al.i32);
            for (const s of al.unroll(8)) vector = vector | (((u[s] >> BASE) & 0x01010101) << s);
            al.store(at + BASE * 16, vector);
          }
          if (HIGH === 2) {
            for (const v of al.unroll(2)) {
              let vector = al.zeros([16], al.i32);
              for (const f of al.unroll(4)) vector = vector | (((u[v * 4 + f] >> BASE) & 0x03030303) << (2 * f));
              al.store(at + (BASE + v) * 16, vector);
            }
          }
        }
        const [d, m] = unit(b, h, block);
        if (SCALES === "e") al.store(scales8, d);
        if (WIDE) {
          for (let g = 0; g < PARTS; g++) {
            const [sc, mn] = part(b, h, block, g);
            al.store(scales8 + g * 16, al.cast(SCALES === "kn" ? sc | (mn << 4) : sc, al.u8));
            if (SCALES === "km") al.store(scales8 + (PARTS + g) * 16, al.cast(mn, al.u8));
          }
        }
        if (SCALES !== "e") {
          const units = scales16 + (WIDE ? bytes / 2 : 0);
          al.store(units, d);
          if (SCALES === "dm" || SCALES === "kn" || SCALES === "km") al.store(units + 16, m);
        }
      }
    },
    { uses: { quads, unit, part } },
  );
};

/** Pack kernels by type. */
export const packKernels = Object.fromEntries(QUANTISED_TYPES.map((type) => [type, packKernel(type)])) as Readonly<
  Record<QuantisedType, ReturnType<typeof packKernel>>
>;

export const packConstexprs = (type: QuantisedType) => {
  const { block, base, high, group, scales } = FAMILIES[type];
  return { PER: block / 32, BASE: base, HIGH: high, GROUP: group, SCALES: scales };
};

export const instances: Instance[] = QUANTISED_TYPES.map((type) => ({ kernel: packKernels[type], constexprs: packConstexprs(type) }));
