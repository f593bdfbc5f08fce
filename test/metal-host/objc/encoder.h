/* Command encoders record; command buffers replay them on their queue's thread. */
#pragma once
#import "abi.h"
#import "host.h"

@class HostCommandBuffer;

#define HOST_ARGUMENTS 31

/* What one index of the argument table holds. */
typedef struct {
  HostBuffer *buffer; /* or nil, and then */
  void *bytes;        /* what setBytes copied */
  NSUInteger offset, length;
} host_argument;

/* One recorded command: a barrier, or a dispatch with the table as it was. */
typedef struct {
  BOOL barrier;
  mh_dispatch dispatch;
  char label[32];
} host_command;

@interface HostEncoder : NSObject <MTLComputeCommandEncoder> {
@public
  HostCommandBuffer *owner; /* not retained: it owns this */
  MTLDispatchType type;
  BOOL ended;
  const char *wrong; /* the first misuse: the command buffer will fail */
  HostPipeline *pipeline;
  host_argument table[HOST_ARGUMENTS];
  host_command *commands;
  NSUInteger command_count, command_capacity, dispatches;
  id *kept; /* what the commands use */
  NSUInteger kept_count, kept_capacity;
  void **blobs; /* memory of setBytes and of bindings */
  NSUInteger blob_count, blob_capacity;
}
/* Runs everything; MH_OK, or a code with a text. */
- (int)replay:(char *)words size:(size_t)size;
@end
