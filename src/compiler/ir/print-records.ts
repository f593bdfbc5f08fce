/**
 * The layout of the hidden buffer `__print` (32-bit words), which al.print writes and the host reads after the run:
 * a header, then records of [site + 1, program x, y, z, thread, words of the values].
 */
import type { ValueType } from "./types.ts";
import { DTYPE_BYTES, elements } from "./types.ts";

/** Header words: room for records (set by the host), words asked for, records asked for, unused. */
export const PRINT_HEADER = { capacity: 0, cursor: 1, records: 2, words: 4 } as const;
/** Words of a record before its values. */
export const RECORD_HEAD = 5;

/** Words of one element: 64-bit types take two, low half first; everything else one. */
export const elementWords = (t: ValueType): number => (DTYPE_BYTES[t.dtype] === 8 ? 2 : 1);

/** Words of a record with values of these types. */
export const recordWords = (types: readonly ValueType[]): number =>
  types.reduce((sum, t) => sum + elementWords(t) * elements(t.shape), RECORD_HEAD);
