#pragma once

#define _SC_NPROCESSORS_ONLN 58

int getpid(void);
long sysconf(int name);
