// How a kernel's parameters come about: objects that turn into whatever type the text declares. Not instrumented: the executor vouches for them.
#pragma once
#include "atomic.h"
#include "module.h"

extern "C" mh_now_info mh_now;

#define MH_LAUNCHER __attribute__((no_sanitize("thread", "array-bounds"), nodebug))
#define MH_ARGUMENT __attribute__((always_inline, nodebug, no_sanitize("thread", "array-bounds")))

struct mh_argument {
  void* p;
  template <class T> MH_ARGUMENT operator T*() const { return (T*)(ulong)p; }
  template <class T> MH_ARGUMENT operator T&() const { return *(T*)(ulong)p; }
};
static inline MH_ARGUMENT mh_argument mh_buffer(unsigned i) { return {mh_now.buffers[i]}; }
static inline MH_ARGUMENT mh_argument mh_block(unsigned i) { return {mh_now.blocks[i]}; }

struct mh_number {
  unsigned n;
  MH_ARGUMENT operator uint() const { return n; }
  MH_ARGUMENT operator ushort() const { return (ushort)n; }
};
struct mh_numbers {
  unsigned x, y, z;
  MH_ARGUMENT operator uint() const { return x; }
  MH_ARGUMENT operator uint2() const { return uint2{x, y}; }
  MH_ARGUMENT operator uint3() const { return uint3{x, y, z}; }
  MH_ARGUMENT operator ushort() const { return (ushort)x; }
  MH_ARGUMENT operator ushort2() const { return ushort2{(ushort)x, (ushort)y}; }
  MH_ARGUMENT operator ushort3() const { return ushort3{(ushort)x, (ushort)y, (ushort)z}; }
};
static inline MH_ARGUMENT mh_number mh_single(unsigned n) { return {n}; }
static inline MH_ARGUMENT mh_numbers mh_triple(const unsigned* n) { return {n[0], n[1], n[2]}; }
static inline MH_ARGUMENT mh_number mh_simdgroups(const unsigned* n) { return {(n[0] * n[1] * n[2] + 31) / 32}; }
static inline MH_ARGUMENT mh_number mh_quadgroups(const unsigned* n) { return {(n[0] * n[1] * n[2] + 3) / 4}; }
static inline MH_ARGUMENT mh_numbers mh_position_in_grid() {
  const mh_now_info& n = mh_now;
  return {n.group[0] * n.full_threads[0] + n.position[0], n.group[1] * n.full_threads[1] + n.position[1], n.group[2] * n.full_threads[2] + n.position[2]};
}
