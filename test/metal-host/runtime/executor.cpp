// The thread on which kernels run, and what ends kernels that fault or never end. It is not one of JavaScript's threads: a garbage collector that scans
// stacks must not meet a fiber's.
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <ucontext.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "dispatch.h"

namespace mh {

namespace {

std::mutex g_turn;  // one job at a time
std::mutex g_lock;
std::condition_variable g_changed;
const std::function<void()>* g_job;
pthread_t g_executor;
std::atomic<bool> g_in_kernel{false};
const int kTimeUp = SIGRTMIN + 7;
std::atomic<double> g_until{0};  // of the executor's processor time
struct sigaction g_before[65];

const char* words(int signal) {
  if (signal == SIGFPE) return "integer division by zero";
  if (signal == SIGSEGV || signal == SIGBUS) return "an access to memory that is not there, or a stack that ran over";
  return "an instruction that cannot be executed";
}

void on_signal(int signal, siginfo_t* info, void* context) {
  if (pthread_equal(pthread_self(), g_executor) && g_in_kernel.load()) {
    auto c = static_cast<ucontext_t*>(context);
    auto pc = static_cast<uintptr_t>(c->uc_mcontext.gregs[REG_RIP]);
    bool inside = g_running.image && g_running.image->contains(pc);
    if (signal == kTimeUp) {
      // Inside of the executor's own code a jump would leave it half done: it looks at the flag itself.
      if (!inside) return void(g_time_up = true);
      out_of_time();
    }
    g_in_kernel = false;
    report("fault", inside ? line_of(pc + 1) : 0, words(signal));
    abandon();
  }
  if (signal == kTimeUp) return;
  // Not ours: whoever was asked before is asked now.
  struct sigaction& before = g_before[signal];
  if (before.sa_flags & SA_SIGINFO) return before.sa_sigaction(signal, info, context);
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(signal);
  ::signal(signal, SIG_DFL);
}

double executor_seconds() {
  clockid_t clock;
  timespec t = {};
  if (pthread_getcpuclockid(g_executor, &clock) == 0) clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Processor time, so that a busy machine ends nothing.
void watch() {
  for (;;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(250));
    if (g_in_kernel.load() && executor_seconds() > g_until.load()) pthread_kill(g_executor, kTimeUp);
  }
}

void serve() {
  guard_thread();
  std::unique_lock<std::mutex> hold(g_lock);
  for (;;) {
    g_changed.wait(hold, [] { return g_job != nullptr; });
    (*g_job)();
    g_job = nullptr;
    g_changed.notify_all();
  }
}

void start() {
  static std::once_flag once;
  std::call_once(once, [] {
    std::thread worker(serve);
    g_executor = worker.native_handle();
    worker.detach();
    std::thread(watch).detach();
  });
}

}  // namespace

void on_executor(const std::function<void()>& job) {
  start();
  std::lock_guard<std::mutex> turn(g_turn);
  std::unique_lock<std::mutex> hold(g_lock);
  g_job = &job;
  g_changed.notify_all();
  g_changed.wait(hold, [] { return g_job == nullptr; });
}

volatile bool g_time_up;

void out_of_time() {
  report("endless", 0, "the dispatch used more processor time than it may, and was ended");
  abandon();
}

void guard_thread() {
  // Handlers run on a stack of their own: the fault may be that a fiber's is used up.
  static char memory[64 << 10];
  stack_t stack = {memory, 0, sizeof memory};
  sigaltstack(&stack, nullptr);
  for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, kTimeUp}) {
    struct sigaction mine = {};
    mine.sa_sigaction = on_signal;
    // NODEFER: the handler is left by a switch of stacks, never by returning.
    mine.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(signal, &mine, &g_before[signal]);
  }
}

void guard_begin(unsigned limit_seconds) {
  g_time_up = false;
  g_until = executor_seconds() + limit_seconds;
  g_in_kernel = true;
}
void guard_end() { g_in_kernel = false; }

}  // namespace mh
