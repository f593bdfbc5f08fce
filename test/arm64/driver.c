/*
 * Runs plans in an arm64 process: what ./device.ts starts under qemu-user. The plan walk and the thread pool are runtime.c's own, and
 * programs come from shared libraries, as in alloy itself.
 *
 *   driver                              prints the features that runtime.c sees
 *   driver ARENA BYTES ADDRESS THREADS  maps ARENA at ADDRESS, then runs what comes from standard input until that ends
 *
 * A plan is a u64 length in bytes, then u64 dispatches, programs, words; the words; per program, library and symbol as C strings.
 * A word that holds a program holds its number here. The answer to each is a byte: 0, or 1 for a grid that is too large.
 */
#include "../../src/runtime/cpu/runtime.c"
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

static void die(const char *what, const char *detail) {
  fprintf(stderr, "%s: %s\n", what, detail ? detail : "");
  exit(2);
}

static int read_all(void *to, uint64_t bytes) {
  for (char *at = to; bytes;) {
    ssize_t n = read(0, at, bytes);
    if (n <= 0) return 0;
    at += n;
    bytes -= (uint64_t)n;
  }
  return 1;
}

static void *entry_of(const char *path, const char *symbol) {
  void *library = dlopen(path, RTLD_NOW);
  if (!library) die("cannot be loaded", dlerror());
  void *(*lookup)(const char *) = (void *(*)(const char *))dlsym(library, "alloy_lookup");
  void *entry = lookup(symbol);
  if (!entry) die("is not in its library", symbol);
  return entry;
}

int main(int argc, char **argv) {
  if (argc < 5) {
    printf("%d\n", alloy_cpu_features());
    return 0;
  }
  uint64_t base = strtoull(argv[3], 0, 10), bytes;
  int arena = open(argv[1], O_RDWR);
  /* Where the host has said in arguments that it is. */
  if (arena < 0 || mmap((void *)base, strtoull(argv[2], 0, 10), PROT_READ | PROT_WRITE, MAP_SHARED, arena, 0) != (void *)base)
    die("cannot be mapped", argv[1]);
  void *pool = alloy_pool_create(atoi(argv[4]), atoi(argv[4]));
  while (read_all(&bytes, sizeof(bytes))) {
    uint64_t *job = malloc(bytes);
    if (!job || !read_all(job, bytes)) die("was cut short", "a plan");
    uint64_t *words = job + 3, *w = words;
    const char *name = (const char *)(words + job[2]);
    void **entries = calloc(job[1] + 1, sizeof(void *));
    for (uint64_t i = 0; i < job[1]; i++) {
      const char *symbol = name + strlen(name) + 1;
      entries[i] = entry_of(name, symbol);
      name = symbol + strlen(symbol) + 1;
    }
    for (uint64_t i = 0; i < job[0]; i++, w += 6 + 2 * w[4]) w[0] = (uint64_t)entries[w[0]];
    /* A program that never ends ends the process. */
    alarm(60);
    char result = alloy_plan_run(pool, words, (uint32_t)job[0], words, 0) != 0;
    alarm(0);
    free(entries);
    free(job);
    if (write(1, &result, 1) != 1) return 1;
  }
  return 0;
}
