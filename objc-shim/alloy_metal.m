/*
 * The C ABI of alloy_metal.h over Metal: devices, buffers, libraries, pipelines, the binary archive. Plans are in plan.m.
 */
#include <IOKit/IOKitLib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysctl.h>
#include <unistd.h>

#import "internal.h"

/* What only newer systems have, on the classes that have it. */
@protocol AlloyNewerMetal <NSObject>
- (id)newResidencySetWithDescriptor:(id)descriptor error:(NSError **)error; /* MTLDevice, macOS 15 */
- (void)addResidencySet:(id)set;                                            /* MTLCommandQueue, macOS 15 */
- (void)setMathMode:(NSInteger)mode;                                        /* MTLCompileOptions, macOS 15 */
@end
enum { MATH_MODE_SAFE = 0, MATH_MODE_FAST = 2 };

#define PAGE 16384ull
#define MIN_OS 140000

/* ---- errors ------------------------------------------------------------------------------------------------------------------- */

/* Formats into `to` and, where the text is too long, cuts it between two characters. */
static void put(char *to, uint32_t bytes, const char *format, va_list list) {
  if (!to || !bytes) return;
  int n = vsnprintf(to, bytes, format, list);
  if (n < (int)bytes) return;
  uint32_t end = bytes - 1;
  while (end > 0 && ((unsigned char)to[end - 1] & 0xc0) == 0x80) end--;
  if (end > 0 && (unsigned char)to[end - 1] >= 0xc0) end--;
  to[end] = 0;
}

int32_t alloy_fail(char *error, uint32_t error_bytes, int32_t code, const char *format, ...) {
  va_list list;
  va_start(list, format);
  put(error, error_bytes, format, list);
  va_end(list);
  return code;
}

const char *alloy_text(NSString *string) {
  const char *text = string ? string.UTF8String : NULL;
  return text ? text : "no reason was given";
}

const char *alloy_reason(NSError *problem) { return alloy_text(problem ? problem.localizedDescription : nil); }

int32_t alloy_exception(NSException *thrown, char *error, uint32_t error_bytes) {
  return alloy_fail(ERROR, ALLOY_METAL_EXCEPTION, "Metal threw %s: %s", alloy_text(thrown.name), alloy_text(thrown.reason));
}

int32_t alloy_metal_abi(void) { return ALLOY_METAL_ABI; }

/* ---- device ------------------------------------------------------------------------------------------------------------------- */

/* Metal does not tell the number of cores; the driver's entry in the I/O registry does. */
static uint64_t gpu_cores(void) {
  uint64_t cores = 0;
  io_service_t entry = IOServiceGetMatchingService(0, IOServiceMatching("AGXAccelerator"));
  if (!entry) return 0;
  NSNumber *number = (NSNumber *)IORegistryEntryCreateCFProperty(entry, (CFStringRef)@"gpu-core-count", NULL, 0);
  IOObjectRelease(entry);
  if ([number respondsToSelector:@selector(unsignedLongLongValue)]) cores = number.unsignedLongLongValue;
  [number release];
  return cores;
}

static void add_residency_set(context *c) {
  Class descriptor_class = NSClassFromString(@"MTLResidencySetDescriptor");
  if (!descriptor_class || ![c->device respondsToSelector:@selector(newResidencySetWithDescriptor:error:)] ||
      ![c->queue respondsToSelector:@selector(addResidencySet:)])
    return;
  id descriptor = [[descriptor_class alloc] init];
  c->residency = [(id<AlloyNewerMetal>)c->device newResidencySetWithDescriptor:descriptor error:NULL];
  [descriptor release];
  if (c->residency) [(id<AlloyNewerMetal>)c->queue addResidencySet:c->residency];
}

static void free_context(context *c) {
  for (uint32_t i = 0; i < c->in_flight_count; i++) [c->in_flight[i] release];
  [c->residency release];
  [c->archive release];
  [c->archive_url release];
  [c->queue release];
  [c->device release];
  free(c);
}

int32_t alloy_metal_open(alloy_device *device, char *error, uint32_t error_bytes) {
  ENTER
  NSOperatingSystemVersion os = NSProcessInfo.processInfo.operatingSystemVersion;
  uint64_t version = (uint64_t)(os.majorVersion * 10000 + os.minorVersion * 100 + os.patchVersion);
  if (version < MIN_OS)
    return alloy_fail(ERROR, ALLOY_METAL_NO_DEVICE, "Metal 3.1 needs macOS 14 or later; this is %d.%d", (int)os.majorVersion,
                      (int)os.minorVersion);
  id<MTLDevice> gpu = MTLCreateSystemDefaultDevice();
  if (!gpu) return alloy_fail(ERROR, ALLOY_METAL_NO_DEVICE, "This system has no Metal device");
  id<MTLCommandQueue> queue = [gpu newCommandQueueWithMaxCommandBufferCount:ALLOY_METAL_MAX_IN_FLIGHT + 1];
  context *c = queue ? calloc(1, sizeof(context)) : NULL;
  if (!c) {
    [queue release];
    [gpu release];
    return alloy_fail(ERROR, ALLOY_METAL_NO_DEVICE, "The Metal device gives no command queue");
  }
  c->device = gpu;
  c->queue = queue;
  c->os_version = version;
  c->gpu_cores = gpu_cores();
  add_residency_set(c);
  *device = (uint64_t)(uintptr_t)c;
  return ALLOY_METAL_OK;
  LEAVE
}

void alloy_metal_close(alloy_device device) {
  context *c = CONTEXT(device);
  if (!c) return;
  ENTER
  for (uint32_t i = 0; i < c->in_flight_count; i++) [c->in_flight[i] waitUntilCompleted];
  free_context(c);
  LEAVE_QUIETLY
}

static uint64_t apple_family(id<MTLDevice> device) {
  for (NSInteger n = 15; n > 0; n--)
    if ([device supportsFamily:(MTLGPUFamily)(MTLGPUFamilyApple1 + n - 1)]) return (uint64_t)n;
  return 0;
}

static uint64_t memory_pressure(void) {
  int level = 0;
  size_t bytes = sizeof level;
  return sysctlbyname("kern.memorystatus_vm_pressure_level", &level, &bytes, NULL, 0) == 0 && level > 0 ? (uint64_t)level : 0;
}

void alloy_metal_facts(alloy_device device, uint64_t *facts, char *name, uint32_t name_bytes) {
  context *c = CONTEXT(device);
  memset(facts, 0, ALLOY_METAL_FACTS * sizeof *facts);
  ENTER
  id<MTLDevice> gpu = c->device;
  facts[ALLOY_FACT_REGISTRY_ID] = gpu.registryID;
  facts[ALLOY_FACT_UNIFIED_MEMORY] = gpu.hasUnifiedMemory;
  facts[ALLOY_FACT_WORKING_SET] = gpu.recommendedMaxWorkingSetSize;
  facts[ALLOY_FACT_MAX_BUFFER] = gpu.maxBufferLength;
  facts[ALLOY_FACT_THREADGROUP_MEMORY] = gpu.maxThreadgroupMemoryLength;
  facts[ALLOY_FACT_ALLOCATED] = gpu.currentAllocatedSize;
  facts[ALLOY_FACT_APPLE_FAMILY] = apple_family(gpu);
  facts[ALLOY_FACT_METAL3] = [gpu supportsFamily:MTLGPUFamilyMetal3];
  facts[ALLOY_FACT_GPU_CORES] = c->gpu_cores;
  facts[ALLOY_FACT_MAX_THREADS] = gpu.maxThreadsPerThreadgroup.width;
  facts[ALLOY_FACT_RESIDENCY_SETS] = c->residency != nil;
  facts[ALLOY_FACT_PAGE] = PAGE;
  facts[ALLOY_FACT_PHYSICAL_MEMORY] = NSProcessInfo.processInfo.physicalMemory;
  facts[ALLOY_FACT_PRESSURE] = memory_pressure();
  facts[ALLOY_FACT_OS_VERSION] = c->os_version;
  facts[ALLOY_FACT_IN_FLIGHT] = c->in_flight_count;
  facts[ALLOY_FACT_ARCHIVE_HITS] = c->archive_hits;
  facts[ALLOY_FACT_ARCHIVE_MISSES] = c->archive_misses;
  alloy_fail(name, name_bytes, 0, "%s", alloy_text(gpu.name));
  LEAVE_QUIETLY
}

/* ---- buffers ------------------------------------------------------------------------------------------------------------------ */

int32_t alloy_metal_buffer_create(alloy_device device, uint64_t bytes, alloy_buffer *buffer, uint64_t *address, char *error,
                                  uint32_t error_bytes) {
  ENTER
  /* Metal has no buffers of no bytes. Its memory comes zeroed. */
  id<MTLBuffer> made = [CONTEXT(device)->device newBufferWithLength:bytes ? bytes : 16 options:MTLResourceStorageModeShared];
  if (!made) {
    return alloy_fail(ERROR, ALLOY_METAL_OUT_OF_MEMORY, "The GPU has no memory for a buffer of %llu bytes; the largest is %llu",
                (ull)bytes, (ull)CONTEXT(device)->device.maxBufferLength);
  }
  *buffer = HANDLE(made);
  *address = (uint64_t)(uintptr_t)[made contents];
  return ALLOY_METAL_OK;
  LEAVE
}

int32_t alloy_metal_buffer_wrap(alloy_device device, uint64_t address, uint64_t bytes, alloy_buffer *buffer, uint64_t *offset,
                                char *error, uint32_t error_bytes) {
  ENTER
  uint64_t largest = CONTEXT(device)->device.maxBufferLength;
  uint64_t base = address & ~(PAGE - 1);
  if (!address || !bytes || bytes > largest || (address - base + bytes + PAGE - 1) / PAGE * PAGE > largest) {
    return alloy_fail(ERROR, ALLOY_METAL_ARGUMENT, "%llu bytes at 0x%llx cannot be a buffer; with the pages around them 1 to %llu can",
                      (ull)bytes, (ull)address, (ull)largest);
  }
  uint64_t length = (address - base + bytes + PAGE - 1) / PAGE * PAGE;
  id<MTLBuffer> made = [CONTEXT(device)->device newBufferWithBytesNoCopy:(void *)(uintptr_t)base
                                                                  length:length
                                                                 options:MTLResourceStorageModeShared
                                                             deallocator:nil];
  if (!made) {
    return alloy_fail(ERROR, ALLOY_METAL_OUT_OF_MEMORY, "The GPU cannot use %llu bytes of memory at 0x%llx", (ull)length,
                (ull)base);
  }
  *buffer = HANDLE(made);
  *offset = address - base;
  return ALLOY_METAL_OK;
  LEAVE
}

void alloy_metal_resident(alloy_device device, alloy_buffer buffer, int32_t on) {
  context *c = CONTEXT(device);
  if (!c->residency || !buffer) return;
  ENTER
  if (on) [c->residency addAllocation:OBJECT(id<MTLBuffer>, buffer)];
  else [c->residency removeAllocation:OBJECT(id<MTLBuffer>, buffer)];
  c->residency_changed = YES;
  LEAVE_QUIETLY
}

void alloy_metal_buffer_free(alloy_device device, alloy_buffer buffer) {
  id<AlloyResidencySet> set = CONTEXT(device)->residency;
  if (!buffer) return;
  ENTER
  /* The set keeps a buffer alive until its removal is committed. */
  if (set && (CONTEXT(device)->residency_changed || [set containsAllocation:OBJECT(id<MTLBuffer>, buffer)])) {
    [set removeAllocation:OBJECT(id<MTLBuffer>, buffer)];
    [set commit];
  }
  [OBJECT(id<MTLBuffer>, buffer) release];
  LEAVE_QUIETLY
}

/* ---- programs ----------------------------------------------------------------------------------------------------------------- */

int32_t alloy_metal_library(alloy_device device, const char *source, uint64_t source_bytes, uint32_t flags, alloy_library *library,
                            char *error, uint32_t error_bytes) {
  ENTER
  BOOL fast = (flags & ALLOY_LIBRARY_FAST_MATH) != 0;
  NSString *text = [[[NSString alloc] initWithBytes:source length:source_bytes encoding:NSUTF8StringEncoding] autorelease];
  if (!text) return alloy_fail(ERROR, ALLOY_METAL_COMPILE, "The text is not UTF-8");
  MTLCompileOptions *options = [[[MTLCompileOptions alloc] init] autorelease];
  options.languageVersion = MTLLanguageVersion3_1;
  if ([options respondsToSelector:@selector(setMathMode:)])
    [(id<AlloyNewerMetal>)options setMathMode:fast ? MATH_MODE_FAST : MATH_MODE_SAFE];
  else
    options.fastMathEnabled = fast;
  NSError *problem = nil;
  id<MTLLibrary> made = [CONTEXT(device)->device newLibraryWithSource:text options:options error:&problem];
  if (!made) return alloy_fail(ERROR, ALLOY_METAL_COMPILE, "%s", alloy_reason(problem));
  *library = HANDLE(made);
  return ALLOY_METAL_OK;
  LEAVE
}

void alloy_metal_library_free(alloy_library library) {
  ENTER
  [OBJECT(id<MTLLibrary>, library) release];
  LEAVE_QUIETLY
}

/* A pipeline from the archive, or one that is put there; nil when the archive is of no help. */
static id<MTLComputePipelineState> archived_pipeline(context *c, MTLComputePipelineDescriptor *descriptor, BOOL *found) {
  NSArray *archives = [NSArray arrayWithObject:c->archive];
  descriptor.binaryArchives = archives;
  id<MTLComputePipelineState> made = [c->device newComputePipelineStateWithDescriptor:descriptor
                                                                              options:MTLPipelineOptionFailOnBinaryArchiveMiss
                                                                           reflection:nil
                                                                                error:NULL];
  *found = made != nil;
  if (made) {
    c->archive_hits++;
    return made;
  }
  c->archive_misses++;
  /* Compiled into the archive first and taken from there, it is compiled once. */
  descriptor.binaryArchives = nil;
  if (![c->archive addComputePipelineFunctionsWithDescriptor:descriptor error:NULL]) return nil;
  c->archive_changed = YES;
  descriptor.binaryArchives = archives;
  return [c->device newComputePipelineStateWithDescriptor:descriptor options:MTLPipelineOptionNone reflection:nil error:NULL];
}

int32_t alloy_metal_pipeline(alloy_device device, alloy_library library, const char *function, const uint64_t *constants, uint32_t count,
                             alloy_pipeline *pipeline, uint64_t *facts, char *error, uint32_t error_bytes) {
  static const MTLDataType types[] = {MTLDataTypeBool, MTLDataTypeInt, MTLDataTypeUInt, MTLDataTypeFloat};
  context *c = CONTEXT(device);
  ENTER
  MTLFunctionConstantValues *values = [[[MTLFunctionConstantValues alloc] init] autorelease];
  for (uint32_t i = 0; i < count; i++, constants += 3) {
    if (constants[1] > ALLOY_CONSTANT_F32)
      return alloy_fail(ERROR, ALLOY_METAL_ARGUMENT, "%s: function constant %u has unknown type %llu", function, (unsigned)constants[0],
                  (ull)constants[1]);
    [values setConstantValue:&constants[2] type:types[constants[1]] atIndex:constants[0]];
  }
  NSError *problem = nil;
  NSString *name = [NSString stringWithUTF8String:function];
  id<MTLFunction> code = [[OBJECT(id<MTLLibrary>, library) newFunctionWithName:name constantValues:values error:&problem] autorelease];
  if (!code) return alloy_fail(ERROR, ALLOY_METAL_PIPELINE, "No function %s can be made: %s", function, alloy_reason(problem));
  MTLComputePipelineDescriptor *descriptor = [[[MTLComputePipelineDescriptor alloc] init] autorelease];
  descriptor.computeFunction = code;
  descriptor.label = name;
  BOOL found = NO;
  id<MTLComputePipelineState> made = c->archive ? archived_pipeline(c, descriptor, &found) : nil;
  if (!made) {
    descriptor.binaryArchives = nil;
    made = [c->device newComputePipelineStateWithDescriptor:descriptor options:MTLPipelineOptionNone reflection:nil error:&problem];
  }
  if (!made) return alloy_fail(ERROR, ALLOY_METAL_PIPELINE, "No pipeline can be made of %s: %s", function, alloy_reason(problem));
  facts[ALLOY_PIPELINE_MAX_THREADS] = made.maxTotalThreadsPerThreadgroup;
  facts[ALLOY_PIPELINE_SIMD_WIDTH] = made.threadExecutionWidth;
  facts[ALLOY_PIPELINE_SHARED_BYTES] = made.staticThreadgroupMemoryLength;
  facts[ALLOY_PIPELINE_FROM_ARCHIVE] = found;
  *pipeline = HANDLE(made);
  return ALLOY_METAL_OK;
  LEAVE
}

void alloy_metal_pipeline_free(alloy_pipeline pipeline) {
  ENTER
  [OBJECT(id<MTLComputePipelineState>, pipeline) release];
  LEAVE_QUIETLY
}

int32_t alloy_metal_archive_open(alloy_device device, const char *path, uint64_t *loaded, char *error, uint32_t error_bytes) {
  context *c = CONTEXT(device);
  ENTER
  NSURL *url = [NSURL fileURLWithPath:[NSString stringWithUTF8String:path]];
  MTLBinaryArchiveDescriptor *descriptor = [[[MTLBinaryArchiveDescriptor alloc] init] autorelease];
  NSError *problem = nil;
  descriptor.url = url;
  id<MTLBinaryArchive> archive = [c->device newBinaryArchiveWithDescriptor:descriptor error:NULL];
  *loaded = archive != nil;
  if (!archive) {
    descriptor.url = nil;
    archive = [c->device newBinaryArchiveWithDescriptor:descriptor error:&problem];
  }
  if (!archive) return alloy_fail(ERROR, ALLOY_METAL_ARCHIVE, "No binary archive can be made: %s", alloy_reason(problem));
  [c->archive release];
  [c->archive_url release];
  c->archive = archive;
  c->archive_url = [url retain];
  c->archive_changed = NO;
  return ALLOY_METAL_OK;
  LEAVE
}

int32_t alloy_metal_archive_save(alloy_device device, char *error, uint32_t error_bytes) {
  context *c = CONTEXT(device);
  if (!c->archive || !c->archive_changed) return ALLOY_METAL_OK;
  ENTER
  const char *path = alloy_text(c->archive_url.path);
  char beside[1024];
  /* Two threads or processes may save the same archive: each writes a file of its own, and the last rename wins. */
  if (snprintf(beside, sizeof beside, "%s.%d.%llx", path, (int)getpid(), (ull)device) >= (int)sizeof beside)
    return alloy_fail(ERROR, ALLOY_METAL_ARCHIVE, "The archive's path is too long: %s", path);
  NSError *problem = nil;
  if (![c->archive serializeToURL:[NSURL fileURLWithPath:[NSString stringWithUTF8String:beside]] error:&problem]) {
    remove(beside);
    return alloy_fail(ERROR, ALLOY_METAL_ARCHIVE, "%s could not be written: %s", beside, alloy_reason(problem));
  }
  if (rename(beside, path) != 0) {
    remove(beside);
    return alloy_fail(ERROR, ALLOY_METAL_ARCHIVE, "%s could not be put in place", path);
  }
  c->archive_changed = NO;
  return ALLOY_METAL_OK;
  LEAVE
}
