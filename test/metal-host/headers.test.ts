/**
 * The hand-written headers of objc-shim/, pinned. `bun objc-shim/check-headers.ts` compared all of this with metal-cpp, Apple's C++ bindings: its
 * release for macOS 14.2 has everything but residency sets and math modes, the one of Xcode 26 those too. What it does not wrap (marked *) is
 * Foundation as documented. Whoever changes a header runs that comparison and then changes this table.
 */
import { expect, test } from "bun:test";
import { readOurs } from "../../objc-shim/check-headers.ts";

/** Selector, and what it returns and takes in the calling convention. */
const METHODS = `
  GPUEndTime () f64
  GPUStartTime () f64
  UTF8String () ptr
  addAllocation: (ptr) void
  addComputePipelineFunctionsWithDescriptor:error: (ptr, ptr) bool
  addResidencySet: (ptr) void
  alloc () ptr
  arrayWithObject: (ptr) ptr
  autorelease () ptr
  binaryArchives () ptr
  class* () ptr
  code () i64
  commandBuffer () ptr
  commit () void
  computeCommandEncoderWithDispatchType: (u64) ptr
  containsAllocation: (ptr) bool
  computeFunction () ptr
  conformsToProtocol:* (ptr) bool
  contents () ptr
  count () u64
  currentAllocatedSize () u64
  dealloc* () void
  dispatchThreadgroups:threadsPerThreadgroup: (Size, Size) void
  dispatchThreads:threadsPerThreadgroup: (Size, Size) void
  domain () ptr
  drain () void
  endEncoding () void
  error () ptr
  fastMathEnabled () bool
  fileURLWithPath: (ptr) ptr
  hasUnifiedMemory () bool
  init () ptr
  initWithBytes:length:encoding:* (ptr, u64, u64) ptr
  label () ptr
  languageVersion () u64
  length () u64
  localizedDescription () ptr
  maxBufferLength () u64
  maxThreadgroupMemoryLength () u64
  maxThreadsPerThreadgroup () Size
  maxTotalThreadsPerThreadgroup () u64
  memoryBarrierWithScope: (u64) void
  name () ptr
  new* () ptr
  newBinaryArchiveWithDescriptor:error: (ptr, ptr) ptr
  newBufferWithBytesNoCopy:length:options:deallocator: (ptr, u64, u64, ptr) ptr
  newBufferWithLength:options: (u64, u64) ptr
  newCommandQueueWithMaxCommandBufferCount: (u64) ptr
  newComputePipelineStateWithDescriptor:options:reflection:error: (ptr, u64, ptr, ptr) ptr
  newFunctionWithName:constantValues:error: (ptr, ptr, ptr) ptr
  newLibraryWithSource:options:error: (ptr, ptr, ptr) ptr
  newResidencySetWithDescriptor:error: (ptr, ptr) ptr
  objectAtIndex: (u64) ptr
  operatingSystemVersion () OperatingSystemVersion
  path* () ptr
  physicalMemory () u64
  processInfo () ptr
  reason* () ptr
  recommendedMaxWorkingSetSize () u64
  registryID () u64
  release () void
  removeAllocation: (ptr) void
  requestResidency () void
  respondsToSelector:* (ptr) bool
  retain () ptr
  retainCount () u64
  serializeToURL:error: (ptr, ptr) bool
  setBinaryArchives: (ptr) void
  setBuffer:offset:atIndex: (ptr, u64, u64) void
  setBytes:length:atIndex: (ptr, u64, u64) void
  setComputeFunction: (ptr) void
  setComputePipelineState: (ptr) void
  setConstantValue:type:atIndex: (ptr, u64, u64) void
  setFastMathEnabled: (bool) void
  setLabel: (ptr) void
  setLanguageVersion: (u64) void
  setMathMode: (i64) void
  setUrl: (ptr) void
  staticThreadgroupMemoryLength () u64
  status () u64
  stringWithUTF8String:* (ptr) ptr
  supportsFamily: (i64) bool
  threadExecutionWidth () u64
  unsignedLongLongValue () u64
  url () ptr
  waitUntilCompleted () void
`;

const CONSTANTS = {
  MTLBarrierScopeBuffers: 1,
  MTLCommandBufferErrorAccessRevoked: 4,
  MTLCommandBufferErrorDeviceRemoved: 11,
  MTLCommandBufferErrorInternal: 1,
  MTLCommandBufferErrorInvalidResource: 9,
  MTLCommandBufferErrorNone: 0,
  MTLCommandBufferErrorNotPermitted: 7,
  MTLCommandBufferErrorOutOfMemory: 8,
  MTLCommandBufferErrorPageFault: 3,
  MTLCommandBufferErrorTimeout: 2,
  MTLCommandBufferStatusCommitted: 2,
  MTLCommandBufferStatusCompleted: 4,
  MTLCommandBufferStatusEnqueued: 1,
  MTLCommandBufferStatusError: 5,
  MTLCommandBufferStatusNotEnqueued: 0,
  MTLCommandBufferStatusScheduled: 3,
  MTLDataTypeBool: 53,
  MTLDataTypeFloat: 3,
  MTLDataTypeInt: 29,
  MTLDataTypeUInt: 33,
  MTLDispatchTypeConcurrent: 1,
  MTLDispatchTypeSerial: 0,
  MTLGPUFamilyApple1: 1001,
  MTLGPUFamilyApple7: 1007,
  MTLGPUFamilyMetal3: 5001,
  MTLLanguageVersion3_1: 196609,
  MTLMathModeFast: 2,
  MTLMathModeSafe: 0,
  MTLPipelineOptionFailOnBinaryArchiveMiss: 4,
  MTLPipelineOptionNone: 0,
  MTLResourceCPUCacheModeDefaultCache: 0,
  MTLResourceStorageModePrivate: 32,
  MTLResourceStorageModeShared: 0,
  NSUTF8StringEncoding: 4,
};

const { methods, constants } = readOurs();

test("every selector is pinned with its types", () => {
  const pinned = METHODS.trim()
    .split("\n")
    .map((line) => line.trim().replace("*", ""));
  const declared = methods.map(({ selector, types: [returns, ...takes] }) => `${selector} (${takes.join(", ")}) ${returns}`);
  expect([...new Set(declared)].sort()).toEqual(pinned.sort());
});

test("every constant is pinned with its value", () => {
  expect(Object.fromEntries([...constants].sort())).toEqual(CONSTANTS);
});
