/**
 * y = x Wᵀ for few tokens (decode), weights of any type as they lie in the file. Memory is the limit: every word of a weight is loaded
 * once by one lane, values become floats in registers, a group's scale is applied once per run, and lanes meet only at the end.
 *
 * A program computes ROWS rows for MT tokens; its LANES lanes share the columns, so neighbouring lanes read neighbouring blocks, and the
 * activations that a lane has loaded serve all ROWS rows. Grid: (rows / ROWS rounded up, token tiles of MT).
 * Bias, residual, stride and offset as in ../linear.ts; `epilogue`: EPILOGUE below.
 */
import { bf16, constexpr, dim, f16, f32, fn, kernel, ptr, u16, u8, type Pointer, type Tile } from "../../src/compiler/language/index.ts";
import { FAMILIES, QUANTISED_TYPES, type FloatType, type QuantisedType } from "../families.ts";
import { BLOCKS, FIELDS } from "../blocks.ts";
import { hasMinimum, reader } from "./reader.ts";

/**
 * What is added to a product: bias; another buffer; what the result overwrites. A residual in the memory of y must come as the last: threads
 * that share a value read it together and one of them writes, which needs a barrier, and that is only seen within one parameter.
 */
export const EPILOGUE = { bias: 1, residual: 2, own: 4 };

/** Bias, residual and store of the result for one row and token. */
const finish = fn((al, value, y, bias, residual, at, row, mask, epilogue) => {
  let v = value;
  if ((epilogue & 1) !== 0) v += al.load(bias + row, { mask });
  if ((epilogue & 2) !== 0) v += al.load(residual + at, { mask });
  if ((epilogue & 4) !== 0) v += al.load(y + at, { mask });
  al.store(y + at, v, { mask });
});

const OUTPUT = { x: ptr(f32), y: ptr(f32), bias: ptr(f32), residual: ptr(f32) };
const SIZES = { t: dim, n: dim, k: dim, stride: dim, offset: dim, epilogue: dim };
const SHAPE = { ROWS: constexpr(4), MT: constexpr(1), LANES: constexpr(64) };

/** A lane of the tile is a lane of a simdgroup. */
const simdgroups = (c: { LANES: number }): number => Math.max(1, c.LANES / 32);

/** Neighbouring quads of a field that a lane takes: a load's worth, and all of one group. */
const run = (type: QuantisedType): number => (type === "q4_k" || type === "q5_k" ? 4 : 2);

const matvecQuantised = (type: QuantisedType) => {
  const { decode, scales } = reader(type);
  const read = BLOCKS[type].fields;
  const { fields, distance } = FIELDS[type];
  const { block, group, offset } = FAMILIES[type];
  const RUN = run(type);
  const Q = {
    RUN,
    FIELDS: fields,
    DIST: distance,
    BLOCK: block,
    // Quads of a group; lanes that share a block, and a set of fields.
    GROUP: group / 4,
    GROUP_BITS: Math.log2(group / 4),
    PER: block / 4 / (RUN * fields),
    PER_BITS: Math.log2(block / 4 / (RUN * fields)),
    SET: distance / RUN,
    SET_BITS: Math.log2(distance / RUN),
    OFF: offset,
    MIN: hasMinimum(type),
  };
  return kernel(
    `matvec_${type}`,
    { b: ptr(u8), h: ptr(u16), ...OUTPUT, ...SIZES, ...SHAPE },
    (al, { b, h, x, y, bias, residual, t, n, k, stride, offset, epilogue, ROWS, MT, LANES }) => {
      const lanes = al.arange(LANES);
      const first = al.programId(0) * ROWS;
      const blocks = al.idiv(k, Q.BLOCK);
      const chunks = blocks * Q.PER;
      // Rows and tokens beyond the end repeat the last: they are computed and not stored.
      const rows: Tile[] = [];
      for (const r of al.unroll(ROWS)) rows.push(al.min(first + r, n - 1) * blocks);
      const tokens: Pointer[] = [];
      for (const m of al.unroll(MT)) tokens.push(x + al.min(al.programId(1) * MT + m, t - 1) * k);
      const sums: Tile[] = [];
      for (const _ of al.unroll(ROWS * MT)) sums.push(al.zeros([LANES]));
      for (let i = 0; i < chunks; i += LANES) {
        const inside = i + lanes < chunks;
        const chunk = al.min(i + lanes, chunks - 1);
        // Shifts: a GPU takes several operations for a quotient of signed integers.
        const at = chunk >> Q.PER_BITS;
        const lane = chunk & (Q.PER - 1);
        const set = lane >> Q.SET_BITS;
        const quad = (lane & (Q.SET - 1)) * Q.RUN;
        // words[r · RUN + q]: the quads of all fields.
        const words: (readonly Tile[])[] = [];
        for (const r of al.unroll(ROWS)) for (const q of al.unroll(Q.RUN)) words.push(read(b, h, rows[r] + at, set, quad + q));
        for (const f of al.unroll(Q.FIELDS)) {
          const s = set * (Q.FIELDS * Q.DIST) + f * Q.DIST + quad;
          const column = at * Q.BLOCK + s * 4;
          const a: Tile[] = [];
          const total: Tile[] = [];
          for (const m of al.unroll(MT)) {
            for (const j of al.unroll(Q.RUN * 4)) a.push(al.load(tokens[m] + column + j));
            if (Q.OFF !== 0 || Q.MIN) {
              let sum = a[m * Q.RUN * 4];
              for (const j of al.unroll(1, Q.RUN * 4)) sum = sum + a[m * Q.RUN * 4 + j];
              total.push(sum);
            }
          }
          // A run lies within one group; so do both nibbles of a byte, or they are whole groups apart.
          const firstGroup = Q.DIST < Q.GROUP ? set : set * ((Q.FIELDS * Q.DIST) / Q.GROUP) + (f * Q.DIST) / Q.GROUP;
          const group = Q.BLOCK === 32 ? 0 : firstGroup + (quad >> Q.GROUP_BITS);
          for (const r of al.unroll(ROWS)) {
            const [scale, minimum] = scales(b, h, rows[r] + at, group);
            const dots: Tile[] = [];
            for (const m of al.unroll(MT)) dots.push(Q.OFF === 0 ? al.zeros([LANES]) : total[m] * -Q.OFF);
            for (const q of al.unroll(Q.RUN)) {
              const u = decode(words[r * Q.RUN + q][f]);
              for (const j of al.unroll(4)) {
                const v = al.cast((u >> (8 * j)) & 255, al.f32);
                for (const m of al.unroll(MT)) dots[m] = al.fma(v, a[(m * Q.RUN + q) * 4 + j], dots[m]);
              }
            }
            for (const m of al.unroll(MT)) {
              const part = Q.MIN ? al.fma(scale, dots[m], minimum * total[m]) : scale * dots[m];
              sums[m * ROWS + r] += al.where(inside, part, 0);
            }
          }
        }
      }
      for (const m of al.unroll(MT)) {
        const token = al.programId(1) * MT + m;
        for (const r of al.unroll(ROWS)) {
          const row = first + r;
          const mask = row < n && token < t;
          finish(al.sum(sums[m * ROWS + r]), y, bias, residual, token * stride + offset + row, row, mask, epilogue);
        }
      }
    },
    { uses: { read, decode, scales, finish, Q }, simdgroups, distinct: true },
  );
};

const FLOATS = { f32, f16, bf16 };

/** A lane takes four neighbouring columns at a time. */
const matvecFloat = (type: FloatType) =>
  kernel(
    `matvec_${type}`,
    { w: ptr(FLOATS[type]), ...OUTPUT, ...SIZES, ...SHAPE },
    (al, { w, x, y, bias, residual, t, n, k, stride, offset, epilogue, ROWS, MT, LANES }) => {
      const lanes = al.arange(LANES);
      const first = al.programId(0) * ROWS;
      const whole = k - (k % (4 * LANES));
      const rows: Pointer[] = [];
      for (const r of al.unroll(ROWS)) rows.push(w + al.min(first + r, n - 1) * k);
      const tokens: Pointer[] = [];
      for (const m of al.unroll(MT)) tokens.push(x + al.min(al.programId(1) * MT + m, t - 1) * k);
      const sums: Tile[] = [];
      for (const _ of al.unroll(ROWS * MT)) sums.push(al.zeros([LANES]));
      for (let i = 0; i < whole; i += 4 * LANES) {
        const c = i + lanes * 4;
        const a: Tile[] = [];
        for (const m of al.unroll(MT)) for (const j of al.unroll(4)) a.push(al.load(tokens[m] + c + j));
        for (const r of al.unroll(ROWS)) {
          for (const j of al.unroll(4)) {
            const v = al.cast(al.load(rows[r] + c + j), al.f32);
            for (const m of al.unroll(MT)) sums[m * ROWS + r] = al.fma(v, a[m * 4 + j], sums[m * ROWS + r]);
          }
        }
      }
      for (let i = whole; i < k; i += LANES) {
        const mask = i + lanes < k;
        for (const m of al.unroll(MT)) {
          const a = al.load(tokens[m] + i + lanes, { mask });
          for (const r of al.unroll(ROWS)) {
            const v = al.cast(al.load(rows[r] + i + lanes, { mask }), al.f32);
            sums[m * ROWS + r] = al.fma(v, a, sums[m * ROWS + r]);
          }
        }
      }
      for (const m of al.unroll(MT)) {
        const token = al.programId(1) * MT + m;
        for (const r of al.unroll(ROWS)) {
          const row = first + r;
          const mask = row < n && token < t;
          finish(al.sum(sums[m * ROWS + r]), y, bias, residual, token * stride + offset + row, row, mask, epilogue);
        }
      }
    },
    { uses: { finish }, simdgroups, distinct: true },
  );

export const matvecQuantisedKernels = Object.fromEntries(QUANTISED_TYPES.map((type) => [type, matvecQuantised(type)])) as Readonly<
  Record<QuantisedType, ReturnType<typeof matvecQuantised>>
>;
export const matvecFloatKernels = { f32: matvecFloat("f32"), f16: matvecFloat("f16"), bf16: matvecFloat("bf16") };

/** Tokens that the mat-vec takes; with more, the matrices are multiplied in tiles (./matmul.ts). */
export const MATVEC_TOKENS = 8;

/** Tokens of a program in plans of at most `maxT` tokens. */
export const matvecTokens = (maxT: number): number => (maxT <= 1 ? 1 : maxT <= 2 ? 2 : 4);
