/**
 * What one element of an elementwise op computes. The interpreter and constant folding share these functions, so that folding cannot change a result.
 * A number of an i64/u64 value is a bigint; of every other dtype a JavaScript number. Results are brought into range by `wrap`.
 */
import type { DType } from "./types.ts";
import { isFloat } from "./types.ts";
import { numberToBf16, bf16ToNumber } from "../../formats/half.ts";

export type Num = number | bigint;

const is64 = (d: DType): boolean => d === "i64" || d === "u64";

/** `x` (already of the right JavaScript type) as a value of dtype: integers wrap, floats round to nearest even. */
export function wrap(d: DType, x: Num): Num {
  switch (d) {
    case "bool":
      return x ? 1 : 0;
    case "i8":
      return (Number(x) << 24) >> 24;
    case "u8":
      return Number(x) & 0xff;
    case "i16":
      return (Number(x) << 16) >> 16;
    case "u16":
      return Number(x) & 0xffff;
    case "i32":
      return Number(x) | 0;
    case "u32":
      return Number(x) >>> 0;
    case "i64":
      return BigInt.asIntN(64, BigInt(x));
    case "u64":
      return BigInt.asUintN(64, BigInt(x));
    case "f16":
      return Math.f16round(Number(x));
    case "bf16":
      return bf16ToNumber(numberToBf16(Number(x)));
    case "f32":
      return Math.fround(Number(x));
    case "f64":
      return Number(x);
  }
}

const INT_RANGE: Partial<Record<DType, readonly [number, number]>> = {
  i8: [-128, 127],
  u8: [0, 255],
  i16: [-32768, 32767],
  u16: [0, 65535],
  i32: [-2147483648, 2147483647],
  u32: [0, 4294967295],
};

/** Float to integer as `cast` defines it: truncates, saturates, NaN gives 0. */
function saturate(d: DType, x: number): Num {
  if (Number.isNaN(x)) return is64(d) ? 0n : 0;
  if (is64(d)) {
    const [lo, hi] = d === "i64" ? [-(2n ** 63n), 2n ** 63n - 1n] : [0n, 2n ** 64n - 1n];
    if (x <= Number(lo)) return lo;
    if (x >= Number(hi)) return hi;
    return BigInt(Math.trunc(x));
  }
  const [lo, hi] = INT_RANGE[d]!;
  return Math.min(hi, Math.max(lo, Math.trunc(x))) + 0;
}

/** Converts one element from dtype `from` to dtype `to`. */
export function castScalar(from: DType, to: DType, x: Num): Num {
  if (to === "bool") return x ? 1 : 0;
  if (isFloat(to)) return wrap(to, Number(x));
  if (isFloat(from)) return saturate(to, Number(x));
  return wrap(to, typeof x === "bigint" && !is64(to) ? Number(BigInt.asIntN(32, x)) : x);
}

/** erf to double precision: Taylor series near 0, continued fraction of erfc beyond (Abramowitz & Stegun 7.1.5, 7.1.14). */
export function erf(x: number): number {
  if (Number.isNaN(x)) return x;
  const a = Math.abs(x);
  if (a < 2.5) {
    let term = a;
    let sum = a;
    for (let n = 1; n < 80; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  if (a > 6) return Math.sign(x);
  let f = 0;
  for (let k = 60; k > 0; k--) f = k / 2 / (a + f);
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + f));
}

/** Rounds half to even. */
export function roundEven(x: number): number {
  const f = Math.floor(x);
  const d = x - f;
  if (!Number.isFinite(x) || d < 0.5) return Number.isFinite(x) && f === 0 && (x < 0 || Object.is(x, -0)) ? -0 : f;
  if (d > 0.5) return f + 1 === 0 ? -0 : f + 1;
  return f % 2 === 0 ? f : f + 1 === 0 ? -0 : f + 1;
}

const fmin = (a: number, b: number): number => (Number.isNaN(a) ? b : Number.isNaN(b) ? a : Math.min(a, b));
const fmax = (a: number, b: number): number => (Number.isNaN(a) ? b : Number.isNaN(b) ? a : Math.max(a, b));

const FLOAT_UNARY: Record<string, (x: number) => number> = {
  exp: Math.exp,
  exp2: (x) => 2 ** x,
  log: Math.log,
  log2: Math.log2,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  sqrt: Math.sqrt,
  rsqrt: (x) => 1 / Math.sqrt(x),
  floor: Math.floor,
  ceil: Math.ceil,
  round: roundEven,
  trunc: Math.trunc,
  erf,
};

/** The function of a one-operand op on elements of dtype `d`; the result still needs `wrap(d, …)`. */
export function unaryFunction(op: string, d: DType): (x: Num) => Num {
  if (op === "neg") return (x) => -x;
  if (op === "abs") return (x) => (x < 0 || Object.is(x, -0) ? -x : x);
  if (op === "not") return d === "bool" ? (x) => (x ? 0 : 1) : (x) => ~x;
  const f = FLOAT_UNARY[op];
  return (x) => f(x as number);
}

type Binary = (a: Num, b: Num) => Num;
const onNumbers = (f: (a: number, b: number) => Num): Binary => f as Binary;
const onBigints = (f: (a: bigint, b: bigint) => Num): Binary => f as Binary;

const COMPARE: Record<string, Binary> = {
  eq: (a, b) => (a === b ? 1 : 0),
  ne: (a, b) => (a !== b ? 1 : 0),
  lt: (a, b) => (a < b ? 1 : 0),
  le: (a, b) => (a <= b ? 1 : 0),
  gt: (a, b) => (a > b ? 1 : 0),
  ge: (a, b) => (a >= b ? 1 : 0),
};

const FLOAT_BINARY: Record<string, Binary> = {
  add: onNumbers((a, b) => a + b),
  sub: onNumbers((a, b) => a - b),
  mul: onNumbers((a, b) => a * b),
  div: onNumbers((a, b) => a / b),
  rem: onNumbers((a, b) => a % b),
  min: onNumbers(fmin),
  max: onNumbers(fmax),
  pow: onNumbers((a, b) => a ** b),
};

const INT_BINARY: Record<string, Binary> = {
  add: onNumbers((a, b) => a + b),
  sub: onNumbers((a, b) => a - b),
  mul: onNumbers(Math.imul),
  div: onNumbers((a, b) => (b === 0 ? 0 : Math.trunc(a / b))),
  rem: onNumbers((a, b) => (b === 0 ? 0 : a % b)),
  min: onNumbers(Math.min),
  max: onNumbers(Math.max),
  and: onNumbers((a, b) => a & b),
  or: onNumbers((a, b) => a | b),
  xor: onNumbers((a, b) => a ^ b),
  shl: onNumbers((a, b) => a << b),
};

const BIG_BINARY: Record<string, Binary> = {
  add: onBigints((a, b) => a + b),
  sub: onBigints((a, b) => a - b),
  mul: onBigints((a, b) => a * b),
  div: onBigints((a, b) => (b === 0n ? 0n : a / b)),
  rem: onBigints((a, b) => (b === 0n ? 0n : a % b)),
  min: onBigints((a, b) => (a < b ? a : b)),
  max: onBigints((a, b) => (a > b ? a : b)),
  and: onBigints((a, b) => a & b),
  or: onBigints((a, b) => a | b),
  xor: onBigints((a, b) => a ^ b),
  shl: onBigints((a, b) => a << (b & 63n)),
  shr: onBigints((a, b) => a >> (b & 63n)),
};

/** The function of a two-operand op on elements of dtype `d`; the result still needs `wrap`. Division of integers by zero gives 0. */
export function binaryFunction(op: string, d: DType): Binary {
  const compare = COMPARE[op];
  if (compare) return compare;
  if (isFloat(d)) return FLOAT_BINARY[op];
  if (is64(d)) return BIG_BINARY[op];
  if (op === "shr") return d === "u32" ? onNumbers((a, b) => a >>> b) : onNumbers((a, b) => a >> b);
  return INT_BINARY[op];
}
