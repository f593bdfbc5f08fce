/**
 * The storage types that kernels read, as data: how a block of the file is cut up, and which family of packed panels
 * (see ./repack.ts) it becomes. Everything here is host-side; kernels see these numbers as constexprs.
 */
import type { TensorType } from "../src/formats/weights.ts";

/** Types whose weights are integers with scales. */
export type QuantisedType =
  "q8_0" | "q4_0" | "q4_1" | "q5_0" | "q5_1" | "q2_k" | "q3_k" | "q4_k" | "q5_k" | "q6_k" | "iq4_nl" | "iq4_xs" | "mxfp4";
/** Types that are read in place, value by value. */
export type FloatType = "f32" | "f16" | "bf16";

/**
 * What scales a block carries:
 * `d` one f16 per 32; `dm` an f16 scale and an f16 minimum per 32; `e` one power-of-two byte per 32;
 * `k` f16 per 256 times a signed or unsigned byte per group; `km` the same with minima; `kn` the same with scale and minimum
 * in the two nibbles of one byte.
 */
export type ScaleKind = "d" | "dm" | "e" | "k" | "km" | "kn";

export interface Family {
  /** Values per block of the file: 32 or 256. */
  block: 32 | 256;
  /** Bytes per block of the file. */
  blockBytes: number;
  /** Values that share one scale. */
  group: 16 | 32;
  /** Bits of a value in the base plane. */
  base: 2 | 4 | 8;
  /** Bits of a value in the high plane. */
  high: 0 | 1 | 2;
  scales: ScaleKind;
  /** weight = scale * (u - offset), u being the stored value (after the table, for those that have one). */
  offset: number;
  /** Non-linear types: u = TABLES[table][nibble]. */
  table: "" | "iq4" | "fp4";
}

/** ggml's `kvalues_iq4nl` plus 128, so that entries are unsigned bytes. */
export const IQ4_TABLE = [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];
/** Twice the OCP FP4 (E2M1) values plus 16. */
export const FP4_TABLE = [16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4];

const family = (
  block: 32 | 256,
  blockBytes: number,
  group: 16 | 32,
  base: 2 | 4 | 8,
  high: 0 | 1 | 2,
  scales: ScaleKind,
  offset: number,
  table: Family["table"] = "",
): Family => ({ block, blockBytes, group, base, high, scales, offset, table });

export const FAMILIES: Readonly<Record<QuantisedType, Family>> = {
  q8_0: family(32, 34, 32, 8, 0, "d", 128),
  q4_0: family(32, 18, 32, 4, 0, "d", 8),
  q4_1: family(32, 20, 32, 4, 0, "dm", 0),
  q5_0: family(32, 22, 32, 4, 1, "d", 16),
  q5_1: family(32, 24, 32, 4, 1, "dm", 0),
  q2_k: family(256, 84, 16, 2, 0, "kn", 0),
  q3_k: family(256, 110, 16, 2, 1, "k", 4),
  q4_k: family(256, 144, 32, 4, 0, "km", 0),
  q5_k: family(256, 176, 32, 4, 1, "km", 0),
  q6_k: family(256, 210, 16, 4, 2, "k", 32),
  iq4_nl: family(32, 18, 32, 4, 0, "d", 128, "iq4"),
  iq4_xs: family(256, 136, 32, 4, 0, "k", 128, "iq4"),
  mxfp4: family(32, 17, 32, 4, 0, "e", 16, "fp4"),
};

export const QUANTISED_TYPES = Object.keys(FAMILIES) as QuantisedType[];

export const isQuantised = (type: TensorType): type is QuantisedType => type in FAMILIES;
export const isFloatType = (type: TensorType): type is FloatType => type === "f32" || type === "f16" || type === "bf16";

/** Values of quantised activations that share a scale. */
export type Span = 32 | 256;

/** Those that a type is multiplied with: as many as llama.cpp takes for it. */
export const activationSpan = (type: QuantisedType): Span => FAMILIES[type].block;

/** Bytes of one 16-row panel over `k` columns (layout: ./repack.ts). A multiple of 64. */
export function panelBytes(f: Family, k: number): number {
  const scales = scaleRecord(f);
  // 32-column blocks of a record: as many as fill a 64-byte line with scales.
  const blocks = f.scales.startsWith("k") ? 8 : 64 / scales;
  // Per 32 columns one 64-byte vector for every bit of the base and high planes.
  return Math.ceil(k / 32 / blocks) * (blocks * (f.base + f.high) * 64 + Math.ceil(scales / 64) * 64);
}

/** Bytes of one scale record of 16 rows: per 32 columns, or per 256 for the k kinds. */
function scaleRecord(f: Family): number {
  const parts = (256 / f.group) * 16;
  switch (f.scales) {
    case "d":
      return 32;
    case "dm":
      return 64;
    case "e":
      return 16;
    case "k":
      return parts + 32;
    case "kn":
      return parts + 64;
    case "km":
      return 2 * parts + 64;
  }
}
