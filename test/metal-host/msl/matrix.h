// simdgroup_matrix: an 8x8 matrix over a simdgroup, two elements of one row in each lane. The layout is the one that public kernels rely on.
#pragma once
#include "atomic.h"
#include "simd.h"

namespace metal {

template <class T, int Cols = 8, int Rows = 8> struct simdgroup_matrix {
  static_assert(Cols == 8 && Rows == 8, "simdgroup_matrix is 8x8");
  mh_ext<T, 2> mh_elements;
  simdgroup_matrix() = default;
  // A matrix with the value on its diagonal, as Apple's header has it.
  MH_MEMBER explicit simdgroup_matrix(T diagonal);
  MH_MEMBER mh_ext<T, 2>& thread_elements() { return mh_elements; }
  MH_MEMBER const mh_ext<T, 2>& thread_elements() const { return mh_elements; }
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;

}  // namespace metal

extern "C" __attribute__((const)) unsigned mh_lane();

constexpr MH_INLINE unsigned mh_row(unsigned l) { return ((l >> 1) & 3) | ((l >> 4) & 1) << 2; }
constexpr MH_INLINE unsigned mh_column(unsigned l) { return ((l & 1) << 1) | ((l >> 3) & 1) << 2; }

struct mh_matrix_in { float a[2], b[2], c[2]; };
// out = a * b + c, in float, k ascending.
MH_COMBINE void mh_multiply(mh_lanes* l) {
  typedef mh_ext<float, 8> row;
  float a[8][8];
  union { row r[8]; float f[8][8]; } b, c;
  for (unsigned i = 0; i < 32; i++) {
    mh_matrix_in in = mh_in<mh_matrix_in>(l, i);
    unsigned r = mh_row(i), k = mh_column(i);
    a[r][k] = in.a[0], a[r][k + 1] = in.a[1];
    b.f[r][k] = in.b[0], b.f[r][k + 1] = in.b[1];
    c.f[r][k] = in.c[0], c.f[r][k + 1] = in.c[1];
  }
  for (unsigned k = 0; k < 8; k++)
    for (unsigned i = 0; i < 8; i++) c.r[i] += a[i][k] * b.r[k];
  for (unsigned i = 0; i < 32; i++) __builtin_memcpy(l->out[i], &c.f[mh_row(i)][mh_column(i)], 8);
}

namespace metal {

template <class T, int C, int R> inline simdgroup_matrix<T, C, R>::simdgroup_matrix(T diagonal) {
  unsigned r = mh_row(mh_lane()), c = mh_column(mh_lane());
  mh_elements[0] = c == r ? diagonal : (T)0;
  mh_elements[1] = c + 1 == r ? diagonal : (T)0;
}

template <class T, int C, int R, class V> MH_INLINE simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(V value) {
  simdgroup_matrix<T, C, R> m;
  m.mh_elements[0] = m.mh_elements[1] = (T)value;
  return m;
}

template <class P> MH_INLINE P mh_element(P p, ulong stride, ulong2 origin, bool transpose, unsigned i) {
  ulong r = mh_row(mh_lane()), c = mh_column(mh_lane()) + i;
  return p + (origin.y + (transpose ? c : r)) * stride + origin.x + (transpose ? r : c);
}
#define MH_LOAD_STORE(SPACE) \
  template <class T> MH_INLINE void simdgroup_load(simdgroup_matrix<T, 8, 8>& m, const SPACE T* p, ulong stride = 8, ulong2 origin = 0, bool transpose = false) { \
    m.mh_elements[0] = *mh_element(p, stride, origin, transpose, 0); \
    m.mh_elements[1] = *mh_element(p, stride, origin, transpose, 1); \
  } \
  template <class T> MH_INLINE void simdgroup_store(simdgroup_matrix<T, 8, 8> m, SPACE T* p, ulong stride = 8, ulong2 origin = 0, bool transpose = false) { \
    *mh_element(p, stride, origin, transpose, 0) = m.mh_elements[0]; \
    *mh_element(p, stride, origin, transpose, 1) = m.mh_elements[1]; \
  }
MH_LOAD_STORE(MH_DEVICE)
MH_LOAD_STORE(MH_THREADGROUP)

template <class D, class A, class B, class C>
MH_INLINE void simdgroup_multiply_accumulate(mh_site s, simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8> a, simdgroup_matrix<B, 8, 8> b, simdgroup_matrix<C, 8, 8> c) {
  float in[6] = {(float)a.mh_elements[0], (float)a.mh_elements[1], (float)b.mh_elements[0], (float)b.mh_elements[1], (float)c.mh_elements[0], (float)c.mh_elements[1]};
  float out[2];
  mh_collective(s.id, "simdgroup_multiply_accumulate", in, sizeof in, out, sizeof out, mh_multiply);
  d.mh_elements[0] = (D)out[0];
  d.mh_elements[1] = (D)out[1];
}
template <class D, class A, class B> MH_INLINE void simdgroup_multiply(mh_site s, simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8> a, simdgroup_matrix<B, 8, 8> b) {
  simdgroup_multiply_accumulate(s, d, a, b, make_filled_simdgroup_matrix<float, 8, 8>(0.0f));
}

}  // namespace metal
