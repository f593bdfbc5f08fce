/* The fake GPU, its buffers and residency sets. */
#include <objc/runtime.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#import "host.h"

/* Buffers from this size on come straight from the system: zeroed, and pages cost nothing until they are touched. */
#define MAPPED (1u << 20)

static NSUInteger round_up(NSUInteger n, NSUInteger to) { return (n + to - 1) / to * to; }

/*
 * Whether any of these pages may be written, from the system's list of mappings. Pages here are smaller than a Mac's: the ends of a
 * wrapped range may lie in somebody else's mapping, or in none.
 */
static BOOL is_writable(const void *address, NSUInteger length) {
  FILE *maps = fopen("/proc/self/maps", "r");
  BOOL mapped = NO, writable = NO;
  char line[512], mode[8];
  unsigned long from, to, start = (unsigned long)address;
  while (maps && fgets(line, sizeof line, maps)) {
    if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 || to <= start || from >= start + length) continue;
    mapped = YES;
    writable |= mode[1] == 'w';
  }
  if (maps) fclose(maps);
  return writable || !mapped;
}

@implementation HostBuffer

- (NSUInteger)length {
  return length;
}

- (void *)contents {
  if (shared) return memory;
  host_report("api", "contents of a private buffer");
  return NULL;
}

- (void)dealloc {
  __atomic_sub_fetch(&device->allocated, length, __ATOMIC_RELAXED);
  if (owned && length >= MAPPED) munmap(memory, round_up(length, HOST_PAGE));
  else if (owned) free(memory);
  [device release];
  [super dealloc];
}

@end

@interface MTLResidencySetDescriptor : NSObject
@end
@implementation MTLResidencySetDescriptor
@end

/* Additions and removals take effect with commit, as Metal's do. */
@interface HostResidencySet : NSObject {
  id *members, *pending;
  NSUInteger count, capacity, pending_count, pending_capacity;
}
@end

@implementation HostResidencySet

static NSUInteger find(id *list, NSUInteger count, id object) {
  NSUInteger i = 0;
  while (i < count && list[i] != object) i++;
  return i;
}

- (void)addAllocation:(id)allocation {
  if (!allocation) {
    host_report("api", "addAllocation: nil");
    return;
  }
  if (find(pending, pending_count, allocation) < pending_count) return;
  if (pending_count == pending_capacity) pending = realloc(pending, (pending_capacity = pending_capacity * 2 + 8) * sizeof(id));
  pending[pending_count++] = [allocation retain];
}

- (void)removeAllocation:(id)allocation {
  NSUInteger i = find(pending, pending_count, allocation);
  if (i == pending_count) return;
  pending[i] = pending[--pending_count];
  [allocation release];
}

- (BOOL)containsAllocation:(id)allocation {
  return find(members, count, allocation) < count;
}

- (void)commit {
  for (NSUInteger i = 0; i < pending_count; i++) [pending[i] retain];
  for (NSUInteger i = 0; i < count; i++) [members[i] release];
  if (capacity < pending_count) members = realloc(members, (capacity = pending_count) * sizeof(id));
  memcpy(members, pending, pending_count * sizeof(id));
  count = pending_count;
}

- (void)requestResidency {
}

- (void)dealloc {
  for (NSUInteger i = 0; i < pending_count; i++) [pending[i] release];
  for (NSUInteger i = 0; i < count; i++) [members[i] release];
  free(pending);
  free(members);
  [super dealloc];
}

@end

static pthread_mutex_t device_lock = PTHREAD_MUTEX_INITIALIZER;
static HostDevice *the_device; /* weak: one for all who ask while it lives */

MHO_API id<MTLDevice> MTLCreateSystemDefaultDevice(void) {
  if (host_fails("no-device")) return nil;
  pthread_mutex_lock(&device_lock);
  HostDevice *device = the_device ? [the_device retain] : (the_device = [[HostDevice alloc] init]);
  pthread_mutex_unlock(&device_lock);
  return device;
}

@implementation HostDevice

- (oneway void)release {
  pthread_mutex_lock(&device_lock);
  if ([self retainCount] == 1) the_device = nil;
  [super release];
  pthread_mutex_unlock(&device_lock);
}

- (BOOL)respondsToSelector:(SEL)selector {
  if (!strcmp(sel_getName(selector), "newResidencySetWithDescriptor:error:") && host_os() < 150000) return NO;
  return [super respondsToSelector:selector];
}

- (NSString *)name {
  return @"Metal host";
}

- (uint64_t)registryID {
  return 0x1000003a1;
}

- (BOOL)hasUnifiedMemory {
  return YES;
}

- (uint64_t)recommendedMaxWorkingSetSize {
  return NSProcessInfo.processInfo.physicalMemory / 4 * 3;
}

- (NSUInteger)maxBufferLength {
  return (NSUInteger)host_setting("max-buffer", (long)(NSProcessInfo.processInfo.physicalMemory / 2));
}

- (NSUInteger)maxThreadgroupMemoryLength {
  return 32768;
}

- (MTLSize)maxThreadsPerThreadgroup {
  return MTLSizeMake(1024, 1024, 1024);
}

- (NSUInteger)currentAllocatedSize {
  return __atomic_load_n(&allocated, __ATOMIC_RELAXED);
}

/* An M1's: the least that the emitter writes for. */
- (BOOL)supportsFamily:(MTLGPUFamily)family {
  return (family >= MTLGPUFamilyApple1 && family <= MTLGPUFamilyApple7) || family == MTLGPUFamilyMetal3;
}

- (id<MTLCommandQueue>)newCommandQueueWithMaxCommandBufferCount:(NSUInteger)count {
  return [[HostQueue alloc] initWithLimit:count];
}

- (HostBuffer *)bufferAt:(void *)memory length:(NSUInteger)length options:(MTLResourceOptions)options owned:(BOOL)owned {
  HostBuffer *buffer = [[HostBuffer alloc] init];
  buffer->device = [self retain];
  buffer->memory = memory;
  buffer->length = length;
  buffer->owned = owned;
  buffer->shared = (options & 0xf0) == MTLResourceStorageModeShared;
  buffer->writable = owned || is_writable(memory, length);
  __atomic_add_fetch(&allocated, length, __ATOMIC_RELAXED);
  return buffer;
}

- (id<MTLBuffer>)newBufferWithLength:(NSUInteger)length options:(MTLResourceOptions)options {
  if (!length) {
    host_report("api", "newBufferWithLength: a buffer cannot have 0 bytes");
    return nil;
  }
  if (length > self.maxBufferLength || host_fails("buffer")) return nil;
  void *memory = NULL;
  if (length >= MAPPED) {
    memory = mmap(NULL, round_up(length, HOST_PAGE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nil;
  } else {
    if (posix_memalign(&memory, 256, round_up(length, 256))) return nil;
    memset(memory, 0, round_up(length, 256));
  }
  return [self bufferAt:memory length:length options:options owned:YES];
}

- (id<MTLBuffer>)newBufferWithBytesNoCopy:(void *)pointer
                                   length:(NSUInteger)length
                                  options:(MTLResourceOptions)options
                              deallocator:(void *)deallocator {
  (void)deallocator;
  if (!pointer || !length || (uintptr_t)pointer % HOST_PAGE || length % HOST_PAGE) {
    host_report("api", "newBufferWithBytesNoCopy: %p with %lu bytes is not whole pages of %u bytes", pointer, length, HOST_PAGE);
    return nil;
  }
  if ((options & 0xf0) == MTLResourceStorageModePrivate) {
    host_report("api", "newBufferWithBytesNoCopy: private storage");
    return nil;
  }
  if (length > self.maxBufferLength || host_fails("wrap")) return nil;
  return [self bufferAt:pointer length:length options:options owned:NO];
}

- (id)newResidencySetWithDescriptor:(id)descriptor error:(NSError **)error {
  (void)error;
  if (!descriptor) host_report("api", "newResidencySetWithDescriptor: nil");
  return [[HostResidencySet alloc] init];
}

- (id<MTLLibrary>)newLibraryWithSource:(NSString *)source options:(MTLCompileOptions *)options error:(NSError **)error {
  if (host_fails("exception")) host_throw(@"NSInternalInconsistencyException", @"a test asked for this");
  if (host_fails("compile")) return host_refuse(error, "MTLLibraryErrorDomain", 3, "program_source:1:1: error: a test asked for this");
  if (!source) {
    host_report("api", "newLibraryWithSource: nil");
    return nil;
  }
  if (options && options.languageVersion != MTLLanguageVersion3_1) host_report("api", "languageVersion is 0x%lx", (long)options.languageVersion);
  long fast = host_setting("fast-math", -1), asked = options ? [options isFast] : YES;
  if (fast >= 0 && fast != asked) host_report("api", "fast math is %s", asked ? "on" : "off");
  return [[HostLibrary alloc] initWithSource:source error:error];
}

- (id<MTLComputePipelineState>)newComputePipelineStateWithDescriptor:(MTLComputePipelineDescriptor *)descriptor
                                                             options:(MTLPipelineOption)options
                                                          reflection:(void *)reflection
                                                               error:(NSError **)error {
  (void)reflection;
  HostFunction *function = (HostFunction *)descriptor.computeFunction;
  if (!function) {
    host_report("api", "newComputePipelineState: the descriptor has no function");
    return host_refuse(error, "AGXMetal", 1, "no compute function");
  }
  NSArray *archives = descriptor.binaryArchives;
  BOOL found = NO;
  for (NSUInteger i = 0; i < archives.count; i++) found |= [(HostArchive *)[archives objectAtIndex:i] contains:function->key];
  if (!found && (options & MTLPipelineOptionFailOnBinaryArchiveMiss))
    return host_refuse(error, "AGXMetal", 1, "Function %s was not found in any provided MTLBinaryArchive", function->name.UTF8String);
  if (host_fails("pipeline")) return host_refuse(error, "AGXMetal", 3, "Compiler encountered an internal error (a test asked for this)");
  return [[HostPipeline alloc] initWithFunction:function error:error];
}

- (id<MTLBinaryArchive>)newBinaryArchiveWithDescriptor:(MTLBinaryArchiveDescriptor *)descriptor error:(NSError **)error {
  return [[HostArchive alloc] initWithPath:descriptor.url.path error:error];
}

@end
