// Watches every access of a kernel: bounds, races, uninitialised threadgroup memory.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "host.h"

namespace mh {

// What is known of four bytes of memory. An access is a stamp: threadgroup (32 bits), thread (10), barriers before it (22); 0: none.
struct Cell {
  uint64_t writer;
  uint64_t reader[2];
  uint32_t writer_pc;  // offset from g_code_base
  uint32_t more;       // index of an Extra; 0: none
};

// A region that a kernel may touch.
struct Region {
  uintptr_t base;
  uintptr_t size;
  Space space;
  bool writable;
  std::string name;
  Cell** pages;  // by page of the address, for kDevice; filled as needed
  Cell* cells;   // for kThreadgroup
};

// The accesses of a pass before its last barrier belong to threadgroups with lower ids than this.
void begin_dispatch(std::vector<Region> regions, uint32_t epoch, uint32_t first_group, bool checked);
void end_dispatch();

uint32_t next_group_id();       // of the threadgroup that will run next
void set_next_group_id(uint32_t id);

// Forgets the accesses to a range of device memory.
void forget(uintptr_t base, uint64_t size);
// Gives shadow memory back when there is much of it. Only where all that came before is ordered.
void trim_shadow();

enum class Access { read, write, atomic, atomic_store };
// Records an access and reports what is wrong with it. Ends the dispatch when it must not happen.
void check(uintptr_t address, unsigned size, Access how, uintptr_t return_address);

}  // namespace mh
