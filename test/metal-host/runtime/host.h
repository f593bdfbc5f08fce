// What the executor's parts share: the threadgroup that runs, its threads, and where findings go.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../msl/module.h"
#include "image.h"

struct mh_lanes;
extern "C" mh_now_info mh_now;

namespace mh {

constexpr unsigned kLanes = 32;
constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kMaxThreadgroupBytes = 32768;

enum class Order { forward, reverse, shuffled };

struct Mode {
  bool checked = true, optimised = true, contract = false;
  Order order = Order::forward;
  unsigned limit = 60;  // seconds of processor time that a dispatch may use
  uint64_t seed = 0;
};
Mode current_mode();

// Spaces that barriers order separately.
enum Space : unsigned { kDevice = 0, kThreadgroup = 1 };

struct Simdgroup {
  uint32_t present = 0;   // lanes that exist
  uint32_t fresh = 0;     // of those: not started
  uint32_t ready = 0;     // can go on
  uint32_t waiting = 0;   // at a collective or a simdgroup_barrier
  uint32_t at_barrier = 0;  // at a threadgroup_barrier
  uint32_t exited = 0;
  // Of the call where `waiting` lanes are.
  unsigned site = 0;
  uintptr_t pc = 0;
  const char* name = "";
  uint32_t barrier_clock[2] = {0, 0};
};

struct Thread {
  void* stack_pointer;
  void* stack;
  uint16_t index;
  uint8_t lane;
  uint8_t simdgroup;
};

// The threadgroup that runs. There is one executor thread, so plain variables do.
struct Group {
  unsigned threads = 0;
  uint32_t simdgroups_ready = 0;  // simdgroups with a lane that can go on
  unsigned arrived = 0;           // threads at the barrier
  unsigned exited = 0;
  unsigned site = 0;
  uintptr_t pc = 0;
  uint32_t id = 0;  // counts threadgroups over all dispatches
  uint32_t clock = 0;  // counts barriers of all kinds
  uint32_t barrier_clock[2] = {0, 0};
  Simdgroup simdgroups[kMaxThreads / kLanes];
};
extern Group g_group;
extern Thread* g_thread;  // the one that runs
extern Thread g_threads[kMaxThreads];

struct Pipeline;

// The dispatch that runs.
struct Running {
  const Pipeline* pipeline = nullptr;
  const Image* image = nullptr;
  const char* kernel = "";
  std::string label;
  unsigned threads[3];  // per full threadgroup
  bool found = false;
  std::string report;
};
extern Running g_running;

// Set when the dispatch has used up its time: whoever sees it from inside of a thread calls out_of_time().
extern volatile bool g_time_up;
[[noreturn]] void out_of_time();

// Ends the dispatch from inside of a thread of it.
[[noreturn]] void abandon();

struct Where {
  int line = 0;
  const Thread* thread = nullptr;
};

// Notes a finding about the running dispatch. The same kind on the same line is noted once a dispatch; `key` tells apart what else differs.
void report(const char* kind, int line, const std::string& text, uint64_t key = 0);
std::string place_of(unsigned index);  // "thread (3,0,0)"
inline int site_line(unsigned site) { return static_cast<int>(site / 64); }
// Of the text's instruction before a return address.
int line_of(uintptr_t return_address);

std::string take_findings_json();

#define MH_RETURN_ADDRESS reinterpret_cast<uintptr_t>(__builtin_return_address(0))

}  // namespace mh
