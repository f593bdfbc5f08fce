/*
 * The native half of the CPU driver: a thread pool and the plan walk.
 *
 * A plan is a flat list of 64-bit words; one call walks all of it. Each dispatch is
 *   word 0      program pointer
 *   word 1..3   grid; bit 63 set: the low bits name a slot
 *   word 4      number of arguments
 *   word 5      1: run serially on the calling thread
 *   then per argument two words: tag and value.
 *     tag 0: value; 1: slots[value]; 2: slots[value] is a double, passed as float bits; 3: as double bits
 *
 * A program is void f(const uint64_t *args, uint32_t begin, uint32_t end, const uint32_t grid[3]) and runs the linear
 * program ids [begin, end), axis 0 fastest.
 *
 * Scheduling: one 64-bit ticket holds (generation, number of chunks, next chunk). Taking a chunk is one compare-and-swap
 * on it, so whoever succeeds owns a chunk of the *current* dispatch, whose description cannot change before that chunk is
 * reported done. A worker that sleeps or is descheduled therefore never holds anybody up unless it holds a chunk.
 * Workers spin for a bounded time after the last work they saw and then sleep in the kernel: idle threads burn nothing. Whoever waits for
 * another's chunk gives its core to that thread or to others now and then, but does not sleep: where it was tried, the system moved both
 * threads to one core, and with other work on one of two cores a step took half as long again.
 */
#ifdef __TINYC__
/* The compiler of last resort has no headers and no atomics: programs run on the calling thread. */
typedef unsigned long long uint64_t;
typedef long long int64_t;
typedef unsigned int uint32_t;
typedef unsigned short uint16_t;
typedef unsigned char uint8_t;
struct timespec { long tv_sec; long tv_nsec; };
extern int clock_gettime(int, struct timespec *);
extern void *malloc(unsigned long);
extern void *calloc(unsigned long, unsigned long);
extern void free(void *);
#define CLOCK_MONOTONIC 1
#else
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#endif

#define ALLOY_MAX_ARGS 64
#define ALLOY_RUNTIME_VERSION 2
#define SLOT_FLAG (1ull << 63)

typedef void (*alloy_program)(const uint64_t *args, uint32_t begin, uint32_t end, const uint32_t *grid);

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

typedef struct {
  alloy_program program;
  uint64_t total;
  uint32_t chunk;
  uint32_t grid[3];
  uint64_t args[ALLOY_MAX_ARGS];
} job_t;

/* Reads one dispatch into `job`; returns the word after it. */
static const uint64_t *read_dispatch(const uint64_t *w, const uint64_t *slots, job_t *job, int *serial) {
  uint64_t n = w[4], i;
  job->program = (alloy_program)w[0];
  job->total = 1;
  for (i = 0; i < 3; i++) {
    uint64_t g = w[1 + i];
    if (g & SLOT_FLAG) g = slots[g & ~SLOT_FLAG];
    if ((int64_t)g < 0) g = 0;
    job->grid[i] = (uint32_t)g;
    job->total *= job->grid[i];
  }
  *serial = (int)w[5];
  w += 6;
  for (i = 0; i < n; i++, w += 2) {
    if (w[0] == 0) job->args[i] = w[1];
    else if (w[0] == 2) {
      union { uint64_t u; double d; } in;
      union { uint64_t u; float f; } v;
      in.u = slots[w[1]];
      v.u = 0;
      v.f = (float)in.d;
      job->args[i] = v.u;
    } else job->args[i] = slots[w[1]];
  }
  return w;
}

static void run_all(const job_t *job) {
  uint64_t at;
  for (at = 0; at < job->total;) {
    uint64_t end = at + 0x40000000ull < job->total ? at + 0x40000000ull : job->total;
    job->program(job->args, (uint32_t)at, (uint32_t)end, job->grid);
    at = end;
  }
}

#ifdef __TINYC__

typedef struct { int threads; } alloy_pool;

void *alloy_pool_create(int threads, int cpus) {
  alloy_pool *p = malloc(sizeof(alloy_pool));
  p->threads = 1;
  return p;
}
int alloy_pool_threads(void *pool) { return ((alloy_pool *)pool)->threads; }
void alloy_pool_destroy(void *pool) { free(pool); }

int alloy_plan_run(void *pool, const uint64_t *words, uint32_t count, const uint64_t *slots, double *ns) {
  uint32_t i;
  for (i = 0; i < count; i++) {
    job_t job;
    int serial;
    uint64_t start = ns ? now_ns() : 0;
    words = read_dispatch(words, slots, &job, &serial);
    if (job.total > 0xffffffffull) return (int)i + 1;
    run_all(&job);
    if (ns) ns[i] = (double)(now_ns() - start);
  }
  return 0;
}
int alloy_plan_submit(void *pool, const uint64_t *words, uint32_t count, const uint64_t *slots) {
  return alloy_plan_run(pool, words, count, slots, 0);
}
int alloy_plan_wait(void *pool, uint32_t microseconds) { return 0; }
int alloy_available_cpus(void) { return 1; }

#else

#define TICKET(gen, chunks, next) (((uint64_t)(gen) << 40) | ((uint64_t)(chunks) << 20) | (uint64_t)(next))
#define TICKET_NEXT(t) ((uint32_t)((t) & 0xfffff))
#define TICKET_CHUNKS(t) ((uint32_t)(((t) >> 20) & 0xfffff))
#define MAX_CHUNKS 0xffff

typedef struct {
  _Alignas(128) uint64_t ticket; /* (generation, chunks, next) */
  _Alignas(128) uint32_t done;   /* chunks finished of the current dispatch */
  _Alignas(128) uint32_t epoch;  /* changes with every published dispatch; what sleepers wait on */
  _Alignas(128) uint32_t sleepers;
  _Alignas(128) job_t job;
  int stop;
  int threads;
  uint64_t spin_ns;  /* of workers without work, before they sleep */
  uint32_t patience; /* of the publisher without work: pauses before it gives its core away */
  pthread_t *workers;
  pthread_mutex_t run_lock; /* one plan at a time */
  pthread_mutex_t sleep_lock;
  pthread_cond_t sleep_cond;
  /* the runner thread of alloy_plan_submit */
  pthread_t runner;
  int has_runner;
  pthread_mutex_t submit_lock;
  pthread_cond_t submit_cond;
  pthread_cond_t finish_cond;
  const uint64_t *submit_words;
  const uint64_t *submit_slots;
  uint32_t submit_count;
  int submit_state; /* 0 idle, 1 waiting, 2 running, 3 finished */
  int submit_result;
} alloy_pool;

static inline void cpu_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void sleep_while(alloy_pool *p, uint32_t epoch) {
#if defined(__linux__)
  syscall(SYS_futex, &p->epoch, FUTEX_WAIT_PRIVATE, epoch, NULL, NULL, 0);
#else
  pthread_mutex_lock(&p->sleep_lock);
  while (__atomic_load_n(&p->epoch, __ATOMIC_SEQ_CST) == epoch) pthread_cond_wait(&p->sleep_cond, &p->sleep_lock);
  pthread_mutex_unlock(&p->sleep_lock);
#endif
}

/* Wakes up to `count` sleepers, after the epoch has changed. */
static void wake(alloy_pool *p, uint32_t count) {
#if defined(__linux__)
  syscall(SYS_futex, &p->epoch, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
#else
  pthread_mutex_lock(&p->sleep_lock);
  pthread_cond_broadcast(&p->sleep_cond);
  pthread_mutex_unlock(&p->sleep_lock);
#endif
}

/* Runs chunks of the current dispatch until none is left; returns how many it ran. */
static uint32_t work(alloy_pool *p) {
  uint32_t ran = 0;
  uint64_t t = __atomic_load_n(&p->ticket, __ATOMIC_ACQUIRE);
  while (TICKET_NEXT(t) < TICKET_CHUNKS(t)) {
    /* Much at first and less towards the end: each turn fetches the ticket from another's cache, and the last ones even out who is slow. */
    uint32_t take = (uint32_t)(TICKET_CHUNKS(t) - TICKET_NEXT(t)) / (2 * (uint32_t)p->threads);
    if (take < 1) take = 1;
    if (!__atomic_compare_exchange_n(&p->ticket, &t, t + take, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) continue;
    uint64_t begin = (uint64_t)TICKET_NEXT(t) * p->job.chunk;
    uint64_t end = begin + (uint64_t)take * p->job.chunk;
    if (end > p->job.total) end = p->job.total;
    p->job.program(p->job.args, (uint32_t)begin, (uint32_t)end, p->job.grid);
    __atomic_fetch_add(&p->done, take, __ATOMIC_ACQ_REL);
    ran++;
    t = __atomic_load_n(&p->ticket, __ATOMIC_ACQUIRE);
  }
  return ran;
}

static void *worker_main(void *arg) {
  alloy_pool *p = arg;
  uint64_t last = now_ns();
  for (;;) {
    uint32_t epoch = __atomic_load_n(&p->epoch, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&p->stop, __ATOMIC_ACQUIRE)) return NULL;
    if (work(p)) {
      last = now_ns();
      continue;
    }
    /* The ticket is looked at, not the epoch: it has to be fetched anyway. */
    int found = 0;
    for (int i = 0; i < 64 && !found; i++) {
      uint64_t t = __atomic_load_n(&p->ticket, __ATOMIC_RELAXED);
      found = TICKET_NEXT(t) < TICKET_CHUNKS(t);
      if (!found) cpu_pause();
    }
    if (found) continue;
    if (now_ns() - last < p->spin_ns) continue;
    __atomic_fetch_add(&p->sleepers, 1, __ATOMIC_SEQ_CST);
    /* A publisher bumps the epoch before it reads `sleepers`, so either it sees us or the wait returns at once. */
    sleep_while(p, epoch);
    __atomic_fetch_sub(&p->sleepers, 1, __ATOMIC_SEQ_CST);
    last = now_ns();
  }
}

static void run_dispatch(alloy_pool *p, job_t *job, int serial) {
  if (job->total == 0) return;
  if (serial || job->total == 1 || p->threads == 1) {
    run_all(job);
    return;
  }
  /* About 16 chunks per thread: fine enough to even out a core that somebody else uses, coarse enough to cost nothing. */
  uint64_t chunk = job->total / ((uint64_t)p->threads * 16);
  if (chunk < 1) chunk = 1;
  while ((job->total + chunk - 1) / chunk > MAX_CHUNKS) chunk *= 2;
  job->chunk = (uint32_t)chunk;
  uint32_t chunks = (uint32_t)((job->total + chunk - 1) / chunk);
  p->job = *job;
  __atomic_store_n(&p->done, 0, __ATOMIC_RELAXED);
  uint64_t generation = (__atomic_load_n(&p->ticket, __ATOMIC_RELAXED) >> 40) + 1;
  __atomic_store_n(&p->ticket, TICKET(generation, chunks, 0), __ATOMIC_RELEASE);
  __atomic_fetch_add(&p->epoch, 1, __ATOMIC_SEQ_CST);
  /* As many as there are chunks for: the others may go on sleeping. */
  uint32_t sleepers = __atomic_load_n(&p->sleepers, __ATOMIC_SEQ_CST);
  uint32_t awake = (uint32_t)p->threads - sleepers;
  if (sleepers && chunks > awake) wake(p, chunks - awake);
  work(p);
  for (uint32_t spins = 0; __atomic_load_n(&p->done, __ATOMIC_ACQUIRE) != chunks; spins++) {
    if (spins < p->patience) cpu_pause();
    else sched_yield(); /* a worker lost its core in the middle of a chunk: let it have ours */
  }
}

/* Walks `count` dispatches. ns, if not null, receives each one's time. Returns 0, or 1 + the index of a dispatch whose grid is too large. */
int alloy_plan_run(void *pool, const uint64_t *words, uint32_t count, const uint64_t *slots, double *ns) {
  alloy_pool *p = pool;
  int result = 0;
  pthread_mutex_lock(&p->run_lock);
  for (uint32_t i = 0; i < count; i++) {
    job_t job;
    int serial;
    uint64_t start = ns ? now_ns() : 0;
    words = read_dispatch(words, slots, &job, &serial);
    if (job.total > 0xffffffffull) {
      result = (int)i + 1;
      break;
    }
    run_dispatch(p, &job, serial);
    if (ns) ns[i] = (double)(now_ns() - start);
  }
  pthread_mutex_unlock(&p->run_lock);
  return result;
}

static void *runner_main(void *arg) {
  alloy_pool *p = arg;
  pthread_mutex_lock(&p->submit_lock);
  for (;;) {
    while (p->submit_state != 1 && !p->stop) pthread_cond_wait(&p->submit_cond, &p->submit_lock);
    if (p->stop) break;
    p->submit_state = 2;
    pthread_mutex_unlock(&p->submit_lock);
    int result = alloy_plan_run(p, p->submit_words, p->submit_count, p->submit_slots, NULL);
    pthread_mutex_lock(&p->submit_lock);
    p->submit_result = result;
    p->submit_state = 3;
    pthread_cond_signal(&p->finish_cond);
  }
  pthread_mutex_unlock(&p->submit_lock);
  return NULL;
}

/* Starts a plan on another thread; one at a time. Call alloy_plan_wait until it returns other than -1. Returns -1 when one is in flight. */
int alloy_plan_submit(void *pool, const uint64_t *words, uint32_t count, const uint64_t *slots) {
  alloy_pool *p = pool;
  int result = 0;
  pthread_mutex_lock(&p->submit_lock);
  if (p->submit_state == 1 || p->submit_state == 2) result = -1;
  else {
    if (!p->has_runner) p->has_runner = pthread_create(&p->runner, NULL, runner_main, p) == 0;
    p->submit_words = words;
    p->submit_count = count;
    p->submit_slots = slots;
    p->submit_state = 1;
    pthread_cond_signal(&p->submit_cond);
  }
  pthread_mutex_unlock(&p->submit_lock);
  return result;
}

/* Waits so long for the end of the submitted plan: its result, or -1 while it runs. */
int alloy_plan_wait(void *pool, uint32_t microseconds) {
  alloy_pool *p = pool;
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  uint64_t ns = (uint64_t)until.tv_nsec + (uint64_t)microseconds * 1000;
  until.tv_sec += (time_t)(ns / 1000000000u);
  until.tv_nsec = (long)(ns % 1000000000u);
  pthread_mutex_lock(&p->submit_lock);
  while (p->submit_state != 3 && pthread_cond_timedwait(&p->finish_cond, &p->submit_lock, &until) == 0) {}
  int result = p->submit_state == 3 ? p->submit_result : -1;
  pthread_mutex_unlock(&p->submit_lock);
  return result;
}

/* threads: that run programs, with the one that calls alloy_plan_run; cpus: processors that can run them at the same moment. */
void *alloy_pool_create(int threads, int cpus) {
  void *memory;
  if (posix_memalign(&memory, 128, sizeof(alloy_pool))) return NULL;
  memset(memory, 0, sizeof(alloy_pool));
  alloy_pool *p = memory;
  pthread_mutex_init(&p->run_lock, NULL);
  pthread_mutex_init(&p->sleep_lock, NULL);
  pthread_cond_init(&p->sleep_cond, NULL);
  pthread_mutex_init(&p->submit_lock, NULL);
  pthread_cond_init(&p->submit_cond, NULL);
  pthread_cond_init(&p->finish_cond, NULL);
  p->workers = calloc((size_t)threads, sizeof(pthread_t));
  p->threads = 1;
  /* With more threads than processors every look takes time from one that has work. */
  p->spin_ns = threads > cpus ? 2000 : 80000;
  p->patience = threads > cpus ? 64 : 4096;
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, 8u << 20);
  for (int i = 1; i < threads; i++) {
    if (pthread_create(&p->workers[i], &attr, worker_main, p)) break;
    p->threads = i + 1;
  }
  pthread_attr_destroy(&attr);
  return p;
}

int alloy_pool_threads(void *pool) { return ((alloy_pool *)pool)->threads; }

void alloy_pool_destroy(void *pool) {
  alloy_pool *p = pool;
  pthread_mutex_lock(&p->run_lock);
  pthread_mutex_lock(&p->submit_lock);
  __atomic_store_n(&p->stop, 1, __ATOMIC_RELEASE);
  pthread_cond_signal(&p->submit_cond);
  pthread_mutex_unlock(&p->submit_lock);
  __atomic_fetch_add(&p->epoch, 1, __ATOMIC_SEQ_CST);
  wake(p, 0x7fffffff);
  pthread_mutex_unlock(&p->run_lock);
  if (p->has_runner) pthread_join(p->runner, NULL);
  for (int i = 1; i < p->threads; i++) pthread_join(p->workers[i], NULL);
  free(p->workers);
  free(p);
}

/* Processors this process may use: the affinity mask where there is one, the fast cores of Apple's chips. */
int alloy_available_cpus(void) {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
#elif defined(__APPLE__)
  int cores = 0;
  size_t size = sizeof(cores);
  if (sysctlbyname("hw.perflevel0.physicalcpu", &cores, &size, NULL, 0) == 0 && cores > 0) return cores;
#endif
  return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

#endif

/* Instruction sets usable here, one bit each: 1 avx2+fma+f16c, 2 avx512 (f, bw, dq, vl), 4 avx512-vnni, 8 avx-vnni, 16 neon dot product. */
int alloy_cpu_features(void) {
  int f = 0;
#if !defined(__TINYC__) && defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) f |= 1;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    f |= 2;
  if ((f & 2) && __builtin_cpu_supports("avx512vnni")) f |= 4;
  unsigned a, b, c, d;
  if ((f & 1) && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 16)) f |= 8;
#elif defined(__aarch64__) && defined(__APPLE__)
  f |= 16; /* every Apple silicon chip */
#elif !defined(__TINYC__) && defined(__aarch64__) && defined(__linux__)
  extern unsigned long getauxval(unsigned long);
  if (getauxval(16) & (1ul << 20)) f |= 16; /* AT_HWCAP, HWCAP_ASIMDDP */
#endif
  return f;
}

/*
 * Zeroed memory at a multiple of 128 bytes; large blocks cost pages only when touched. Null when there is none. Large blocks ask for large pages, where Linux
 * leaves that to programs: attention reads a cache in runs of 16 KiB, and finding small pages is a fifth of its time.
 */
void *alloy_alloc(uint64_t bytes) {
  char *raw = calloc(1, bytes + 256);
  if (!raw) return 0;
#if defined(__linux__) && !defined(__TINYC__)
  if (bytes >= (4u << 20)) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), from = ((uint64_t)raw + page - 1) & ~(page - 1);
    madvise((void *)from, (uint64_t)raw + bytes - from, MADV_HUGEPAGE);
  }
#endif
  char *p = raw + 128 + (128 - ((uint64_t)raw & 127));
  ((void **)p)[-1] = raw;
  return p;
}
void alloy_free(void *p) {
  if (p) free(((void **)p)[-1]);
}

int alloy_runtime_version(void) { return ALLOY_RUNTIME_VERSION; }
