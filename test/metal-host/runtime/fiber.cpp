#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <vector>

#if !defined(__x86_64__)
#error "the Metal host's fibers are written for x86-64"
#endif

// The System V ABI leaves six registers to the callee, and the state of the vector units' control words, which kernels do not change.
asm(R"(
  .text
  .globl mh_switch
  .hidden mh_switch
  .type mh_switch, @function
mh_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  retq
  .size mh_switch, .-mh_switch
)");

namespace mh {

namespace {
constexpr size_t kStack = 64 << 10;
constexpr size_t kCount = 1024 + 8;
char* g_base;
std::vector<void*> g_free;

void fill() {
  g_free.clear();
  for (size_t i = kCount; i-- > 0;) g_free.push_back(g_base + i * kStack);
}
}  // namespace

void* take_stack() {
  if (!g_base) {
    void* p = mmap(nullptr, kCount * kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) abort();
    g_base = static_cast<char*>(p);
    // The lowest page of each stack stays out of reach: a kernel that overruns it faults instead of writing into its neighbour's.
    for (size_t i = 0; i < kCount; i++) mprotect(g_base + i * kStack, 4096, PROT_NONE);
    g_free.reserve(kCount);
    fill();
  }
  void* s = g_free.back();
  g_free.pop_back();
  return s;
}

void give_stack(void* s) { g_free.push_back(s); }
void give_all_stacks() {
  if (g_base) fill();
}

void* prepare_stack(void* stack, void (*entry)()) {
  auto bottom = static_cast<char*>(stack);
  // Tops differ in their place within a page, or all of them would compete for the same lines of the first-level cache.
  size_t colour = (static_cast<size_t>(bottom - g_base) / kStack % 32) * 128;
  auto top = reinterpret_cast<uintptr_t*>(bottom + kStack - 64 - colour);
  *--top = 0;  // the entry's return address: there is none, and it keeps the stack aligned
  *--top = reinterpret_cast<uintptr_t>(entry);
  for (int i = 0; i < 6; i++) *--top = 0;
  return top;
}

bool on_stacks(unsigned long a) { return a - reinterpret_cast<uintptr_t>(g_base) < kCount * kStack; }

}  // namespace mh
