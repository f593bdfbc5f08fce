// What a compiled text may call: the executor's own functions, clang's helpers, and the C library's mathematics.
#include <dlfcn.h>

#include <cmath>
#include <cstring>
#include <string>
#include <unordered_map>

#include "host.h"

extern "C" {
void __tsan_init(); void* __tsan_memcpy(void*, const void*, size_t); void* __tsan_memmove(void*, const void*, size_t); void* __tsan_memset(void*, int, size_t);
#define MH_DECLARE(N) void __tsan_read##N(void*); void __tsan_write##N(void*); void __tsan_unaligned_read##N(void*); void __tsan_unaligned_write##N(void*);
MH_DECLARE(1) MH_DECLARE(2) MH_DECLARE(4) MH_DECLARE(8) MH_DECLARE(16)
unsigned mh_lane();
void mh_threadgroup_barrier(unsigned, unsigned);
void mh_simdgroup_barrier(unsigned, unsigned);
void mh_collective(unsigned, const char*, const void*, unsigned, void*, unsigned, void (*)(mh_lanes*));
unsigned mh_atomic32(const volatile void*, unsigned, unsigned, unsigned, unsigned);
void __ubsan_handle_out_of_bounds(const void*, uintptr_t);
void __ubsan_handle_divrem_overflow(const void*, uintptr_t, uintptr_t);
// compiler-rt: conversions of half and bfloat. Their true types do not matter for their addresses.
void __truncsfhf2(); void __truncdfhf2(); void __extendhfsf2(); void __truncsfbf2(); void __truncdfbf2(); void __udivti3(); void __umodti3(); void __divti3(); void __modti3();
}

namespace mh {

void* host_symbol(std::string_view name) {
#define MH_AT(f) {#f, reinterpret_cast<void*>(&f)}
#define MH_AT_SIZE(N) MH_AT(__tsan_read##N), MH_AT(__tsan_write##N), MH_AT(__tsan_unaligned_read##N), MH_AT(__tsan_unaligned_write##N)
  static const std::unordered_map<std::string_view, void*> own = {
      MH_AT_SIZE(1), MH_AT_SIZE(2), MH_AT_SIZE(4), MH_AT_SIZE(8), MH_AT_SIZE(16), MH_AT(__tsan_init), MH_AT(__tsan_memcpy), MH_AT(__tsan_memmove),
      MH_AT(__tsan_memset), MH_AT(mh_now), MH_AT(mh_lane), MH_AT(mh_threadgroup_barrier), MH_AT(mh_simdgroup_barrier), MH_AT(mh_collective),
      MH_AT(mh_atomic32), MH_AT(__ubsan_handle_out_of_bounds), MH_AT(__ubsan_handle_divrem_overflow), MH_AT(__truncsfhf2), MH_AT(__truncdfhf2),
      MH_AT(__extendhfsf2), MH_AT(__truncsfbf2), MH_AT(__truncdfbf2), MH_AT(__udivti3), MH_AT(__umodti3), MH_AT(__divti3), MH_AT(__modti3),
      {"memcpy", reinterpret_cast<void*>(&memcpy)}, {"memset", reinterpret_cast<void*>(&memset)}, {"memmove", reinterpret_cast<void*>(&memmove)}};
  auto known = own.find(name);
  if (known != own.end()) return known->second;
  // The mathematics is in the C library's libm, where functions exist in versions for several processors.
  static void* libm = dlopen("libm.so.6", RTLD_LAZY);
  return libm ? dlsym(libm, std::string(name).c_str()) : nullptr;
}

}  // namespace mh
