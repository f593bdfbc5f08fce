/*
 * Plans of alloy_metal.h: the walk over the words, command buffers, and how they end.
 */
#include <string.h>

#import "internal.h"

/* Metal's argument table has 31 buffers; the last of a dispatch holds its grid and scalars. */
#define MAX_BUFFERS 30
/* Metal's limit of setBytes. */
#define MAX_ARGS_BYTES 4096
/* uint grid[3] and padding. */
#define ARGS_HEADER 16
#define MAX_SCALARS ((MAX_ARGS_BYTES - ARGS_HEADER) / 8)

#define BAD_PLAN(...) alloy_fail(ERROR, ALLOY_METAL_ARGUMENT, __VA_ARGS__)

/* Where the walk is. */
typedef struct {
  const uint64_t *at, *end;
  const uint64_t *slots;
  uint32_t slot_count;
} plan_reader;

/* One dispatch, its slots filled in. */
typedef struct {
  uint32_t index; /* in the plan, for messages */
  id<MTLComputePipelineState> pipeline;
  uint64_t flags;
  uint64_t grid[3];
  uint64_t threads[3];
  BOOL skipped; /* no programs: the rest is not read */
  id<MTLBuffer> buffers[MAX_BUFFERS];
  uint64_t offsets[MAX_BUFFERS];
  uint32_t buffer_count;
  uint64_t args[MAX_ARGS_BYTES / 8];
  uint32_t args_bytes;
} dispatch;

static BOOL read_slot(const plan_reader *r, uint64_t slot, uint64_t *value) {
  if (slot >= r->slot_count) return NO;
  *value = r->slots[slot];
  return YES;
}

static int32_t read_grid(const plan_reader *r, const uint64_t *w, dispatch *d, char *error, uint32_t error_bytes) {
  d->skipped = NO;
  for (int axis = 0; axis < 3; axis++) {
    uint64_t n = w[2 + axis];
    if ((n & ALLOY_SLOT) && !read_slot(r, n & ~ALLOY_SLOT, &n))
      return BAD_PLAN("Dispatch %u: its grid names slot %llu of %u", d->index, (ull)(n & ~ALLOY_SLOT), r->slot_count);
    d->skipped |= (int64_t)n <= 0;
    d->grid[axis] = n;
    d->threads[axis] = (w[5] >> (16 * axis)) & 0xffff;
  }
  if (d->skipped) return ALLOY_METAL_OK;
  uint64_t allowed = d->pipeline.maxTotalThreadsPerThreadgroup, total = d->threads[0] * d->threads[1] * d->threads[2];
  if (total == 0 || total > allowed)
    return BAD_PLAN("Dispatch %u: a threadgroup of %llu x %llu x %llu threads; its pipeline allows 1 to %llu", d->index, (ull)d->threads[0],
                    (ull)d->threads[1], (ull)d->threads[2], (ull)allowed);
  for (int axis = 0; axis < 3; axis++) {
    uint64_t each = d->flags & ALLOY_DISPATCH_PER_THREAD ? 1 : d->threads[axis];
    if (d->grid[axis] > 0xffffffffull / each)
      return BAD_PLAN("Dispatch %u: %llu programs of %llu threads on axis %d; 2^32 - 1 threads are the most", d->index, (ull)d->grid[axis],
                      (ull)each, axis);
  }
  return ALLOY_METAL_OK;
}

static int32_t read_buffers(const plan_reader *r, const uint64_t *w, dispatch *d, char *error, uint32_t error_bytes) {
  for (uint32_t i = 0; i < d->buffer_count; i++, w += 2) {
    uint64_t handle = w[0], offset = 0;
    if (handle & ALLOY_SLOT) {
      uint64_t slot = handle & ~ALLOY_SLOT;
      if (!read_slot(r, slot, &handle) || !read_slot(r, slot + 1, &offset))
        return BAD_PLAN("Dispatch %u: buffer %u names slots %llu and the next, of %u", d->index, i, (ull)slot, r->slot_count);
    }
    offset += w[1];
    if (!handle) return BAD_PLAN("Dispatch %u: buffer %u is null", d->index, i);
    d->buffers[i] = OBJECT(id<MTLBuffer>, handle);
    d->offsets[i] = offset;
    if (offset > d->buffers[i].length)
      return BAD_PLAN("Dispatch %u: buffer %u has %llu bytes, and offset %llu is beyond", d->index, i, (ull)d->buffers[i].length, (ull)offset);
  }
  return ALLOY_METAL_OK;
}

static uint64_t float_bits(uint64_t double_bits) {
  double wide;
  float narrow;
  uint32_t bits;
  memcpy(&wide, &double_bits, sizeof wide);
  narrow = (float)wide;
  memcpy(&bits, &narrow, sizeof bits);
  return bits;
}

/* The bytes of buffer index n: uint grid[3], padding, the scalars. */
static int32_t read_args(const plan_reader *r, const uint64_t *w, uint32_t scalars, dispatch *d, char *error, uint32_t error_bytes) {
  uint32_t grid[4] = {(uint32_t)d->grid[0], (uint32_t)d->grid[1], (uint32_t)d->grid[2], 0};
  memcpy(d->args, grid, ARGS_HEADER);
  d->args_bytes = ARGS_HEADER + 8 * scalars;
  for (uint32_t i = 0; i < scalars; i++, w += 2) {
    uint64_t value = w[1];
    if (w[0] > 3 || (w[0] != 0 && !read_slot(r, w[1], &value)))
      return BAD_PLAN("Dispatch %u: scalar %u has tag %llu and value %llu in a plan with %u slots", d->index, i, (ull)w[0], (ull)w[1], r->slot_count);
    d->args[ARGS_HEADER / 8 + i] = w[0] == 2 ? float_bits(value) : value;
  }
  return ALLOY_METAL_OK;
}

/* Reads one dispatch and moves on to the next. */
static int32_t read_dispatch(plan_reader *r, uint32_t index, dispatch *d, char *error, uint32_t error_bytes) {
  const uint64_t *w = r->at;
  uint64_t left = (uint64_t)(r->end - w);
  uint64_t buffers = left < 7 ? 0 : w[6] & 0xffffffff, scalars = left < 7 ? 0 : w[6] >> 32;
  if (left < 7 + 2 * (buffers + scalars)) return BAD_PLAN("The plan ends within dispatch %u", index);
  if (buffers > MAX_BUFFERS || scalars > MAX_SCALARS)
    return BAD_PLAN("Dispatch %u has %llu buffers and %llu scalars; %d and %d are the most", index, (ull)buffers, (ull)scalars, MAX_BUFFERS,
                    MAX_SCALARS);
  if (!w[0]) return BAD_PLAN("Dispatch %u has no pipeline", index);
  r->at = w + 7 + 2 * (buffers + scalars);
  d->index = index;
  d->pipeline = OBJECT(id<MTLComputePipelineState>, w[0]);
  d->flags = w[1];
  d->buffer_count = (uint32_t)buffers;
  int32_t code = read_grid(r, w, d, ERROR);
  if (code != ALLOY_METAL_OK || d->skipped) return code;
  code = read_buffers(r, w + 7, d, ERROR);
  return code != ALLOY_METAL_OK ? code : read_args(r, w + 7 + 2 * buffers, (uint32_t)scalars, d, ERROR);
}

static void encode(id<MTLComputeCommandEncoder> encoder, const dispatch *d, BOOL barrier) {
  if (barrier) [encoder memoryBarrierWithScope:MTLBarrierScopeBuffers];
  [encoder setComputePipelineState:d->pipeline];
  for (uint32_t i = 0; i < d->buffer_count; i++) [encoder setBuffer:d->buffers[i] offset:d->offsets[i] atIndex:i];
  [encoder setBytes:d->args length:d->args_bytes atIndex:d->buffer_count];
  MTLSize grid = MTLSizeMake(d->grid[0], d->grid[1], d->grid[2]), threads = MTLSizeMake(d->threads[0], d->threads[1], d->threads[2]);
  if (d->flags & ALLOY_DISPATCH_PER_THREAD) [encoder dispatchThreads:grid threadsPerThreadgroup:threads];
  else [encoder dispatchThreadgroups:grid threadsPerThreadgroup:threads];
}

static int32_t encode_all(id<MTLComputeCommandEncoder> encoder, plan_reader *reader, uint32_t first, uint32_t count, char *error,
                          uint32_t error_bytes) {
  BOOL barrier = NO;
  dispatch d;
  for (uint32_t i = 0; i < count; i++) {
    int32_t code = read_dispatch(reader, first + i, &d, ERROR);
    if (code != ALLOY_METAL_OK) return code;
    barrier |= (d.flags & ALLOY_DISPATCH_BARRIER) != 0;
    if (d.skipped) continue;
    encode(encoder, &d, barrier);
    barrier = NO;
  }
  return ALLOY_METAL_OK;
}

/* Encodes the next `count` dispatches of a reader into one command buffer and commits it. Counts as in flight when it succeeds. */
static int32_t commit(context *c, plan_reader *reader, uint32_t first, uint32_t count, id<MTLCommandBuffer> *committed, char *error,
                      uint32_t error_bytes) {
  if (c->in_flight_count == ALLOY_METAL_MAX_IN_FLIGHT)
    return alloy_fail(ERROR, ALLOY_METAL_ARGUMENT, "%d submissions are in flight; wait for one first", ALLOY_METAL_MAX_IN_FLIGHT);
  if (c->residency_changed) {
    [c->residency commit];
    [c->residency requestResidency];
    c->residency_changed = NO;
  }
  id<MTLCommandBuffer> buffer = [c->queue commandBuffer];
  id<MTLComputeCommandEncoder> encoder = [buffer computeCommandEncoderWithDispatchType:MTLDispatchTypeConcurrent];
  if (!encoder) return alloy_fail(ERROR, ALLOY_METAL_OUT_OF_MEMORY, "The device gives no command buffer");
  int32_t code = ALLOY_METAL_OK;
  @try {
    code = encode_all(encoder, reader, first, count, ERROR);
  } @finally {
    [encoder endEncoding]; /* also of one that is thrown away: Metal ends the process over an encoder that was never ended */
  }
  if (code != ALLOY_METAL_OK) return code;
  [buffer commit];
  c->in_flight[c->in_flight_count++] = [buffer retain];
  *committed = buffer;
  return ALLOY_METAL_OK;
}

static int32_t execution_code(NSError *problem) {
  switch (problem.code) {
    case MTLCommandBufferErrorTimeout: return ALLOY_METAL_TIMEOUT;
    case MTLCommandBufferErrorOutOfMemory: return ALLOY_METAL_OUT_OF_MEMORY;
    case MTLCommandBufferErrorAccessRevoked:
    case MTLCommandBufferErrorNotPermitted:
    case MTLCommandBufferErrorDeviceRemoved: return ALLOY_METAL_DEVICE_LOST;
    default: return ALLOY_METAL_EXECUTION;
  }
}

/* Reports how a command buffer ended and forgets it. */
static int32_t finish(context *c, uint64_t handle, BOOL wait, double *times, char *error, uint32_t error_bytes) {
  uint32_t at = 0;
  while (at < c->in_flight_count && HANDLE(c->in_flight[at]) != handle) at++;
  if (at == c->in_flight_count)
    return alloy_fail(ERROR, ALLOY_METAL_ARGUMENT, "This submission is not in flight: its end was reported already");
  id<MTLCommandBuffer> buffer = c->in_flight[at];
  if (wait) [buffer waitUntilCompleted];
  MTLCommandBufferStatus status = buffer.status;
  if (status != MTLCommandBufferStatusCompleted && status != MTLCommandBufferStatusError) return ALLOY_METAL_PENDING;
  int32_t code = ALLOY_METAL_OK;
  if (status == MTLCommandBufferStatusError)
    code = alloy_fail(ERROR, execution_code(buffer.error), "The GPU did not finish: %s", alloy_reason(buffer.error));
  if (times) {
    times[0] = buffer.GPUStartTime;
    times[1] = buffer.GPUEndTime;
  }
  c->in_flight_count--;
  memmove(&c->in_flight[at], &c->in_flight[at + 1], (c->in_flight_count - at) * sizeof *c->in_flight);
  [buffer release];
  return code;
}

int32_t alloy_metal_submit(alloy_device device, const uint64_t *words, uint32_t word_count, uint32_t count, const uint64_t *slots,
                           uint32_t slot_count, alloy_submission *submission, char *error, uint32_t error_bytes) {
  ENTER
  plan_reader reader = {words, words + word_count, slots, slot_count};
  id<MTLCommandBuffer> buffer;
  int32_t code = commit(CONTEXT(device), &reader, 0, count, &buffer, ERROR);
  if (code == ALLOY_METAL_OK) *submission = HANDLE(buffer);
  return code;
  LEAVE
}

int32_t alloy_metal_poll(alloy_device device, alloy_submission submission, double *times, char *error, uint32_t error_bytes) {
  ENTER
  return finish(CONTEXT(device), submission, NO, times, ERROR);
  LEAVE
}

int32_t alloy_metal_wait(alloy_device device, alloy_submission submission, double *times, char *error, uint32_t error_bytes) {
  ENTER
  return finish(CONTEXT(device), submission, YES, times, ERROR);
  LEAVE
}

int32_t alloy_metal_profile(alloy_device device, const uint64_t *words, uint32_t word_count, uint32_t count, const uint64_t *slots,
                            uint32_t slot_count, double *ns, char *error, uint32_t error_bytes) {
  context *c = CONTEXT(device);
  plan_reader reader = {words, words + word_count, slots, slot_count};
  int32_t code = ALLOY_METAL_OK;
  for (uint32_t i = 0; i < count && code == ALLOY_METAL_OK; i++) {
    ENTER
    double times[2];
    id<MTLCommandBuffer> buffer;
    code = commit(c, &reader, i, 1, &buffer, ERROR);
    if (code == ALLOY_METAL_OK) code = finish(c, HANDLE(buffer), YES, times, ERROR);
    if (code == ALLOY_METAL_OK) ns[i] = (times[1] - times[0]) * 1e9;
    LEAVE
  }
  return code;
}
