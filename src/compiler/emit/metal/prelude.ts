/** Functions that kernels need beside the standard library. Several texts may stand in one library: each function guards itself. */

const guarded = (name: string, text: string): string => {
  const guard = `ALLOY_${name.toUpperCase()}`;
  return `#ifndef ${guard}\n#define ${guard}\n${text.trim()}\n#endif\n`;
};

const INTEGERS: Readonly<Record<string, { type: string; low: string; high: string; from: string; to: string }>> = {
  // from, to: floats at and beyond which the result is low or high.
  i8: { type: "char", low: "-128", high: "127", from: "-128.0f", to: "127.0f" },
  u8: { type: "uchar", low: "0", high: "255", from: "0.0f", to: "255.0f" },
  i16: { type: "short", low: "-32768", high: "32767", from: "-32768.0f", to: "32767.0f" },
  u16: { type: "ushort", low: "0", high: "65535", from: "0.0f", to: "65535.0f" },
  i32: { type: "int", low: "(-2147483647 - 1)", high: "2147483647", from: "-2147483648.0f", to: "2147483648.0f" },
  u32: { type: "uint", low: "0u", high: "4294967295u", from: "0.0f", to: "4294967296.0f" },
  i64: {
    type: "long",
    low: "(-9223372036854775807L - 1L)",
    high: "9223372036854775807L",
    from: "-9223372036854775808.0f",
    to: "9223372036854775808.0f",
  },
  u64: { type: "ulong", low: "0UL", high: "18446744073709551615UL", from: "0.0f", to: "18446744073709551616.0f" },
};

function floatTo(d: string): string {
  const { type, low, high, from, to } = INTEGERS[d];
  return `
static inline ${type} alloy_float_${d}(float x) {
  return !(x == x) ? ${type}(0) : x <= ${from} ? ${type}(${low}) : x >= ${to} ? ${type}(${high}) : ${type}(x);
}`;
}

/** A float that rounds on to half or bfloat as the integer itself would: bits below those that a float holds are folded into one. */
function odd(d: string): string {
  const wide = d === "i64" || d === "u64";
  const U = wide ? "ulong" : "uint";
  const { type } = INTEGERS[d];
  const signed = d.startsWith("i");
  const magnitude = signed ? `x < 0 ? ${U}(0) - ${U}(x) : ${U}(x)` : "x";
  return `
static inline float alloy_odd_${d}(${type} x) {
  ${U} m = ${magnitude};
  if (m >> 24) {
    const uint drop = uint(${wide ? 41 : 9}) - uint(clz(m));
    m = ((m >> drop) | ((m & ((${U}(1) << drop) - ${U}(1))) != 0 ? ${U}(1) : ${U}(0))) << drop;
  }
  const float f = float(m);
  return ${signed ? "x < 0 ? -f : f" : "f"};
}`;
}

function division(op: "div" | "rem", d: string): string {
  const { type } = INTEGERS[d];
  const signed = d.startsWith("i");
  const unsigned = d === "i32" ? "uint" : "ulong";
  const minus = op === "div" ? `${type}(${unsigned}(0) - ${unsigned}(a))` : `${type}(0)`;
  return `
static inline ${type} alloy_${op}_${d}(${type} a, ${type} b) {
  return b == 0 ? ${type}(0) : ${signed ? `b == -1 ? ${minus} : ` : ""}a ${op === "div" ? "/" : "%"} b;
}`;
}

/** erf: Taylor series below 1, 1 - exp(-x²)·q(1/(1 + x/2)) beyond (Numerical Recipes' erfc, error 1.2e-7). */
function erf(): string {
  const term = (n: number): string => {
    let factorial = 1;
    for (let i = 2; i <= n; i++) factorial *= i;
    return `${((n % 2 ? -1 : 1) * 2) / Math.sqrt(Math.PI) / factorial / (2 * n + 1)}f`;
  };
  const far = [-0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223];
  return `
static inline float alloy_erf(float x) {
  const float a = fabs(x);
  const float z = x * x;
  if (a < 1.0f) {
    float s = ${term(10)};
${Array.from({ length: 10 }, (_, i) => `    s = s * z + ${term(9 - i)};`).join("\n")}
    return s * x;
  }
  const float t = 1.0f / (1.0f + 0.5f * a);
  float q = 0.17087277f;
${far.map((c) => `  q = q * t + ${c < 0 ? `(${c}f)` : `${c}f`};`).join("\n")}
  const float r = a > 6.0f ? 1.0f : 1.0f - t * exp(q - z);
  return x == x ? copysign(r, x) : x;
}`;
}

const simdExtreme = (kind: string): string => `
static inline float alloy_simd_${kind}(float x) {
  for (ushort d = 1; d < 32; d <<= 1) x = f${kind}(x, simd_shuffle_xor(x, d));
  return x;
}`;

const FIXED: Readonly<Record<string, string>> = {
  erf: erf(),
  // The standard one need not know that an integral power of a negative number is real, and gives 1 where JavaScript has NaN: for NaN as
  // exponent of 1, and for ±1 to the power of infinity.
  pow: `
static inline float alloy_pow(float x, float y) {
  if (y == 0.0f) return 1.0f;
  if (isnan(y) || (fabs(x) == 1.0f && isinf(y))) return NAN;
  const float r = pow(fabs(x), y);
  if (isinf(y) || !signbit(x)) return r;
  if (rint(y) != y) return x == 0.0f || isinf(x) ? r : NAN;
  return fmod(y, 2.0f) != 0.0f ? -r : r;
}`,
  unroll: '#define ALLOY_UNROLL_LOOP _Pragma("clang loop unroll(full)")',
  // The lane to read from, or the own one where there is no such lane.
  simd_source: "static inline int alloy_simd_source(int lane, int own) { return lane >= 0 && lane < 32 ? lane : own; }",
  // The standard ones need not prefer numbers to NaN.
  simd_min: simdExtreme("min"),
  simd_max: simdExtreme("max"),
  // Exact, by long division of the significands: the standard one is x - y * trunc(x / y).
  rem_f32: `
static inline float alloy_rem_f32(float x, float y) {
  const uint sign = as_type<uint>(x) & 0x80000000u;
  uint a = as_type<uint>(x) & 0x7fffffffu;
  const uint b = as_type<uint>(y) & 0x7fffffffu;
  if (b == 0u || b > 0x7f800000u || a >= 0x7f800000u) return NAN;
  if (a < b) return x;
  int ea = int(a >> 23);
  int eb = int(b >> 23);
  uint ma = ea == 0 ? a << 1 : (a & 0x7fffffu) | 0x800000u;
  uint mb = eb == 0 ? b << 1 : (b & 0x7fffffu) | 0x800000u;
  while (ma < 0x800000u) { ma <<= 1; --ea; }
  while (mb < 0x800000u) { mb <<= 1; --eb; }
  for (; ea > eb; --ea) {
    if (ma >= mb) ma -= mb;
    ma <<= 1;
  }
  if (ma >= mb) ma -= mb;
  if (ma == 0u) return as_type<float>(sign);
  while (ma < 0x800000u) { ma <<= 1; --ea; }
  a = ea > 0 ? (ma & 0x7fffffu) | (uint(ea) << 23) : ma >> uint(1 - ea);
  return as_type<float>(sign | a);
}`,
  abs_i32: "static inline int alloy_abs_i32(int x) { return x < 0 ? int(0u - uint(x)) : x; }",
  abs_i64: "static inline long alloy_abs_i64(long x) { return x < 0 ? long(0UL - ulong(x)) : x; }",
  dot4: `
static inline int alloy_dot4(int a, int b, int c) {
  const uchar4 u = as_type<uchar4>(a);
  const char4 s = as_type<char4>(b);
  const int sum = int(u.x) * int(s.x) + int(u.y) * int(s.y) + int(u.z) * int(s.z) + int(u.w) * int(s.w);
  return int(uint(c) + uint(sum));
}`,
  dot4_signed: `
static inline int alloy_dot4_signed(int a, int b, int c) {
  const char4 u = as_type<char4>(a);
  const char4 s = as_type<char4>(b);
  const int sum = int(u.x) * int(s.x) + int(u.y) * int(s.y) + int(u.z) * int(s.z) + int(u.w) * int(s.w);
  return int(uint(c) + uint(sum));
}`,
  dot2: `
static inline int alloy_dot2(int a, int b, int c) {
  const short2 u = as_type<short2>(a);
  const short2 s = as_type<short2>(b);
  return int(uint(c) + uint(int(u.x) * int(s.x)) + uint(int(u.y) * int(s.y)));
}`,
  dot_pairs: `
static inline int alloy_dot_pairs(int a, int b, int c) {
  const uchar4 u = as_type<uchar4>(a);
  const char4 s = as_type<char4>(b);
  const int low = c + int(u.x) * int(s.x) + int(u.y) * int(s.y);
  const int high = (c >> 16) + int(u.z) * int(s.z) + int(u.w) * int(s.w);
  return (low & 0xffff) | int(uint(high) << 16);
}`,
  byte_sign: `
static inline int alloy_byte_sign(int x, int y) {
  const uchar4 b = as_type<uchar4>(x);
  const char4 s = as_type<char4>(y);
  return as_type<int>(uchar4(uchar(int(b.x) * (int(s.x > 0) - int(s.x < 0))), uchar(int(b.y) * (int(s.y > 0) - int(s.y < 0))),
    uchar(int(b.z) * (int(s.z > 0) - int(s.z < 0))), uchar(int(b.w) * (int(s.w > 0) - int(s.w < 0)))));
}`,
  byte_lookup: `
static inline int alloy_byte_lookup(constant uchar *table, int x) {
  const uchar4 i = as_type<uchar4>(x);
  return as_type<int>(uchar4(table[i.x & 15], table[i.y & 15], table[i.z & 15], table[i.w & 15]));
}`,
};

/** c += a · b of 8x8 fragments, two elements a lane (what public MLX kernels do through thread_elements). */
const mma = (T: string): string => `
static inline void alloy_mma_${T}(thread float *c, ${T}2 a, ${T}2 b) {
  simdgroup_matrix<${T}, 8, 8> A;
  simdgroup_matrix<${T}, 8, 8> B;
  simdgroup_matrix<float, 8, 8> C;
  A.thread_elements()[0] = a.x;
  A.thread_elements()[1] = a.y;
  B.thread_elements()[0] = b.x;
  B.thread_elements()[1] = b.y;
  C.thread_elements()[0] = c[0];
  C.thread_elements()[1] = c[1];
  simdgroup_multiply_accumulate(C, A, B, C);
  c[0] = C.thread_elements()[0];
  c[1] = C.thread_elements()[1];
}`;

/**
 * Loads and stores of n consecutive elements. Only the alignment of an element is promised, which packed vectors ask for and which is
 * enough for one wide access. The forms with a count touch the first `valid` elements only.
 */
function wide(kind: "load" | "store", T: string, n: number): string {
  const each = (f: (i: number) => string): string => Array.from({ length: n }, (_, i) => f(i)).join(" ");
  const pointer = `packed_${T}${n}`;
  if (kind === "load") {
    return `
static inline void alloy_load_${T}${n}(thread ${T} *r, device const ${T} *p) {
  const ${T}${n} v = ${T}${n}(*(device const ${pointer} *)p);
  ${each((i) => `r[${i}] = v[${i}];`)}
}
static inline void alloy_load_${T}${n}(thread ${T} *r, device const ${T} *p, int valid, ${T} other) {
  if (valid >= ${n}) alloy_load_${T}${n}(r, p);
  else { ${each((i) => `r[${i}] = ${i} < valid ? p[${i}] : other;`)} }
}`;
  }
  return `
static inline void alloy_store_${T}${n}(device ${T} *p, thread const ${T} *r) {
  *(device ${pointer} *)p = ${pointer}(${Array.from({ length: n }, (_, i) => `r[${i}]`).join(", ")});
}
static inline void alloy_store_${T}${n}(device ${T} *p, thread const ${T} *r, int valid) {
  if (valid >= ${n}) alloy_store_${T}${n}(p, r);
  else { ${each((i) => `if (${i} < valid) p[${i}] = r[${i}];`)} }
}`;
}

/** A float or an integer that atomics of the standard library do not cover: compare and swap until nothing came between. */
function atomicLoop(space: string, kind: string, d: string): string {
  const T = d === "f32" ? "float" : d === "i32" ? "int" : "uint";
  const next = kind === "add" ? "was + value" : kind === "cas" ? "value" : `${d === "f32" ? "f" : ""}${kind}(was, value)`;
  const compare = kind === "cas" ? `, ${T} compare` : "";
  const guard = kind === "cas" ? "\n    if (was != compare) return was;" : "";
  return `
static inline ${T} alloy_atomic_${space}_${kind}_${d}(${space} ${T} *p${compare}, ${T} value) {
  ${space} atomic_uint *at = (${space} atomic_uint *)p;
  uint seen = atomic_load_explicit(at, memory_order_relaxed);
  while (true) {
    const ${T} was = as_type<${T}>(seen);${guard}
    if (atomic_compare_exchange_weak_explicit(at, &seen, as_type<uint>(${T}(${next})), memory_order_relaxed, memory_order_relaxed)) return was;
  }
}`;
}

/** Text of a helper by name (without the `alloy_` of the function). */
export function helperText(name: string): string {
  if (FIXED[name]) return guarded(name, FIXED[name]);
  const parts = name.split("_");
  switch (parts[0]) {
    case "float":
      return guarded(name, floatTo(parts[1]));
    case "odd":
      return guarded(name, odd(parts[1]));
    case "div":
    case "rem":
      return guarded(name, division(parts[0], parts[1]));
    case "mma":
      return guarded(name, mma(parts[1]));
    case "load":
    case "store":
      return guarded(name, wide(parts[0], parts[1].replace(/\d+$/, ""), Number(/\d+$/.exec(parts[1])![0])));
    case "atomic":
      return guarded(name, atomicLoop(parts[1], parts[2], parts[3]));
    default:
      throw new Error(`there is no helper ${name}`);
  }
}
