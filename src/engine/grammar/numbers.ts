/** JSON numbers between bounds, as EBNF. */
import { either } from "./rules.ts";

export interface Bounds {
  min?: number;
  max?: number;
  exclusiveMin?: number;
  exclusiveMax?: number;
}

/** Digits of the largest number that is written where one side is open: what a double holds exactly. */
const DIGITS = 15;
const LIMIT = 10 ** DIGITS - 1;
/** A number without bounds. Its exponent is small enough that no parser makes infinity of it. */
export const NUMBER = `"-"? ("0" | [1-9] [0-9]{0,14}) ("." [0-9]{1,15})? ([eE] [+-]? [0-9]{1,2})?`;
const INTEGER = `"-"? ("0" | [1-9] [0-9]{0,14})`;
/** Never zero, so that a number with it lies strictly between two whole ones. */
const FRACTION = `"." [0-9]{0,5} [1-9]`;
/** Steps in which a range without a whole number between its ends is written. */
const STEPS = 100;

/** Undefined: no number lies between the bounds. */
export function integerRange(b: Bounds): string | undefined {
  if (open(b)) return INTEGER;
  const lo = Math.max(Math.ceil(b.min ?? -LIMIT), Math.floor(b.exclusiveMin ?? -Infinity) + 1);
  const hi = Math.min(Math.floor(b.max ?? LIMIT), Math.ceil(b.exclusiveMax ?? Infinity) - 1);
  return whole(Math.max(lo, -LIMIT), Math.min(hi, LIMIT));
}

/** A number with a fraction lies strictly between two whole numbers that both are in the range. Undefined: as for `integerRange`. */
export function numberRange(b: Bounds): string | undefined {
  if (open(b)) return NUMBER;
  const integers = integerRange(b);
  const lo = Math.max(b.min ?? -LIMIT, b.exclusiveMin ?? -LIMIT, -LIMIT);
  const hi = Math.min(b.max ?? LIMIT, b.exclusiveMax ?? LIMIT, LIMIT);
  const [first, last] = [Math.ceil(lo), Math.floor(hi)];
  const options = integers === undefined ? [] : [integers];
  const positive = digits(Math.max(first, 0), last - 1);
  if (positive.length > 0) options.push(`${either(positive)} ${FRACTION}`);
  const negative = digits(Math.max(-last, 0), -first - 1);
  if (negative.length > 0) options.push(`"-" ${either(negative)} ${FRACTION}`);
  if (positive.length + negative.length === 0) options.push(...between(b, lo, hi));
  return options.length > 0 ? either(options) : undefined;
}

const open = (b: Bounds): boolean => [b.min, b.max, b.exclusiveMin, b.exclusiveMax].every((v) => v === undefined);

/** Single values of a narrow range. */
function between(b: Bounds, lo: number, hi: number): string[] {
  if (!(lo <= hi)) return [];
  const values = Array.from({ length: STEPS + 1 }, (_, i) => Number((lo + ((hi - lo) * i) / STEPS).toPrecision(6)));
  const fits = (v: number): boolean => v >= lo && v <= hi && v !== b.exclusiveMin && v !== b.exclusiveMax;
  return [...new Set(values.filter((v) => fits(v) && !Number.isInteger(v)).map((v) => `"${v}"`))];
}

function whole(lo: number, hi: number): string | undefined {
  const options = digits(Math.max(lo, 0), hi);
  const negative = digits(Math.max(-hi, 1), -lo);
  if (negative.length > 0) options.push(`"-" ${either(negative)}`);
  return options.length > 0 ? either(options) : undefined;
}

/** Whole numbers from lo to hi, 0 or more, without leading zeros. */
function digits(lo: number, hi: number): string[] {
  const out: string[] = [];
  for (let length = 1; length <= DIGITS; length++) {
    const from = Math.max(lo, length === 1 ? 0 : 10 ** (length - 1));
    const to = Math.min(hi, 10 ** length - 1);
    if (from <= to) out.push(...sameLength(String(from), String(to)));
  }
  return out;
}

/** Strings of digits from a to b, which are as long as each other. */
function sameLength(a: string, b: string): string[] {
  const n = a.length;
  if (n === 0) return [""];
  if (/^0*$/.test(a) && /^9*$/.test(b)) return [`[0-9]{${n}}`];
  const rest = (head: string, from: string, to: string): string[] => sameLength(from, to).map((s) => `"${head}" ${s}`.trim());
  if (a[0] === b[0]) return rest(a[0], a.slice(1), b.slice(1));
  const [low, high] = [Number(a[0]) + 1, Number(b[0]) - 1];
  const middle = low > high ? [] : [`[${low}-${high}]${n > 1 ? ` [0-9]{${n - 1}}` : ""}`];
  return [...rest(a[0], a.slice(1), "9".repeat(n - 1)), ...middle, ...rest(b[0], "0".repeat(n - 1), b.slice(1))];
}
