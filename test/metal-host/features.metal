// What the Metal host takes MSL to mean, construct by construct. Each kernel writes values that features.test.ts knows.
#include <metal_stdlib>
#include <metal_simdgroup_matrix>
using namespace metal;

constant uint WIDTH [[function_constant(0)]];
constant float SCALE [[function_constant(1)]];
constant bool FLAG [[function_constant(2)]];
constant int OPTIONAL [[function_constant(3)]];
constant bool HAS_OPTIONAL = is_function_constant_defined(OPTIONAL);
constant int CHOSEN = HAS_OPTIONAL ? OPTIONAL : -1;
constant uint DOUBLE_WIDTH = WIDTH * 2u;
constant float TABLE[4] = {0.5, 1.5, 2.5, 3.5};

struct Args {
  uint grid[3];
  uint pad;
  int n;
  float scale;
};

kernel void vectors(device float* o [[buffer(0)]]) {
  float4 a = float4(1.0f, 2.0f, 3.0f, 4.0f);
  float4 b = float4(a.xy, 5.0f, a.w);
  float2 c = a.zw;
  a.yz = float2(20.0f, 30.0f);
  o[0] = a.x; o[1] = a.y; o[2] = a.z; o[3] = a.w;
  o[4] = b.x; o[5] = b.y; o[6] = b.z; o[7] = b.w;
  o[8] = c.x; o[9] = c.y;
  o[10] = dot(b, float4(1.0f));
  float3 d = cross(float3(1.0f, 0.0f, 0.0f), float3(0.0f, 1.0f, 0.0f));
  o[11] = d.z;
  o[12] = a[1];
  o[13] = float4(2.0f).w;
  o[14] = length(float2(3.0f, 4.0f));
  a *= 2.0f;
  o[15] = a.w;
}

kernel void conversions(device float* o [[buffer(0)]], device int* p [[buffer(1)]]) {
  int4 i = int4(float4(1.9f, -1.9f, 3.5f, 0.0f));
  float4 f = float4(i);
  o[0] = f.x; o[1] = f.y; o[2] = f.z;
  float4 g = (float4)i * 2.0f;
  o[3] = g.x;
  half4 h = half4(float4(0.1f, 1000.3f, 65504.0f, -2.0f));
  o[4] = float(h.x); o[5] = float(h.y); o[6] = float(h.z);
  bfloat t = bfloat(1.00390625f);
  o[7] = float(t);
  o[8] = float(half(t));
  uint u = uint(7.9f);
  p[0] = int(u);
  p[1] = as_type<int>(1.0f);
  p[2] = int(as_type<ushort>(half(1.0h)));
  half2 two = as_type<half2>(0x3c004000u);
  o[9] = float(two.x); o[10] = float(two.y);
  p[3] = int(as_type<ushort>(bfloat(1.0f)));
  uchar4 bytes = as_type<uchar4>(0x04030201u);
  p[4] = int(bytes.w);
  p[5] = int(char(uchar(200)));
  float4 from_bytes = float4(bytes);
  o[11] = from_bytes.y;
  p[6] = int(short(ushort(65535)));
  p[7] = int(static_cast<int4>(float4(3.7f)).x);
  long big = long(1) << 40;
  p[8] = int(big >> 38);
  bool4 m = bool4(f < float4(2.0f));
  p[9] = int(m.x) + 10 * int(m.y) + 100 * int(m.z);
}

kernel void literals(device float* o [[buffer(0)]]) {
  o[0] = 0.1; o[1] = 1e-3; o[2] = 1.5h; o[3] = 2.0f; o[4] = float(0x10); o[5] = TABLE[2];
  o[6] = 16777217.0; o[7] = float(3.0h * 0.1h);
}

kernel void mathematics(device float* o [[buffer(0)]]) {
  float x = 0.7f;
  o[0] = exp(x); o[1] = log(x); o[2] = sqrt(x); o[3] = rsqrt(x); o[4] = sin(x); o[5] = cos(x); o[6] = tanh(x); o[7] = pow(x, 3.0f);
  o[8] = fma(x, 2.0f, 1.0f); o[9] = floor(-x); o[10] = ceil(-x); o[11] = rint(2.5f); o[12] = round(2.5f); o[13] = trunc(-1.7f);
  o[14] = fmod(5.5f, 2.0f); o[15] = clamp(3.0f, 0.0f, 1.0f); o[16] = mix(1.0f, 3.0f, 0.5f); o[17] = sign(-2.0f); o[18] = exp2(3.0f);
  o[19] = log2(8.0f); o[20] = atan2(1.0f, 1.0f); o[21] = copysign(1.0f, -0.0f); o[22] = saturate(1.5f); o[23] = fract(1.25f);
  o[24] = precise::exp(x); o[25] = fast::exp(x); o[26] = max(1.0f, 2.0f); o[27] = fmin(NAN, 2.0f); o[28] = abs(-3.5f);
  o[29] = float(exp(0.5h)); o[30] = exp(float2(0.0f, 1.0f)).y; o[31] = select(1.0f, 2.0f, true); o[32] = tan(x); o[33] = step(1.0f, 0.5f);
  o[34] = isnan(NAN) ? 1.0f : 0.0f; o[35] = isinf(INFINITY) ? 1.0f : 0.0f; o[36] = log10(100.0f);
}

kernel void integers(device int* o [[buffer(0)]]) {
  o[0] = max(3, -4); o[1] = min(3, -4); o[2] = clamp(9, 0, 5); o[3] = abs(-7); o[4] = int(popcount(0xf0u)); o[5] = int(clz(1u)); o[6] = int(ctz(8u));
  o[7] = int(rotate(0x80000001u, 1u)); o[8] = mulhi(1 << 30, 8); o[9] = int(extract_bits(0xabcdu, 4u, 8u)); o[10] = int(reverse_bits(1u) >> 28);
  o[11] = -7 / 2; o[12] = -7 % 2; o[13] = -8 >> 1; o[14] = int(0xffffffffu >> 28); o[15] = (5 & 3) | (8 ^ 1); o[16] = int(uchar(250) + uchar(10));
  o[17] = int(select(1u, 2u, false)); o[18] = int(addsat(0xfffffff0u, 0x20u) >> 28); o[19] = int(max(uint4(1u, 5u, 2u, 0u), uint4(3u)).y);
  int4 v = int4(1, 2, 3, 4);
  v <<= 2;
  o[20] = v.w; o[21] = v.x + (v >> 1).y;
  o[22] = any(v > 15) ? 1 : 0; o[23] = all(v > 3) ? 1 : 0;
  ulong wide = ulong(0xffffffffu) * 2ul;
  o[24] = int(wide >> 32);
  o[25] = int(mulhi(0x80000000u, 4u));
}

kernel void selects(device float* o [[buffer(0)]]) {
  float4 a = float4(1.0f, 2.0f, 3.0f, 4.0f), b = float4(4.0f, 3.0f, 2.0f, 1.0f);
  float4 c = select(a, b, a < b);
  o[0] = c.x; o[1] = c.y; o[2] = c.z; o[3] = c.w;
  half2 d = select(half2(1.0h, 2.0h), half2(5.0h, 6.0h), bool2(false, true));
  o[4] = float(d.x); o[5] = float(d.y);
  uint2 e = select(uint2(1u, 2u), uint2(3u, 4u), uint2(0u, 9u) > uint2(1u));
  o[6] = float(e.x); o[7] = float(e.y);
}

kernel void spaces(device const float* in [[buffer(0)]], device float* o [[buffer(1)]], constant Args& args [[buffer(2)]], constant float* table [[buffer(3)]],
                   threadgroup float* block [[threadgroup(0)]], uint tid [[thread_index_in_threadgroup]]) {
  threadgroup float own[8], other[2];
  threadgroup float4 wide[2];
  own[tid] = in[tid] * args.scale;
  block[tid] = own[tid] + table[tid & 1];
  if (tid < 2) { other[tid] = float(args.n); wide[tid] = float4(float(tid)); }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  thread float mine[3] = {own[7 - tid], block[7 - tid], other[tid & 1]};
  thread float* p = mine;
  o[tid] = p[0] + p[1] + p[2] + wide[1].z + float(args.grid[2]);
}

kernel void vector_memory(device const float4* in [[buffer(0)]], device float4* o [[buffer(1)]], device half* h [[buffer(2)]], uint i [[thread_position_in_grid]]) {
  float4 v = in[i];
  device const float* s = (device const float*)in;
  v.w = s[4 * i];
  o[i] = v;
  *(device half4*)(h + 4 * i) = half4(v);
  device packed_float4* q = (device packed_float4*)((device float*)o + 1);
  if (i == 1000u) q[0] = packed_float4(v);
}

kernel void grid(device uint* o [[buffer(0)]], uint3 pg [[thread_position_in_grid]], uint3 tg [[threadgroup_position_in_grid]], uint3 tt [[thread_position_in_threadgroup]],
                 uint3 n [[threads_per_grid]], uint3 ng [[threadgroups_per_grid]], uint3 nt [[threads_per_threadgroup]], uint3 full [[dispatch_threads_per_threadgroup]],
                 ushort index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]], uint sg [[simdgroup_index_in_threadgroup]],
                 uint nsg [[simdgroups_per_threadgroup]], uint width [[threads_per_simdgroup]]) {
  uint at = (pg.y * n.x + pg.x) * 12u;
  o[at] = pg.x; o[at + 1] = pg.y; o[at + 2] = tg.x; o[at + 3] = tt.x; o[at + 4] = n.x * 100u + n.y; o[at + 5] = ng.x * 10u + ng.y;
  o[at + 6] = nt.x; o[at + 7] = full.x; o[at + 8] = uint(index); o[at + 9] = lane; o[at + 10] = sg * 10u + nsg; o[at + 11] = width;
}

kernel void simd_operations(device float* o [[buffer(0)]], device uint* p [[buffer(1)]], uint lane [[thread_index_in_simdgroup]]) {
  float x = float(lane);
  o[lane] = simd_sum(x);
  o[32 + lane] = simd_max(x) + simd_min(-x) + simd_product(lane == 3u ? 2.0f : 1.0f);
  o[64 + lane] = simd_prefix_inclusive_sum(x);
  o[96 + lane] = simd_prefix_exclusive_sum(x);
  o[128 + lane] = simd_shuffle(x, ushort(31u - lane));
  o[160 + lane] = simd_shuffle_up(x, 3);
  o[192 + lane] = simd_shuffle_down(x, 3);
  o[224 + lane] = simd_shuffle_xor(x, 5);
  o[256 + lane] = simd_broadcast(x, 7) + simd_broadcast_first(x);
  o[288 + lane] = quad_sum(x);
  o[320 + lane] = simd_shuffle_rotate_down(x, 1);
  float4 v = simd_sum(float4(1.0f, x, 2.0f, 0.0f));
  o[352 + lane] = v.x * 1000.0f + v.y;
  o[384 + lane] = float(simd_sum(half(0.5h)));
  p[lane] = simd_or(lane & 4u) + simd_and(lane | 64u);
  p[32 + lane] = simd_xor(1u << lane);
  p[64 + lane] = uint(ulong(simd_ballot((lane & 1u) == 1u)));
  p[96 + lane] = (simd_any(lane == 9u) ? 1u : 0u) + (simd_all(lane < 32u) ? 2u : 0u) + (simd_all(lane < 31u) ? 4u : 0u);
  p[128 + lane] = uint(simd_sum(1));
  p[160 + lane] = simd_prefix_inclusive_product(lane < 2u ? lane + 1u : 1u);
  simdgroup_barrier(mem_flags::mem_none);
}

kernel void matrices(device const float* a [[buffer(0)]], device const half* b [[buffer(1)]], device float* o [[buffer(2)]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup float tile[64];
  simdgroup_float8x8 c = make_filled_simdgroup_matrix<float, 8, 8>(1.0f);
  simdgroup_float8x8 x;
  simdgroup_half8x8 y;
  simdgroup_load(x, a, 8);
  simdgroup_load(y, b, 8);
  simdgroup_multiply_accumulate(c, x, y, c);
  simdgroup_store(c, o, 8);
  simdgroup_load(x, a, 8, ulong2(0, 0), true);
  simdgroup_store(x, o + 64, 8);
  c.thread_elements()[0] = float(lane);
  c.thread_elements()[1] = float(lane) + 0.5f;
  simdgroup_store(c, tile, 8);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  o[128 + lane] = tile[lane];
  o[160 + lane] = tile[32 + lane];
  simdgroup_float8x8 d;
  simdgroup_load(x, a, 8);
  simdgroup_multiply(d, x, simdgroup_float8x8(2.0f));
  simdgroup_store(d, o + 192, 8);
}

kernel void atomics(device atomic_uint* u [[buffer(0)]], device atomic_int* s [[buffer(1)]], device atomic_float* f [[buffer(2)]], device uint* o [[buffer(3)]],
                    uint i [[thread_position_in_grid]], uint tid [[thread_index_in_threadgroup]]) {
  threadgroup atomic_uint local[1];
  if (tid == 0) atomic_store_explicit(&local[0], 0u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  atomic_fetch_add_explicit(&local[0], 1u, memory_order_relaxed);
  atomic_fetch_add_explicit(&u[0], 1u, memory_order_relaxed);
  atomic_fetch_max_explicit(&u[1], i, memory_order_relaxed);
  atomic_fetch_min_explicit(&u[2], i + 5u, memory_order_relaxed);
  atomic_fetch_or_explicit(&u[3], 1u << (i & 7u), memory_order_relaxed);
  atomic_fetch_xor_explicit(&u[4], i, memory_order_relaxed);
  atomic_fetch_and_explicit(&u[5], ~i, memory_order_relaxed);
  atomic_fetch_min_explicit(&s[0], -int(i), memory_order_relaxed);
  atomic_fetch_sub_explicit(&s[1], 2, memory_order_relaxed);
  atomic_fetch_add_explicit(&f[0], 0.5f, memory_order_relaxed);
  device uint* counter = (device uint*)u;
  uint expected = 0u;
  if (atomic_compare_exchange_weak_explicit((device atomic_uint*)(counter + 6), &expected, i + 100u, memory_order_relaxed, memory_order_relaxed)) o[1] = i;
  atomic_exchange_explicit(&u[7], 42u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (i == 0) o[0] = atomic_load_explicit(&local[0], memory_order_relaxed);
}

kernel void constants(device float* o [[buffer(0)]]) {
  o[0] = float(WIDTH); o[1] = SCALE; o[2] = FLAG ? 1.0f : 0.0f; o[3] = float(CHOSEN); o[4] = float(DOUBLE_WIDTH); o[5] = HAS_OPTIONAL ? 1.0f : 0.0f;
}

#ifndef HELPERS
#define HELPERS
template <typename T> static inline T twice(T x) { return x + x; }
static inline float4 load4(device const float* p) { return float4(p[0], p[1], p[2], p[3]); }
template <typename T, int N> struct Pair { T items[N]; };
#endif
#ifndef HELPERS
this part is not compiled
#endif

kernel void control(device const float* in [[buffer(0)]], device float* o [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  float total = 0.0f;
  for (uint k = 0; k <= i; k++) { if (k == 3u) continue; if (k == 6u) break; total += twice(in[k]); }
  int n = int(i);
  while (n > 1) n -= 2;
  do { total += 1.0f; } while (false);
  switch (n) { case 0: total += 100.0f; break; default: total += 200.0f; }
  Pair<float, 2> pair;
  pair.items[0] = total;
  pair.items[1] = load4(in).w;
  o[i] = pair.items[0] + pair.items[1];
}
[[kernel]] [[max_total_threads_per_threadgroup(64)]] void limited(device float* o [[buffer(0)]]) { o[0] = 1.0f; }
kernel void halves(device const half* a [[buffer(0)]], device half* o [[buffer(1)]], device bfloat* b [[buffer(2)]], uint i [[thread_position_in_grid]]) {
  half x = a[i];
  o[i] = x * x + half(1.0h);
  b[i] = bfloat(float(x)) * bfloat(3.0f);
}
