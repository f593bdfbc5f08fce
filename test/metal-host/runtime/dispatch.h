// One dispatch: its checks, its regions, its threadgroups.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "abi.h"
#include "host.h"

namespace mh {

struct Pipeline {
  std::unique_ptr<Image> image;
  const mh_kernel_info* kernel;
  Mode mode;
  unsigned static_bytes = 0;
};

struct Pass {
  std::string label;
  uint32_t epoch;  // id of the first threadgroup after the last barrier
};

// Runs a job on the executor thread, and waits for it.
void on_executor(const std::function<void()>& job);

// On the executor thread. MH_OK, MH_INVALID or MH_FINDING with a text.
int run_dispatch(Pass& pass, const Pipeline& pipeline, const mh_dispatch& d, std::string& error);

// Calls `body` so that faults and endless loops of kernels end it: abandon() is called for them.
void guard_thread();          // once, on the executor thread
void guard_begin(unsigned limit_seconds);
void guard_end();

void begin_findings();

}  // namespace mh
