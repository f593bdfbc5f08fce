/*
 * What tests see of the fake frameworks (Foundation and Metal) in liballoy_metal.so: findings, live objects, injected failures. C, for
 * bun:ffi.
 *
 * Findings here are wrong uses of the API (what Metal's validation layer or a crash would say on a Mac); what a kernel does wrong is in
 * mh_findings_take (abi.h).
 */
#ifndef METAL_HOST_CONTROL_H
#define METAL_HOST_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#define MHO_API __attribute__((visibility("default")))

/**
 * All findings since the last call, as a JSON array of {"kind": "...", "text": "..."}. Kinds: "object" (over-release, use after free,
 * autorelease without a pool, a message that is not understood) and "api". Returns the bytes needed with the NUL; when `size` is smaller
 * nothing is taken.
 */
MHO_API size_t mho_findings_take(char *out, size_t size);

/**
 * Number of Objective-C objects alive; `out` gets "class: number" lines. Queue threads let go of a command buffer a moment after it has
 * completed: mho_settle first.
 */
MHO_API uint64_t mho_live_objects(char *out, size_t size);

/** Waits until no queue executes anything. */
MHO_API void mho_settle(void);

/**
 * Makes the system fail or differ from now on. `words`, separated by spaces, are
 *   NAME        the next use fails          NAME@n   the one after n more       NAME*n   n times (NAME@n*m: both)
 *     no-device  buffer (allocation)  wrap  compile  function  pipeline  archive-open  archive-add  archive-write  command-buffer  encoder
 *     exception (newLibraryWithSource throws)
 *     gpu-timeout  gpu-fault  gpu-memory  device-lost  gpu-internal (how a command buffer ends)
 *   NAME=value  a setting
 *     os=140500 (major * 10000 + minor * 100)  pressure=4  delay=ms (each command buffer takes at least that long)  max-buffer=bytes
 *     hold=1 (no command buffer ends before hold=0)
 *     cores=8
 *     fast-math=0 (it is a finding when a library is compiled otherwise)
 *   reset       forgets all of this
 * At start: the environment's ALLOY_METAL_HOST_INJECT. Returns 0 for a word that is none of these, and then does nothing.
 */
MHO_API int mho_inject(const char *words);

#endif
