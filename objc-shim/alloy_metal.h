/*
 * Alloy's C ABI over Metal: everything that the TypeScript driver (src/runtime/metal/) needs of a GPU, and nothing else.
 *
 * Conventions
 *   handles     64-bit, opaque, 0 is never valid. A handle is used with the device that made it. They are not checked: one that was
 *               freed must not be used again.
 *   results     every function that can fail returns 0 (ALLOY_METAL_OK) or a negative code, and then writes a sentence to
 *               `error` (UTF-8, ends with 0, cut at a character to fit `error_bytes`; may be NULL with 0). No exception leaves the
 *               shim. Out parameters are written on success only, unless their text says otherwise.
 *   pointers    are read during the call only, never kept, but for the memory of alloy_metal_buffer_wrap.
 *   threads     any thread may call; one device must be used by one thread at a time. Two threads (two Bun workers) open a
 *               device each.
 *   blocking    only alloy_metal_wait, _profile and _close wait for the GPU. Compiling (_library, _pipeline) takes its time on the
 *               calling thread.
 */
#ifndef ALLOY_METAL_H
#define ALLOY_METAL_H

#include <stdint.h>

/** Changes with every change of this file that a caller can notice. */
#define ALLOY_METAL_ABI 1

#ifdef __cplusplus
extern "C" {
#endif

#define ALLOY_METAL_API __attribute__((visibility("default")))

typedef uint64_t alloy_device, alloy_buffer, alloy_library, alloy_pipeline, alloy_submission;

enum {
  ALLOY_METAL_OK = 0,
  /** Of poll alone: the GPU is not done yet. */
  ALLOY_METAL_PENDING = 1,
  /** There is no Metal device, or the system is too old for the language version (macOS 14). */
  ALLOY_METAL_NO_DEVICE = -1,
  /** No memory for a buffer, or the GPU ran out of it while it executed. */
  ALLOY_METAL_OUT_OF_MEMORY = -2,
  /** The compiler refused the text; `error` holds its words ("program_source:LINE:COLUMN: error: …"). */
  ALLOY_METAL_COMPILE = -3,
  /** No such function in the library, a function constant is missing or of another type, or the back end refused. */
  ALLOY_METAL_PIPELINE = -4,
  /** The caller's mistake: a malformed plan, a grid or threadgroup beyond the limits, too many submissions in flight. */
  ALLOY_METAL_ARGUMENT = -5,
  /** The GPU could not finish a command buffer (page fault, invalid resource, internal error). */
  ALLOY_METAL_EXECUTION = -6,
  /** The device is gone or its use was revoked: nothing will work until it is opened again. */
  ALLOY_METAL_DEVICE_LOST = -7,
  /** The watchdog stopped a command buffer that ran too long. */
  ALLOY_METAL_TIMEOUT = -8,
  /** The binary archive could not be written. Never fatal: pipelines are compiled again next time. */
  ALLOY_METAL_ARCHIVE = -9,
  /** Metal threw an exception; `error` holds its name and reason. */
  ALLOY_METAL_EXCEPTION = -10,
};

/** ALLOY_METAL_ABI of the library that is loaded. */
ALLOY_METAL_API int32_t alloy_metal_abi(void);

/* ---- device ------------------------------------------------------------------------------------------------------------------- */

/** Opens the system's default GPU and a command queue on it. Codes: NO_DEVICE. */
ALLOY_METAL_API int32_t alloy_metal_open(alloy_device *device, char *error, uint32_t error_bytes);

/**
 * Waits for what is in flight, then frees the device with its queue and archive (unsaved). Buffers, libraries and pipelines are freed by
 * the caller, before.
 */
ALLOY_METAL_API void alloy_metal_close(alloy_device device);

/** Indices into the array of alloy_metal_facts. Sizes are in bytes. */
enum {
  ALLOY_FACT_REGISTRY_ID = 0,
  ALLOY_FACT_UNIFIED_MEMORY = 1,      /* 1: CPU and GPU share memory (every Apple chip) */
  ALLOY_FACT_WORKING_SET = 2,         /* recommendedMaxWorkingSetSize: what may be resident before the GPU starts to page */
  ALLOY_FACT_MAX_BUFFER = 3,          /* the largest single buffer; a wrap beyond it fails */
  ALLOY_FACT_THREADGROUP_MEMORY = 4,  /* of one threadgroup: 32768 */
  ALLOY_FACT_ALLOCATED = 5,           /* currentAllocatedSize: of this process, now */
  ALLOY_FACT_APPLE_FAMILY = 6,        /* N of the highest MTLGPUFamilyAppleN: 7 M1, 8 M2, 9 M3 and M4; 0: not an Apple GPU */
  ALLOY_FACT_METAL3 = 7,              /* 1: supports MTLGPUFamilyMetal3 */
  ALLOY_FACT_GPU_CORES = 8,           /* from the I/O registry; 0: unknown */
  ALLOY_FACT_MAX_THREADS = 9,         /* threads of a threadgroup on one axis: 1024. A pipeline may allow fewer */
  ALLOY_FACT_RESIDENCY_SETS = 10,     /* 1: alloy_metal_resident has an effect (macOS 15) */
  ALLOY_FACT_PAGE = 11,               /* granularity of alloy_metal_buffer_wrap: 16384 */
  ALLOY_FACT_PHYSICAL_MEMORY = 12,    /* of the machine */
  ALLOY_FACT_PRESSURE = 13,           /* the system's memory pressure now: 1 normal, 2 warning, 4 critical; 0 unknown */
  ALLOY_FACT_OS_VERSION = 14,         /* major * 10000 + minor * 100 + patch */
  ALLOY_FACT_IN_FLIGHT = 15,          /* submissions whose end was not yet reported */
  ALLOY_FACT_ARCHIVE_HITS = 16,       /* pipelines that came from the binary archive */
  ALLOY_FACT_ARCHIVE_MISSES = 17,     /* pipelines that were compiled while an archive was open */
  ALLOY_METAL_FACTS = 18,
};

/**
 * Fills facts[ALLOY_METAL_FACTS] and the device's name ("Apple M2 Pro"). Cheap enough to poll ALLOCATED and PRESSURE before each large
 * allocation: the pressure is a sysctl (kern.memorystatus_vm_pressure_level), since the event source for it would need blocks and a thread
 * of its own.
 */
ALLOY_METAL_API void alloy_metal_facts(alloy_device device, uint64_t *facts, char *name, uint32_t name_bytes);

/* ---- buffers ------------------------------------------------------------------------------------------------------------------ */

/** Allocates `bytes` (0 gives a small buffer) of zeroed memory that CPU and GPU share; *address is the CPU's view. Codes: OUT_OF_MEMORY. */
ALLOY_METAL_API int32_t alloy_metal_buffer_create(alloy_device device, uint64_t bytes, alloy_buffer *buffer, uint64_t *address,
                                                  char *error, uint32_t error_bytes);

/**
 * Makes host memory a buffer without copying. [address, address + bytes) may lie anywhere: the buffer covers the whole pages (FACT_PAGE)
 * around it, and *offset is where `address` lies in it (add it to every offset in a plan). Those pages must be mapped, as the pages of a
 * mapped file are, and stay so until the buffer is freed and nothing in flight uses it. Read-only mappings are fine for what kernels only
 * read. Codes: OUT_OF_MEMORY, ARGUMENT (no bytes, null, beyond FACT_MAX_BUFFER).
 */
ALLOY_METAL_API int32_t alloy_metal_buffer_wrap(alloy_device device, uint64_t address, uint64_t bytes, alloy_buffer *buffer,
                                                uint64_t *offset, char *error, uint32_t error_bytes);

/**
 * Frees a buffer and takes it out of the residency set. Command buffers in flight keep it alive until they are done (but not wrapped
 * memory's pages).
 */
ALLOY_METAL_API void alloy_metal_buffer_free(alloy_device device, alloy_buffer buffer);

/**
 * Keeps a buffer wired for the GPU between command buffers (on = 1) or no longer (0): for weights, so that the system need not wire
 * gigabytes anew after every pause. Takes effect with the next submit. Never needed for correctness: a bound buffer is resident while a
 * command buffer that binds it runs. Without residency sets (before macOS 15) it does nothing.
 */
ALLOY_METAL_API void alloy_metal_resident(alloy_device device, alloy_buffer buffer, int32_t on);

/* ---- programs ----------------------------------------------------------------------------------------------------------------- */

/**
 * alloy_metal_library flags: fast math (reassociation, no NaN or infinity, approximate functions). Without it the safe mode is asked for.
 */
#define ALLOY_LIBRARY_FAST_MATH 1u

/**
 * Compiles MSL (language version 3.1) from `source` (UTF-8, `source_bytes` long). Codes: COMPILE with the compiler's words, all that fit.
 */
ALLOY_METAL_API int32_t alloy_metal_library(alloy_device device, const char *source, uint64_t source_bytes, uint32_t flags,
                                            alloy_library *library, char *error, uint32_t error_bytes);

/** Pipelines made from it stay valid. */
ALLOY_METAL_API void alloy_metal_library_free(alloy_library library);

/** Types of function constants. */
enum { ALLOY_CONSTANT_BOOL = 0, ALLOY_CONSTANT_I32 = 1, ALLOY_CONSTANT_U32 = 2, ALLOY_CONSTANT_F32 = 3 };

/** Indices into the array that alloy_metal_pipeline fills. */
enum {
  ALLOY_PIPELINE_MAX_THREADS = 0,   /* of a threadgroup; below 1024 when the kernel needs many registers */
  ALLOY_PIPELINE_SIMD_WIDTH = 1,    /* 32 */
  ALLOY_PIPELINE_SHARED_BYTES = 2,  /* static threadgroup memory */
  ALLOY_PIPELINE_FROM_ARCHIVE = 3,  /* 1: the binary archive held it */
  ALLOY_PIPELINE_FACTS = 4,
};

/**
 * Makes the pipeline of a kernel function (`function`: its name, ends with 0). `constants`: three words for each of `count` function
 * constants: index, ALLOY_CONSTANT_*, value (0 or 1, or the 32 bits in the low half). A constant that the function needs and does not get
 * is an error; one that it does not have is ignored. facts[ALLOY_PIPELINE_FACTS] is filled. With an archive open it is looked up there
 * first, and put there when it was missing. Codes: PIPELINE, ARGUMENT.
 */
ALLOY_METAL_API int32_t alloy_metal_pipeline(alloy_device device, alloy_library library, const char *function,
                                             const uint64_t *constants, uint32_t count, alloy_pipeline *pipeline, uint64_t *facts,
                                             char *error, uint32_t error_bytes);

ALLOY_METAL_API void alloy_metal_pipeline_free(alloy_pipeline pipeline);

/**
 * Opens the binary archive (compiled pipelines on disk) at `path` for this device, or an empty one when the file is missing, broken, or of
 * another system or chip: an archive never breaks a run. *loaded: 1 when the file was used. Closes the one before. Codes: ARCHIVE (this
 * system can make none).
 */
ALLOY_METAL_API int32_t alloy_metal_archive_open(alloy_device device, const char *path, uint64_t *loaded, char *error,
                                                 uint32_t error_bytes);

/**
 * Writes the archive to its path if pipelines were added since, by way of a temporary file beside it and a rename. Nothing to do is
 * success. Codes: ARCHIVE.
 */
ALLOY_METAL_API int32_t alloy_metal_archive_save(alloy_device device, char *error, uint32_t error_bytes);

/* ---- plans -------------------------------------------------------------------------------------------------------------------- */

/*
 * A plan is a flat list of 64-bit words, walked in one call, and an array of 64-bit slots for what changes from run to run.
 * Each dispatch is
 *
 *   word 0       pipeline
 *   word 1       flags, ALLOY_DISPATCH_*
 *   word 2..4    grid: programs on each axis. Bit 63 set: the low bits name a slot. Negative counts as 0; a 0 anywhere skips the dispatch
 *   word 5       threads of a threadgroup: x | y << 16 | z << 32
 *   word 6       number of buffers | number of scalars << 32
 *   per buffer   two words: buffer, offset in bytes.
 *                Bit 63 of the first set: its low bits name a slot s: slots[s] is the buffer, slots[s + 1] an offset, to which the second
 *                word is added
 *   per scalar   two words: tag and value. Tag 0: the value; 1: slots[value]; 2: slots[value] is a double, passed as float bits;
 *                3: as double bits
 *
 * Buffers are bound to indices 0..n-1. Index n gets the bytes: uint grid[3], 4 bytes of padding, 8 bytes per scalar: at most 4096, so 510
 * scalars. One command buffer with one concurrent compute encoder holds all of a plan: dispatches may overlap, and only
 * ALLOY_DISPATCH_BARRIER orders one after all those before it. Submissions of a device run in order, each seeing the results of those
 * before.
 * Limits: per-axis grid * threads (threads of the grid) below 2^32, threads of a threadgroup up to the pipeline's
 * ALLOY_PIPELINE_MAX_THREADS.
 */

/** Every program of the grid is one thread (dispatchThreads); otherwise a threadgroup. */
#define ALLOY_DISPATCH_PER_THREAD 1u
/** A barrier before this dispatch: it sees what all earlier ones of the plan wrote. Kept for the next dispatch when this one is skipped. */
#define ALLOY_DISPATCH_BARRIER 2u
/** In grid and buffer words. */
#define ALLOY_SLOT (1ull << 63)

/** Submissions that may be in flight at once; one more is an ARGUMENT error (Metal itself would block the calling thread). */
#define ALLOY_METAL_MAX_IN_FLIGHT 64

/**
 * Encodes a plan of `count` dispatches (`word_count` words) and commits it; returns at once. Slots are read now: the caller may change them
 * for the next step. Every *submission must be ended by alloy_metal_poll or _wait. Codes: ARGUMENT (then nothing was committed),
 * OUT_OF_MEMORY, DEVICE_LOST.
 */
ALLOY_METAL_API int32_t alloy_metal_submit(alloy_device device, const uint64_t *words, uint32_t word_count, uint32_t count,
                                           const uint64_t *slots, uint32_t slot_count, alloy_submission *submission, char *error,
                                           uint32_t error_bytes);

/**
 * Asks without waiting: ALLOY_METAL_PENDING, or the end: OK, or the code of what went wrong on the GPU. The end is reported once: the
 * submission is freed then. times (may be NULL) gets, at the end, the GPU's start and end in seconds of the system's uptime clock (both 0
 * if it never ran).
 */
ALLOY_METAL_API int32_t alloy_metal_poll(alloy_device device, alloy_submission submission, double *times, char *error,
                                         uint32_t error_bytes);

/** As poll, but waits for the end; never PENDING. */
ALLOY_METAL_API int32_t alloy_metal_wait(alloy_device device, alloy_submission submission, double *times, char *error,
                                         uint32_t error_bytes);

/**
 * Runs a plan to its end with one command buffer per dispatch and writes each one's GPU time in nanoseconds to ns[count] (of a skipped one:
 * what an empty command buffer takes). Dispatches do not overlap here, and each carries the start-up of its command buffer, so that the sum
 * exceeds what submit takes. Codes: those of submit and wait.
 */
ALLOY_METAL_API int32_t alloy_metal_profile(alloy_device device, const uint64_t *words, uint32_t word_count, uint32_t count,
                                            const uint64_t *slots, uint32_t slot_count, double *ns, char *error, uint32_t error_bytes);

#ifdef __cplusplus
}
#endif
#endif
