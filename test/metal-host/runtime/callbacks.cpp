// What instrumented code calls before each access (the interface of clang's -fsanitize=thread, without its run-time library), the handlers of
// -fsanitize=array-bounds and integer-divide-by-zero, and atomics.
#include <cstring>

#include "check.h"

using namespace mh;

namespace {

void aligned(uintptr_t a, unsigned size, Access how, uintptr_t pc) {
  if (a & (size - 1)) {
    report("misaligned", line_of(pc), place_of(g_thread->index) + " accesses " + std::to_string(size) + " bytes at an address that is no multiple of " + std::to_string(size));
    abandon();
  }
  check(a, size, how, pc);
}

float as_float(unsigned u) { return __builtin_bit_cast(float, u); }
unsigned as_word(float f) { return __builtin_bit_cast(unsigned, f); }

unsigned combine(unsigned op, unsigned kind, unsigned old, unsigned v, unsigned compare) {
  bool sign = kind == 0, real = kind == 2;
  int a = static_cast<int>(old), b = static_cast<int>(v);
  switch (op) {
    case 0: return old;
    case 1: case 9: return v;
    case 2: return real ? as_word(as_float(old) + as_float(v)) : old + v;
    case 3: return real ? as_word(as_float(old) - as_float(v)) : old - v;
    case 4: return sign ? static_cast<unsigned>(b < a ? b : a) : v < old ? v : old;
    case 5: return sign ? static_cast<unsigned>(b > a ? b : a) : v > old ? v : old;
    case 6: return old & v;
    case 7: return old | v;
    case 8: return old ^ v;
    default: return old == compare ? v : old;
  }
}

struct Location {
  const char* file;
  unsigned line, column;
};
struct Type {
  unsigned short kind, info;
  char name[1];
};
// Its own line when it is in the text, else that of the instruction.
int line_in_text(const Location* where, uintptr_t pc) {
  return where->file && strcmp(where->file, "program_source") == 0 ? static_cast<int>(where->line) : line_of(pc);
}

}  // namespace

extern "C" {

#define MH_SIZE(N) \
  void __tsan_read##N(void* p) { aligned(reinterpret_cast<uintptr_t>(p), N, Access::read, MH_RETURN_ADDRESS); } \
  void __tsan_write##N(void* p) { aligned(reinterpret_cast<uintptr_t>(p), N, Access::write, MH_RETURN_ADDRESS); } \
  void __tsan_unaligned_read##N(void* p) { check(reinterpret_cast<uintptr_t>(p), N, Access::read, MH_RETURN_ADDRESS); } \
  void __tsan_unaligned_write##N(void* p) { check(reinterpret_cast<uintptr_t>(p), N, Access::write, MH_RETURN_ADDRESS); }
MH_SIZE(1)
MH_SIZE(2)
MH_SIZE(4)
MH_SIZE(8)
MH_SIZE(16)

void* __tsan_memcpy(void* to, const void* from, size_t n) {
  if (n) check(reinterpret_cast<uintptr_t>(from), static_cast<unsigned>(n), Access::read, MH_RETURN_ADDRESS);
  if (n) check(reinterpret_cast<uintptr_t>(to), static_cast<unsigned>(n), Access::write, MH_RETURN_ADDRESS);
  return memcpy(to, from, n);
}
void* __tsan_memmove(void* to, const void* from, size_t n) {
  if (n) check(reinterpret_cast<uintptr_t>(from), static_cast<unsigned>(n), Access::read, MH_RETURN_ADDRESS);
  if (n) check(reinterpret_cast<uintptr_t>(to), static_cast<unsigned>(n), Access::write, MH_RETURN_ADDRESS);
  return memmove(to, from, n);
}
void* __tsan_memset(void* to, int v, size_t n) {
  if (n) check(reinterpret_cast<uintptr_t>(to), static_cast<unsigned>(n), Access::write, MH_RETURN_ADDRESS);
  return memset(to, v, n);
}
void __tsan_init() {}

unsigned mh_atomic32(const volatile void* p, unsigned op, unsigned kind, unsigned value, unsigned compare) {
  aligned(reinterpret_cast<uintptr_t>(p), 4, op == 1 ? Access::atomic_store : Access::atomic, MH_RETURN_ADDRESS);
  auto word = static_cast<volatile unsigned*>(const_cast<volatile void*>(p));
  unsigned old = *word;
  if (op != 0) *word = combine(op, kind, old, value, compare);
  return old;
}

void __ubsan_handle_out_of_bounds(const void* data, uintptr_t index) {
  struct Data {
    Location where;
    const Type* array;
    const Type* index;
  };
  auto d = static_cast<const Data*>(data);
  // Type descriptors say the index's width and sign: (log2 of bits) * 2 + signed.
  bool sign = d->index->info & 1;
  unsigned bits = 1u << (d->index->info >> 1);
  int64_t i = static_cast<int64_t>(index);
  if (sign && bits < 64) i = i << (64 - bits) >> (64 - bits);
  report("out-of-bounds", line_in_text(&d->where, MH_RETURN_ADDRESS), place_of(g_thread->index) + " uses index " + std::to_string(i) + " of " + d->array->name);
  abandon();
}

void __ubsan_handle_divrem_overflow(const void* data, uintptr_t, uintptr_t) {
  auto where = static_cast<const Location*>(data);
  report("division", line_in_text(where, MH_RETURN_ADDRESS), place_of(g_thread->index) + " divides an integer by zero, or the least one by -1");
  abandon();
}
}
