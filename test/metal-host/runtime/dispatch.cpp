#include "dispatch.h"

#include <sys/mman.h>

#include <cstring>

#include "check.h"
#include "schedule.h"

namespace mh {

namespace {

// Threadgroup memory that the host passes as an argument, each block apart from the next.
constexpr size_t kArena = 128 << 10;
constexpr size_t kApart = 1024;
char* arena() {
  static char* base = static_cast<char*>(mmap(nullptr, kArena, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  return base;
}

std::string times(const uint32_t* n) { return std::to_string(n[0]) + "x" + std::to_string(n[1]) + "x" + std::to_string(n[2]); }

// What Metal's API validation would say.
std::string invalid(const Pipeline& p, const mh_dispatch& d) {
  uint64_t threads = uint64_t(d.threads[0]) * d.threads[1] * d.threads[2];
  unsigned most = p.kernel->max_threads ? p.kernel->max_threads : kMaxThreads;
  if (threads == 0 || threads > most) return "a threadgroup of " + times(d.threads) + " threads: there must be 1 to " + std::to_string(most);
  if (!d.grid[0] || !d.grid[1] || !d.grid[2]) return "the grid is empty: " + times(d.grid);
  uint64_t bytes = p.static_bytes;
  for (uint32_t i = 0; i < d.threadgroup_length_count; i++) bytes += d.threadgroup_lengths[i];
  if (bytes > kMaxThreadgroupBytes) return std::to_string(bytes) + " bytes of threadgroup memory: there are " + std::to_string(kMaxThreadgroupBytes);
  for (unsigned i = 0; i < p.kernel->param_count; i++) {
    const mh_param_info& a = p.kernel->params[i];
    if (a.kind == 1 && (a.index >= d.threadgroup_length_count || !d.threadgroup_lengths[a.index]))
      return "no length was set for '" + std::string(a.name) + "' [[threadgroup(" + std::to_string(a.index) + ")]]";
  }
  for (uint32_t i = 0; i < d.binding_count; i++)
    if (d.bindings[i].index > 30) return "buffer index " + std::to_string(d.bindings[i].index) + ": there are 0 to 30";
  return "";
}

std::vector<Region> regions_of(const Pipeline& p, const mh_dispatch& d) {
  std::vector<Region> out;
  memset(mh_now.buffers, 0, sizeof mh_now.buffers);
  memset(mh_now.blocks, 0, sizeof mh_now.blocks);
  for (unsigned i = 0; i < p.kernel->param_count; i++) {
    const mh_param_info& a = p.kernel->params[i];
    if (a.kind == 0)
      for (uint32_t k = 0; k < d.binding_count; k++) {
        const mh_binding& b = d.bindings[k];
        if (b.index != a.index) continue;
        mh_now.buffers[a.index] = b.base;
        if (b.base) out.push_back({reinterpret_cast<uintptr_t>(b.base), b.length, kDevice, b.writable != 0, a.name, nullptr, nullptr});
      }
    if (a.kind == 1) {
      size_t at = kApart;
      for (unsigned k = 0; k < a.index; k++) at += (d.threadgroup_lengths[k] + 15) / 16 * 16 + kApart;
      mh_now.blocks[a.index] = arena() + at;
      out.push_back({reinterpret_cast<uintptr_t>(arena() + at), d.threadgroup_lengths[a.index], kThreadgroup, true, a.name, nullptr, nullptr});
    }
  }
  unsigned kernel = static_cast<unsigned>(p.kernel - p.image->module()->kernels);
  for (const Block& b : p.image->blocks())
    if (b.kernel == kernel) out.push_back({reinterpret_cast<uintptr_t>(b.base), b.size, kThreadgroup, true, b.name, nullptr, nullptr});
  return out;
}

// All ones is NaN in every floating type. What a kernel must not read should at least not look like a result.
void poison(const std::vector<Region>& regions) {
  for (const Region& r : regions)
    if (r.space == kThreadgroup) memset(reinterpret_cast<void*>(r.base), 0xff, r.size);
}

}  // namespace

int run_dispatch(Pass& pass, const Pipeline& p, const mh_dispatch& d, std::string& error) {
  error = invalid(p, d);
  if (!error.empty()) {
    error = std::string(p.kernel->name) + ": " + error;
    return MH_INVALID;
  }
  g_running.pipeline = &p;
  g_running.image = p.image.get();
  g_running.kernel = p.kernel->name;
  g_running.label = d.label ? d.label : pass.label;
  g_running.found = false;
  g_running.report.clear();
  begin_findings();
  uint32_t groups[3], total = 1;
  for (int i = 0; i < 3; i++) {
    groups[i] = d.exact_threads ? (d.grid[i] + d.threads[i] - 1) / d.threads[i] : d.grid[i];
    mh_now.full_threads[i] = d.threads[i];
    mh_now.grid_groups[i] = groups[i];
    mh_now.grid_threads[i] = d.exact_threads ? d.grid[i] : groups[i] * d.threads[i];
    total *= groups[i];
  }
  std::vector<Region> regions = regions_of(p, d);
  uint32_t first = next_group_id();
  begin_dispatch(regions, pass.epoch, first, p.mode.checked);
  guard_begin(p.mode.limit);
  for (uint32_t i = 0; i < total; i++) {
    uint32_t n = i;
    if (p.mode.order == Order::reverse) n = total - 1 - i;
    // A permutation: an odd step is coprime to a power of two, so larger grids are cut into rounds of those that exist.
    if (p.mode.order == Order::shuffled && total > 1) {
      uint32_t size = 1u << (32 - __builtin_clz(total - 1));
      static uint32_t walk;
      walk = i == 0 ? static_cast<uint32_t>(p.mode.seed) & (size - 1) : walk;
      do walk = (walk * 5 + 2 * static_cast<uint32_t>(p.mode.seed) + 1) & (size - 1);
      while (walk >= total);
      n = walk;
    }
    mh_now.group[0] = n % groups[0];
    mh_now.group[1] = n / groups[0] % groups[1];
    mh_now.group[2] = n / groups[0] / groups[1];
    unsigned threads = 1;
    for (int k = 0; k < 3; k++) {
      uint32_t left = mh_now.grid_threads[k] - mh_now.group[k] * d.threads[k];
      mh_now.threads[k] = left < d.threads[k] ? left : d.threads[k];
      threads *= mh_now.threads[k];
    }
    g_group.id = first + i;
    poison(regions);
    if (!run_group(p.kernel->launch, threads, p.mode)) break;
  }
  guard_end();
  end_dispatch();
  // Ids go up to 2^32 threadgroups in the life of a process, which is days of running.
  set_next_group_id(first + total);
  g_running.image = nullptr;
  error = g_running.report;
  return g_running.found ? MH_FINDING : MH_OK;
}

}  // namespace mh
