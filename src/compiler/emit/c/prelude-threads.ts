/** Functions that atomics and the thread level need. */
import type { Isa } from "../../../runtime/cpu/isa.ts";

const TYPES: Readonly<Record<string, string>> = { i32: "int32_t", u32: "uint32_t", i64: "int64_t", u64: "uint64_t", f32: "float" };

/** Builtins where the compiler has them; the compiler of last resort has none, and its programs run on one thread. */
export function atomics(): string {
  const out: string[] = [];
  for (const [d, T] of Object.entries(TYPES)) {
    out.push(...plain(d, T));
    const float = d === "f32";
    // Floats are compared and exchanged by their bits.
    const B = float ? "uint32_t" : T;
    const [to, from] = float ? ["bits_f32x1", "float_u32x1"] : ["", ""];
    const define = (kind: string, next: string): void => {
      out.push(`static inline ${T} atomic_${kind}_${d}(${T} *p, ${T} v) {
#ifdef __TINYC__
  ${T} old = *p; *p = ${next}; return old;
#else
  ${B} was = __atomic_load_n((${B} *)p, __ATOMIC_RELAXED);
  for (;;) { ${T} old = ${from}(was); if (__atomic_compare_exchange_n((${B} *)p, &was, ${to}(${next}), 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return old; }
#endif
}`);
    };
    const builtin = (kind: string, name: string, plain: string): void => {
      out.push(`static inline ${T} atomic_${kind}_${d}(${T} *p, ${T} v) {
#ifdef __TINYC__
  ${T} old = *p; *p = ${plain}; return old;
#else
  return __atomic_${name}(p, v, __ATOMIC_RELAXED);
#endif
}`);
    };
    if (float) define("add", "old + v");
    else {
      builtin("add", "fetch_add", "old + v");
      for (const [kind, op] of [
        ["and", "&"],
        ["or", "|"],
        ["xor", "^"],
      ])
        builtin(kind, `fetch_${kind}`, `old ${op} v`);
    }
    for (const kind of ["min", "max"]) define(kind, `${kind}_${d}x1(old, v)`);
    if (float) define("xchg", "v");
    else builtin("xchg", "exchange_n", "v");
    out.push(`static inline ${T} atomic_cas_${d}(${T} *p, ${T} compared, ${T} v) {
  ${B} was = ${to}(compared);
#ifdef __TINYC__
  ${T} old = *p; if (${to}(old) == was) *p = v; return old;
#else
  __atomic_compare_exchange_n((${B} *)p, &was, ${to}(v), 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED); return ${from}(was);
#endif
}`);
  }
  return out.join("\n");
}

/** The same steps on memory of a threadgroup, which one thread of the pool runs. */
function plain(d: string, T: string): string[] {
  const float = d === "f32";
  const next: Record<string, string> = { add: "old + v", min: `min_${d}x1(old, v)`, max: `max_${d}x1(old, v)`, xchg: "v" };
  if (!float) Object.assign(next, { and: "old & v", or: "old | v", xor: "old ^ v" });
  const steps = Object.entries(next).map(
    ([k, e]) => `static inline ${T} own_${k}_${d}(${T} *p, ${T} v) { ${T} old = *p; *p = ${e}; return old; }`,
  );
  const same = float ? "bits_f32x1(old) == bits_f32x1(c)" : "old == c";
  return [...steps, `static inline ${T} own_cas_${d}(${T} *p, ${T} c, ${T} v) { ${T} old = *p; if (${same}) *p = v; return old; }`];
}

/** a·b + c of the 8x8 matrices of a simdgroup: lane l's two elements are at [l] and [n + l] (ir/README.md has the layout). */
export function simdMma(isa: Isa): string {
  const row = "for (int h = 0; h < 2; h++)";
  const product =
    isa.width > 1
      ? `f32x4 s0 = LD(f32x4, C[r]), s1 = LD(f32x4, C[r] + 4);
    for (int k = 0; k < 8; k++) { f32x4 x = splat_f32x4(A[r][k]); s0 += x * LD(f32x4, B[k]); s1 += x * LD(f32x4, B[k] + 4); }
    ST(f32x4, C[r], s0); ST(f32x4, C[r] + 4, s1);`
      : "for (int k = 0; k < 8; k++) for (int j = 0; j < 8; j++) C[r][j] += A[r][k] * B[k][j];";
  return `static __attribute__((noinline)) void simd_mma(float *o, const float *a, const float *b, const float *c, int32_t n) {
  float A[8][8], B[8][8], C[8][8];
  for (int l = 0; l < 32; l++) {
    int r = ((l >> 1) & 3) | ((l >> 4) & 1) << 2, j = (l & 1) << 1 | ((l >> 3) & 1) << 2;
    ${row} { A[r][j + h] = a[h * n + l]; B[r][j + h] = b[h * n + l]; C[r][j + h] = c[h * n + l]; }
  }
  for (int r = 0; r < 8; r++) {
    ${product}
  }
  for (int l = 0; l < 32; l++) {
    int r = ((l >> 1) & 3) | ((l >> 4) & 1) << 2, j = (l & 1) << 1 | ((l >> 3) & 1) << 2;
    ${row} o[h * n + l] = C[r][j + h];
  }
}`;
}
