/**
 * Rows of a weight of any type, in place, as f32: token embedding, and whole tensors for the exact mode.
 * A program handles CHUNK columns of one row: grid (rows, columns / CHUNK rounded up).
 */
import type { Instance } from "./instances.ts";
import { bf16, constexpr, dim, f16, f32, fn, i32, kernel, ptr, scalar, u16, u8 } from "../src/compiler/language/index.ts";
import { BLOCKS } from "./blocks.ts";
import { FAMILIES, FP4_TABLE, IQ4_TABLE, QUANTISED_TYPES, type FloatType, type QuantisedType } from "./families.ts";

const FLOATS = { f32, f16, bf16 };
const FLOAT_TYPES = ["f32", "f16", "bf16"] as const;

/** Columns per program. */
export const CHUNK = 256;

/** f16 of its bit pattern, as f32. */
export const half = fn((al, bits) => al.cast(al.bitcast(al.cast(bits, al.u16), al.f16), al.f32));
/** The power of two that an E8M0 byte means, halved (the FP4 table is doubled). */
export const halfPower = fn((al, e) => {
  const bits = al.cast(e, al.i32);
  return al.bitcast(al.where(bits < 2, 0x00200000 << bits, (bits - 1) << 23), al.f32);
});

/** Constexprs that say how a type's values follow from its blocks. */
const VALUES = {
  BLOCK: constexpr(32),
  GROUP: constexpr(32),
  SCALES: constexpr("d"),
  OFFSET: constexpr(0),
  TABLE: constexpr(""),
};
export const valueConstexprs = (type: QuantisedType) => {
  const { block, group, scales, offset, table } = FAMILIES[type];
  return { BLOCK: block, GROUP: group, SCALES: scales, OFFSET: offset, TABLE: table };
};

/** Values k (a tile of columns) of the row whose first block is `first`. `p`: constexprs VALUES. */
const valuesOf = (type: QuantisedType) => {
  const { quads, unit, part } = BLOCKS[type];
  const iq4 = IQ4_TABLE;
  const fp4 = FP4_TABLE;
  return fn(
    (al, b, h, first, k, BLOCK, GROUP, SCALES, OFFSET, TABLE) => {
      const block = first + (BLOCK === 256 ? k >> 8 : k >> 5);
      const i = k & (BLOCK - 1);
      let u = (quads(b, h, block, i >> 2) >> ((i & 3) * 8)) & 255;
      if (TABLE === "iq4") u = al.byteLookup(iq4, u) & 255;
      if (TABLE === "fp4") u = al.byteLookup(fp4, u) & 255;
      const [d, m] = unit(b, h, block);
      const [sc, mn] = part(b, h, block, GROUP === 16 ? i >> 4 : i >> 5);
      const scale = SCALES === "e" ? halfPower(d) : half(d) * sc;
      const scaled = scale * al.cast(u - OFFSET, al.f32);
      return SCALES === "dm" ? scaled + half(m) : SCALES === "kn" || SCALES === "km" ? scaled - half(m) * mn : scaled;
    },
    { uses: { quads, unit, part, half, halfPower, iq4, fp4 } },
  );
};

const embedQuantised = (type: QuantisedType) => {
  const values = valuesOf(type);
  return kernel(
    `embed_${type}`,
    { b: ptr(u8), h: ptr(u16), ids: ptr(i32), y: ptr(f32), rows: dim, columns: dim, stride: dim, scale: scalar(f32), ...VALUES },
    (al, { b, h, ids, y, rows, columns, stride, scale, BLOCK, GROUP, SCALES, OFFSET, TABLE }) => {
      const token = al.programId(0);
      const k = al.programId(1) * 256 + al.arange(256);
      const id = al.load(ids + token);
      const row = al.clamp(id, 0, rows - 1);
      const mask = k < columns;
      // Columns beyond the end read the last ones again: no address outside the tensor is formed.
      const v = values(b, h, row * al.idiv(columns, BLOCK), al.min(k, columns - 1), BLOCK, GROUP, SCALES, OFFSET, TABLE);
      al.store(y + token * stride + k, v * scale, { mask });
    },
    { uses: { values }, simdgroups: 2 },
  );
};

const embedFloat = (type: FloatType) =>
  kernel(
    `embed_${type}`,
    { w: ptr(FLOATS[type]), ids: ptr(i32), y: ptr(f32), rows: dim, columns: dim, stride: dim, scale: scalar(f32) },
    (al, { w, ids, y, rows, columns, stride, scale }) => {
      const token = al.programId(0);
      const k = al.programId(1) * 256 + al.arange(256);
      const row = al.clamp(al.load(ids + token), 0, rows - 1);
      const mask = k < columns;
      al.store(y + token * stride + k, al.cast(al.load(w + row * columns + k, { mask }), al.f32) * scale, { mask });
    },
  );

const dequantQuantised = (type: QuantisedType) => {
  const values = valuesOf(type);
  return kernel(
    `dequant_${type}`,
    { b: ptr(u8), h: ptr(u16), y: ptr(f32), columns: dim, ...VALUES },
    (al, { b, h, y, columns, BLOCK, GROUP, SCALES, OFFSET, TABLE }) => {
      const row = al.programId(0);
      const k = al.programId(1) * 256 + al.arange(256);
      const v = values(b, h, row * al.idiv(columns, BLOCK), al.min(k, columns - 1), BLOCK, GROUP, SCALES, OFFSET, TABLE);
      al.store(y + row * columns + k, v, { mask: k < columns });
    },
    { uses: { values }, simdgroups: 2 },
  );
};

const dequantFloat = (type: FloatType) =>
  kernel(`dequant_${type}`, { w: ptr(FLOATS[type]), y: ptr(f32), columns: dim }, (al, { w, y, columns }) => {
    const row = al.programId(0);
    const k = al.programId(1) * 256 + al.arange(256);
    const mask = k < columns;
    al.store(y + row * columns + k, al.cast(al.load(w + row * columns + k, { mask }), al.f32), { mask });
  });

const table = <T extends string, K>(types: readonly T[], make: (type: T) => K) =>
  Object.fromEntries(types.map((type) => [type, make(type)])) as Record<T, K>;

/** y[token] = table[ids[token]] * scale, ids clamped to the table. */
export const embedQuantisedKernels = table(QUANTISED_TYPES, embedQuantised);
export const embedFloatKernels = table(FLOAT_TYPES, embedFloat);
/** y = the whole tensor. */
export const dequantQuantisedKernels = table(QUANTISED_TYPES, dequantQuantised);
export const dequantFloatKernels = table(FLOAT_TYPES, dequantFloat);

export const instances: Instance[] = [
  ...QUANTISED_TYPES.flatMap((type) => [
    { kernel: embedQuantisedKernels[type], constexprs: valueConstexprs(type) },
    { kernel: dequantQuantisedKernels[type], constexprs: valueConstexprs(type) },
  ]),
  ...FLOAT_TYPES.flatMap((type) => [
    { kernel: embedFloatKernels[type], constexprs: {} },
    { kernel: dequantFloatKernels[type], constexprs: {} },
  ]),
];
