// Atomics. The executor runs them, because it must know them from ordinary accesses. Only relaxed order, as in MSL before 3.2.
#pragma once
#include "types.h"

#define MH_DEVICE __attribute__((opencl_global))
#define MH_THREADGROUP __attribute__((opencl_local))

typedef _Atomic(int) atomic_int;
typedef _Atomic(uint) atomic_uint;
typedef _Atomic(float) atomic_float;
typedef _Atomic(bool) atomic_bool;
typedef _Atomic(ulong) atomic_ulong;
template <class T> using atomic = _Atomic(T);

extern "C" {
enum mh_atomic_op { mh_load, mh_store, mh_add, mh_sub, mh_min, mh_max, mh_and, mh_or, mh_xor, mh_exchange, mh_compare };
// Runs an operation on the word at p; kind: 0 int, 1 uint, 2 float. Returns what was there.
unsigned mh_atomic32(const volatile void* p, mh_atomic_op op, unsigned kind, unsigned value, unsigned compare);
}

namespace metal {

enum memory_order { memory_order_relaxed };

template <class T> inline constexpr unsigned mh_atomic_kind = 0;
template <> inline constexpr unsigned mh_atomic_kind<uint> = 1;
template <> inline constexpr unsigned mh_atomic_kind<float> = 2;

template <class T> MH_INLINE T mh_atomic(const volatile void* p, mh_atomic_op op, T value, T compare = T()) {
  static_assert(sizeof(T) == 4, "this atomic operation exists for 32-bit types only");
  return __builtin_bit_cast(T, mh_atomic32(p, op, mh_atomic_kind<T>, __builtin_bit_cast(unsigned, value), __builtin_bit_cast(unsigned, compare)));
}

#define MH_ADDRESS(p) ((const volatile void*)(ulong)(p))
#define MH_FETCH(SPACE, T, name) \
  MH_INLINE T atomic_fetch_##name##_explicit(volatile SPACE atomic_##T* p, T v, memory_order) { return mh_atomic<T>(MH_ADDRESS(p), mh_##name, v); }
#define MH_ATOMIC(SPACE, T) \
  MH_INLINE T atomic_load_explicit(const volatile SPACE atomic_##T* p, memory_order) { return mh_atomic<T>(MH_ADDRESS(p), mh_load, T()); } \
  MH_INLINE void atomic_store_explicit(volatile SPACE atomic_##T* p, T v, memory_order) { mh_atomic<T>(MH_ADDRESS(p), mh_store, v); } \
  MH_INLINE T atomic_exchange_explicit(volatile SPACE atomic_##T* p, T v, memory_order) { return mh_atomic<T>(MH_ADDRESS(p), mh_exchange, v); } \
  MH_FETCH(SPACE, T, add) MH_FETCH(SPACE, T, sub) \
  MH_INLINE bool atomic_compare_exchange_weak_explicit(volatile SPACE atomic_##T* p, T* expected, T desired, memory_order, memory_order) { \
    T old = mh_atomic<T>(MH_ADDRESS(p), mh_compare, desired, *expected); \
    bool same = __builtin_bit_cast(unsigned, old) == __builtin_bit_cast(unsigned, *expected); \
    *expected = old; \
    return same; \
  }
#define MH_ATOMIC_INT(SPACE, T) MH_ATOMIC(SPACE, T) MH_FETCH(SPACE, T, min) MH_FETCH(SPACE, T, max) MH_FETCH(SPACE, T, and) MH_FETCH(SPACE, T, or) MH_FETCH(SPACE, T, xor)
#define MH_ATOMICS(SPACE) MH_ATOMIC_INT(SPACE, int) MH_ATOMIC_INT(SPACE, uint) MH_ATOMIC(SPACE, float)
MH_ATOMICS(MH_DEVICE)
MH_ATOMICS(MH_THREADGROUP)

}  // namespace metal
