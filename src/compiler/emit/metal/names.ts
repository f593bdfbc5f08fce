/** Identifiers of a text: the user's names where they are free, never a word that MSL or the emitter uses. */

const RESERVED = new Set(
  (
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const constexpr const_cast continue decltype default delete do double " +
    "dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq " +
    "private protected public register reinterpret_cast return short signed sizeof static static_assert static_cast struct switch template this thread_local throw true " +
    "try typedef typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq " +
    "kernel vertex fragment device constant threadgroup thread texture sampler half bfloat uchar ushort uint ulong size_t ptrdiff_t metal simd quad vec matrix atomic " +
    "abs min max clamp exp exp2 exp10 log log2 log10 sin cos tan tanh sinh cosh asin acos atan atan2 sqrt rsqrt floor ceil round rint trunc fract fabs fmin fmax fma fmod mod " +
    "pow powr sign mix step smoothstep saturate select dot cross length distance normalize copysign isnan isinf isfinite clz ctz popcount rotate as_type any all ldexp frexp " +
    "mem_flags memory_order_relaxed access args lane_id simdgroup_id thread_id group_id grid_id local_id scratch stage main M_PI_F NAN INFINITY MAXFLOAT HUGE_VALF " +
    "uint2 uint3 uint4 int2 int3 int4 float2 float3 float4 half2 half3 half4 uchar4 char4 r0 reference event task_group coherent"
  ).split(" "),
);

/** Any name as the start of an identifier. */
const base = (name: string): string => {
  const text = name
    .replace(/\W/g, "_")
    .replace(/^(?=\d)/, "v")
    .replace(/^_+/, "v_")
    .replace(/__+/g, "_");
  return text || "v";
};

export class Names {
  private readonly used = new Set<string>();
  private readonly counts = new Map<string, number>();
  private readonly free: string[] = [];
  readonly params: ReadonlyMap<string, string>;

  constructor(params: readonly string[]) {
    this.params = new Map(params.map((p) => [p, this.make(p)]));
  }

  /** `name`, or with a number when it is taken. */
  make(name: string): string {
    // Names of helpers and of Metal's own functions begin so, and so would "quad" with a number behind it.
    const plain = base(name);
    const b = /^(alloy|simd|quad|atomic)(_|$)/.test(plain) ? `v_${plain}` : plain;
    let out = b;
    for (let n = this.counts.get(b) ?? 2; this.used.has(out) || RESERVED.has(out); n++) {
      out = `${b}_${n}`;
      this.counts.set(b, n + 1);
    }
    this.used.add(out);
    return out;
  }

  /** The variable of a short loop; its name is free again afterwards. */
  loop(name: string): string {
    const at = this.free.findIndex((f) => f === name);
    if (at >= 0) return this.free.splice(at, 1)[0];
    return this.make(name);
  }

  endLoop(name: string): void {
    this.free.push(name);
  }
}
