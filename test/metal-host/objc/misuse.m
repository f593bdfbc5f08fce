/* Each function below makes one mistake that a shim over Metal can make. */
#include <string.h>

#import "host.h"
#import "misuse.h"

static const char *const text =
    "#include <metal_stdlib>\n"
    "using namespace metal;\n"
    "kernel void ones(device float *a [[buffer(0)]], constant uint &n [[buffer(1)]], uint i [[thread_position_in_grid]]) {\n"
    "  if (i < n) a[i] = 1.0f;\n"
    "}\n";

/* What most mistakes need; freed by `down`. */
typedef struct {
  id<MTLDevice> device;
  id<MTLCommandQueue> queue;
  id<MTLBuffer> buffer;
  id<MTLComputePipelineState> pipeline;
  id<MTLCommandBuffer> commands;
  id<MTLComputeCommandEncoder> encoder;
} setup;

static setup up(void) {
  setup s;
  s.device = MTLCreateSystemDefaultDevice();
  s.queue = [s.device newCommandQueueWithMaxCommandBufferCount:4];
  s.buffer = [s.device newBufferWithLength:64 options:MTLResourceStorageModeShared];
  MTLCompileOptions *options = [[[MTLCompileOptions alloc] init] autorelease];
  options.languageVersion = MTLLanguageVersion3_1;
  id<MTLLibrary> library = [s.device newLibraryWithSource:[NSString stringWithUTF8String:text] options:options error:NULL];
  MTLFunctionConstantValues *none = [[[MTLFunctionConstantValues alloc] init] autorelease];
  MTLComputePipelineDescriptor *descriptor = [[[MTLComputePipelineDescriptor alloc] init] autorelease];
  descriptor.computeFunction = [[library newFunctionWithName:@"ones" constantValues:none error:NULL] autorelease];
  s.pipeline = [s.device newComputePipelineStateWithDescriptor:descriptor options:MTLPipelineOptionNone reflection:nil error:NULL];
  [library release];
  s.commands = [s.queue commandBuffer];
  s.encoder = [s.commands computeCommandEncoderWithDispatchType:MTLDispatchTypeConcurrent];
  return s;
}

/* Binds everything that the kernel needs. */
static void bind(setup *s) {
  uint32_t n = 16;
  [s->encoder setComputePipelineState:s->pipeline];
  [s->encoder setBuffer:s->buffer offset:0 atIndex:0];
  [s->encoder setBytes:&n length:sizeof n atIndex:1];
}

static void down(setup *s) {
  [s->pipeline release];
  [s->buffer release];
  [s->queue release];
  [s->device release];
}

static void finish(setup *s) {
  [s->encoder endEncoding];
  [s->commands commit];
  [s->commands waitUntilCompleted];
  down(s);
}

static void dispatch(setup *s, NSUInteger groups, NSUInteger threads) {
  [s->encoder dispatchThreadgroups:MTLSizeMake(groups, 1, 1) threadsPerThreadgroup:MTLSizeMake(threads, 1, 1)];
}

/* ---- objects ------------------------------------------------------------------------------------------------------------------- */

static void over_release(void) {
  NSObject *object = [[NSObject alloc] init];
  [object release];
  [object release];
}

static void use_after_free(void) {
  MTLCompileOptions *options = [[MTLCompileOptions alloc] init];
  [options release];
  options.fastMathEnabled = YES;
}

static void released_and_autoreleased(void) {
  NSObject *object = [[[NSObject alloc] init] autorelease];
  [object release];
}

static void unknown_message(void) {
  id object = [[[NSObject alloc] init] autorelease];
  [(NSString *)object UTF8String];
}

static void pool_drained_twice(void) {
  NSAutoreleasePool *pool = [[NSAutoreleasePool alloc] init];
  [pool drain];
  NSAutoreleasePool *another = [[NSAutoreleasePool alloc] init];
  [pool drain];
  [another drain];
}

/* ---- encoders ------------------------------------------------------------------------------------------------------------------ */

static void bytes(NSUInteger count) {
  static char block[8192];
  setup s = up();
  bind(&s);
  [s.encoder setBytes:block length:count atIndex:1];
  finish(&s);
}

static void too_many_bytes(void) { bytes(4097); }
static void no_bytes(void) { bytes(0); }

static void index_beyond_table(void) {
  setup s = up();
  bind(&s);
  [s.encoder setBuffer:s.buffer offset:0 atIndex:31];
  finish(&s);
}

static void offset_beyond_buffer(void) {
  setup s = up();
  [s.encoder setBuffer:s.buffer offset:65 atIndex:0];
  finish(&s);
}

static void freed_buffer(void) {
  setup s = up();
  id<MTLBuffer> gone = [s.device newBufferWithLength:64 options:MTLResourceStorageModeShared];
  [gone release];
  [s.encoder setBuffer:gone offset:0 atIndex:0];
  finish(&s);
}

static void too_many_threads(void) {
  setup s = up();
  bind(&s);
  dispatch(&s, 1, 1025);
  finish(&s);
}

static void empty_grid(void) {
  setup s = up();
  bind(&s);
  dispatch(&s, 0, 32);
  finish(&s);
}

static void empty_threadgroup(void) {
  setup s = up();
  bind(&s);
  dispatch(&s, 1, 0);
  finish(&s);
}

static void huge_grid(void) {
  setup s = up();
  bind(&s);
  dispatch(&s, 1u << 31, 32);
  finish(&s);
}

static void no_pipeline(void) {
  setup s = up();
  dispatch(&s, 1, 32);
  finish(&s);
}

static void encode_after_end(void) {
  setup s = up();
  bind(&s);
  [s.encoder endEncoding];
  dispatch(&s, 1, 32);
  [s.commands commit];
  [s.commands waitUntilCompleted];
  down(&s);
}

static void end_twice(void) {
  setup s = up();
  [s.encoder endEncoding];
  finish(&s);
}

static void wrong_barrier(void) {
  setup s = up();
  [s.encoder memoryBarrierWithScope:(MTLBarrierScope)2];
  finish(&s);
}

/* ---- command buffers ----------------------------------------------------------------------------------------------------------- */

static void never_ended(void) {
  setup s = up();
  down(&s);
}

static void commit_with_open_encoder(void) {
  setup s = up();
  [s.commands commit];
  [s.commands waitUntilCompleted];
  [s.encoder endEncoding];
  down(&s);
}

static void two_open_encoders(void) {
  setup s = up();
  [[s.commands computeCommandEncoderWithDispatchType:MTLDispatchTypeSerial] endEncoding];
  finish(&s);
}

static void commit_twice(void) {
  setup s = up();
  [s.encoder endEncoding];
  [s.commands commit];
  [s.commands commit];
  [s.commands waitUntilCompleted];
  down(&s);
}

static void encoder_after_commit(void) {
  setup s = up();
  [s.encoder endEncoding];
  [s.commands commit];
  [[s.commands computeCommandEncoderWithDispatchType:MTLDispatchTypeSerial] endEncoding];
  [s.commands waitUntilCompleted];
  down(&s);
}

static void wait_without_commit(void) {
  setup s = up();
  [s.encoder endEncoding];
  [s.commands waitUntilCompleted];
  down(&s);
}

static void beyond_queue_limit(void) {
  setup s = up();
  for (int i = 0; i < 4; i++) [s.queue commandBuffer];
  finish(&s);
}

/* ---- memory -------------------------------------------------------------------------------------------------------------------- */

static void buffer_of_no_bytes(void) {
  setup s = up();
  [s.device newBufferWithLength:0 options:MTLResourceStorageModeShared];
  finish(&s);
}

static void private_contents(void) {
  setup s = up();
  id<MTLBuffer> hidden = [[s.device newBufferWithLength:64 options:MTLResourceStorageModePrivate] autorelease];
  [hidden contents];
  finish(&s);
}

static void wrap(NSUInteger offset, NSUInteger length) {
  static char block[3 * HOST_PAGE] __attribute__((aligned(HOST_PAGE)));
  setup s = up();
  [s.device newBufferWithBytesNoCopy:block + offset length:length options:MTLResourceStorageModeShared deallocator:nil];
  finish(&s);
}

static void wrap_within_a_page(void) { wrap(4096, HOST_PAGE); }
static void wrap_part_of_a_page(void) { wrap(0, HOST_PAGE + 4096); }

static const struct {
  const char *name;
  void (*commit)(void);
} all[] = {
    {"over-release", over_release},
    {"use after free", use_after_free},
    {"released and autoreleased", released_and_autoreleased},
    {"unknown message", unknown_message},
    {"pool drained twice", pool_drained_twice},
    {"too many bytes", too_many_bytes},
    {"no bytes", no_bytes},
    {"index beyond the table", index_beyond_table},
    {"offset beyond the buffer", offset_beyond_buffer},
    {"freed buffer", freed_buffer},
    {"too many threads", too_many_threads},
    {"empty grid", empty_grid},
    {"empty threadgroup", empty_threadgroup},
    {"huge grid", huge_grid},
    {"no pipeline", no_pipeline},
    {"encode after end", encode_after_end},
    {"end twice", end_twice},
    {"wrong barrier", wrong_barrier},
    {"encoder never ended", never_ended},
    {"commit with an open encoder", commit_with_open_encoder},
    {"two open encoders", two_open_encoders},
    {"commit twice", commit_twice},
    {"encoder after commit", encoder_after_commit},
    {"wait without commit", wait_without_commit},
    {"beyond the queue's limit", beyond_queue_limit},
    {"buffer of no bytes", buffer_of_no_bytes},
    {"private contents", private_contents},
    {"wrap within a page", wrap_within_a_page},
    {"wrap part of a page", wrap_part_of_a_page},
};

const char *mho_misuse_name(uint32_t i) { return i < sizeof all / sizeof *all ? all[i].name : NULL; }

int mho_misuse(const char *name) {
  if (!strcmp(name, "no pool")) {
    [[[NSObject alloc] init] autorelease];
    return 1;
  }
  if (!strcmp(name, "leak")) {
    [[NSObject alloc] init];
    return 1;
  }
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    if (strcmp(all[i].name, name)) continue;
    @autoreleasepool {
      all[i].commit();
    }
    return 1;
  }
  return 0;
}
