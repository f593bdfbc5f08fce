/*
 * What the shim's two files share: the device behind a handle, and how errors leave.
 *
 * Manual retain/release and no blocks: one source serves Apple's compiler and runtime, and the test host on Linux.
 */
#pragma once
#import <Foundation/Foundation.h>
#import <Metal/Metal.h>

#include "alloy_metal.h"

/* What only newer systems have: looked for at run time, and declared here so that older SDKs build it too. */
@protocol AlloyResidencySet <NSObject>
- (void)addAllocation:(id)allocation;
- (void)removeAllocation:(id)allocation;
- (BOOL)containsAllocation:(id)allocation;
- (void)commit;
- (void)requestResidency;
@end

/* Behind an alloy_device. */
typedef struct {
  id<MTLDevice> device;
  id<MTLCommandQueue> queue;
  id<AlloyResidencySet> residency; /* nil before macOS 15 */
  BOOL residency_changed;
  id<MTLBinaryArchive> archive;
  NSURL *archive_url;
  BOOL archive_changed;
  uint64_t archive_hits, archive_misses;
  uint64_t gpu_cores, os_version;
  /* Command buffers whose end was not yet reported, oldest first. */
  id<MTLCommandBuffer> in_flight[ALLOY_METAL_MAX_IN_FLIGHT];
  uint32_t in_flight_count;
} context;

/* Handles are addresses. */
#define CONTEXT(handle) ((context *)(uintptr_t)(handle))
#define OBJECT(type, handle) ((type)(void *)(uintptr_t)(handle))
#define HANDLE(object) ((uint64_t)(uintptr_t)(void *)(object))

/* For %llu: uint64_t is another type on each system. */
typedef unsigned long long ull;

/*
 * Every function that talks to Metal does so between ENTER and LEAVE: a pool for what Metal autoreleases (the callers are JavaScript
 * threads, which have none), and a net for exceptions, which must not run through the caller's frames.
 */
#define ENTER @autoreleasepool { @try {
#define LEAVE } @catch (NSException *thrown) { return alloy_exception(thrown, ERROR); } }
#define LEAVE_QUIETLY } @catch (NSException *thrown) { (void)thrown; } }

/* The caller's text buffer, as every failing function passes it on. */
#define ERROR error, error_bytes

#define INTERNAL __attribute__((visibility("hidden")))

/* Writes the text and returns the code. */
INTERNAL int32_t alloy_fail(char *error, uint32_t error_bytes, int32_t code, const char *format, ...) __attribute__((format(printf, 4, 5)));
INTERNAL int32_t alloy_exception(NSException *thrown, char *error, uint32_t error_bytes);
INTERNAL const char *alloy_text(NSString *string);
INTERNAL const char *alloy_reason(NSError *problem);
