/* What the files of the fake frameworks share. */
#pragma once
#import <Foundation/Foundation.h>
#import <Metal/Metal.h>

#include "control.h"

#define HOST_PAGE 16384u

/* Records a finding. */
void host_report(const char *kind, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether this use of `name` shall fail (mho_inject); counts it. */
BOOL host_fails(const char *name);

/* A setting of mho_inject. */
long host_setting(const char *name, long otherwise);

/* The system's version that tests ask for: macOS 15 unless told otherwise. */
long host_os(void);

/* An autoreleased error. */
NSError *host_error(const char *domain, NSInteger code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Sets *error if there is one, and gives nil, for `return host_refuse(error, ...)`. */
#define host_refuse(error, ...) ((error) ? (void)(*(error) = host_error(__VA_ARGS__)) : (void)0, nil)

/* Throws an NSException. */
void host_throw(NSString *name, NSString *reason);

@interface MTLCompileOptions (Host)
/* Whether the math mode, or before macOS 15 fastMathEnabled, asks for fast math. */
- (BOOL)isFast;
@end

/* The classes that stand behind Metal's protocols. */
@class HostDevice;

@interface HostBuffer : NSObject <MTLBuffer> {
@public
  HostDevice *device;
  void *memory;
  NSUInteger length;
  BOOL owned, shared, writable;
}
@end

@interface HostDevice : NSObject <MTLDevice> {
@public
  uint64_t allocated; /* bytes of living buffers */
}
@end

@interface HostLibrary : NSObject <MTLLibrary> {
@public
  struct mh_library *library;
  uint64_t hash; /* of its text */
}
- (instancetype)initWithSource:(NSString *)source error:(NSError **)error;
@end

@interface HostFunction : NSObject <MTLFunction> {
@public
  HostLibrary *library;
  NSString *name;
  struct mh_pipeline *pipeline;
  uint64_t key; /* text, name and constants: what an archive finds it by */
}
@end

@interface HostPipeline : NSObject <MTLComputePipelineState> {
@public
  HostFunction *function;
  NSUInteger max_threads, width, shared_bytes;
}
- (instancetype)initWithFunction:(HostFunction *)function error:(NSError **)error;
@end

@interface HostArchive : NSObject <MTLBinaryArchive> {
  uint64_t *keys;
  NSUInteger count;
}
- (instancetype)initWithPath:(NSString *)path error:(NSError **)error;
- (BOOL)contains:(uint64_t)key;
@end

@interface HostQueue : NSObject <MTLCommandQueue> {
@public
  struct host_worker *worker;
}
- (instancetype)initWithLimit:(NSUInteger)limit;
@end
