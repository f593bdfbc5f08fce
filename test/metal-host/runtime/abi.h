/*
 * What the fake Metal framework (objc/) calls to have MSL text compiled and run on this machine (libmetalhost.so).
 *
 * Names begin with mh_. Handles are opaque. Functions that can fail write a NUL-terminated text into the caller's `error` buffer, cut to its
 * size. Every function may be called from any thread: the executor does its work on a thread of its own, one dispatch at a time, and the caller
 * waits. The calls map onto Metal like this:
 *
 *   newLibraryWithSource          mh_library_compile            one text, error text with MSL lines as Apple's ("program_source:12:7: error: ...")
 *   functionNames                 mh_library_kernel
 *   newFunctionWithName           mh_function_find              NULL when there is none of that name
 *   functionConstantsDictionary   mh_function_constant
 *   newComputePipelineState       mh_pipeline_create            a function with values for its constants
 *   a compute command encoder     mh_pass_begin ... mh_pass_end, replayed when the command buffer executes
 *   dispatchThread(group)s        mh_pass_dispatch              runs before it returns
 *   memoryBarrier...              mh_pass_barrier               for an encoder of the serial type: call it between any two dispatches
 *
 * Dispatches of one pass with no barrier between them count as concurrent: accesses that collide are findings. The end of a pass orders everything.
 */
#ifndef METAL_HOST_ABI_H
#define METAL_HOST_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MH_API __attribute__((visibility("default")))

/* Results of mh_pass_dispatch. */
enum {
  MH_OK = 0,
  MH_INVALID = 1, /* the dispatch itself cannot be (what Metal's API validation stops): nothing ran; `error` says why */
  MH_FINDING = 2  /* it ran, and the checker found something, or it was abandoned: `error` holds the findings, one a line */
};

typedef struct mh_library mh_library;
typedef struct mh_function mh_function;
typedef struct mh_pipeline mh_pipeline;
typedef struct mh_pass mh_pass;

/* One program-scope constant with [[function_constant(index)]]. `type` is an MTLDataType (bool 53, int 29, uint 33, float 3, half 16, short 37, ...). */
typedef struct {
  const char *name;
  uint32_t index;
  uint32_t type;
  uint32_t required; /* 1 unless the text asks is_function_constant_defined() of it */
} mh_constant;

/* A value for a constant: its bytes, little-endian, in the low end of `bits`. */
typedef struct {
  uint32_t index;
  uint32_t type; /* MTLDataType it was set with */
  uint64_t bits;
} mh_constant_value;

typedef struct {
  uint32_t max_threads_per_threadgroup; /* 1024, or what [[max_total_threads_per_threadgroup(n)]] says */
  uint32_t thread_execution_width;      /* 32 */
  uint32_t static_threadgroup_bytes;
} mh_pipeline_facts;

/* One entry of the buffer argument table. */
typedef struct {
  uint32_t index;
  uint32_t writable; /* 0: memory that no kernel may write (bytes that setBytes copied, pages that are mapped for reading) */
  void *base;        /* contents + offset; NULL is an argument that was not bound */
  uint64_t length;   /* bytes from base to the end of the buffer: any access beyond is a finding */
} mh_binding;

typedef struct {
  mh_pipeline *pipeline;
  const char *label; /* may be NULL; shown in findings */
  const mh_binding *bindings;
  uint32_t binding_count;
  const uint32_t *threadgroup_lengths; /* setThreadgroupMemoryLength:atIndex: by index; may be NULL */
  uint32_t threadgroup_length_count;
  uint32_t exact_threads;              /* 1: `grid` counts threads (dispatchThreads), 0: threadgroups */
  uint32_t grid[3];
  uint32_t threads[3]; /* per threadgroup */
} mh_dispatch;

/* The library, or NULL with the compiler's words. The text needs no NUL. */
MH_API mh_library *mh_library_compile(const char *text, size_t length, char *error, size_t error_size);
MH_API void mh_library_release(mh_library *library);
/* Name of the i-th kernel, NULL past the last. */
MH_API const char *mh_library_kernel(mh_library *library, uint32_t i);

/* A function lives as long as its library. */
MH_API mh_function *mh_function_find(mh_library *library, const char *name);
/* Fills `out` with the i-th constant that the function uses; 0 past the last. Text pointers live as long as the library. */
MH_API int mh_function_constant(mh_function *function, uint32_t i, mh_constant *out);

/* NULL with a text when a required constant has no value or one has a value of another type. Values of unused indices are ignored. */
MH_API mh_pipeline *mh_pipeline_create(mh_function *function, const mh_constant_value *values, uint32_t count, char *error, size_t error_size);
/* A pipeline keeps what it needs of its library: either may be released first. */
MH_API void mh_pipeline_release(mh_pipeline *pipeline);
MH_API void mh_pipeline_facts_get(mh_pipeline *pipeline, mh_pipeline_facts *out);
/* Whether the kernel's parameter [[buffer(index)]] exists: 0 no, 1 read only (constant or const device), 2 writable. */
MH_API int mh_pipeline_argument(mh_pipeline *pipeline, uint32_t index);

MH_API mh_pass *mh_pass_begin(const char *label);
/* MH_OK, MH_INVALID or MH_FINDING. Whoever drives passes should fail the command buffer on anything but MH_OK. */
MH_API int mh_pass_dispatch(mh_pass *pass, const mh_dispatch *dispatch, char *error, size_t error_size);
/* memoryBarrierWithScope(buffers): everything before is ordered against everything after. */
MH_API void mh_pass_barrier(mh_pass *pass);
/* memoryBarrierWithResources: only accesses to these ranges are ordered. */
MH_API void mh_pass_barrier_ranges(mh_pass *pass, const void *const *bases, const uint64_t *lengths, uint32_t count);
MH_API void mh_pass_end(mh_pass *pass);

/*
 * All findings since the last call, as a JSON array of
 *   { "kind": "race", "text": "...", "kernel": "name", "label": "...", "line": 12, "thread": [x,y,z], "group": [x,y,z] }
 * `line` counts from 1 in the library's text, 0 where it is not known. Returns the bytes needed with the NUL; when `size` is smaller nothing is taken.
 */
MH_API size_t mh_findings_take(char *out, size_t size);

/*
 * How texts are compiled and run from now on: words out of
 *   checked | fast | unoptimised     checked is the default; unoptimised is checked without the optimiser, which can hide a defect
 *   order=forward|reverse|<seed>     in which order threads get their turns
 *   contract=off|on                  whether a*b+c may become one fma
 *   limit=<seconds>                  processor time that a dispatch may use before it is ended; 60 at first
 * separated by spaces; what is not named keeps its value. At start: the environment's ALLOY_METAL_HOST. 0 and a text for a word that is none of these.
 */
MH_API int mh_configure(const char *words, char *error, size_t error_size);

#ifdef __cplusplus
}
#endif
#endif
