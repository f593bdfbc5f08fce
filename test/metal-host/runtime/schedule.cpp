// Threads take turns: one runs until it has to wait, then another one goes on, with no scheduler in between. A thread that ends without waiting
// leaves its stack to the next one.
#include "schedule.h"

#include <cstring>

#include "fiber.h"

extern "C" mh_now_info mh_now;
mh_now_info mh_now;

namespace mh {

Group g_group;
Thread* g_thread;
Thread g_threads[kMaxThreads];

namespace {

void* g_main;  // where the executor thread waits while threads run
bool g_abandoned;
void (*g_launch)();
Order g_order;
uint64_t g_random;

uint64_t random() {
  g_random ^= g_random << 13, g_random ^= g_random >> 7, g_random ^= g_random << 17;
  return g_random;
}

unsigned pick_bit(uint32_t mask) {
  if (g_order == Order::forward) return static_cast<unsigned>(__builtin_ctz(mask));
  if (g_order == Order::reverse) return 31u - static_cast<unsigned>(__builtin_clz(mask));
  unsigned skip = static_cast<unsigned>(random() % static_cast<unsigned>(__builtin_popcount(mask)));
  while (skip--) mask &= mask - 1;
  return static_cast<unsigned>(__builtin_ctz(mask));
}

// The thread whose turn is next, null when none can go on. Lanes of the running simdgroup go first: they are what a collective waits for.
Thread* pick() {
  Group& g = g_group;
  if (!g.simdgroups_ready) return nullptr;
  unsigned s = g_thread ? g_thread->simdgroup : 0;
  if (g_order == Order::shuffled || !(g.simdgroups_ready >> s & 1)) s = pick_bit(g.simdgroups_ready);
  Simdgroup& simd = g.simdgroups[s];
  unsigned lane = pick_bit(simd.ready);
  simd.ready &= ~(1u << lane);
  if (!simd.ready) g.simdgroups_ready &= ~(1u << s);
  return &g_threads[s * kLanes + lane];
}

void ready(Simdgroup& simd, unsigned s, uint32_t lanes) {
  simd.ready |= lanes;
  if (simd.ready) g_group.simdgroups_ready |= 1u << s;
}

void start(Thread* t) {
  unsigned x = mh_now.threads[0], y = mh_now.threads[1];
  mh_now.index = t->index;
  // Most threadgroups are rows, and divisions are most of what a small kernel's thread costs.
  bool row = t->index < x;
  mh_now.position[0] = row ? t->index : t->index % x;
  mh_now.position[1] = row ? 0 : t->index / x % y;
  mh_now.position[2] = row ? 0 : t->index / x / y;
  Simdgroup& s = g_group.simdgroups[t->simdgroup];
  s.fresh &= ~(1u << t->lane);
  g_launch();
}

void divergence(const char* what, uintptr_t pc, unsigned site, const std::string& other) {
  (void)pc;
  report("divergence", site_line(site), place_of(g_thread->index) + " is at " + what + " while " + other);
  abandon();
}
std::string at_line(const char* name, unsigned site) { return std::string(name) + " on line " + std::to_string(site_line(site)); }

void finish(Thread* t) {
  Group& g = g_group;
  Simdgroup& s = g.simdgroups[t->simdgroup];
  s.exited |= 1u << t->lane;
  g.exited++;
  if (s.waiting) {
    report("divergence", site_line(s.site), place_of(t->index) + " has returned while others of its simdgroup wait at " + at_line(s.name, s.site));
    abandon();
  }
  if (g.arrived) {
    report("divergence", site_line(g.site), place_of(t->index) + " has returned while others wait at " + at_line("threadgroup_barrier", g.site));
    abandon();
  }
}

[[noreturn]] void fiber() {
  for (;;) {
    Thread* t = g_thread;
    start(t);
    finish(t);
    Thread* next = pick();
    if (next && g_group.simdgroups[next->simdgroup].fresh >> next->lane & 1) {
      next->stack = t->stack;
      g_thread = next;
      continue;
    }
    give_stack(t->stack);
    void* gone;
    g_thread = next;
    mh_switch(&gone, next ? next->stack_pointer : g_main);
    __builtin_unreachable();
  }
}

void go(void** from, Thread* next) {
  g_thread = next;
  if (g_group.simdgroups[next->simdgroup].fresh >> next->lane & 1) {
    next->stack = take_stack();
    next->stack_pointer = prepare_stack(next->stack, fiber);
  }
  mh_switch(from, next->stack_pointer);
}

// The running thread waits until it is ready again.
void wait() {
  if (g_time_up) out_of_time();
  Thread* me = g_thread;
  Thread* next = pick();
  if (!next) {
    report("divergence", 0, place_of(me->index) + " waits, and no thread is left that could go on");
    abandon();
  }
  go(&me->stack_pointer, next);
}

// The running thread arrives at a call that all lanes of its simdgroup must reach. True for the last.
bool arrive(Simdgroup& s, const char* name, unsigned site, uintptr_t pc) {
  uint32_t me = 1u << g_thread->lane;
  if (s.waiting && (s.site != site || s.pc != pc))
    divergence(name, pc, site, "others of its simdgroup wait at " + at_line(s.name, s.site) + (s.site == site ? " (reached another way)" : ""));
  if (s.at_barrier) divergence(name, pc, site, "others of its simdgroup wait at " + at_line("threadgroup_barrier", g_group.site));
  if (s.exited) divergence(name, pc, site, std::to_string(__builtin_popcount(s.exited)) + " of its simdgroup have returned");
  s.site = site, s.pc = pc, s.name = name;
  s.waiting |= me;
  return s.waiting == s.present;
}

void release(Simdgroup& s) {
  s.waiting = 0;
  ready(s, g_thread->simdgroup, s.present & ~(1u << g_thread->lane));
}

mh_lanes g_lanes[kMaxThreads / kLanes];

void order(uint32_t* clocks, unsigned flags) {
  g_group.clock++;
  if (flags & 1) clocks[kDevice] = g_group.clock;
  if (flags & 2) clocks[kThreadgroup] = g_group.clock;
}

}  // namespace

void abandon() {
  g_abandoned = true;
  void* gone;
  mh_switch(&gone, g_main);
  __builtin_unreachable();
}

bool run_group(void (*launch)(), unsigned threads, const Mode& mode) {
  Group& g = g_group;
  unsigned count = (threads + kLanes - 1) / kLanes;
  g.threads = threads;
  g.arrived = g.exited = 0;
  g.clock = 1;
  g.barrier_clock[0] = g.barrier_clock[1] = 0;
  g.simdgroups_ready = count == 32 ? ~0u : (1u << count) - 1;
  for (unsigned s = 0; s < count; s++) {
    unsigned lanes = threads - s * kLanes;
    Simdgroup& simd = g.simdgroups[s];
    simd = Simdgroup();
    simd.present = simd.fresh = simd.ready = lanes >= kLanes ? ~0u : (1u << lanes) - 1;
  }
  g_launch = launch;
  g_order = mode.order;
  g_random = (mode.seed + 1) * 0x9e3779b97f4a7c15u + g.id;
  g_abandoned = false;
  g_thread = nullptr;
  go(&g_main, pick());
  if (g_abandoned) give_all_stacks();
  g_thread = nullptr;
  return !g_abandoned;
}

// Once: what a thread is does not change.
__attribute__((constructor)) static void number_threads() {
  for (unsigned i = 0; i < kMaxThreads; i++) g_threads[i] = {nullptr, nullptr, static_cast<uint16_t>(i), static_cast<uint8_t>(i % kLanes), static_cast<uint8_t>(i / kLanes)};
}

}  // namespace mh

using namespace mh;

extern "C" {

unsigned mh_lane() { return g_thread->lane; }

void mh_threadgroup_barrier(unsigned site, unsigned flags) {
  Group& g = g_group;
  Thread* t = g_thread;
  Simdgroup& s = g.simdgroups[t->simdgroup];
  uintptr_t pc = MH_RETURN_ADDRESS;
  if (g.arrived && (g.site != site || g.pc != pc))
    divergence("threadgroup_barrier", pc, site, "others wait at " + at_line("threadgroup_barrier", g.site) + (g.site == site ? " (reached another way)" : ""));
  if (s.waiting) divergence("threadgroup_barrier", pc, site, "others of its simdgroup wait at " + at_line(s.name, s.site));
  if (g.exited) divergence("threadgroup_barrier", pc, site, std::to_string(g.exited) + " of its threadgroup have returned");
  g.site = site, g.pc = pc;
  if (++g.arrived < g.threads) {
    s.at_barrier |= 1u << t->lane;
    return wait();
  }
  g.arrived = 0;
  order(g.barrier_clock, flags);
  for (unsigned i = 0; i * kLanes < g.threads; i++) {
    g.simdgroups[i].at_barrier = 0;
    ready(g.simdgroups[i], i, i == t->simdgroup ? s.present & ~(1u << t->lane) : g.simdgroups[i].present);
  }
}

void mh_simdgroup_barrier(unsigned site, unsigned flags) {
  Simdgroup& s = g_group.simdgroups[g_thread->simdgroup];
  if (!arrive(s, "simdgroup_barrier", site, MH_RETURN_ADDRESS)) return wait();
  order(s.barrier_clock, flags);
  release(s);
}

void mh_collective(unsigned site, const char* name, const void* in, unsigned in_size, void* out, unsigned out_size, void (*combine)(mh_lanes*)) {
  Thread* t = g_thread;
  Simdgroup& s = g_group.simdgroups[t->simdgroup];
  mh_lanes& lanes = g_lanes[t->simdgroup];
  memcpy(lanes.in[t->lane], in, in_size);
  if (arrive(s, name, site, MH_RETURN_ADDRESS)) {
    lanes.active = s.present;
    lanes.outside = 0;
    combine(&lanes);
    if (lanes.outside) {
      unsigned lane = static_cast<unsigned>(__builtin_ctz(lanes.outside));
      report("inactive-lane", site_line(site), place_of(t->simdgroup * kLanes + lane) + " asks " + name + " for the value of a lane that does not take part");
    }
    release(s);
  } else {
    wait();
  }
  memcpy(out, lanes.out[t->lane], out_size);
}
}
