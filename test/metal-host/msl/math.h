// Functions of metal_math, metal_common, metal_integer, metal_relational and metal_geometric. They are overloads, not templates, so that a call
// with mixed types is as ambiguous as it is at Apple's, and a scalar beside a vector is splatted.
#pragma once
#include "types.h"

namespace metal {

#define MH_FLOATS(M) M(float) M(float2) M(float3) M(float4) M(half) M(half2) M(half3) M(half4)
#define MH_FLOAT_VECTORS(M) M(float, 2) M(float, 3) M(float, 4) M(half, 2) M(half, 3) M(half, 4)
#define MH_INTS_OF(M, T) M(T) M(T##2) M(T##3) M(T##4)
#define MH_INTS(M) MH_INTS_OF(M, char) MH_INTS_OF(M, uchar) MH_INTS_OF(M, short) MH_INTS_OF(M, ushort) MH_INTS_OF(M, int) MH_INTS_OF(M, uint) MH_INTS_OF(M, long) MH_INTS_OF(M, ulong)

// Functions with an operation of clang's own for scalars and vectors.
#define MH_ONE(T) \
  MH_INLINE T ceil(T x) { return __builtin_elementwise_ceil(x); } \
  MH_INLINE T floor(T x) { return __builtin_elementwise_floor(x); } \
  MH_INLINE T trunc(T x) { return __builtin_elementwise_trunc(x); } \
  MH_INLINE T rint(T x) { return __builtin_elementwise_roundeven(x); } \
  MH_INLINE T round(T x) { return __builtin_elementwise_round(x); } \
  MH_INLINE T sqrt(T x) { return __builtin_elementwise_sqrt(x); } \
  MH_INLINE T rsqrt(T x) { return (T)1 / __builtin_elementwise_sqrt(x); } \
  MH_INLINE T exp(T x) { return __builtin_elementwise_exp(x); } \
  MH_INLINE T exp2(T x) { return __builtin_elementwise_exp2(x); } \
  MH_INLINE T log(T x) { return __builtin_elementwise_log(x); } \
  MH_INLINE T log2(T x) { return __builtin_elementwise_log2(x); } \
  MH_INLINE T log10(T x) { return __builtin_elementwise_log10(x); } \
  MH_INLINE T sin(T x) { return __builtin_elementwise_sin(x); } \
  MH_INLINE T cos(T x) { return __builtin_elementwise_cos(x); } \
  MH_INLINE T fabs(T x) { return __builtin_elementwise_abs(x); } \
  MH_INLINE T abs(T x) { return __builtin_elementwise_abs(x); } \
  MH_INLINE T fract(T x) { return x - __builtin_elementwise_floor(x); } \
  MH_INLINE T fma(T a, T b, T c) { return __builtin_elementwise_fma(a, b, c); } \
  MH_INLINE T pow(T a, T b) { return __builtin_elementwise_pow(a, b); } \
  MH_INLINE T powr(T a, T b) { return __builtin_elementwise_pow(a, b); } \
  MH_INLINE T copysign(T a, T b) { return __builtin_elementwise_copysign(a, b); } \
  MH_INLINE T fmax(T a, T b) { return __builtin_elementwise_max(a, b); } \
  MH_INLINE T fmin(T a, T b) { return __builtin_elementwise_min(a, b); } \
  MH_INLINE T max(T a, T b) { return __builtin_elementwise_max(a, b); } \
  MH_INLINE T min(T a, T b) { return __builtin_elementwise_min(a, b); } \
  MH_INLINE T fdim(T a, T b) { return __builtin_elementwise_max(a - b, (T)0); } \
  MH_INLINE T fmod(T a, T b) { return a - b * __builtin_elementwise_trunc(a / b); } \
  MH_INLINE T max3(T a, T b, T c) { return max(a, max(b, c)); } \
  MH_INLINE T min3(T a, T b, T c) { return min(a, min(b, c)); } \
  MH_INLINE T median3(T a, T b, T c) { return max(min(a, b), min(max(a, b), c)); } \
  MH_INLINE T clamp(T x, T low, T high) { return min(max(x, low), high); } \
  MH_INLINE T saturate(T x) { return min(max(x, (T)0), (T)1); } \
  MH_INLINE T mix(T a, T b, T t) { return a + (b - a) * t; }
MH_FLOATS(MH_ONE)
#undef MH_ONE

// Functions of the C library, element by element.
extern "C" {
float tanf(float); float tanhf(float); float sinhf(float); float coshf(float); float asinf(float); float acosf(float); float atanf(float);
float asinhf(float); float acoshf(float); float atanhf(float); float atan2f(float, float); float ldexpf(float, int); float nextafterf(float, float);
float erff(float); float fmodf(float, float);
}
MH_INLINE float mh_sign(float x) { return x > 0 ? 1.0f : x < 0 ? -1.0f : x == 0 ? x : 0.0f; }
MH_INLINE float mh_sinpi(float x) { return __builtin_sinf(3.14159265358979f * (x - 2 * __builtin_floorf(x / 2))); }
MH_INLINE float mh_cospi(float x) { return __builtin_cosf(3.14159265358979f * (x - 2 * __builtin_floorf(x / 2))); }
MH_INLINE float mh_exp10(float x) { return __builtin_exp2f(x * 3.32192809488736f); }
#define MH_UNARY(name, with) \
  MH_INLINE float name(float x) { return with(x); } \
  MH_INLINE half name(half x) { return (half)with((float)x); } \
  MH_UNARY_VECTOR(name, with, float2) MH_UNARY_VECTOR(name, with, float3) MH_UNARY_VECTOR(name, with, float4) \
  MH_UNARY_VECTOR(name, with, half2) MH_UNARY_VECTOR(name, with, half3) MH_UNARY_VECTOR(name, with, half4)
#define MH_UNARY_VECTOR(name, with, T) \
  MH_INLINE T name(T x) { for (int i = 0; i < mh_traits<T>::count; i++) x[i] = (mh_traits<T>::element)with((float)x[i]); return x; }
MH_UNARY(tan, tanf)
MH_UNARY(tanh, tanhf)
MH_UNARY(sinh, sinhf)
MH_UNARY(cosh, coshf)
MH_UNARY(asin, asinf)
MH_UNARY(acos, acosf)
MH_UNARY(atan, atanf)
MH_UNARY(asinh, asinhf)
MH_UNARY(acosh, acoshf)
MH_UNARY(atanh, atanhf)
MH_UNARY(sign, mh_sign)
MH_UNARY(sinpi, mh_sinpi)
MH_UNARY(cospi, mh_cospi)
MH_UNARY(exp10, mh_exp10)
#define MH_BINARY_OF(name, with, T) \
  MH_INLINE T name(T a, T b) { for (int i = 0; i < mh_traits<T>::count; i++) a[i] = (mh_traits<T>::element)with((float)a[i], (float)b[i]); return a; }
MH_INLINE float atan2(float a, float b) { return atan2f(a, b); }
MH_INLINE half atan2(half a, half b) { return (half)atan2f((float)a, (float)b); }
MH_BINARY_OF(atan2, atan2f, float2) MH_BINARY_OF(atan2, atan2f, float3) MH_BINARY_OF(atan2, atan2f, float4)
MH_INLINE float ldexp(float x, int e) { return ldexpf(x, e); }
MH_INLINE float nextafter(float a, float b) { return nextafterf(a, b); }

// --- tests: a bool for a scalar, a vector of integers (0 or -1) for a vector ---------------------------------------------------------

#define MH_TEST(T) \
  MH_INLINE bool isnan(T x) { return x != x; } \
  MH_INLINE bool isinf(T x) { return __builtin_elementwise_abs(x) == (T)__builtin_inff(); } \
  MH_INLINE bool isfinite(T x) { return __builtin_elementwise_abs(x) < (T)__builtin_inff(); } \
  MH_INLINE bool signbit(T x) { return __builtin_elementwise_copysign((T)1, x) < (T)0; } \
  MH_INLINE T step(T edge, T x) { return x < edge ? (T)0 : (T)1; } \
  MH_INLINE T smoothstep(T a, T b, T x) { T t = clamp((x - a) / (b - a), (T)0, (T)1); return t * t * ((T)3 - (T)2 * t); }
MH_TEST(float)
MH_TEST(half)
#define MH_TEST_VECTOR(T, N) \
  MH_INLINE auto isnan(T##N x) { return x != x; } \
  MH_INLINE auto isinf(T##N x) { return __builtin_elementwise_abs(x) == (T##N)(T)__builtin_inff(); } \
  MH_INLINE auto isfinite(T##N x) { return __builtin_elementwise_abs(x) < (T##N)(T)__builtin_inff(); } \
  MH_INLINE T##N step(T##N edge, T##N x) { for (int i = 0; i < N; i++) x[i] = step(edge[i], x[i]); return x; } \
  MH_INLINE T dot(T##N a, T##N b) { T r = a[0] * b[0]; for (int i = 1; i < N; i++) r += a[i] * b[i]; return r; } \
  MH_INLINE T length_squared(T##N a) { return dot(a, a); } \
  MH_INLINE T length(T##N a) { return sqrt(dot(a, a)); } \
  MH_INLINE T distance(T##N a, T##N b) { return length(a - b); } \
  MH_INLINE T##N normalize(T##N a) { return a * rsqrt(dot(a, a)); }
MH_FLOAT_VECTORS(MH_TEST_VECTOR)
MH_INLINE float3 cross(float3 a, float3 b) { return a.yzx * b.zxy - a.zxy * b.yzx; }
MH_INLINE bool isnan(bfloat x) { return x != x; }

#define MH_ANY_ALL(T, N) \
  MH_INLINE bool any(T v) { bool r = false; for (int i = 0; i < N; i++) r |= v[i] != 0; return r; } \
  MH_INLINE bool all(T v) { bool r = true; for (int i = 0; i < N; i++) r &= v[i] != 0; return r; }
#define MH_ANY_ALL_OF(T) MH_ANY_ALL(T##2, 2) MH_ANY_ALL(T##3, 3) MH_ANY_ALL(T##4, 4)
MH_ANY_ALL_OF(char) MH_ANY_ALL_OF(short) MH_ANY_ALL_OF(int) MH_ANY_ALL_OF(long) MH_ANY_ALL_OF(bool)

// select(a, b, c): b where c holds. The condition is a bool, or a vector of bool, or what a comparison gives here.
#define MH_SELECT(T) MH_INLINE T select(T a, T b, bool c) { return c ? b : a; }
MH_SELECT(float) MH_SELECT(half) MH_SELECT(bfloat) MH_SELECT(bool)
MH_SELECT(char) MH_SELECT(uchar) MH_SELECT(short) MH_SELECT(ushort) MH_SELECT(int) MH_SELECT(uint) MH_SELECT(long) MH_SELECT(ulong)
#define MH_SELECT_VECTOR(T, N, C) MH_INLINE T##N select(T##N a, T##N b, C##N c) { for (int i = 0; i < N; i++) a[i] = c[i] ? b[i] : a[i]; return a; }
#define MH_SELECT_BY(T, C) MH_SELECT_VECTOR(T, 2, C) MH_SELECT_VECTOR(T, 3, C) MH_SELECT_VECTOR(T, 4, C)
#define MH_SELECT_OF(T) MH_SELECT_BY(T, bool) MH_SELECT_BY(T, char) MH_SELECT_BY(T, short) MH_SELECT_BY(T, int) MH_SELECT_BY(T, long)
MH_SELECT_OF(float) MH_SELECT_OF(half) MH_SELECT_OF(bfloat) MH_SELECT_OF(int) MH_SELECT_OF(uint) MH_SELECT_OF(short) MH_SELECT_OF(ushort)
MH_SELECT_OF(char) MH_SELECT_OF(uchar) MH_SELECT_OF(long) MH_SELECT_OF(ulong)

// --- integers -----------------------------------------------------------------------------------------------------------------------

#define MH_INT(T) \
  MH_INLINE T max(T a, T b) { return __builtin_elementwise_max(a, b); } \
  MH_INLINE T min(T a, T b) { return __builtin_elementwise_min(a, b); } \
  MH_INLINE T clamp(T x, T low, T high) { return min(max(x, low), high); } \
  MH_INLINE T max3(T a, T b, T c) { return max(a, max(b, c)); } \
  MH_INLINE T min3(T a, T b, T c) { return min(a, min(b, c)); } \
  MH_INLINE T reverse_bits(T x) { return __builtin_elementwise_bitreverse(x); } \
  MH_INLINE T addsat(T a, T b) { return __builtin_elementwise_add_sat(a, b); } \
  MH_INLINE T subsat(T a, T b) { return __builtin_elementwise_sub_sat(a, b); }
MH_INTS(MH_INT)
#define MH_SIGNED(T) MH_INLINE T abs(T x) { return __builtin_elementwise_abs(x); }
MH_INTS_OF(MH_SIGNED, char) MH_INTS_OF(MH_SIGNED, short) MH_INTS_OF(MH_SIGNED, int) MH_INTS_OF(MH_SIGNED, long)
#define MH_UNSIGNED(T) MH_INLINE T abs(T x) { return x; }
MH_INTS_OF(MH_UNSIGNED, uchar) MH_INTS_OF(MH_UNSIGNED, ushort) MH_INTS_OF(MH_UNSIGNED, uint) MH_INTS_OF(MH_UNSIGNED, ulong)

#define MH_BITS(T, U, W) \
  MH_INLINE T popcount(T x) { return (T)__builtin_popcountl((ulong)(U)x); } \
  MH_INLINE T clz(T x) { return (T)((U)x ? __builtin_clzl((ulong)(U)x) - (64 - W) : W); } \
  MH_INLINE T ctz(T x) { return (T)((U)x ? __builtin_ctzl((ulong)(U)x) : W); } \
  MH_INLINE T rotate(T x, T n) { U u = (U)x, k = (U)n & (W - 1); return (T)(U)(k ? (u << k) | (u >> (W - k)) : u); } \
  MH_INLINE T extract_bits(T x, uint offset, uint bits) { return bits == 0 ? (T)0 : (T)((T)(x << (W - bits - offset)) >> (W - bits)); } \
  MH_INLINE T insert_bits(T base, T insert, uint offset, uint bits) { U m = (U)((bits >= W ? ~(U)0 : (U)(((U)1 << bits) - 1)) << offset); return (T)(((U)base & ~m) | (((U)insert << offset) & m)); }
MH_BITS(char, uchar, 8) MH_BITS(uchar, uchar, 8) MH_BITS(short, ushort, 16) MH_BITS(ushort, ushort, 16)
MH_BITS(int, uint, 32) MH_BITS(uint, uint, 32) MH_BITS(long, ulong, 64) MH_BITS(ulong, ulong, 64)
MH_INLINE int mulhi(int a, int b) { return (int)(((long)a * b) >> 32); }
MH_INLINE uint mulhi(uint a, uint b) { return (uint)(((ulong)a * b) >> 32); }
MH_INLINE long mulhi(long a, long b) { return (long)(((__int128)a * b) >> 64); }
MH_INLINE ulong mulhi(ulong a, ulong b) { return (ulong)(((unsigned __int128)a * b) >> 64); }
MH_INLINE uint absdiff(int a, int b) { return a > b ? (uint)a - (uint)b : (uint)b - (uint)a; }
MH_INLINE uint absdiff(uint a, uint b) { return a > b ? a - b : b - a; }

// --- the two kinds of float arithmetic: the same here, so that tests cannot lean on either -------------------------------------------

#define MH_BOTH(name) using metal::name;
#define MH_ALL_OF_THEM(M) \
  M(acos) M(acosh) M(asin) M(asinh) M(atan) M(atan2) M(atanh) M(ceil) M(clamp) M(copysign) M(cos) M(cosh) M(cospi) M(exp) M(exp10) M(exp2) M(fabs) M(floor) \
  M(fma) M(fmax) M(fmin) M(fmod) M(fract) M(log) M(log10) M(log2) M(pow) M(powr) M(rint) M(round) M(rsqrt) M(sin) M(sinh) M(sinpi) M(sqrt) M(tan) M(tanh) M(trunc) \
  M(isnan) M(isinf) M(isfinite) M(max) M(min) M(saturate) M(sign) M(step) M(mix) M(smoothstep) M(length) M(normalize) M(distance)
namespace precise { MH_ALL_OF_THEM(MH_BOTH) }
namespace fast { MH_ALL_OF_THEM(MH_BOTH) }

}  // namespace metal

#define HUGE_VALF __builtin_huge_valf()
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define MAXFLOAT 3.402823466e+38f
#define FLT_MAX 3.402823466e+38f
#define FLT_MIN 1.175494351e-38f
#define FLT_EPSILON 1.192092896e-07f
#define HALF_MAX 65504.0f16
#define INT_MAX 2147483647
#define INT_MIN (-2147483647 - 1)
#define UINT_MAX 4294967295u
#define M_PI_F 3.14159265358979323846f
#define M_PI_H 3.14159265358979323846f16
#define M_SQRT2_F 1.41421356237309504880f
#define M_LOG2E_F 1.44269504088896340736f
#define M_LN2_F 0.693147180559945309417f
#define M_E_F 2.71828182845904523536f
