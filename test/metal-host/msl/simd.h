// Barriers and operations of a simdgroup. Each lane leaves its operands; the lane that comes last works out everybody's result in one call.
#pragma once
#include "module.h"
#include "types.h"

// The place of a call, which the rewriter passes: line * 64 + ordinal on that line.
struct mh_site {
  unsigned id;
  MH_MEMBER constexpr explicit mh_site(unsigned i) : id(i) {}
};

extern "C" {
void mh_threadgroup_barrier(unsigned site, unsigned flags);
void mh_simdgroup_barrier(unsigned site, unsigned flags);
// Waits for the simdgroup; `combine` is called once. Sizes are 32 bytes at most.
void mh_collective(unsigned site, const char* name, const void* in, unsigned in_size, void* out, unsigned out_size, void (*combine)(mh_lanes*));
}

#define MH_COMBINE static __attribute__((noinline, nodebug, no_sanitize("thread", "array-bounds")))
#define MH_COMBINE_INLINE static inline __attribute__((always_inline, nodebug, no_sanitize("thread", "array-bounds")))

template <class T> MH_COMBINE_INLINE T mh_in(const mh_lanes* l, unsigned lane, unsigned at = 0) {
  T v;
  __builtin_memcpy(&v, l->in[lane] + at, sizeof v);
  return v;
}
template <class T> MH_COMBINE_INLINE void mh_out(mh_lanes* l, unsigned lane, T v) { __builtin_memcpy(l->out[lane], &v, sizeof v); }
MH_COMBINE_INLINE bool mh_takes_part(const mh_lanes* l, unsigned lane) { return lane < 32 && (l->active >> lane & 1); }

// --- reductions and scans: lanes of a subgroup of W (32: the simdgroup, 4: a quad) ---------------------------------------------------

struct mh_op_sum { template <class T> MH_COMBINE_INLINE T of(T a, T b) { return (T)(a + b); } };
struct mh_op_product { template <class T> MH_COMBINE_INLINE T of(T a, T b) { return (T)(a * b); } };
struct mh_op_min { template <class T> MH_COMBINE_INLINE T of(T a, T b) { return b < a || a != a ? b : a; } };
struct mh_op_max { template <class T> MH_COMBINE_INLINE T of(T a, T b) { return b > a || a != a ? b : a; } };
struct mh_op_and { template <class T> MH_COMBINE_INLINE T of(T a, T b) { return (T)(a & b); } };
struct mh_op_or { template <class T> MH_COMBINE_INLINE T of(T a, T b) { return (T)(a | b); } };
struct mh_op_xor { template <class T> MH_COMBINE_INLINE T of(T a, T b) { return (T)(a ^ b); } };

template <class Op, class T> MH_COMBINE_INLINE T mh_apply(T a, T b) {
  if constexpr (mh_traits<T>::count == 1) {
    return Op::of(a, b);
  } else {
    for (int i = 0; i < mh_traits<T>::count; i++) a[i] = Op::of((typename mh_traits<T>::element)a[i], (typename mh_traits<T>::element)b[i]);
    return a;
  }
}

// A butterfly, as GPUs do it: with all lanes there, the order of float additions is that of a tree.
template <class T, class Op, unsigned W> MH_COMBINE void mh_reduce(mh_lanes* l) {
  for (unsigned base = 0; base < 32; base += W) {
    T v[W];
    bool there[W];
    for (unsigned i = 0; i < W; i++) {
      there[i] = mh_takes_part(l, base + i);
      if (there[i]) v[i] = mh_in<T>(l, base + i);
    }
    for (unsigned step = 1; step < W; step *= 2)
      for (unsigned i = 0; i + step < W; i += 2 * step) {
        if (there[i] && there[i + step]) v[i] = mh_apply<Op>(v[i], v[i + step]);
        else if (there[i + step]) v[i] = v[i + step], there[i] = true;
      }
    for (unsigned i = 0; i < W; i++) mh_out(l, base + i, v[0]);
  }
}

template <class T, class Op, bool exclusive> MH_COMBINE void mh_scan(mh_lanes* l) {
  T sum = (T)(mh_same<Op, mh_op_sum> ? 0 : 1);
  for (unsigned i = 0; i < 32; i++) {
    if (!mh_takes_part(l, i)) continue;
    T next = mh_apply<Op>(sum, mh_in<T>(l, i));
    mh_out(l, i, exclusive ? sum : next);
    sum = next;
  }
}

template <class T> MH_INLINE T mh_together(mh_site site, const char* name, T x, void (*combine)(mh_lanes*)) {
  T r;
  mh_collective(site.id, name, &x, sizeof x, &r, sizeof r, combine);
  return r;
}

// --- shuffles -----------------------------------------------------------------------------------------------------------------------

enum mh_way { mh_index, mh_up, mh_down, mh_xor_lane, mh_rotate_up, mh_rotate_down };

// A lane that would read past an end keeps its own value (up, down), and reading a lane that does not take part gives poison and is reported.
template <class T, mh_way way, unsigned W> MH_COMBINE void mh_shuffle(mh_lanes* l) {
  for (unsigned i = 0; i < 32; i++) {
    if (!mh_takes_part(l, i)) continue;
    unsigned by = mh_in<unsigned>(l, i, 16), lane = i % W, base = i - lane, from = 0;
    if (way == mh_index) from = by;
    if (way == mh_xor_lane) from = lane ^ by;
    if (way == mh_up) from = lane < by ? lane : lane - by;
    if (way == mh_down) from = by >= W - lane ? lane : lane + by;
    if (way == mh_rotate_up) from = (lane - by) % W;
    if (way == mh_rotate_down) from = (lane + by) % W;
    if (from < W && mh_takes_part(l, base + from)) {
      mh_out(l, i, mh_in<T>(l, base + from));
    } else {
      l->outside |= 1u << i;
      __builtin_memset(l->out[i], 0xff, sizeof(T));
    }
  }
}

template <class T, mh_way way, unsigned W> MH_INLINE T mh_exchange_lanes(mh_site site, const char* name, T x, unsigned by) {
  unsigned char in[20];
  __builtin_memcpy(in, &x, sizeof x);
  __builtin_memcpy(in + 16, &by, 4);
  T r;
  mh_collective(site.id, name, in, 20, &r, sizeof r, mh_shuffle<T, way, W>);
  return r;
}

MH_COMBINE void mh_ballot(mh_lanes* l) {
  unsigned mask = 0;
  for (unsigned i = 0; i < 32; i++)
    if (mh_takes_part(l, i) && l->in[i][0]) mask |= 1u << i;
  for (unsigned i = 0; i < 32; i++) {
    mh_out(l, i, mask);
    __builtin_memcpy(l->out[i] + 4, &l->active, 4);
  }
}

namespace metal {

enum class mem_flags : unsigned { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4 };
MH_INLINE mem_flags operator|(mem_flags a, mem_flags b) { return (mem_flags)((unsigned)a | (unsigned)b); }
MH_INLINE void threadgroup_barrier(mh_site s, mem_flags f) { mh_threadgroup_barrier(s.id, (unsigned)f); }
MH_INLINE void simdgroup_barrier(mh_site s, mem_flags f) { mh_simdgroup_barrier(s.id, (unsigned)f); }

struct simd_vote {
  typedef ulong vote_t;
  vote_t mask, active;
  MH_MEMBER explicit simd_vote(vote_t v) : mask(v), active(0xffffffff) {}
  MH_MEMBER simd_vote(unsigned m, unsigned a) : mask(m), active(a) {}
  MH_MEMBER explicit operator vote_t() const { return mask; }
  MH_MEMBER bool all() const { return (mask & active) == active; }
  MH_MEMBER bool any() const { return mask != 0; }
};
MH_INLINE simd_vote mh_vote(mh_site s, const char* name, bool x) {
  uint2 r;
  mh_collective(s.id, name, &x, 1, &r, sizeof r, mh_ballot);
  return simd_vote(r.x, r.y);
}
MH_INLINE simd_vote simd_ballot(mh_site s, bool x) { return mh_vote(s, "simd_ballot", x); }
MH_INLINE simd_vote simd_active_threads_mask(mh_site s) { return mh_vote(s, "simd_active_threads_mask", true); }
MH_INLINE bool simd_all(mh_site s, bool x) { return mh_vote(s, "simd_all", x).all(); }
MH_INLINE bool simd_any(mh_site s, bool x) { return mh_vote(s, "simd_any", x).any(); }

// Templates, so that a text pays for what it uses; the types are those that Apple's have.
template <class T> inline constexpr bool mh_simd_int = false;
template <class T> inline constexpr bool mh_simd_float = false;
#define MH_SIMD_TYPE(of, T) \
  template <> inline constexpr bool of<T> = true; \
  template <> inline constexpr bool of<T##2> = true; \
  template <> inline constexpr bool of<T##3> = true; \
  template <> inline constexpr bool of<T##4> = true;
MH_SIMD_TYPE(mh_simd_int, char)
MH_SIMD_TYPE(mh_simd_int, uchar)
MH_SIMD_TYPE(mh_simd_int, short)
MH_SIMD_TYPE(mh_simd_int, ushort)
MH_SIMD_TYPE(mh_simd_int, int)
MH_SIMD_TYPE(mh_simd_int, uint)
MH_SIMD_TYPE(mh_simd_float, half)
MH_SIMD_TYPE(mh_simd_float, float)

#define MH_NUMBERS static_assert(mh_simd_int<T> || mh_simd_float<T>, "there is no such operation for this type")
#define MH_INTEGERS static_assert(mh_simd_int<T>, "this operation is for integers of at most 32 bits")
#define MH_ANY static_assert(mh_simd_int<T> || mh_simd_float<T> || mh_same<T, bool>, "values of this type cannot be moved between lanes")
#define MH_REDUCE(name, types) \
  template <class T> MH_INLINE T simd_##name(mh_site s, T x) { types; return mh_together(s, "simd_" #name, x, mh_reduce<T, mh_op_##name, 32>); } \
  template <class T> MH_INLINE T quad_##name(mh_site s, T x) { types; return mh_together(s, "quad_" #name, x, mh_reduce<T, mh_op_##name, 4>); }
MH_REDUCE(sum, MH_NUMBERS)
MH_REDUCE(product, MH_NUMBERS)
MH_REDUCE(min, MH_NUMBERS)
MH_REDUCE(max, MH_NUMBERS)
MH_REDUCE(and, MH_INTEGERS)
MH_REDUCE(or, MH_INTEGERS)
MH_REDUCE(xor, MH_INTEGERS)
#define MH_SCAN(name, op, exclusive) \
  template <class T> MH_INLINE T name(mh_site s, T x) { MH_NUMBERS; return mh_together(s, #name, x, mh_scan<T, op, exclusive>); }
MH_SCAN(simd_prefix_inclusive_sum, mh_op_sum, false)
MH_SCAN(simd_prefix_exclusive_sum, mh_op_sum, true)
MH_SCAN(simd_prefix_inclusive_product, mh_op_product, false)
MH_SCAN(simd_prefix_exclusive_product, mh_op_product, true)
#define MH_MOVE(name, way, W) \
  template <class T> MH_INLINE T name(mh_site s, T x, ushort by) { MH_ANY; return mh_exchange_lanes<T, way, W>(s, #name, x, by); }
#define MH_MOVES(prefix, W) \
  MH_MOVE(prefix##_shuffle, mh_index, W) \
  MH_MOVE(prefix##_broadcast, mh_index, W) \
  MH_MOVE(prefix##_shuffle_xor, mh_xor_lane, W) \
  MH_MOVE(prefix##_shuffle_up, mh_up, W) \
  MH_MOVE(prefix##_shuffle_down, mh_down, W) \
  MH_MOVE(prefix##_shuffle_rotate_up, mh_rotate_up, W) \
  MH_MOVE(prefix##_shuffle_rotate_down, mh_rotate_down, W)
MH_MOVES(simd, 32)
MH_MOVES(quad, 4)
template <class T> MH_INLINE T simd_broadcast_first(mh_site s, T x) { MH_ANY; return mh_exchange_lanes<T, mh_index, 32>(s, "simd_broadcast_first", x, 0); }

}  // namespace metal
