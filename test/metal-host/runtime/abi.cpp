// The C ABI over the executor.
#include "abi.h"

#include <cstdlib>
#include <cstring>
#include <mutex>

#include "check.h"
#include "compile.h"
#include "dispatch.h"

using namespace mh;

// A pipeline loads its copy from `object`, so a library keeps bytes and one copy for its tables.
struct mh_library {
  std::string object;
  std::unique_ptr<Image> image;
  Mode mode;
  std::vector<mh_function> functions;
};
struct mh_function {
  mh_library* library;
  unsigned kernel;
};
struct mh_pipeline {
  Pipeline pipeline;
};
struct mh_pass {
  Pass pass;
};

namespace {

void say(char* error, size_t size, const std::string& text) {
  if (!error || !size) return;
  size_t n = text.copy(error, size - 1);
  error[n] = 0;
}

std::mutex g_mode_lock;
Mode g_mode;
bool g_mode_read;

// Empty, or which word is wrong.
std::string apply_words(Mode& m, const std::string& words) {
  for (size_t i = 0; i < words.size();) {
    size_t end = std::min(words.find(' ', i), words.size());
    std::string w = words.substr(i, end - i);
    i = end + 1;
    if (w.empty()) continue;
    if (w == "checked") m.checked = m.optimised = true;
    else if (w == "fast") m.checked = false, m.optimised = true;
    else if (w == "unoptimised") m.checked = true, m.optimised = false;
    else if (w == "contract=on") m.contract = true;
    else if (w == "contract=off") m.contract = false;
    else if (w == "order=forward") m.order = Order::forward;
    else if (w == "order=reverse") m.order = Order::reverse;
    else if (w.rfind("order=", 0) == 0 && w.size() > 6 && w.find_first_not_of("0123456789", 6) == w.npos) m.order = Order::shuffled, m.seed = strtoull(w.c_str() + 6, nullptr, 10);
    else if (w.rfind("limit=", 0) == 0 && w.size() > 6 && w.size() < 12 && w.find_first_not_of("0123456789", 6) == w.npos) m.limit = static_cast<unsigned>(atoi(w.c_str() + 6));
    else return w;
  }
  return "";
}

const mh_kernel_info& kernel_of(mh_function* f) { return f->library->image->module()->kernels[f->kernel]; }

}  // namespace

namespace mh {
Mode current_mode() {
  std::lock_guard<std::mutex> hold(g_mode_lock);
  if (!g_mode_read) {
    g_mode_read = true;
    if (const char* words = getenv("ALLOY_METAL_HOST")) apply_words(g_mode, words);
  }
  return g_mode;
}
}  // namespace mh

int mh_configure(const char* words, char* error, size_t error_size) {
  Mode m = current_mode();
  std::string wrong = apply_words(m, words);
  if (!wrong.empty()) return say(error, error_size, "\"" + wrong + "\" is no mode of the Metal host"), 0;
  std::lock_guard<std::mutex> hold(g_mode_lock);
  g_mode = m;
  return 1;
}

mh_library* mh_library_compile(const char* text, size_t length, char* error, size_t error_size) {
  std::string words;
  std::unique_ptr<mh_library> l(new mh_library());
  l->mode = current_mode();
  l->object = compile_text({text, length}, l->mode, words);
  if (!l->object.empty()) l->image = Image::load(l->object, words);
  if (!l->image) return say(error, error_size, words), nullptr;
  for (unsigned i = 0; i < l->image->module()->kernel_count; i++) l->functions.push_back({l.get(), i});
  return l.release();
}

void mh_library_release(mh_library* l) { delete l; }

const char* mh_library_kernel(mh_library* l, uint32_t i) { return i < l->functions.size() ? l->image->module()->kernels[i].name : nullptr; }

mh_function* mh_function_find(mh_library* l, const char* name) {
  for (mh_function& f : l->functions)
    if (strcmp(kernel_of(&f).name, name) == 0) return &f;
  return nullptr;
}

int mh_function_constant(mh_function* f, uint32_t i, mh_constant* out) {
  const mh_kernel_info& k = kernel_of(f);
  if (i >= k.constant_count) return 0;
  const mh_constant_info& c = f->library->image->module()->constants[k.constants[i]];
  *out = {c.name, c.index, c.type, c.required};
  return 1;
}

mh_pipeline* mh_pipeline_create(mh_function* f, const mh_constant_value* values, uint32_t count, char* error, size_t error_size) {
  std::string words;
  std::unique_ptr<mh_pipeline> p(new mh_pipeline());
  p->pipeline.mode = f->library->mode;
  p->pipeline.image = Image::load(f->library->object, words);
  if (!p->pipeline.image) return say(error, error_size, words), nullptr;
  const mh_module_info& m = *p->pipeline.image->module();
  const mh_kernel_info& k = m.kernels[f->kernel];
  p->pipeline.kernel = &k;
  for (unsigned i = 0; i < k.constant_count; i++) {
    const mh_constant_info& c = m.constants[k.constants[i]];
    const mh_constant_value* v = nullptr;
    for (uint32_t n = 0; n < count; n++)
      if (values[n].index == c.index) v = &values[n];
    std::string name = "function constant '" + std::string(c.name) + "' (index " + std::to_string(c.index) + ")";
    if (!v && c.required) return say(error, error_size, "kernel " + std::string(k.name) + " needs a value for " + name), nullptr;
    if (!v) continue;
    if (v->type != c.type) return say(error, error_size, name + " is of MTLDataType " + std::to_string(c.type) + ", its value is of " + std::to_string(v->type)), nullptr;
    memcpy(c.address, &v->bits, c.size);
    *c.defined = true;
  }
  m.derive();
  for (const Block& b : p->pipeline.image->blocks())
    if (b.kernel == f->kernel) p->pipeline.static_bytes += static_cast<unsigned>((b.size + 15) / 16 * 16);
  if (p->pipeline.static_bytes > kMaxThreadgroupBytes)
    return say(error, error_size, "kernel " + std::string(k.name) + " declares " + std::to_string(p->pipeline.static_bytes) + " bytes of threadgroup memory: there are " + std::to_string(kMaxThreadgroupBytes)), nullptr;
  return p.release();
}

void mh_pipeline_release(mh_pipeline* p) { delete p; }

void mh_pipeline_facts_get(mh_pipeline* p, mh_pipeline_facts* out) {
  unsigned most = p->pipeline.kernel->max_threads;
  *out = {most ? most : kMaxThreads, kLanes, p->pipeline.static_bytes};
}

int mh_pipeline_argument(mh_pipeline* p, uint32_t index) {
  const mh_kernel_info& k = *p->pipeline.kernel;
  for (unsigned i = 0; i < k.param_count; i++)
    if (k.params[i].kind == 0 && k.params[i].index == index) return k.params[i].writable ? 2 : 1;
  return 0;
}

mh_pass* mh_pass_begin(const char* label) {
  auto p = new mh_pass{{label ? label : "", 0}};
  on_executor([&] {
    trim_shadow();
    p->pass.epoch = next_group_id();
  });
  return p;
}

int mh_pass_dispatch(mh_pass* pass, const mh_dispatch* d, char* error, size_t error_size) {
  std::string words;
  int result = MH_OK;
  on_executor([&] { result = run_dispatch(pass->pass, d->pipeline->pipeline, *d, words); });
  say(error, error_size, words);
  return result;
}

void mh_pass_barrier(mh_pass* pass) {
  on_executor([&] { pass->pass.epoch = next_group_id(); });
}

void mh_pass_barrier_ranges(mh_pass*, const void* const* bases, const uint64_t* lengths, uint32_t count) {
  on_executor([&] {
    for (uint32_t i = 0; i < count; i++) forget(reinterpret_cast<uintptr_t>(bases[i]), lengths[i]);
  });
}

void mh_pass_end(mh_pass* pass) { delete pass; }
