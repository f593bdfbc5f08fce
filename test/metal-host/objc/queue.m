/*
 * Fake command queues and command buffers. Each queue has a thread that executes what is committed, in order, so that the caller sees
 * Metal's asynchrony: nothing has happened when commit returns, several buffers can be in flight, and failures come late.
 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#import "encoder.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* Command buffers of all queues that were committed and are not yet let go of. */
static uint64_t committed;

/* Belongs to the thread, which outlives its queue until the last buffer is done. */
struct host_worker {
  HostCommandBuffer **waiting;
  NSUInteger count, capacity;
  NSUInteger unfinished; /* command buffers made and not completed */
  NSUInteger limit;
  BOOL stop, lost;
};

@interface HostCommandBuffer : NSObject <MTLCommandBuffer> {
@public
  HostQueue *queue;
  MTLCommandBufferStatus status;
  NSError *error;
  double start, end;
  HostEncoder **encoders;
  NSUInteger encoder_count;
}
- (void)execute;
@end

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void set_status(HostCommandBuffer *buffer, MTLCommandBufferStatus status) {
  pthread_mutex_lock(&lock);
  buffer->status = status;
  if (status >= MTLCommandBufferStatusCompleted) buffer->queue->worker->unfinished--;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

static void *work(void *argument) {
  struct host_worker *w = argument;
  pthread_mutex_lock(&lock);
  for (;;) {
    while (!w->count && !w->stop) pthread_cond_wait(&changed, &lock);
    if (!w->count) break;
    HostCommandBuffer *buffer = w->waiting[0];
    for (NSUInteger i = 1; i < w->count; i++) w->waiting[i - 1] = w->waiting[i];
    w->count--;
    pthread_mutex_unlock(&lock);
    @autoreleasepool {
      [buffer execute];
    }
    [buffer release];
    pthread_mutex_lock(&lock);
    committed--;
    pthread_cond_broadcast(&changed);
  }
  pthread_mutex_unlock(&lock);
  free(w->waiting);
  free(w);
  return NULL;
}

void mho_settle(void) {
  pthread_mutex_lock(&lock);
  while (committed) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
}

@implementation HostQueue

- (instancetype)initWithLimit:(NSUInteger)limit {
  worker = calloc(1, sizeof *worker);
  worker->limit = limit;
  pthread_t thread;
  pthread_create(&thread, NULL, work, worker);
  pthread_detach(thread);
  return self;
}

- (BOOL)respondsToSelector:(SEL)selector {
  if (selector == @selector(addResidencySet:) && host_os() < 150000) return NO;
  return [super respondsToSelector:selector];
}

- (void)addResidencySet:(id)set {
  if (!set) host_report("api", "addResidencySet: nil");
}

- (id<MTLCommandBuffer>)commandBuffer {
  if (host_fails("command-buffer")) return nil;
  HostCommandBuffer *buffer = [[[HostCommandBuffer alloc] init] autorelease];
  buffer->queue = [self retain];
  pthread_mutex_lock(&lock);
  BOOL blocks = ++worker->unfinished > worker->limit;
  pthread_mutex_unlock(&lock);
  if (blocks) host_report("api", "commandBuffer: the thread would block, %lu are unfinished", worker->limit);
  return buffer;
}

- (void)dealloc {
  pthread_mutex_lock(&lock);
  worker->stop = YES;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  [super dealloc];
}

@end

@implementation HostCommandBuffer

- (id<MTLComputeCommandEncoder>)computeCommandEncoderWithDispatchType:(MTLDispatchType)type {
  if (host_fails("encoder")) return nil;
  if (status != MTLCommandBufferStatusNotEnqueued) host_report("api", "computeCommandEncoder: the command buffer is committed");
  if (encoder_count && !encoders[encoder_count - 1]->ended) host_report("api", "computeCommandEncoder: another encoder is open");
  HostEncoder *encoder = [[HostEncoder alloc] init];
  encoder->owner = self;
  encoder->type = type;
  encoders = realloc(encoders, (encoder_count + 1) * sizeof *encoders);
  encoders[encoder_count++] = encoder;
  return [[encoder retain] autorelease];
}

- (void)commit {
  if (status != MTLCommandBufferStatusNotEnqueued) {
    host_report("api", "commit: the command buffer was committed before");
    return;
  }
  if (encoder_count && !encoders[encoder_count - 1]->ended) {
    host_report("api", "commit with an open encoder");
    encoders[encoder_count - 1]->wrong = "commit with an open encoder";
  }
  struct host_worker *w = queue->worker;
  pthread_mutex_lock(&lock);
  status = MTLCommandBufferStatusCommitted;
  if (w->count == w->capacity) w->waiting = realloc(w->waiting, (w->capacity = 2 * w->capacity + 8) * sizeof *w->waiting);
  w->waiting[w->count++] = [self retain];
  committed++;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

/* How a test or an encoder wants this to end: an error code, 0 for well. */
- (NSInteger)failure:(const char **)words {
  static const struct {
    const char *name;
    NSInteger code;
    const char *words;
  } kinds[] = {
      {"gpu-internal", MTLCommandBufferErrorInternal, "Internal Error (0000000e:Internal Error)"},
      {"gpu-timeout", MTLCommandBufferErrorTimeout, "Caused GPU Timeout Error (00000002:kIOGPUCommandBufferCallbackErrorTimeout)"},
      {"gpu-fault", MTLCommandBufferErrorPageFault, "Caused GPU Address Fault Error (0000000b:kIOGPUCommandBufferCallbackErrorPageFault)"},
      {"gpu-memory", MTLCommandBufferErrorOutOfMemory, "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"},
      {"device-lost", MTLCommandBufferErrorDeviceRemoved, "Device was removed"},
  };
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    BOOL removed = kinds[i].code == MTLCommandBufferErrorDeviceRemoved;
    if (!host_fails(kinds[i].name) && !(removed && queue->worker->lost)) continue;
    queue->worker->lost |= removed;
    *words = kinds[i].words;
    return kinds[i].code;
  }
  for (NSUInteger i = 0; i < encoder_count; i++) {
    if (!encoders[i]->wrong) continue;
    *words = encoders[i]->wrong;
    return MTLCommandBufferErrorInvalidResource;
  }
  return 0;
}

- (void)execute {
  enum { WORDS = 4096 };
  char found[WORDS] = "";
  const char *words = found;
  set_status(self, MTLCommandBufferStatusScheduled);
  NSInteger code = [self failure:&words];
  long delay = host_setting("delay", 0);
  start = now();
  for (NSUInteger i = 0; i < encoder_count && !code; i++)
    if ([encoders[i] replay:found size:WORDS] != MH_OK) code = MTLCommandBufferErrorInvalidResource;
  while (host_setting("hold", 0)) nanosleep(&(struct timespec){0, 1000000}, NULL);
  if (delay > 0) nanosleep(&(struct timespec){delay / 1000, delay % 1000 * 1000000}, NULL);
  end = now();
  if (code) error = [host_error("MTLCommandBufferErrorDomain", code, "%s", words) retain];
  set_status(self, code ? MTLCommandBufferStatusError : MTLCommandBufferStatusCompleted);
}

- (void)waitUntilCompleted {
  pthread_mutex_lock(&lock);
  BOOL never = status == MTLCommandBufferStatusNotEnqueued;
  while (!never && status < MTLCommandBufferStatusCompleted) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
  if (never) host_report("api", "waitUntilCompleted: the command buffer was never committed");
}

- (MTLCommandBufferStatus)status {
  pthread_mutex_lock(&lock);
  MTLCommandBufferStatus is = status;
  pthread_mutex_unlock(&lock);
  return is;
}

- (NSError *)error {
  return error;
}

- (CFTimeInterval)GPUStartTime {
  return start;
}

- (CFTimeInterval)GPUEndTime {
  return end;
}

- (void)dealloc {
  if (status == MTLCommandBufferStatusNotEnqueued) {
    pthread_mutex_lock(&lock);
    queue->worker->unfinished--;
    pthread_mutex_unlock(&lock);
  }
  for (NSUInteger i = 0; i < encoder_count; i++) [encoders[i] release];
  free(encoders);
  [error release];
  [queue release];
  [super dealloc];
}

@end
