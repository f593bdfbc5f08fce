/* What the shim and the CPU runtime use of the C library, for cross-building without Apple's SDK. */
#pragma once
#include <stdarg.h>
#include <stddef.h>

int snprintf(char *text, size_t bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));
int vsnprintf(char *text, size_t bytes, const char *format, va_list list);
int rename(const char *from, const char *to);
int remove(const char *path);
