/* Findings of the fake frameworks, and failures on request. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#import "host.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- findings ------------------------------------------------------------------------------------------------------------------ */

/* JSON objects, separated by commas. Beyond the limit findings are dropped: the first ones tell what is wrong. */
static char *findings;
static size_t findings_length;
#define FINDINGS_LIMIT (1u << 20)

void host_report(const char *kind, const char *format, ...) {
  char text[1024];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  pthread_mutex_lock(&lock);
  if (findings_length < FINDINGS_LIMIT) {
    findings = realloc(findings, findings_length + 8 * sizeof text);
    char *at = findings + findings_length;
    at += sprintf(at, "%s{\"kind\":\"%s\",\"text\":\"", findings_length ? "," : "", kind);
    for (const char *c = text; *c; c++) {
      if (*c == '"' || *c == '\\') at += sprintf(at, "\\%c", *c);
      else if ((unsigned char)*c < 0x20) at += sprintf(at, "\\u%04x", *c);
      else *at++ = *c;
    }
    at += sprintf(at, "\"}");
    findings_length = (size_t)(at - findings);
  }
  pthread_mutex_unlock(&lock);
}

size_t mho_findings_take(char *out, size_t size) {
  pthread_mutex_lock(&lock);
  size_t needed = findings_length + 3;
  if (size >= needed) {
    snprintf(out, size, "[%s]", findings_length ? findings : "");
    free(findings);
    findings = NULL;
    findings_length = 0;
  }
  pthread_mutex_unlock(&lock);
  return needed;
}

/* ---- injected failures --------------------------------------------------------------------------------------------------------- */

static const char *const failures[] = {"no-device",    "buffer",        "wrap",           "compile", "function",  "pipeline",
                                       "archive-open", "archive-add",   "archive-write",  "encoder", "exception", "command-buffer",
                                       "gpu-timeout",  "gpu-fault",     "gpu-memory",     "gpu-internal", "device-lost"};
static const char *const settings[] = {"os", "pressure", "delay", "hold", "max-buffer", "cores", "fast-math"};
#define COUNT(list) (sizeof(list) / sizeof *(list))

static struct {
  long after, times;
} failing[COUNT(failures)];
static struct {
  BOOL set;
  long value;
} chosen[COUNT(settings)];

static size_t find(const char *const *list, size_t count, const char *name, size_t length) {
  size_t i = 0;
  while (i < count && (strlen(list[i]) != length || memcmp(list[i], name, length))) i++;
  return i;
}

/* Digits at *at, and moves on; -1 when there are none. */
static long number(char **at) {
  if (**at < '0' || **at > '9') return -1;
  return strtol(*at, at, 10);
}

/* One word; only checks it unless `apply`. */
static BOOL inject(const char *word, size_t length, BOOL apply) {
  size_t name = 0;
  while (name < length && !strchr("@*=", word[name])) name++;
  char rest[64];
  if (length - name >= sizeof rest) return NO;
  memcpy(rest, word + name, length - name);
  rest[length - name] = 0;
  if (name == length && name == 5 && !memcmp(word, "reset", 5)) {
    if (apply) memset(failing, 0, sizeof failing), memset(chosen, 0, sizeof chosen);
    return YES;
  }
  char *end = rest;
  if (*rest == '=') {
    size_t i = find(settings, COUNT(settings), word, name);
    end++;
    long value = number(&end);
    if (i == COUNT(settings) || *end || value < 0) return NO;
    if (apply) chosen[i].set = YES, chosen[i].value = value;
    return YES;
  }
  size_t i = find(failures, COUNT(failures), word, name);
  long after = 0, times = 1;
  if (*end == '@') end++, after = number(&end);
  if (*end == '*') end++, times = number(&end);
  if (i == COUNT(failures) || *end || after < 0 || times < 0) return NO;
  if (apply) failing[i].after = after, failing[i].times = times;
  return YES;
}

int mho_inject(const char *words) {
  int good = 1;
  pthread_mutex_lock(&lock);
  for (int apply = 0; apply < 2 && good; apply++) {
    for (const char *at = words; *at;) {
      size_t length = strcspn(at, " ");
      if (length && !inject(at, length, apply)) good = 0;
      at += length + strspn(at + length, " ");
    }
  }
  pthread_mutex_unlock(&lock);
  return good;
}

__attribute__((constructor)) static void from_environment(void) {
  const char *words = getenv("ALLOY_METAL_HOST_INJECT");
  if (words && !mho_inject(words)) fprintf(stderr, "metal host: ALLOY_METAL_HOST_INJECT is not understood: %s\n", words);
}

BOOL host_fails(const char *name) {
  size_t i = find(failures, COUNT(failures), name, strlen(name));
  if (i == COUNT(failures)) abort();
  pthread_mutex_lock(&lock);
  BOOL fails = NO;
  if (failing[i].times > 0) {
    if (failing[i].after > 0) failing[i].after--;
    else failing[i].times--, fails = YES;
  }
  pthread_mutex_unlock(&lock);
  return fails;
}

long host_setting(const char *name, long otherwise) {
  size_t i = find(settings, COUNT(settings), name, strlen(name));
  if (i == COUNT(settings)) abort();
  pthread_mutex_lock(&lock);
  long value = chosen[i].set ? chosen[i].value : otherwise;
  pthread_mutex_unlock(&lock);
  return value;
}

long host_os(void) { return host_setting("os", 150200); }
