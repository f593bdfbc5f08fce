// Findings of the running dispatch, and all of them since they were last taken.
#include <mutex>
#include <set>
#include <tuple>

#include "abi.h"
#include "host.h"

namespace mh {

Running g_running;

namespace {

struct Finding {
  std::string kind, text, kernel, label;
  int line;
  unsigned thread[3], group[3];
};
std::mutex g_lock;
std::vector<Finding> g_findings;
std::set<std::tuple<std::string, int, uint64_t>> g_seen;  // of the running dispatch
constexpr size_t kMost = 1000;

std::string quoted(const std::string& s) {
  std::string o = "\"";
  for (char c : s) {
    if (c == '"' || c == '\\') o += '\\';
    if (static_cast<unsigned char>(c) < ' ') o += ' ';
    else o += c;
  }
  return o + "\"";
}

std::string triple(const unsigned* n) { return std::to_string(n[0]) + "," + std::to_string(n[1]) + "," + std::to_string(n[2]); }

}  // namespace

void begin_findings() { g_seen.clear(); }

std::string place_of(unsigned index) {
  unsigned x = mh_now.threads[0], y = mh_now.threads[1];
  unsigned p[3] = {index % x, index / x % y, index / x / y};
  return "thread (" + triple(p) + ")";
}

int line_of(uintptr_t return_address) { return g_running.image ? g_running.image->line(return_address - 1) : 0; }

void report(const char* kind, int line, const std::string& text, uint64_t key) {
  g_running.found = true;
  if (!g_seen.insert({kind, line, key}).second) return;
  Finding f{kind, text, g_running.kernel, g_running.label, line, {0, 0, 0}, {mh_now.group[0], mh_now.group[1], mh_now.group[2]}};
  if (g_thread) {
    unsigned i = g_thread->index, x = mh_now.threads[0], y = mh_now.threads[1];
    f.thread[0] = i % x, f.thread[1] = i / x % y, f.thread[2] = i / x / y;
  }
  g_running.report += "program_source:" + std::to_string(line) + ": " + kind + " in " + f.kernel + ", threadgroup (" + triple(f.group) + "): " + text + "\n";
  std::lock_guard<std::mutex> hold(g_lock);
  if (g_findings.size() < kMost) g_findings.push_back(f);
}

}  // namespace mh

using namespace mh;

size_t mh_findings_take(char* out, size_t size) {
  std::lock_guard<std::mutex> hold(g_lock);
  std::string all = "[";
  for (const Finding& f : g_findings) {
    if (all.size() > 1) all += ",";
    all += "{\"kind\":" + quoted(f.kind) + ",\"text\":" + quoted(f.text) + ",\"kernel\":" + quoted(f.kernel) + ",\"label\":" + quoted(f.label) +
           ",\"line\":" + std::to_string(f.line) + ",\"thread\":[" + triple(f.thread) + "],\"group\":[" + triple(f.group) + "]}";
  }
  all += "]";
  if (out && all.size() < size) {
    all.copy(out, all.size());
    out[all.size()] = 0;
    g_findings.clear();
  }
  return all.size() + 1;
}
