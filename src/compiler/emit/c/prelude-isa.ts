/** Operations that need an instruction of their own, per instruction set, and the portable forms for widths that have none. */
import type { Isa } from "../../../runtime/cpu/isa.ts";
import { vectorWidths } from "../../../runtime/cpu/isa.ts";

const lanes = (w: number, f: (i: number) => string): string => Array.from({ length: w }, (_, i) => f(i)).join(" ");

/** Scalar half-precision conversions, exact and rounding to nearest even, and int8 dot, byte lookup. Used by every portable form. */
export const SCALAR_OPS = `
static inline uint32_t bits_f32x1(float x) { union { float f; uint32_t u; } v; v.f = x; return v.u; }
static inline float float_u32x1(uint32_t x) { union { float f; uint32_t u; } v; v.u = x; return v.f; }
static inline float soft_f16_f32(uint16_t h) {
  uint32_t s = (uint32_t)(h & 0x8000) << 16, e = (h >> 10) & 31, m = h & 0x3ff;
  if (e == 31) return float_u32x1(s | 0x7f800000u | (m << 13));
  if (e == 0) return float_u32x1(s | bits_f32x1((float)m * 5.9604644775390625e-8f));
  return float_u32x1(s | ((e + 112) << 23) | (m << 13));
}
static inline uint16_t soft_f32_f16(float x) {
  uint32_t u = bits_f32x1(x), s = (u >> 16) & 0x8000, a = u & 0x7fffffff;
  if (a > 0x7f800000u) return (uint16_t)(s | 0x7e00 | ((a >> 13) & 0x3ff));
  if (a >= 0x477ff000u) return (uint16_t)(s | 0x7c00);
  if (a < 0x38800000u) return (uint16_t)(s | (bits_f32x1(float_u32x1(a) + 0.5f) - 0x3f000000u));
  return (uint16_t)(s | ((a - 0x38000000u + 0xfff + ((a >> 13) & 1)) >> 13));
}
static inline float cvt_bf16_f32x1(uint16_t h) { return float_u32x1((uint32_t)h << 16); }
static inline uint16_t cvt_f32_bf16x1(float x) {
  uint32_t u = bits_f32x1(x);
  if ((u & 0x7fffffff) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40);
  return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
/* float64 to float32 rounding to odd: a second rounding to a shorter format is then exact */
static inline float odd_f64_f32(double x) {
  float y = (float)x;
  if (x != x || (double)y == x || y - y != 0.0f) return (y - y != 0.0f && x - x == 0.0) ? (x > 0 ? 3.4028235e38f : -3.4028235e38f) : y;
  uint32_t u = bits_f32x1(y);
  double mag = x < 0 ? -x : x, got = y < 0 ? -(double)y : (double)y;
  if (got > mag) u--;
  return float_u32x1(u | 1);
}
static inline int32_t dot4_i32x1(int32_t acc, int32_t a, int32_t b) {
  for (int i = 0; i < 32; i += 8) acc = (int32_t)((uint32_t)acc + (uint32_t)((int32_t)(((uint32_t)a >> i) & 255) * (int32_t)(int8_t)((uint32_t)b >> i)));
  return acc;
}
static inline int32_t dot4s_i32x1(int32_t acc, int32_t a, int32_t b) {
  for (int i = 0; i < 32; i += 8) acc = (int32_t)((uint32_t)acc + (uint32_t)((int32_t)(int8_t)((uint32_t)a >> i) * (int32_t)(int8_t)((uint32_t)b >> i)));
  return acc;
}
static inline int32_t dot4u7_i32x1(int32_t acc, int32_t a, int32_t b) { return dot4_i32x1(acc, a, b); }
static inline int32_t dot4m_i32x1(int32_t acc, int32_t a, int32_t b) { return dot4s_i32x1(acc, a, b); }
static inline int32_t dot2_i32x1(int32_t acc, int32_t a, int32_t b) {
  return (int32_t)((uint32_t)acc + (uint32_t)((int32_t)(int16_t)a * (int32_t)(int16_t)b) + (uint32_t)((a >> 16) * (b >> 16)));
}
static inline int32_t dotpairs_i32x1(int32_t acc, int32_t a, int32_t b) {
  int32_t s[2];
  for (int i = 0; i < 2; i++, a >>= 16, b >>= 16) s[i] = (a & 255) * (int8_t)b + ((a >> 8) & 255) * (int8_t)(b >> 8);
  return ((acc + s[0]) & 0xffff) | (int32_t)((uint32_t)((acc >> 16) + s[1]) << 16);
}
static inline int32_t bytesign_i32x1(int32_t x, int32_t s) {
  uint32_t n = ((uint32_t)s >> 7) & 0x01010101u, r = 0;
  for (int i = 0; i < 32; i += 8) {
    uint32_t b = (uint32_t)x >> i & 255;
    r |= (((uint32_t)s >> i & 255) == 0 ? 0 : (n >> i & 1) ? -b & 255 : b) << i;
  }
  return (int32_t)r;
}
static inline int32_t lookup_i32x1(const uint8_t *t, int32_t x) {
  uint32_t r = 0;
  for (int i = 0; i < 32; i += 8) r |= (uint32_t)t[((uint32_t)x >> i) & 15] << i;
  return (int32_t)r;
}
static inline float rsqrt_f32x1(float x) { return 1.0f / sqrtf(x); }
static inline uint32_t bits_f32_u32(float x) { return bits_f32x1(x); }
static inline int32_t bits_f32_i32(float x) { return (int32_t)bits_f32x1(x); }
static inline float bits_u32_f32(uint32_t x) { return float_u32x1(x); }
static inline float bits_i32_f32(int32_t x) { return float_u32x1((uint32_t)x); }
static inline uint64_t bits_f64_u64(double x) { union { double f; uint64_t u; } v; v.f = x; return v.u; }
static inline int64_t bits_f64_i64(double x) { return (int64_t)bits_f64_u64(x); }
static inline double bits_u64_f64(uint64_t x) { union { double f; uint64_t u; } v; v.u = x; return v.f; }
static inline double bits_i64_f64(int64_t x) { return bits_u64_f64((uint64_t)x); }
`;

const DOUBLE_HALF = `static inline uint16_t cvt_f64_f16x1(double x) { return cvt_f32_f16x1(odd_f64_f32(x)); }
static inline uint16_t cvt_f64_bf16x1(double x) { return cvt_f32_bf16x1(odd_f64_f32(x)); }`;

/** Lane-by-lane forms for a width: what an instruction set does not replace. `have` names the functions it defines itself. */
export function portable(w: number, have: ReadonlySet<string>): string {
  const out: string[] = [];
  const def = (name: string, text: string): void => {
    if (!have.has(`${name}x${w}`)) out.push(text);
  };
  const f = `f32x${w}`;
  const i = `i32x${w}`;
  const u = `u32x${w}`;
  const h = `u16x${w}`;
  if (!have.has(`dot4_i32x${w}`)) out.push(portableDots(w));
  // Bytes of a up to 127: as any others, where nothing is gained by knowing it.
  def("dot4u7_i32", `static inline ${i} dot4u7_i32x${w}(${i} acc, ${i} a, ${i} b) { return dot4_i32x${w}(acc, a, b); }`);
  // Bytes of b above -128, the same.
  def("dot4m_i32", `static inline ${i} dot4m_i32x${w}(${i} acc, ${i} a, ${i} b) { return dot4s_i32x${w}(acc, a, b); }`);
  def(
    "dot2_i32",
    `static inline ${i} dot2_i32x${w}(${i} acc, ${i} a, ${i} b) { return acc + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16); }`,
  );
  def(
    "dotpairs_i32",
    `static inline ${i} dotpairs_i32x${w}(${i} acc, ${i} a, ${i} b) {
  ${i} l = (a & 255) * ((b << 24) >> 24) + ((a >> 8) & 255) * ((b << 16) >> 24), h = ((a >> 16) & 255) * ((b << 8) >> 24) + (${i})((${u})a >> 24) * (b >> 24);
  return ((acc + l) & 0xffff) | (((acc >> 16) + h) << 16);
}`,
  );
  def(
    "bytesign_i32",
    `static inline ${i} bytesign_i32x${w}(${i} x, ${i} s) { ${i} r; ${lanes(w, (k) => `r[${k}] = bytesign_i32x1(x[${k}], s[${k}]);`)} return r; }`,
  );
  def(
    "lookup_i32",
    `static inline ${i} lookup_i32x${w}(const uint8_t *t, ${i} x) { ${i} r; ${lanes(w, (k) => `r[${k}] = lookup_i32x1(t, x[${k}]);`)} return r; }`,
  );
  for (const d of ["i8", "u8", "i16", "u16"])
    def(`widen_${d}`, `static inline ${i} widen_${d}x${w}(${d}x${w} x) { return __builtin_convertvector(x, ${i}); }`);
  def("narrow_i8", `static inline i8x${w} narrow_i8x${w}(${i} x) { return __builtin_convertvector(x, i8x${w}); }`);
  def(
    "cvt_f16_f32",
    `static inline ${f} cvt_f16_f32x${w}(${h} x) {
  ${u} v = __builtin_convertvector(x, ${u}), s = (v & 0x8000) << 16, a = v & 0x7fff;
  /* normal numbers: move and rebias; subnormal: exact through the float unit; inf and nan: largest exponent */
  ${f} n = (${f})((a << 13) + 0x38000000u), d = __builtin_convertvector((${i})a, ${f}) * 5.9604644775390625e-8f;
  ${u} b = (${u})n + (((${u})(a >= 0x7c00)) & 0x38000000u), m = (${u})(a < 0x400);
  return (${f})(s | (m & (${u})d) | (~m & b));
}`,
  );
  def(
    "cvt_f32_f16",
    `static inline ${h} cvt_f32_f16x${w}(${f} x) { ${h} r; ${lanes(w, (k) => `r[${k}] = soft_f32_f16(x[${k}]);`)} return r; }`,
  );
  def("cvt_bf16_f32", `static inline ${f} cvt_bf16_f32x${w}(${h} x) { return (${f})(__builtin_convertvector(x, ${u}) << 16); }`);
  def(
    "cvt_f32_bf16",
    `static inline ${h} cvt_f32_bf16x${w}(${f} x) {
  ${u} v = (${u})x, r = (v + 0x7fff + ((v >> 16) & 1)) >> 16, q = (v >> 16) | 0x40, m = (${u})((v & 0x7fffffff) > 0x7f800000u);
  return __builtin_convertvector((m & q) | (~m & r), ${h});
}`,
  );
  for (const op of ["min", "max"])
    def(
      `${op}_f32`,
      `static inline ${f} ${op}_f32x${w}(${f} a, ${f} b) { ${f} r = sel_${f}(b ${op === "min" ? "<" : ">"} a, b, a); return sel_${f}(a != a, b, r); }`,
    );
  for (const op of ["floor", "ceil", "trunc", "rint", "sqrt"])
    def(
      `${op === "rint" ? "round" : op}_f32`,
      `static inline ${f} ${op === "rint" ? "round" : op}_f32x${w}(${f} x) { ${f} r; ${lanes(w, (k) => `r[${k}] = ${op}f(x[${k}]);`)} return r; }`,
    );
  for (const h of ["f16", "bf16"])
    def(
      `cvt_f64_${h}`,
      `static inline u16x${w} cvt_f64_${h}x${w}(f64x${w} x) { u16x${w} r; ${lanes(w, (k) => `r[${k}] = cvt_f32_${h}x1(odd_f64_f32(x[${k}]));`)} return r; }`,
    );
  def("rsqrt_f32", `static inline ${f} rsqrt_f32x${w}(${f} x) { return 1.0f / sqrt_f32x${w}(x); }`);
  return out.join("\n");
}

function portableDots(w: number): string {
  const i = `i32x${w}`;
  const u = `u32x${w}`;
  return `static inline ${i} dot4_i32x${w}(${i} acc, ${i} a, ${i} b) {
  for (int s = 0; s < 32; s += 8) acc += (${i})(((${u})a >> s) & 255) * ((${i})((${u})b << (24 - s)) >> 24);
  return acc;
}
static inline ${i} dot4s_i32x${w}(${i} acc, ${i} a, ${i} b) {
  for (int s = 0; s < 32; s += 8) acc += ((${i})((${u})a << (24 - s)) >> 24) * ((${i})((${u})b << (24 - s)) >> 24);
  return acc;
}`;
}

/** int8 dots on x86 without VNNI: even and odd bytes widened to 16 bits, so that nothing saturates (products are 255·128 at most). `low`: even bytes of a, zero-extended. */
function widenedDots(p: string, I: string, w: number, low: string): string {
  const i = `i32x${w}`;
  const body = (
    even: string,
    odd: string,
  ): string => `  ${I} be = ${p}_srai_epi16(${p}_slli_epi16((${I})b, 8), 8), bo = ${p}_srai_epi16((${I})b, 8);
  ${I} ae = ${even}, ao = ${odd};
  return (${i})${p}_add_epi32((${I})acc, ${p}_add_epi32(${p}_madd_epi16(ae, be), ${p}_madd_epi16(ao, bo)));`;
  return `static inline ${i} dot4_i32x${w}(${i} acc, ${i} a, ${i} b) {
${body(low, `${p}_srli_epi16((${I})a, 8)`)}
}
static inline ${i} dot4s_i32x${w}(${i} acc, ${i} a, ${i} b) {
${body(`${p}_srai_epi16(${p}_slli_epi16((${I})a, 8), 8)`, `${p}_srai_epi16((${I})a, 8)`)}
}`;
}

/** Intrinsic forms for x86, or only the portable ones. */
export function x86Intrinsics(isa: Isa): string {
  const out = [SCALAR_OPS];
  out.push(`static inline float cvt_f16_f32x1(uint16_t x) { return _cvtsh_ss(x); }
static inline uint16_t cvt_f32_f16x1(float x) { return _cvtss_sh(x, 0); }
${DOUBLE_HALF}`);
  for (const w of vectorWidths(isa).reverse()) {
    const have = new Set<string>();
    const add = (name: string, text: string): void => {
      have.add(`${name}x${w}`);
      out.push(text);
    };
    if (w >= 4) {
      const p = w === 16 ? "_mm512" : w === 8 ? "_mm256" : "_mm";
      const F = w === 16 ? "__m512" : w === 8 ? "__m256" : "__m128";
      const I = `${F}i`;
      const H = w === 16 ? "__m256i" : "__m128i";
      const f = `f32x${w}`;
      const i = `i32x${w}`;
      for (const op of ["min", "max"]) {
        // min/max instructions return the second operand when one is NaN; fmin/fmax want the number.
        const text =
          isa.width === 16
            ? `return (${f})${p}_range_ps((${F})a, (${F})b, ${op === "min" ? 4 : 5});`
            : `return (${f})${p}_blendv_ps(${p}_${op}_ps((${F})a, (${F})b), (${F})a, ${p === "_mm" ? `_mm_cmp_ps` : `_mm256_cmp_ps`}((${F})b, (${F})b, _CMP_UNORD_Q));`;
        add(`${op}_f32`, `static inline ${f} ${op}_f32x${w}(${f} a, ${f} b) { ${text} }`);
        out.push(`static inline ${f} ${op}_number_f32x${w}(${f} a, ${f} b) { return (${f})${p}_${op}_ps((${F})a, (${F})b); }`);
      }
      const round = w === 16 ? "_mm512_roundscale_ps" : `${p}_round_ps`;
      for (const [name, mode] of [
        ["floor", "0x09"],
        ["ceil", "0x0a"],
        ["trunc", "0x0b"],
        ["round", "0x08"],
      ])
        add(`${name}_f32`, `static inline ${f} ${name}_f32x${w}(${f} x) { return (${f})${round}((${F})x, ${mode}); }`);
      add("sqrt_f32", `static inline ${f} sqrt_f32x${w}(${f} x) { return (${f})${p}_sqrt_ps((${F})x); }`);
      if (w >= 8) {
        for (const d of ["i8", "u8", "i16", "u16"]) {
          const x = w === 8 && d.endsWith("8") ? "_mm_cvtsi64_si128((long long)x)" : `(${d.endsWith("8") ? "__m128i" : H})x`;
          add(`widen_${d}`, `static inline ${i} widen_${d}x${w}(${d}x${w} x) { return (${i})${p}_cvtep${d}_epi32(${x}); }`);
        }
        add(
          "narrow_i8",
          `static inline i8x${w} narrow_i8x${w}(${i} x) { ${
            w === 16
              ? "return (i8x16)_mm512_cvtepi32_epi8((__m512i)x);"
              : `${I} t = _mm256_shuffle_epi8((${I})x, _mm256_set1_epi32(0x0c080400));
  return (i8x8)_mm_cvtsi128_si64(_mm_unpacklo_epi32(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1)));`
          } }`,
        );
        add("cvt_f16_f32", `static inline ${f} cvt_f16_f32x${w}(u16x${w} x) { return (${f})${p}_cvtph_ps((${H})x); }`);
        add("cvt_f32_f16", `static inline u16x${w} cvt_f32_f16x${w}(${f} x) { return (u16x${w})${p}_cvtps_ph((${F})x, 0); }`);
        add(
          "cvt_bf16_f32",
          `static inline ${f} cvt_bf16_f32x${w}(u16x${w} x) { return (${f})${p}_slli_epi32(${p}_cvtepu16_epi32((${H})x), 16); }`,
        );
      } else {
        add("cvt_f16_f32", `static inline ${f} cvt_f16_f32x4(u16x4 x) { return (${f})_mm_cvtph_ps(_mm_cvtsi64_si128((long long)x)); }`);
        add("cvt_f32_f16", `static inline u16x4 cvt_f32_f16x4(${f} x) { return (u16x4)_mm_cvtsi128_si64(_mm_cvtps_ph((__m128)x, 0)); }`);
      }
      add(
        "lookup_i32",
        `static inline ${i} lookup_i32x${w}(const uint8_t *t, ${i} x) { return (${i})${p}_shuffle_epi8(${w === 4 ? "_mm_loadu_si128((const __m128i *)t)" : w === 8 ? "_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)t))" : "_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)t))"}, (${I})x); }`,
      );
      const negated = `_mm512_mask_sub_epi8((__m512i)x, _mm512_movepi8_mask((__m512i)s), _mm512_setzero_si512(), (__m512i)x)`;
      const sign =
        w === 16 ? `_mm512_maskz_mov_epi8(_mm512_test_epi8_mask((__m512i)s, (__m512i)s), ${negated})` : `${p}_sign_epi8((${I})x, (${I})s)`;
      add("bytesign_i32", `static inline ${i} bytesign_i32x${w}(${i} x, ${i} s) { return (${i})${sign}; }`);
      add(
        "dotpairs_i32",
        `static inline ${i} dotpairs_i32x${w}(${i} acc, ${i} a, ${i} b) { return (${i})${p}_add_epi16((${I})acc, ${p}_maddubs_epi16((${I})a, (${I})b)); }`,
      );
      if (isa.name === "avx512-vnni" || isa.name === "avx-vnni") {
        const dpbusd = `${p}_dpbusd${isa.name === "avx-vnni" ? "_avx" : ""}_epi32`;
        add(
          "dot4_i32",
          `static inline ${i} dot4_i32x${w}(${i} acc, ${i} a, ${i} b) { return (${i})${dpbusd}((${I})acc, (${I})a, (${I})b); }`,
        );
        add(
          "dot2_i32",
          `static inline ${i} dot2_i32x${w}(${i} acc, ${i} a, ${i} b) { return (${i})${dpbusd.replace("dpbusd", "dpwssd")}((${I})acc, (${I})a, (${I})b); }`,
        );
        // signed a: (a + 128)·b - 128·Σb, both by the same instruction
        add(
          "dot4s_i32",
          `static inline ${i} dot4s_i32x${w}(${i} acc, ${i} a, ${i} b) {
  ${I} t = ${dpbusd}((${I})acc, ${p}_xor_si${w * 32}((${I})a, ${p}_set1_epi8(-128)), (${I})b);
  ${I} c = ${dpbusd}(${p}_setzero_si${w * 32}(), ${p}_set1_epi8(-128), (${I})b);
  return (${i})${p}_sub_epi32(t, c);
}`,
        );
      } else {
        const low =
          w === 16 ? `_mm512_maskz_mov_epi8(0x5555555555555555ull, (${I})a)` : `${p}_and_si${w * 32}((${I})a, ${p}_set1_epi16(255))`;
        have.add(`dot4_i32x${w}`);
        out.push(widenedDots(p, I, w, low));
        add(
          "dot2_i32",
          `static inline ${i} dot2_i32x${w}(${i} acc, ${i} a, ${i} b) { return (${i})${p}_add_epi32((${I})acc, ${p}_madd_epi16((${I})a, (${I})b)); }`,
        );
        // Unsigned times signed bytes, neighbours added: two products of 127·128 at most do not saturate 16 bits.
        out.push(`static inline ${i} pairs_i32x${w}(${i} a, ${i} b) { return (${i})${p}_maddubs_epi16((${I})a, (${I})b); }
static inline ${i} addpairs_i32x${w}(${i} a, ${i} b) { return (${i})${p}_add_epi16((${I})a, (${I})b); }
static inline ${i} sumpairs_i32x${w}(${i} acc, ${i} a) { return (${i})${p}_add_epi32((${I})acc, ${p}_madd_epi16((${I})a, ${p}_set1_epi16(1))); }`);
        add(
          "dot4u7_i32",
          `static inline ${i} dot4u7_i32x${w}(${i} acc, ${i} a, ${i} b) { return sumpairs_i32x${w}(acc, pairs_i32x${w}(a, b)); }`,
        );
        // Signed times signed: the size of a times b with a's sign, which bytes above -128 can change.
        const signed =
          w === 16
            ? "_mm512_mask_sub_epi8((__m512i)b, _mm512_movepi8_mask((__m512i)a), _mm512_setzero_si512(), (__m512i)b)"
            : `${p}_sign_epi8((${I})b, (${I})a)`;
        add(
          "dot4m_i32",
          `static inline ${i} dot4m_i32x${w}(${i} acc, ${i} a, ${i} b) { return sumpairs_i32x${w}(acc, pairs_i32x${w}((${i})${p}_abs_epi8((${I})a), (${i})${signed})); }`,
        );
      }
    }
    out.push(portable(w, have));
  }
  return out.join("\n");
}

/** NEON with the dot-product extension. */
export function neonIntrinsics(): string {
  const have = new Set([
    "dot4_i32x4",
    "dot4s_i32x4",
    "dot4u7_i32x4",
    "dot2_i32x4",
    "dot4m_i32x4",
    "lookup_i32x4",
    "cvt_f16_f32x4",
    "cvt_f32_f16x4",
    "min_f32x4",
    "max_f32x4",
    "floor_f32x4",
    "ceil_f32x4",
    "trunc_f32x4",
    "round_f32x4",
    "sqrt_f32x4",
  ]);
  return `${SCALAR_OPS}
static inline float cvt_f16_f32x1(uint16_t x) { return soft_f16_f32(x); }
static inline uint16_t cvt_f32_f16x1(float x) { return soft_f32_f16(x); }
${DOUBLE_HALF}
static inline f32x4 min_f32x4(f32x4 a, f32x4 b) { return (f32x4)vminnmq_f32((float32x4_t)a, (float32x4_t)b); }
static inline f32x4 max_f32x4(f32x4 a, f32x4 b) { return (f32x4)vmaxnmq_f32((float32x4_t)a, (float32x4_t)b); }
static inline f32x4 floor_f32x4(f32x4 a) { return (f32x4)vrndmq_f32((float32x4_t)a); }
static inline f32x4 ceil_f32x4(f32x4 a) { return (f32x4)vrndpq_f32((float32x4_t)a); }
static inline f32x4 trunc_f32x4(f32x4 a) { return (f32x4)vrndq_f32((float32x4_t)a); }
static inline f32x4 round_f32x4(f32x4 a) { return (f32x4)vrndnq_f32((float32x4_t)a); }
static inline f32x4 sqrt_f32x4(f32x4 a) { return (f32x4)vsqrtq_f32((float32x4_t)a); }
static inline f32x4 cvt_f16_f32x4(u16x4 x) { return (f32x4)vcvt_f32_f16((float16x4_t)x); }
static inline u16x4 cvt_f32_f16x4(f32x4 x) { return (u16x4)vcvt_f16_f32((float32x4_t)x); }
static inline i32x4 dot4s_i32x4(i32x4 acc, i32x4 a, i32x4 b) { return (i32x4)vdotq_s32((int32x4_t)acc, (int8x16_t)a, (int8x16_t)b); }
static inline i32x4 dot4u7_i32x4(i32x4 acc, i32x4 a, i32x4 b) { return dot4s_i32x4(acc, a, b); }
static inline i32x4 dot4m_i32x4(i32x4 acc, i32x4 a, i32x4 b) { return dot4s_i32x4(acc, a, b); }
/* b: one lane for all, read by the instruction itself */
#define DOT4_LANE(acc, a, b, lane) ((i32x4)vdotq_laneq_s32((int32x4_t)(acc), (int8x16_t)(a), (int8x16_t)(b), lane))
static inline i32x4 dot4_i32x4(i32x4 acc, i32x4 a, i32x4 b) {
  /* unsigned a: (a - 128)·b + 128·Σb, both by the signed instruction */
  int32x4_t t = vdotq_s32((int32x4_t)acc, (int8x16_t)veorq_u8((uint8x16_t)a, vdupq_n_u8(128)), (int8x16_t)b);
  int32x4_t s = vdotq_s32(vdupq_n_s32(0), vdupq_n_s8(64), (int8x16_t)b);
  return (i32x4)vaddq_s32(t, vaddq_s32(s, s));
}
static inline i32x4 dot2_i32x4(i32x4 acc, i32x4 a, i32x4 b) {
  int32x4_t low = vmull_s16(vget_low_s16((int16x8_t)a), vget_low_s16((int16x8_t)b));
  return (i32x4)vaddq_s32((int32x4_t)acc, vpaddq_s32(low, vmull_high_s16((int16x8_t)a, (int16x8_t)b)));
}
static inline i32x4 lookup_i32x4(const uint8_t *t, i32x4 x) { return (i32x4)vqtbl1q_u8(vld1q_u8(t), (uint8x16_t)x); }
${portable(2, new Set())}
${portable(4, have)}`;
}

/** Portable GNU C vectors or plain scalars. Where SSE2 is a given (every x86-64), four lanes use its 16-bit multiply-add for `dot4`. */
export function genericOps(isa: Isa): string {
  const half = `static inline float cvt_f16_f32x1(uint16_t x) { return soft_f16_f32(x); }
static inline uint16_t cvt_f32_f16x1(float x) { return soft_f32_f16(x); }
${DOUBLE_HALF}`;
  const out = [SCALAR_OPS, half];
  for (const w of vectorWidths(isa).reverse()) {
    out.push(portable(w, w === 4 ? new Set(["dot4_i32x4", "dot4s_i32x4", "dot4u7_i32x4", "dot4m_i32x4"]) : new Set()));
    if (w === 4)
      out.push(
        "#ifdef __SSE2__",
        widenedDots("_mm", "__m128i", 4, "_mm_and_si128((__m128i)a, _mm_set1_epi16(255))"),
        "#else",
        portableDots(4),
        "#endif",
        "static inline i32x4 dot4u7_i32x4(i32x4 acc, i32x4 a, i32x4 b) { return dot4_i32x4(acc, a, b); }",
        "static inline i32x4 dot4m_i32x4(i32x4 acc, i32x4 a, i32x4 b) { return dot4s_i32x4(acc, a, b); }",
      );
  }
  return out.join("\n");
}
