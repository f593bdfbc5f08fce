// What every text is compiled with, in place of Apple's metal_stdlib. Compiled once into a precompiled header.
#pragma once
#include "types.h"
#include "math.h"
#include "atomic.h"
#include "simd.h"
#include "matrix.h"
#include "launch.h"

namespace metal {
template <class T, size_t N> struct array {
  T mh_items[N];
  MH_MEMBER T& operator[](size_t i) { return mh_items[i]; }
  MH_MEMBER const T& operator[](size_t i) const { return mh_items[i]; }
  MH_MEMBER constexpr size_t size() const { return N; }
};
}  // namespace metal

// Address spaces are clang's OpenCL ones: checked like types, yet ordinary memory to the optimiser and to the checker's instrumentation.
#define device __attribute__((opencl_global))
#define constant const __attribute__((opencl_constant))
#define threadgroup __attribute__((opencl_local))
#define thread

#define is_function_constant_defined(name) mh_defined_##name
#define __METAL_VERSION__ 310
#define __METAL__ 1
#define __HAVE_BFLOAT__ 1
