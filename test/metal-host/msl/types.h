// Scalars, vectors and conversions of MSL. Vectors are clang's own, as Apple's are, so that swizzles and arithmetic follow the same rules.
#pragma once

#define MH_INLINE static inline __attribute__((always_inline, nodebug))
#define MH_MEMBER __attribute__((always_inline, nodebug))

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef unsigned long size_t;
typedef long ptrdiff_t;
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;
typedef _Float16 half;
typedef __bf16 bfloat;

template <class T, int N>
using mh_ext = T __attribute__((ext_vector_type(N)));

#define MH_VECTORS(T) \
  typedef T T##2 __attribute__((ext_vector_type(2))); \
  typedef T T##3 __attribute__((ext_vector_type(3))); \
  typedef T T##4 __attribute__((ext_vector_type(4))); \
  typedef T packed_##T##2 __attribute__((ext_vector_type(2), aligned(sizeof(T)))); \
  typedef T packed_##T##4 __attribute__((ext_vector_type(4), aligned(sizeof(T)))); \
  struct packed_##T##3 { T x, y, z; };

MH_VECTORS(char)
MH_VECTORS(uchar)
MH_VECTORS(short)
MH_VECTORS(ushort)
MH_VECTORS(int)
MH_VECTORS(uint)
MH_VECTORS(long)
MH_VECTORS(ulong)
MH_VECTORS(half)
MH_VECTORS(float)
MH_VECTORS(bfloat)

// clang's vectors of bool have no swizzles, so these are classes. They are made of comparisons' results, which are vectors of integers here.
#define MH_BOOL_COMMON(N) \
  bool& MH_MEMBER operator[](int i) { return (&x)[i]; } \
  bool MH_MEMBER operator[](int i) const { return (&x)[i]; } \
  bool##N() = default; \
  MH_MEMBER bool##N(bool all) { for (int i = 0; i < N; i++) (*this)[i] = all; } \
  template <class E> MH_MEMBER bool##N(mh_ext<E, N> v) { for (int i = 0; i < N; i++) (*this)[i] = v[i] != 0; }

struct bool2 { bool x, y; MH_BOOL_COMMON(2) };
struct bool3 { bool x, y, z, mh_pad; MH_BOOL_COMMON(3) };
struct bool4 { bool x, y, z, w; MH_BOOL_COMMON(4) };

#define MH_BOOL_OPERATORS(N) \
  MH_INLINE bool##N operator!(bool##N a) { bool##N r; for (int i = 0; i < N; i++) r[i] = !a[i]; return r; } \
  MH_INLINE bool##N operator&(bool##N a, bool##N b) { bool##N r; for (int i = 0; i < N; i++) r[i] = a[i] && b[i]; return r; } \
  MH_INLINE bool##N operator|(bool##N a, bool##N b) { bool##N r; for (int i = 0; i < N; i++) r[i] = a[i] || b[i]; return r; } \
  MH_INLINE bool##N operator^(bool##N a, bool##N b) { bool##N r; for (int i = 0; i < N; i++) r[i] = a[i] != b[i]; return r; } \
  MH_INLINE bool##N operator&&(bool##N a, bool##N b) { return a & b; } \
  MH_INLINE bool##N operator||(bool##N a, bool##N b) { return a | b; } \
  MH_INLINE bool##N operator==(bool##N a, bool##N b) { return !(a ^ b); } \
  MH_INLINE bool##N operator!=(bool##N a, bool##N b) { return a ^ b; }
MH_BOOL_OPERATORS(2)
MH_BOOL_OPERATORS(3)
MH_BOOL_OPERATORS(4)

// --- what a type is -----------------------------------------------------------------------------------------------------------------

template <class T> struct mh_traits { typedef T element; static constexpr int count = 1; };
template <class E, int N> struct mh_traits<mh_ext<E, N>> { typedef E element; static constexpr int count = N; };
template <> struct mh_traits<bool2> { typedef bool element; static constexpr int count = 2; };
template <> struct mh_traits<bool3> { typedef bool element; static constexpr int count = 3; };
template <> struct mh_traits<bool4> { typedef bool element; static constexpr int count = 4; };
template <> struct mh_traits<packed_float3> { typedef float element; static constexpr int count = 3; };
template <> struct mh_traits<packed_half3> { typedef half element; static constexpr int count = 3; };

template <class T, int N> struct mh_vector { typedef mh_ext<T, N> type; };
template <int N> struct mh_vector<bool, N>;
template <> struct mh_vector<bool, 2> { typedef bool2 type; };
template <> struct mh_vector<bool, 3> { typedef bool3 type; };
template <> struct mh_vector<bool, 4> { typedef bool4 type; };
template <class T, int N> using vec = typename mh_vector<T, N>::type;

template <class A, class B> inline constexpr bool mh_same = false;
template <class A> inline constexpr bool mh_same<A, A> = true;
template <class T> struct mh_identity { typedef T type; };

// MTLDataType of scalars that can be function constants.
template <class T> inline constexpr unsigned mh_type_code = 0;
template <> inline constexpr unsigned mh_type_code<float> = 3;
template <> inline constexpr unsigned mh_type_code<half> = 16;
template <> inline constexpr unsigned mh_type_code<int> = 29;
template <> inline constexpr unsigned mh_type_code<uint> = 33;
template <> inline constexpr unsigned mh_type_code<short> = 37;
template <> inline constexpr unsigned mh_type_code<ushort> = 41;
template <> inline constexpr unsigned mh_type_code<char> = 45;
template <> inline constexpr unsigned mh_type_code<uchar> = 49;
template <> inline constexpr unsigned mh_type_code<bool> = 53;
template <> inline constexpr unsigned mh_type_code<long> = 81;
template <> inline constexpr unsigned mh_type_code<ulong> = 85;

// --- conversions --------------------------------------------------------------------------------------------------------------------

// half <-> bfloat has no instruction and no helper: it goes through float.
template <class T, class A> MH_INLINE T mh_scalar(A a) {
  if constexpr ((mh_same<T, half> && mh_same<A, bfloat>) || (mh_same<T, bfloat> && mh_same<A, half>)) return (T)(float)a;
  else return (T)a;
}

template <class T, class A> MH_INLINE void mh_put(T& r, int& i, A a) {
  typedef typename mh_traits<T>::element E;
  if constexpr (mh_traits<A>::count == 1) r[i++] = mh_scalar<E>(a);
  else for (int k = 0; k < mh_traits<A>::count; k++) r[i++] = mh_scalar<E>((typename mh_traits<A>::element)a[k]);
}

// float4(a, b.xy, 1), int4 -> float4, splats: what MSL writes as a functional cast.
template <class T, class... A> MH_INLINE T mh_make(A... a) {
  typedef typename mh_traits<T>::element E;
  constexpr int n = mh_traits<T>::count;
  constexpr int given = (0 + ... + mh_traits<A>::count);
  if constexpr (n == 1) {
    static_assert(sizeof...(A) == 1 && given == 1, "a scalar is made of one scalar");
    return mh_scalar<T>(a...);
  } else if constexpr (sizeof...(A) == 0) {
    return T{};
  } else if constexpr (sizeof...(A) == 1 && given == 1) {
    T r;
    for (int i = 0; i < n; i++) r[i] = mh_scalar<E>(a...);
    return r;
  } else {
    static_assert(given == n, "a vector is made of as many elements as it has, or of one");
    T r;
    int i = 0;
    (mh_put(r, i, a), ...);
    return r;
  }
}

// (float4)x is rewritten to mh_caster<float4>()->*x, which binds as tightly as a cast.
template <class T> struct mh_caster {
  template <class A> MH_MEMBER T operator->*(A a) const { return mh_make<T>(a); }
};

template <class T, class A> MH_INLINE T as_type(A a) {
  static_assert(sizeof(T) == sizeof(A), "as_type is between types of one size");
  return __builtin_bit_cast(T, a);
}
