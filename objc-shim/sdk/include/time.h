#pragma once

typedef long time_t;
typedef unsigned int clockid_t;
struct timespec {
  time_t tv_sec;
  long tv_nsec;
};

#define CLOCK_MONOTONIC 6

int clock_gettime(clockid_t clock, struct timespec *time);
