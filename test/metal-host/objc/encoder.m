/* The fake compute encoder: validation as Metal's API layer does it, and recording. */
#include <objc/runtime.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#import "encoder.h"

#define GROW(list, count, capacity) \
  if ((count) == (capacity)) (list) = realloc((list), ((capacity) = (capacity) ? 2 * (capacity) : 16) * sizeof *(list))

@implementation HostEncoder

/* Records a misuse. Metal would end the process here; we fail the command buffer. */
- (void)misuse:(const char *)format, ... {
  char text[256];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  host_report("api", "%s", text);
  if (!wrong) wrong = "wrong use of a compute encoder";
}

- (BOOL)usable:(const char *)what {
  if (ended) [self misuse:"%s on an encoder that has ended", what];
  return !ended;
}

- (void)keep:(id)object {
  GROW(kept, kept_count, kept_capacity);
  kept[kept_count++] = [object retain];
}

- (void *)blob:(size_t)bytes {
  GROW(blobs, blob_count, blob_capacity);
  return blobs[blob_count++] = malloc(bytes ? bytes : 1);
}

- (void)setComputePipelineState:(id<MTLComputePipelineState>)state {
  if (![self usable:"setComputePipelineState"]) return;
  if (!state || object_getClass((id)state) != [HostPipeline class]) {
    [self misuse:"setComputePipelineState: no pipeline (%s)", object_getClassName((id)state)];
    return;
  }
  if (state != pipeline) [self keep:state];
  pipeline = (HostPipeline *)state;
}

- (void)setBuffer:(id<MTLBuffer>)buffer offset:(NSUInteger)offset atIndex:(NSUInteger)index {
  if (![self usable:"setBuffer"]) return;
  if (index >= HOST_ARGUMENTS) {
    [self misuse:"setBuffer: index %lu is beyond 30", index];
    return;
  }
  if (buffer && object_getClass((id)buffer) != [HostBuffer class]) {
    [self misuse:"setBuffer: the object at index %lu is no buffer (%s)", index, object_getClassName((id)buffer)];
    return;
  }
  if (buffer && offset > buffer.length) {
    [self misuse:"setBuffer: offset %lu is beyond the %lu bytes of the buffer at index %lu", offset, buffer.length, index];
    return;
  }
  if (buffer && table[index].buffer != buffer) [self keep:buffer];
  table[index] = (host_argument){(HostBuffer *)buffer, NULL, offset, buffer ? buffer.length - offset : 0};
}

- (void)setBytes:(const void *)bytes length:(NSUInteger)length atIndex:(NSUInteger)index {
  if (![self usable:"setBytes"]) return;
  if (index >= HOST_ARGUMENTS || !bytes || !length || length > 4096) {
    [self misuse:"setBytes: %lu bytes at index %lu; 1 to 4096 bytes at 0 to 30 can be", length, index];
    return;
  }
  void *copy = [self blob:length];
  memcpy(copy, bytes, length);
  table[index] = (host_argument){nil, copy, 0, length};
}

- (host_command *)record {
  GROW(commands, command_count, command_capacity);
  host_command *command = &commands[command_count++];
  memset(command, 0, sizeof *command);
  return command;
}

- (void)memoryBarrierWithScope:(MTLBarrierScope)scope {
  if (![self usable:"memoryBarrier"]) return;
  if (!(scope & MTLBarrierScopeBuffers)) [self misuse:"memoryBarrierWithScope: %lu does not hold buffers", (unsigned long)scope];
  else [self record]->barrier = YES;
}

- (void)dispatch:(MTLSize)grid threads:(MTLSize)threads exact:(BOOL)exact {
  if (![self usable:"dispatch"]) return;
  if (!pipeline) {
    [self misuse:"dispatch without a pipeline"];
    return;
  }
  NSUInteger sizes[3] = {grid.width, grid.height, grid.depth}, counts[3] = {threads.width, threads.height, threads.depth};
  NSUInteger total = threads.width * threads.height * threads.depth;
  for (int i = 0; i < 3; i++) {
    if (!sizes[i] || !counts[i] || sizes[i] > 0xffffffffu / (exact ? 1 : counts[i])) {
      [self misuse:"dispatch of %s: grid %lu x %lu x %lu of %lu x %lu x %lu threads", pipeline->function->name.UTF8String, sizes[0], sizes[1],
                   sizes[2], counts[0], counts[1], counts[2]];
      return;
    }
  }
  if (total > pipeline->max_threads) {
    [self misuse:"dispatch of %s: %lu threads in a threadgroup, its pipeline allows %lu", pipeline->function->name.UTF8String, total,
                 pipeline->max_threads];
    return;
  }
  mh_binding *bindings = [self blob:HOST_ARGUMENTS * sizeof *bindings];
  uint32_t count = 0;
  for (uint32_t i = 0; i < HOST_ARGUMENTS; i++) {
    host_argument *a = &table[i];
    if (!a->buffer && !a->bytes) continue;
    if (!mh_pipeline_argument(pipeline->function->pipeline, i)) continue; /* left over from an earlier dispatch */
    void *base = a->buffer ? (char *)a->buffer->memory + a->offset : a->bytes;
    bindings[count++] = (mh_binding){i, a->buffer ? a->buffer->writable : 0, base, a->length};
  }
  host_command *command = [self record];
  command->dispatch = (mh_dispatch){.pipeline = pipeline->function->pipeline,
                                    .bindings = bindings,
                                    .binding_count = count,
                                    .exact_threads = exact,
                                    .grid = {(uint32_t)sizes[0], (uint32_t)sizes[1], (uint32_t)sizes[2]},
                                    .threads = {(uint32_t)counts[0], (uint32_t)counts[1], (uint32_t)counts[2]}};
  snprintf(command->label, sizeof command->label, "dispatch %lu", dispatches++);
}

- (void)dispatchThreadgroups:(MTLSize)threadgroups threadsPerThreadgroup:(MTLSize)threads {
  [self dispatch:threadgroups threads:threads exact:NO];
}

- (void)dispatchThreads:(MTLSize)grid threadsPerThreadgroup:(MTLSize)threads {
  [self dispatch:grid threads:threads exact:YES];
}

- (void)endEncoding {
  if (![self usable:"endEncoding"]) return;
  ended = YES;
}

- (int)replay:(char *)words size:(size_t)size {
  int result = MH_OK;
  mh_pass *pass = mh_pass_begin(NULL);
  for (NSUInteger i = 0; i < command_count && result == MH_OK; i++) {
    host_command *c = &commands[i];
    if (c->barrier || (type == MTLDispatchTypeSerial && i > 0)) mh_pass_barrier(pass);
    if (c->barrier) continue;
    c->dispatch.label = c->label;
    result = mh_pass_dispatch(pass, &c->dispatch, words, size);
  }
  mh_pass_end(pass);
  return result;
}

- (void)dealloc {
  if (!ended) host_report("api", "a command encoder was never ended");
  for (NSUInteger i = 0; i < kept_count; i++) [kept[i] release];
  for (NSUInteger i = 0; i < blob_count; i++) free(blobs[i]);
  free(kept);
  free(blobs);
  free(commands);
  [super dealloc];
}

@end
