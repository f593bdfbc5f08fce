// The shadow memory. Two accesses to a byte, at least one of them a write, must be ordered: by being of one thread, by a threadgroup barrier with the
// right flag (or a simdgroup barrier, within a simdgroup) between them, or by a barrier between their dispatches. Order being transitive, the last
// writer stands for all writers before it, and two readers stand for all: one is kept from another threadgroup if there is one, else from another
// simdgroup, else another thread.
#include "check.h"

#include <sys/mman.h>

#include <cstring>
#include <unordered_map>

#include "fiber.h"

namespace mh {

namespace {

constexpr uintptr_t kPageBits = 12;
constexpr size_t kPageCells = (1 << kPageBits) / 4;
constexpr size_t kMostPages = 8192;  // 256 MiB of cells

// For words that are accessed by parts, or by atomics.
struct Extra {
  bool split = false;
  Cell bytes[4] = {};
  uint64_t atomic[2] = {0, 0};
  uint32_t atomic_pc = 0;
};

std::unordered_map<uintptr_t, Cell*> g_pages;
std::vector<Extra> g_extras(1);
std::vector<Region> g_regions;
Region* g_recent;
std::vector<Cell*> g_page_table;
std::vector<Cell> g_threadgroup_cells;
uint32_t g_epoch, g_first_group;
bool g_checked;
uint32_t g_next_group = 1;

Cell* page_of(uintptr_t page) {
  Cell*& p = g_pages[page];
  if (!p) {
    void* m = mmap(nullptr, kPageCells * sizeof(Cell), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED) abort();
    p = static_cast<Cell*>(m);
  }
  return p;
}

uint32_t group_of(uint64_t stamp) { return static_cast<uint32_t>(stamp >> 32); }
unsigned thread_of(uint64_t stamp) { return static_cast<unsigned>(stamp >> 22 & 1023); }
uint32_t clock_of(uint64_t stamp) { return static_cast<uint32_t>(stamp & 0x3fffff); }

// Whether an access happened before whatever the running thread does now.
inline bool ordered(uint64_t stamp, Space space) {
  uint32_t group = group_of(stamp);
  if (group != g_group.id) return space == kThreadgroup || group < g_epoch;
  if (thread_of(stamp) == g_thread->index) return true;
  uint32_t clock = clock_of(stamp);
  if (clock < g_group.barrier_clock[space]) return true;
  return thread_of(stamp) / kLanes == g_thread->simdgroup && clock < g_group.simdgroups[g_thread->simdgroup].barrier_clock[space];
}

struct Now {
  Region* region;
  uintptr_t address;
  unsigned size;
  Access how;
  uintptr_t pc;
  uint64_t stamp;
};

std::string spot(const Region& r, uintptr_t address) { return "'" + r.name + "' at byte " + std::to_string(address - r.base); }

const char* verb(Access how) { return how == Access::read ? "reads" : how == Access::write ? "writes" : "updates atomically"; }
bool is_atomic(Access how) { return how == Access::atomic || how == Access::atomic_store; }

void race(const Now& n, uint64_t other, const char* did, uint32_t other_pc) {
  uint32_t group = group_of(other);
  const char* kind = n.region->space == kThreadgroup || group == g_group.id ? "race" : group >= g_first_group ? "race-between-threadgroups" : "race-between-dispatches";
  int line = line_of(n.pc), before = group >= g_first_group && other_pc ? line_of(g_running.image->base() + other_pc) : 0;
  std::string who = group == g_group.id ? place_of(thread_of(other)) : group >= g_first_group ? "another threadgroup" : "an earlier dispatch of the pass";
  std::string text = place_of(g_thread->index) + " " + verb(n.how) + " " + spot(*n.region, n.address) + ", which " + who + " " + did;
  if (before) text += " on line " + std::to_string(before);
  text += group >= g_first_group ? ", with no barrier between" : ", with no barrier between the dispatches";
  report(kind, line, text, static_cast<uint64_t>(before));
}

void add_reader(uint64_t* r, uint64_t stamp, Space space) {
  if (r[0] == stamp) return;
  if (ordered(r[0], space)) {
    r[0] = stamp;
    if (r[1] && ordered(r[1], space)) r[1] = 0;
    return;
  }
  if (ordered(r[1], space)) {
    r[1] = stamp;
    return;
  }
  bool one_group = group_of(r[0]) == group_of(r[1]);
  if (!one_group) return;
  if (group_of(stamp) != group_of(r[0]) || (thread_of(r[0]) / kLanes == thread_of(r[1]) / kLanes && thread_of(stamp) / kLanes != thread_of(r[0]) / kLanes)) r[1] = stamp;
}

bool written(const Cell& c, const Extra* e) {
  return group_of(c.writer) == g_group.id || (e && (group_of(e->atomic[0]) == g_group.id || group_of(e->atomic[1]) == g_group.id));
}

void visit(Cell& c, Extra* e, const Now& n) {
  Space space = n.region->space;
  if ((n.how == Access::read || n.how == Access::atomic) && space == kThreadgroup && !written(c, e))
    report("uninitialised", line_of(n.pc), place_of(g_thread->index) + " " + verb(n.how) + " " + spot(*n.region, n.address) + ", which nothing in its threadgroup has written");
  if (!ordered(c.writer, space)) race(n, c.writer, "wrote", c.writer_pc);
  if (!is_atomic(n.how) && e)
    for (uint64_t a : e->atomic)
      if (!ordered(a, space)) race(n, a, "updated atomically", e->atomic_pc);
  if (n.how == Access::read) return add_reader(c.reader, n.stamp, space);
  for (uint64_t r : c.reader)
    if (!ordered(r, space)) race(n, r, "read", 0);
  uint32_t pc = static_cast<uint32_t>(n.pc - g_running.image->base());
  if (is_atomic(n.how)) {
    add_reader(e->atomic, n.stamp, space);
    e->atomic_pc = pc;
    return;
  }
  c.writer = n.stamp;
  c.writer_pc = pc;
  c.reader[0] = c.reader[1] = 0;
  if (e) e->atomic[0] = e->atomic[1] = 0;
}

Extra* extra_of(Cell& c) {
  if (!c.more) {
    c.more = static_cast<uint32_t>(g_extras.size());
    g_extras.emplace_back();
  }
  return &g_extras[c.more];
}

// Part of a word: its bytes get cells of their own, which begin with what is known of the word.
void visit_bytes(Cell& c, unsigned first, unsigned count, const Now& n) {
  Extra* e = extra_of(c);
  if (!e->split) {
    e->split = true;
    for (Cell& b : e->bytes) b = c, b.more = 0;
  }
  for (unsigned i = first; i < first + count; i++) {
    // Atomics are of whole words and stay with the word.
    visit(e->bytes[i], nullptr, n);
    if (n.how == Access::write) e->atomic[0] = e->atomic[1] = 0;
  }
}

void visit_word(Cell& c, const Now& n) {
  if (!c.more) {
    if (is_atomic(n.how)) return visit(c, extra_of(c), n);
    return visit(c, nullptr, n);
  }
  Extra* e = &g_extras[c.more];
  if (!e->split) return visit(c, e, n);
  for (Cell& b : e->bytes) visit(b, e, n);
  if (n.how != Access::read) {
    // One access covers all four again.
    c.writer = e->bytes[0].writer, c.writer_pc = e->bytes[0].writer_pc;
    c.reader[0] = c.reader[1] = 0;
    e->split = is_atomic(n.how);
  }
}

[[noreturn]] void bad_access(uintptr_t a, unsigned size, Access how, uintptr_t pc) {
  std::string what = place_of(g_thread->index) + " " + verb(how) + " " + std::to_string(size) + " bytes ";
  if (a < 4096) {
    report("null", line_of(pc), what + "at address " + std::to_string(a) + ": an argument that was not bound, or a null pointer");
    abandon();
  }
  // The region that it missed by least names it best.
  const Region* near = nullptr;
  uintptr_t distance = ~uintptr_t(0);
  bool past = false;
  for (const Region& r : g_regions) {
    uintptr_t after = a >= r.base ? a - r.base : ~uintptr_t(0), before = a < r.base ? r.base - a : ~uintptr_t(0);
    uintptr_t over = after == ~uintptr_t(0) ? after : after > r.size ? after - r.size : 0;
    if (over < distance) near = &r, distance = over, past = true;
    if (before < distance) near = &r, distance = before, past = false;
  }
  if (!near || distance > (uintptr_t(1) << 32)) what += "at an address that is in none of its buffers";
  else if (past) what += "at byte " + std::to_string(a - near->base) + " of '" + near->name + "', which has " + std::to_string(near->size);
  else what += std::to_string(near->base - a) + " bytes before the start of '" + near->name + "'";
  report("out-of-bounds", line_of(pc), what);
  abandon();
}

Region* find(uintptr_t a, unsigned size) {
  for (Region& r : g_regions)
    if (a - r.base < r.size && a - r.base + size <= r.size) return &r;
  return nullptr;
}

}  // namespace

uint32_t next_group_id() { return g_next_group; }
void set_next_group_id(uint32_t id) { g_next_group = id; }

void begin_dispatch(std::vector<Region> regions, uint32_t epoch, uint32_t first_group, bool checked) {
  g_regions = std::move(regions);
  g_recent = g_regions.empty() ? nullptr : &g_regions[0];
  g_epoch = epoch;
  g_first_group = first_group;
  g_checked = checked;
  if (!checked) return;
  size_t pages = 0, words = 0;
  for (const Region& r : g_regions) {
    if (r.space == kDevice) pages += ((r.base + r.size) >> kPageBits) - (r.base >> kPageBits) + 1;
    else words += (r.size + 7) / 4 + 1;
  }
  g_page_table.assign(pages, nullptr);
  if (g_threadgroup_cells.size() < words) g_threadgroup_cells.resize(words);
  pages = words = 0;
  for (Region& r : g_regions) {
    if (r.space == kDevice) {
      r.pages = &g_page_table[pages];
      pages += ((r.base + r.size) >> kPageBits) - (r.base >> kPageBits) + 1;
    } else {
      r.cells = &g_threadgroup_cells[words];
      words += (r.size + 7) / 4 + 1;
    }
  }
}

void end_dispatch() { g_regions.clear(), g_recent = nullptr; }

void forget(uintptr_t base, uint64_t size) {
  for (uintptr_t a = base & ~uintptr_t(3); a < base + size; a += 4) {
    auto page = g_pages.find(a >> kPageBits);
    if (page == g_pages.end()) {
      a |= (1 << kPageBits) - 4;
      continue;
    }
    page->second[(a >> 2) % kPageCells] = Cell();
  }
}

void trim_shadow() {
  if (g_pages.size() < kMostPages && g_extras.size() < 1000000) return;
  for (auto& [page, cells] : g_pages) munmap(cells, kPageCells * sizeof(Cell));
  g_pages.clear();
  // Cells of threadgroup memory name extras too.
  g_threadgroup_cells.assign(g_threadgroup_cells.size(), Cell());
  g_extras.assign(1, Extra());
}

void check(uintptr_t a, unsigned size, Access how, uintptr_t pc) {
  if (g_time_up) out_of_time();
  if (on_stacks(a)) return;
  Region* r = g_recent;
  if (!r || a - r->base >= r->size || a - r->base + size > r->size) {
    r = find(a, size);
    if (!r) {
      // Constants and variables of the text itself, threadgroup memory of other kernels aside.
      if (g_running.image->contains(a) && !g_running.image->in_block(a)) return;
      bad_access(a, size, how, pc);
    }
    g_recent = r;
  }
  if (how != Access::read && !r->writable) {
    // Another argument may hold the same bytes and be writable.
    for (Region& other : g_regions)
      if (other.writable && a - other.base < other.size && a - other.base + size <= other.size) r = &other;
    if (!r->writable) {
      report("read-only", line_of(pc), place_of(g_thread->index) + " " + verb(how) + " " + spot(*r, a) + ", which is bound for reading only");
      abandon();
    }
  }
  if (!g_checked) return;
  Now n{r, a, size, how, pc, static_cast<uint64_t>(g_group.id) << 32 | static_cast<uint64_t>(g_thread->index) << 22 | g_group.clock};
  uintptr_t end = a + size;
  uintptr_t zero = r->base & ~uintptr_t(3);
  for (uintptr_t word = a & ~uintptr_t(3); word < end; word += 4) {
    Cell* c;
    if (r->space == kThreadgroup) {
      c = &r->cells[(word - zero) / 4];
    } else {
      Cell*& page = r->pages[(word >> kPageBits) - (r->base >> kPageBits)];
      if (!page) page = page_of(word >> kPageBits);
      c = &page[(word >> 2) % kPageCells];
    }
    n.address = word < a ? a : word;
    unsigned first = static_cast<unsigned>(n.address - word), last = static_cast<unsigned>(end - word < 4 ? end - word : 4);
    if (first == 0 && last == 4) visit_word(*c, n);
    else visit_bytes(*c, first, last - first, n);
  }
}

}  // namespace mh
