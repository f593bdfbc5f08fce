/**
 * Elementary functions on vectors of float32, written once for every width with polynomials: about 2 ulp, with the right special values.
 * Ranges reduced as in Cephes (Moshier 1992) and Cody & Waite; exp's polynomial is the Taylor series to degree 7 on [-ln2/2, ln2/2].
 * Width 1 and float64 use the C library.
 */
import type { Isa } from "../../../runtime/cpu/isa.ts";

/** Saturating float to integer conversion: truncates, NaN gives 0. */
function toInteger(w: number): string {
  const out: string[] = [];
  const bounds: [string, string, string][] = [
    ["i8", "-128", "127"],
    ["u8", "0", "255"],
    ["i16", "-32768", "32767"],
    ["u16", "0", "65535"],
  ];
  const one = w === 1;
  for (const f of ["f32", "f64"]) {
    const F = `${f}x${w}`;
    const sfx = f === "f32" ? "f" : "";
    const splat = (v: string): string => (one ? `${v}${sfx}` : `splat_${F}(${v}${sfx})`);
    const convert = (x: string, t: string): string => (one ? `(${t})(${x})` : `__builtin_convertvector(${x}, ${t})`);
    const mask = (m: string): string => (one || f === "f32" ? `(${m})` : `__builtin_convertvector(${m}, i32x${w})`);
    for (const [d, lo, hi] of bounds)
      out.push(`static inline ${d}x${w} cvt_${f}_${d}x${w}(${F} x) {
  ${F} c = sel_${F}(${mask("x == x")}, max_${F}(min_${F}(x, ${splat(`${hi}.0`)}), ${splat(`${lo}.0`)}), ${splat("0.0")});
  return ${convert(convert("c", `i32x${w}`), `${d}x${w}`)};
}`);
    const wide: [string, string, string, string, string][] = [
      // dtype, lowest, first value too large, integer lowest, integer highest
      ["i32", "-2147483648.0", "2147483648.0", "(-2147483647 - 1)", "2147483647"],
      ["u32", "0.0", "4294967296.0", "0u", "4294967295u"],
      ["i64", "-9223372036854775808.0", "9223372036854775808.0", "(-9223372036854775807ll - 1)", "9223372036854775807ll"],
      ["u64", "0.0", "18446744073709551616.0", "0ull", "18446744073709551615ull"],
    ];
    for (const [d, lo, over, ilo, ihi] of wide) {
      const D = `${d}x${w}`;
      const si = (v: string): string => (one ? v : `splat_${D}(${v})`);
      out.push(`static inline ${D} cvt_${f}_${d}x${w}(${F} x) {
  ${D} r = ${convert(`sel_${F}(${mask(one ? `x > ${lo}${sfx} && x < ${over}${sfx}` : `(x > ${splat(lo)}) & (x < ${splat(over)})`)}, x, ${splat("0.0")})`, D)};
  r = sel_${D}(${mask(`x >= ${splat(over)}`)}, ${si(ihi)}, r);
  return sel_${D}(${mask(`x <= ${splat(lo)}`)}, ${si(ilo)}, r);
}`);
    }
  }
  return out.join("\n");
}

const LIBM = ["exp", "exp2", "log", "log2", "sin", "cos", "tanh", "erf"];

function scalarMath(): string {
  const out = LIBM.map(
    (n) => `static inline float ${n}_f32x1(float x) { return ${n}f(x); }\nstatic inline double ${n}_f64x1(double x) { return ${n}(x); }`,
  );
  for (const [n, c] of [
    ["floor", "floor"],
    ["ceil", "ceil"],
    ["trunc", "trunc"],
    ["round", "rint"],
    ["sqrt", "sqrt"],
    ["abs", "fabs"],
  ])
    out.push(`static inline float ${n}_f32x1(float x) { return ${c}f(x); }\nstatic inline double ${n}_f64x1(double x) { return ${c}(x); }`);
  out.push("static inline double rsqrt_f64x1(double x) { return 1.0 / sqrt(x); }");
  // As in JavaScript: NaN as exponent gives NaN, and so does ±1 to the power of infinity.
  const odd = "b != b || ((a == 1 || a == -1) && b - b != 0)";
  out.push(`static inline float pow_f32x1(float a, float b) { return ${odd} ? b - b : powf(a, b); }`);
  out.push(`static inline double pow_f64x1(double a, double b) { return ${odd} ? b - b : pow(a, b); }`);
  return out.join("\n");
}

/** For exp and exp2: x between bounds, NaN as it is; and 2^n · p for p in [0.5, 2) and n a whole number, which may be subnormal or overflow. */
function powers(isa: Isa, w: number): string {
  const [F, I] = [`f32x${w}`, `i32x${w}`];
  const x86 = isa.arch === "x64" && w >= 4;
  const [p, M] = w === 16 ? ["_mm512", "__m512"] : w === 8 ? ["_mm256", "__m256"] : ["_mm", "__m128"];
  // These instructions give the second operand where one is NaN, and NaN times anything is NaN.
  const clamp = x86
    ? `return (${F})${p}_min_ps(${p}_set1_ps(high), ${p}_max_ps(${p}_set1_ps(low), (${M})x));`
    : `x = sel_${F}(x > high, splat_${F}(high), x); return sel_${F}(x < low, splat_${F}(low), x);`;
  const scale =
    x86 && isa.width === 16
      ? `return (${F})${p}_scalef_ps((${M})p, (${M})n);`
      : `${I} i = __builtin_convertvector(n, ${I}), a = i >> 1, b = i - a; return p * (${F})((a + 127) << 23) * (${F})((b + 127) << 23);`;
  return `static inline ${F} clamp_${F}(${F} x, float low, float high) { ${clamp} }
static inline ${F} scale2_${F}(${F} p, ${F} n) { ${scale} }`;
}

function vectorMath(isa: Isa, w: number): string {
  const F = `f32x${w}`;
  const I = `i32x${w}`;
  const U = `u32x${w}`;
  const lanes = (f: (k: number) => string): string => Array.from({ length: w }, (_, k) => f(k)).join(" ");
  const D = `f64x${w}`;
  const perLane = [...LIBM, "floor", "ceil", "trunc", "round", "sqrt", "rsqrt"].map(
    (n) => `static inline ${D} ${n}_${D}(${D} x) { ${D} r; ${lanes((k) => `r[${k}] = ${n}_f64x1(x[${k}]);`)} return r; }`,
  );
  const two = ["pow", "rem"].flatMap((n) =>
    [F, D].map(
      (t) =>
        `static inline ${t} ${n}_${t}(${t} a, ${t} b) { ${t} r; ${lanes((k) => `r[${k}] = ${n}_${t.slice(0, 3)}x1(a[${k}], b[${k}]);`)} return r; }`,
    ),
  );
  return `${perLane.join("\n")}
${two.join("\n")}
static inline ${F} abs_${F}(${F} x) { return (${F})((${U})x & 0x7fffffffu); }
static inline ${D} abs_${D}(${D} x) { return (${D})((u64x${w})x & 0x7fffffffffffffffull); }
${powers(isa, w)}
static inline ${F} exp_${F}(${F} x) {
  ${F} c = clamp_${F}(x, -104.0f, 89.0f);
  ${F} n = round_${F}(c * 1.44269504f);
  ${F} r = (c - n * 0.693359375f) + n * 2.12194440e-4f;
  ${F} p = 1.98412698e-4f * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.0f;
  return scale2_${F}(p, n);
}
static inline ${F} exp2_${F}(${F} x) {
  ${F} c = clamp_${F}(x, -151.0f, 129.0f);
  ${F} n = round_${F}(c);
  ${F} r = (c - n) * 0.693147181f;
  ${F} p = 1.98412698e-4f * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.0f;
  return scale2_${F}(p, n);
}
/* exponent and mantissa in [sqrt(1/2), sqrt(2)); subnormal numbers are scaled first */
static inline ${F} frexp_${F}(${F} x, ${F} *e) {
  ${I} tiny = x < 1.17549435e-38f;
  ${F} y = sel_${F}(tiny, x * 8388608.0f, x);
  ${I} u = (${I})y, k = (u - 0x3f3504f3) >> 23;
  *e = __builtin_convertvector(k, ${F}) - __builtin_convertvector(tiny & 23, ${F});
  return (${F})(u - (k << 23));
}
static inline ${F} log1_${F}(${F} f) {
  ${F} z = f * f;
  ${F} p = 7.0376836292e-2f * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  return p * f * z - 0.5f * z;
}
static inline ${F} logspecial_${F}(${F} x, ${F} r) {
  r = sel_${F}(x == 0.0f, splat_${F}(-__builtin_inff()), r);
  r = sel_${F}(x == __builtin_inff(), x, r);
  return sel_${F}(x >= 0.0f, r, splat_${F}(__builtin_nanf("")));
}
static inline ${F} log_${F}(${F} x) {
  ${F} e, f = frexp_${F}(x, &e) - 1.0f, y = log1_${F}(f);
  return logspecial_${F}(x, (y + e * -2.12194440e-4f) + f + e * 0.693359375f);
}
static inline ${F} log2_${F}(${F} x) {
  ${F} e, f = frexp_${F}(x, &e) - 1.0f, y = log1_${F}(f);
  return logspecial_${F}(x, (y * 0.44269504f + f * 0.44269504f) + y + f + e);
}
/* sin and cos: quadrant by Cody-Waite in three parts; arguments beyond 2^17 go through the C library */
static inline ${F} sincos_${F}(${F} x, int32_t shift) {
  ${F} n = round_${F}(x * 0.636619772f);
  ${F} r = ((x - n * 1.5703125f) - n * 4.83751296997e-4f) - n * 7.5497899548e-8f;
  r = r - n * 5.3903e-15f;
  ${I} q = __builtin_convertvector(n, ${I}) + shift;
  ${F} z = r * r;
  ${F} s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
  ${F} c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
  ${F} v = sel_${F}((q & 1) != 0, c, s);
  return (${F})((${I})v ^ ((q & 2) << 30));
}
static inline int32_t large_${F}(${F} x) { return anyall_i32x${w}(~(abs_${F}(x) <= 8192.0f)); }
static inline ${F} sin_${F}(${F} x) { if (large_${F}(x)) { ${F} r; ${lanes((k) => `r[${k}] = sinf(x[${k}]);`)} return r; } return sincos_${F}(x, 0); }
static inline ${F} cos_${F}(${F} x) { if (large_${F}(x)) { ${F} r; ${lanes((k) => `r[${k}] = cosf(x[${k}]);`)} return r; } return sincos_${F}(x, 1); }
static inline ${F} tanh_${F}(${F} x) {
  ${F} a = abs_${F}(x), z = x * x;
  ${F} p = (((-5.70498872745e-3f * z + 2.06390887954e-2f) * z - 5.37397155531e-2f) * z + 1.33314422036e-1f) * z - 3.33332819422e-1f;
  ${F} near = p * z * x + x;
  ${F} t = 1.0f - 2.0f / (exp_${F}(a + a) + 1.0f);
  ${F} far = (${F})((${U})t | ((${U})x & 0x80000000u));
  ${F} r = sel_${F}(a < 0.625f, near, far);
  return sel_${F}(x == x, r, x);
}
/* erf: Taylor series below 1, 1 - exp(-x²)·q(1/(1 + x/2)) beyond (Numerical Recipes' erfc, error 1.2e-7) */
static inline ${F} erf_${F}(${F} x) {
  ${F} a = abs_${F}(x), z = x * x;
  ${F} near = splat_${F}(${erfTerm(10)});
${Array.from({ length: 10 }, (_, i) => `  near = near * z + ${erfTerm(9 - i)};`).join("\n")}
  near = near * x;
  ${F} t = 1.0f / (1.0f + 0.5f * a);
  ${F} q = 0.17087277f * t - 0.82215223f;
  q = q * t + 1.48851587f;
  q = q * t - 1.13520398f;
  q = q * t + 0.27886807f;
  q = q * t - 0.18628806f;
  q = q * t + 0.09678418f;
  q = q * t + 0.37409196f;
  q = q * t + 1.00002368f;
  q = q * t - 1.26551223f;
  ${F} far = 1.0f - t * exp_${F}(q - z);
  far = sel_${F}(a > 6.0f, splat_${F}(1.0f), far);
  far = (${F})((${U})far | ((${U})x & 0x80000000u));
  ${F} r = sel_${F}(a < 1.0f, near, far);
  return sel_${F}(x == x, r, x);
}`;
}

/** Coefficient n of erf's Taylor series, of x^(2n+1). */
function erfTerm(n: number): string {
  let factorial = 1;
  for (let i = 2; i <= n; i++) factorial *= i;
  return `${((n % 2 ? -1 : 1) * 2) / Math.sqrt(Math.PI) / factorial / (2 * n + 1)}f`;
}

/** Math functions of one width. */
export function MATH(isa: Isa, w: number): string {
  return `${w === 1 ? scalarMath() : vectorMath(isa, w)}\n${toInteger(w)}`;
}
