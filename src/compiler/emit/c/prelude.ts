/**
 * The C text that every emitted file starts with: vector types, memory access, conversions, reductions.
 * Everything is a static inline function or macro per vector width, so one name pattern serves all: `op_f32x16`, `op_f32x8`, ..., `op_f32x1`.
 * Masks are int vectors of 0 / -1 with as many lanes as the data; a scalar bool is 0 / 1.
 */
import { atomics, simdMma } from "./prelude-threads.ts";
import type { Isa } from "../../../runtime/cpu/isa.ts";
import { vectorWidths } from "../../../runtime/cpu/isa.ts";
import { MATH } from "./prelude-math.ts";
import { genericOps, neonIntrinsics, x86Intrinsics } from "./prelude-isa.ts";

const ELEMENT: Record<string, string> = {
  i8: "int8_t",
  u8: "uint8_t",
  i16: "int16_t",
  u16: "uint16_t",
  i32: "int32_t",
  u32: "uint32_t",
  i64: "int64_t",
  u64: "uint64_t",
  f32: "float",
  f64: "double",
};
const BYTES: Record<string, number> = { i8: 1, u8: 1, i16: 2, u16: 2, i32: 4, u32: 4, i64: 8, u64: 8, f32: 4, f64: 8 };
export const STORED = Object.keys(ELEMENT);

const HEAD = `typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
#if defined(__APPLE__) || defined(__TINYC__)
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
typedef __INT64_TYPE__ int64_t;
typedef __UINT64_TYPE__ uint64_t;
#endif
extern float expf(float), exp2f(float), logf(float), log2f(float), sinf(float), cosf(float), tanhf(float), erff(float), powf(float, float);
extern float sqrtf(float), floorf(float), ceilf(float), rintf(float), truncf(float), fabsf(float), fmodf(float, float);
extern double exp(double), exp2(double), log(double), log2(double), sin(double), cos(double), tanh(double), erf(double), pow(double, double);
extern double sqrt(double), floor(double), ceil(double), rint(double), trunc(double), fabs(double), fmod(double, double);
`;

/** What only differs in the number of lanes. W is replaced by the width, SPLAT by a broadcast of a scalar. */
function perWidth(isa: Isa, w: number): string {
  const out: string[] = [];
  for (const d of STORED) {
    const t = `${d}x${w}`;
    if (w === 1) {
      out.push(`typedef ${ELEMENT[d]} ${t};`, `typedef ${ELEMENT[d]} ${t}u;`, `typedef ${ELEMENT[d]} ${t}a;`);
    } else {
      out.push(`typedef ${ELEMENT[d]} ${t} __attribute__((vector_size(${BYTES[d] * w})));`);
      out.push(`typedef ${ELEMENT[d]} ${t}u __attribute__((vector_size(${BYTES[d] * w}), aligned(${BYTES[d]}), may_alias));`);
    }
  }
  if (w > 1) {
    const lanes = Array.from({ length: w }, (_, i) => i);
    out.push(`#define IOTAx${w} ((i32x${w}){${lanes.join(", ")}})`);
    out.push(
      `static inline i32x${w} prefix_x${w}(int64_t n) { int32_t m = n < 0 ? 0 : n > ${w} ? ${w} : (int32_t)n; return IOTAx${w} < (m - (i32x${w}){0}); }`,
    );
    for (const d of STORED) {
      const t = `${d}x${w}`;
      out.push(`static inline ${t} splat_${t}(${ELEMENT[d]} x) { return (${t}){${lanes.map(() => "x").join(", ")}}; }`);
      const special = isa.width === 16 ? avx512Masked(d, w) : isa.width === 8 ? avx2Masked(d, w) : undefined;
      out.push(
        special ??
          [
            `static inline ${t} ldn_${t}(const ${ELEMENT[d]} *p, int64_t n) { if (n >= ${w}) return *(const ${t}u *)p; ${t} r = {0}; for (int i = 0; i < ${w}; i++) if (i < n) r[i] = p[i]; return r; }`,
            `static inline void stn_${t}(${ELEMENT[d]} *p, ${t} v, int64_t n) { if (n >= ${w}) { *(${t}u *)p = v; return; } for (int i = 0; i < ${w}; i++) if (i < n) p[i] = v[i]; }`,
            `static inline ${t} ldm_${t}(const ${ELEMENT[d]} *p, i32x${w} m) { ${t} r = {0}; for (int i = 0; i < ${w}; i++) if (m[i]) r[i] = p[i]; return r; }`,
            `static inline void stm_${t}(${ELEMENT[d]} *p, ${t} v, i32x${w} m) { for (int i = 0; i < ${w}; i++) if (m[i]) p[i] = v[i]; }`,
          ].join("\n"),
      );
      out.push(gathers(isa, d, w));
      const mask = BYTES[d] === 4 ? `m` : `__builtin_convertvector(m, i${BYTES[d] * 8}x${w})`;
      const it = `i${BYTES[d] * 8}x${w}`;
      out.push(
        `static inline ${t} sel_${t}(i32x${w} m, ${t} a, ${t} b) { ${it} k = ${mask}; return (${t})((k & (${it})a) | (~k & (${it})b)); }`,
      );
      if (d[0] !== "f") {
        out.push(
          `static inline ${t} div_${t}(${t} a, ${t} b) { ${t} r; for (int i = 0; i < ${w}; i++) r[i] = div_${d}x1(a[i], b[i]); return r; }`,
        );
        out.push(
          `static inline ${t} rem_${t}(${t} a, ${t} b) { ${t} r; for (int i = 0; i < ${w}; i++) r[i] = rem_${d}x1(a[i], b[i]); return r; }`,
        );
      }
      if (d === "i32" || d === "u32") {
        out.push(`static inline ${t} min_${t}(${t} a, ${t} b) { return sel_${t}((i32x${w})(b < a), b, a); }`);
        out.push(`static inline ${t} max_${t}(${t} a, ${t} b) { return sel_${t}((i32x${w})(b > a), b, a); }`);
      } else if (d !== "f32") {
        out.push(
          `static inline ${t} min_${t}(${t} a, ${t} b) { ${t} r; for (int i = 0; i < ${w}; i++) r[i] = min_${d}x1(a[i], b[i]); return r; }`,
        );
        out.push(
          `static inline ${t} max_${t}(${t} a, ${t} b) { ${t} r; for (int i = 0; i < ${w}; i++) r[i] = max_${d}x1(a[i], b[i]); return r; }`,
        );
      }
    }
    out.push(halves(w));
  } else {
    for (const d of STORED) {
      const t = `${d}x1`;
      const e = ELEMENT[d];
      out.push(`static inline ${e} sel_${t}(int32_t m, ${e} a, ${e} b) { return m ? a : b; }`);
      if (d[0] === "f") {
        out.push(`static inline ${e} min_${t}(${e} a, ${e} b) { return a != a ? b : b < a ? b : a; }`);
        out.push(`static inline ${e} max_${t}(${e} a, ${e} b) { return a != a ? b : b > a ? b : a; }`);
        out.push(`static inline ${e} rem_${t}(${e} a, ${e} b) { return ${d === "f32" ? "fmodf" : "fmod"}(a, b); }`);
      } else {
        const guard = d[0] === "i" ? `b == 0 ? 0 : b == -1 ? (${e})(0 - (u${d.slice(1)}x1)a) : ` : `b == 0 ? 0 : `;
        const guardRem = d[0] === "i" ? `b == 0 || b == -1 ? 0 : ` : `b == 0 ? 0 : `;
        out.push(`static inline ${e} min_${t}(${e} a, ${e} b) { return b < a ? b : a; }`);
        out.push(`static inline ${e} max_${t}(${e} a, ${e} b) { return b > a ? b : a; }`);
        out.push(`static inline ${e} div_${t}(${e} a, ${e} b) { return ${guard}(${e})(a / b); }`);
        out.push(`static inline ${e} rem_${t}(${e} a, ${e} b) { return ${guardRem}(${e})(a % b); }`);
      }
    }
  }
  return out.join("\n");
}

/**
 * Loads of elements that do not lie side by side. `gather` takes element offsets, `stride` a distance. Functions of their own: written
 * out in the kernel they would be most of its text. A hardware gather of a 1- or 2-byte element reads the aligned word around it,
 * which is always on the element's own page.
 */
function gathers(isa: Isa, d: string, w: number): string {
  const e = ELEMENT[d];
  const t = `${d}x${w}`;
  const lanes = (f: string): string => `{ ${t} r = {0}; for (int i = 0; i < ${w}; i++) ${f}; return r; }`;
  const out = [
    `static __attribute__((noinline)) ${t} gather64_${t}(const ${e} *p, i64x${w} o) ${lanes("r[i] = p[o[i]]")}`,
    `static __attribute__((noinline)) ${t} gather64m_${t}(const ${e} *p, i64x${w} o, i32x${w} m) ${lanes("if (m[i]) r[i] = p[o[i]]")}`,
    `static __attribute__((noinline)) ${t} stride_${t}(const ${e} *p, int64_t s) ${lanes("r[i] = p[i * s]")}`,
    `static __attribute__((noinline)) ${t} stridem_${t}(const ${e} *p, int64_t s, i32x${w} m) ${lanes("if (m[i]) r[i] = p[i * s]")}`,
    `static __attribute__((noinline)) void scatter_${t}(${e} *p, i32x${w} o, ${t} v) { for (int i = 0; i < ${w}; i++) p[o[i]] = v[i]; }`,
    `static __attribute__((noinline)) void scatterm_${t}(${e} *p, i32x${w} o, ${t} v, i32x${w} m) { for (int i = 0; i < ${w}; i++) if (m[i]) p[o[i]] = v[i]; }`,
    `static __attribute__((noinline)) void scatter64_${t}(${e} *p, i64x${w} o, ${t} v) { for (int i = 0; i < ${w}; i++) p[o[i]] = v[i]; }`,
    `static __attribute__((noinline)) void scatter64m_${t}(${e} *p, i64x${w} o, ${t} v, i32x${w} m) { for (int i = 0; i < ${w}; i++) if (m[i]) p[o[i]] = v[i]; }`,
    `static __attribute__((noinline)) void spread_${t}(${e} *p, int64_t s, ${t} v) { for (int i = 0; i < ${w}; i++) p[i * s] = v[i]; }`,
    `static __attribute__((noinline)) void spreadm_${t}(${e} *p, int64_t s, ${t} v, i32x${w} m) { for (int i = 0; i < ${w}; i++) if (m[i]) p[i * s] = v[i]; }`,
  ];
  const hardware = isa.arch === "x64" && w >= 8 && BYTES[d] <= 4;
  if (!hardware) {
    out.push(
      `static __attribute__((noinline)) ${t} gather_${t}(const ${e} *p, i32x${w} o) ${lanes("r[i] = p[o[i]]")}`,
      `static __attribute__((noinline)) ${t} gatherm_${t}(const ${e} *p, i32x${w} o, i32x${w} m) ${lanes("if (m[i]) r[i] = p[o[i]]")}`,
    );
    return out.join("\n");
  }
  const [all, some] =
    w === 16
      ? [
          "_mm512_i32gather_epi32((__m512i)(i), b, 4)",
          "_mm512_mask_i32gather_epi32(_mm512_setzero_si512(), _mm512_movepi32_mask((__m512i)m), (__m512i)(i), b, 4)",
        ]
      : [
          "_mm256_i32gather_epi32((const int *)b, (__m256i)(i), 4)",
          "_mm256_mask_i32gather_epi32(_mm256_setzero_si256(), (const int *)b, (__m256i)(i), (__m256i)m, 4)",
        ];
  const n = 4 / BYTES[d];
  const log = Math.log2(n);
  for (const [name, extra, load] of [
    ["gather", "", all],
    ["gatherm", `, i32x${w} m`, some],
  ]) {
    const body =
      n === 1
        ? `const void *b = p; i32x${w} i = o; return (${t})${load};`
        : `uint64_t d = (uint64_t)p & 3; const void *b = (const char *)p - d; i32x${w} k = (o & ${n - 1}) * ${BYTES[d]} + (int32_t)d; i32x${w} i = (o >> ${log}) + (k >> 2); i32x${w} r = (i32x${w})${load}; return __builtin_convertvector(r >> ((k & 3) << 3), ${t});`;
    out.push(`static inline ${t} ${name}_${t}(const ${e} *p, i32x${w} o${extra}) { ${body} }`);
  }
  return out.join("\n");
}

/** AVX-512 has masked moves for every lane size; they never touch lanes that are off. */
function avx512Masked(d: string, w: number): string | undefined {
  const bits = w * BYTES[d] * 8;
  if (bits !== 512 && bits !== 256 && bits !== 128) return undefined;
  const p = bits === 512 ? "_mm512" : bits === 256 ? "_mm256" : "_mm";
  const v = `__m${bits}i`;
  const kind = `epi${BYTES[d] * 8}`;
  const t = `${d}x${w}`;
  const k = `__mmask${Math.max(8, w)}`;
  const fromVector = `(${k})${w === 16 ? "_mm512" : w === 8 ? "_mm256" : "_mm"}_movepi32_mask((__m${w * 32}i)m)`;
  if (w < 4) return undefined;
  const e = ELEMENT[d];
  return [
    `static inline ${t} ldn_${t}(const ${e} *p, int64_t n) { return (${t})${p}_maskz_loadu_${kind}((${k})PREFIX(n, ${w}), p); }`,
    `static inline void stn_${t}(${e} *p, ${t} v, int64_t n) { ${p}_mask_storeu_${kind}(p, (${k})PREFIX(n, ${w}), (${v})v); }`,
    `static inline ${t} ldm_${t}(const ${e} *p, i32x${w} m) { return (${t})${p}_maskz_loadu_${kind}(${fromVector}, p); }`,
    `static inline void stm_${t}(${e} *p, ${t} v, i32x${w} m) { ${p}_mask_storeu_${kind}(p, ${fromVector}, (${v})v); }`,
  ].join("\n");
}

function avx2Masked(d: string, w: number): string | undefined {
  if (BYTES[d] !== 4 || (w !== 8 && w !== 4)) return undefined;
  const p = w === 8 ? "_mm256" : "_mm";
  const v = w === 8 ? "__m256i" : "__m128i";
  const t = `${d}x${w}`;
  const e = ELEMENT[d];
  return [
    `static inline ${t} ldm_${t}(const ${e} *p, i32x${w} m) { return (${t})${p}_maskload_epi32((const int *)p, (${v})m); }`,
    `static inline void stm_${t}(${e} *p, ${t} v, i32x${w} m) { ${p}_maskstore_epi32((int *)p, (${v})m, (${v})v); }`,
    `static inline ${t} ldn_${t}(const ${e} *p, int64_t n) { if (n >= ${w}) return *(const ${t}u *)p; return ldm_${t}(p, prefix_x${w}(n)); }`,
    `static inline void stn_${t}(${e} *p, ${t} v, int64_t n) { if (n >= ${w}) *(${t}u *)p = v; else stm_${t}(p, v, prefix_x${w}(n)); }`,
  ].join("\n");
}

/** Lower and upper half of a vector: the step of a reduction. */
function halves(w: number): string {
  const h = w / 2;
  const out: string[] = [];
  for (const d of STORED) {
    const t = `${d}x${w}`;
    const half = `${d}x${h}`;
    if (h === 1) {
      out.push(`static inline ${half} lo_${t}(${t} v) { return v[0]; }`, `static inline ${half} hi_${t}(${t} v) { return v[1]; }`);
      continue;
    }
    const lo = Array.from({ length: h }, (_, i) => i).join(", ");
    const hi = Array.from({ length: h }, (_, i) => i + h).join(", ");
    out.push("#if ALLOY_SHUFFLE");
    out.push(`static inline ${half} lo_${t}(${t} v) { return __builtin_shufflevector(v, v, ${lo}); }`);
    out.push(`static inline ${half} hi_${t}(${t} v) { return __builtin_shufflevector(v, v, ${hi}); }`);
    out.push("#else");
    out.push(`static inline ${half} lo_${t}(${t} v) { ${half} r; __builtin_memcpy(&r, &v, sizeof r); return r; }`);
    out.push(`static inline ${half} hi_${t}(${t} v) { ${half} r; __builtin_memcpy(&r, (const char *)&v + sizeof r, sizeof r); return r; }`);
    out.push("#endif");
  }
  return out.join("\n");
}

/** Whether any lane of the mask v is on, by the instruction that asks for it. */
function anyLane(isa: Isa, w: number): string | undefined {
  if (isa.arch !== "x64" || w < 4) return undefined;
  if (w === 16) return "_mm512_test_epi32_mask((__m512i)v, (__m512i)v) != 0";
  return w === 8 ? "!_mm256_testz_si256((__m256i)v, (__m256i)v)" : "!_mm_testz_si128((__m128i)v, (__m128i)v)";
}

function reductions(isa: Isa, w: number): string {
  const out: string[] = [];
  for (const d of ["f32", "f64", "i32", "u32", "i64", "u64"]) {
    const t = `${d}x${w}`;
    const e = ELEMENT[d];
    for (const op of ["sum", "min", "max"]) {
      if (w === 1) {
        out.push(`static inline ${e} ${op}all_${t}(${e} v) { return v; }`);
        continue;
      }
      if (w === 4 && d === "f32" && op !== "sum") {
        // Four lanes are one register: turned, not taken apart. Compares of single floats would be branches that go either way.
        const turned = (lanes: number[]): string => `${op}_${t}(v, (${t}){${lanes.map((i) => `v[${i}]`).join(", ")}})`;
        out.push(`static inline ${e} ${op}all_${t}(${t} v) { v = ${turned([2, 3, 0, 1])}; v = ${turned([1, 0, 3, 2])}; return v[0]; }`);
        continue;
      }
      const half = `${d}x${w / 2}`;
      const combine = op === "sum" ? `lo_${t}(v) + hi_${t}(v)` : `${op}_${half}(lo_${t}(v), hi_${t}(v))`;
      out.push(`static inline ${e} ${op}all_${t}(${t} v) { return ${op}all_${half}(${combine}); }`);
    }
  }
  if (w === 1) {
    out.push(
      "static inline int32_t anyall_i32x1(int32_t v) { return v != 0; }",
      "static inline int32_t allall_i32x1(int32_t v) { return v != 0; }",
    );
  } else {
    const t = `i32x${w}`;
    out.push(`static inline int32_t anyall_${t}(${t} v) { return ${anyLane(isa, w) ?? `anyall_i32x${w / 2}(lo_${t}(v) | hi_${t}(v))`}; }`);
    out.push(`static inline int32_t allall_${t}(${t} v) { return allall_i32x${w / 2}(lo_${t}(v) & hi_${t}(v)); }`);
  }
  return out.join("\n");
}

const cache = new Map<string, string>();

/** The prelude of an instruction set. Files made of several kernels need it once. */
export function prelude(isa: Isa): string {
  const known = cache.get(isa.name);
  if (known) return known;
  const widths = [1, ...vectorWidths(isa).reverse()];
  const parts: string[] = [];
  if (isa.arch === "x64") parts.push("#include <immintrin.h>");
  if (isa.name === "baseline") parts.push("#ifdef __SSE2__\n#include <emmintrin.h>\n#endif");
  if (isa.arch === "arm64") parts.push("#include <arm_neon.h>");
  parts.push(isa.name === "scalar" ? HEAD : HEAD.replace(/typedef[\s\S]*?#endif\n/, "#include <stdint.h>\n"));
  parts.push(`#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define ALLOY_SHUFFLE 1
#endif
#endif
#if ALLOY_SHUFFLE
#define SHUFFLE(M, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(M, a, b, ...) __builtin_shuffle(a, b, (M){__VA_ARGS__})
#endif
#define MINI(a, b) ((a) < (b) ? (a) : (b))
#define PREFIX(n, w) ((n) >= (w) ? (1u << (w)) - 1u : (n) <= 0 ? 0u : (1u << (n)) - 1u)
#define LD(T, p) (*(const T##u *)(p))
#define ST(T, p, ...) (*(T##u *)(p) = (__VA_ARGS__))`);
  if (isa.name === "scalar") parts.push("#ifdef __TINYC__\n#define __builtin_prefetch(p) ((void)(p))\n#endif");
  for (const w of widths) parts.push(perWidth(isa, w));
  parts.push(isa.arch === "x64" ? x86Intrinsics(isa) : isa.arch === "arm64" ? neonIntrinsics() : genericOps(isa));
  for (const w of widths) parts.push(reductions(isa, w), MATH(isa, w));
  parts.push(atomics(), simdMma(isa));
  const text = parts.filter(Boolean).join("\n");
  cache.set(isa.name, text);
  return text;
}
