/* Wrong uses of the API, for the test that each is found. */
#pragma once
#include "control.h"

/** Commits the misuse of this name. 0 when there is none of that name. Names: see misuse.m; the i-th, or NULL, is mho_misuse_name(i). */
MHO_API int mho_misuse(const char *name);
MHO_API const char *mho_misuse_name(uint32_t i);
