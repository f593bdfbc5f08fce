/* Fake libraries, functions, pipelines and binary archives, over the executor's C ABI. */
#include <objc/runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#import "abi.h"
#import "host.h"

/* FNV-1a */
static uint64_t mix(uint64_t hash, const void *bytes, size_t n) {
  for (const unsigned char *p = bytes; n > 0; n--) hash = (hash ^ *p++) * 0x100000001b3ull;
  return hash;
}
#define HASH_START 0xcbf29ce484222325ull

@implementation MTLCompileOptions
@synthesize fastMathEnabled, languageVersion;

- (instancetype)init {
  fastMathEnabled = YES;
  mathMode = 2;
  return self;
}

- (BOOL)respondsToSelector:(SEL)selector {
  if (!strcmp(sel_getName(selector), "setMathMode:") && host_os() < 150000) return NO;
  return [super respondsToSelector:selector];
}

- (void)setMathMode:(NSInteger)mode {
  if (mode < 0 || mode > 2) host_report("api", "setMathMode: %ld", mode);
  mathMode = mode;
}

- (BOOL)isFast {
  return host_os() < 150000 ? fastMathEnabled : mathMode != 0;
}

@end

struct host_constant {
  mh_constant_value value;
};

@implementation MTLFunctionConstantValues

- (void)setConstantValue:(const void *)value type:(MTLDataType)type atIndex:(NSUInteger)index {
  NSUInteger i = 0;
  while (i < count && values[i].value.index != index) i++;
  if (i == count) values = realloc(values, ++count * sizeof *values);
  values[i].value = (mh_constant_value){(uint32_t)index, (uint32_t)type, 0};
  memcpy(&values[i].value.bits, value, type == MTLDataTypeBool ? 1 : 4);
}

- (const mh_constant_value *)values {
  return &values->value;
}

- (NSUInteger)count {
  return count;
}

- (void)dealloc {
  free(values);
  [super dealloc];
}

@end

@implementation HostLibrary

- (instancetype)initWithSource:(NSString *)source error:(NSError **)error {
  enum { WORDS = 1 << 16 };
  const char *text = source.UTF8String;
  char *words = malloc(WORDS);
  *words = 0;
  library = mh_library_compile(text, strlen(text), words, WORDS);
  hash = mix(HASH_START, text, strlen(text));
  if (!library) {
    [self release];
    self = host_refuse(error, "MTLLibraryErrorDomain", 3, "%s", words);
  }
  free(words);
  return self;
}

- (id<MTLFunction>)newFunctionWithName:(NSString *)name constantValues:(MTLFunctionConstantValues *)values error:(NSError **)error {
  mh_function *found = mh_function_find(library, name.UTF8String);
  if (!found || host_fails("function"))
    return host_refuse(error, "MTLLibraryErrorDomain", 5, "Function %s was not found in the library", name.UTF8String);
  char words[1024] = "";
  uint32_t count = (uint32_t)[values count];
  const mh_constant_value *list = count ? [values values] : NULL;
  mh_pipeline *pipeline = mh_pipeline_create(found, list, count, words, sizeof words);
  if (!pipeline) return host_refuse(error, "MTLLibraryErrorDomain", 3, "%s", words);
  HostFunction *function = [[HostFunction alloc] init];
  function->library = [self retain];
  function->name = [name retain];
  function->pipeline = pipeline;
  function->key = mix(mix(hash, name.UTF8String, strlen(name.UTF8String)), list, count * sizeof *list);
  return function;
}

- (void)dealloc {
  if (library) mh_library_release(library);
  [super dealloc];
}

@end

@implementation HostFunction

- (NSString *)name {
  return name;
}

- (void)dealloc {
  mh_pipeline_release(pipeline);
  [name release];
  [library release];
  [super dealloc];
}

@end

@implementation MTLComputePipelineDescriptor

- (id<MTLFunction>)computeFunction {
  return computeFunction;
}

- (void)setComputeFunction:(id<MTLFunction>)function {
  [function retain];
  [computeFunction release];
  computeFunction = function;
}

- (NSString *)label {
  return label;
}

- (void)setLabel:(NSString *)text {
  [text retain];
  [label release];
  label = text;
}

- (NSArray *)binaryArchives {
  return binaryArchives;
}

- (void)setBinaryArchives:(NSArray *)archives {
  [archives retain];
  [binaryArchives release];
  binaryArchives = archives;
}

- (void)dealloc {
  [computeFunction release];
  [label release];
  [binaryArchives release];
  [super dealloc];
}

@end

@implementation HostPipeline

- (instancetype)initWithFunction:(HostFunction *)made error:(NSError **)error {
  mh_pipeline_facts facts;
  mh_pipeline_facts_get(made->pipeline, &facts);
  function = [made retain];
  max_threads = facts.max_threads_per_threadgroup;
  width = facts.thread_execution_width;
  shared_bytes = facts.static_threadgroup_bytes;
  if (shared_bytes > 32768) {
    [self release];
    return host_refuse(error, "AGXMetal", 3, "Threadgroup memory size (%lu) exceeds the maximum threadgroup memory allowed (32768)",
                       (unsigned long)facts.static_threadgroup_bytes);
  }
  return self;
}

- (NSUInteger)maxTotalThreadsPerThreadgroup {
  return max_threads;
}

- (NSUInteger)threadExecutionWidth {
  return width;
}

- (NSUInteger)staticThreadgroupMemoryLength {
  return shared_bytes;
}

- (void)dealloc {
  [function release];
  [super dealloc];
}

@end

@implementation MTLBinaryArchiveDescriptor

- (NSURL *)url {
  return url;
}

- (void)setUrl:(NSURL *)place {
  [place retain];
  [url release];
  url = place;
}

- (void)dealloc {
  [url release];
  [super dealloc];
}

@end

/* On disk: a line that says what it is, the keys, and their hash. */
#define ARCHIVE_MAGIC "metal host archive\n"

@implementation HostArchive

- (BOOL)readFrom:(const char *)path {
  char magic[sizeof ARCHIVE_MAGIC] = "";
  uint64_t n = 0, sum = 0;
  FILE *file = fopen(path, "rb");
  if (!file) return NO;
  BOOL good = fread(magic, sizeof magic - 1, 1, file) == 1 && !strcmp(magic, ARCHIVE_MAGIC) && fread(&n, sizeof n, 1, file) == 1 && n < 1u << 20;
  if (good) {
    count = n;
    keys = malloc((n + 1) * sizeof *keys);
    good = fread(keys, sizeof *keys, n, file) == n && fread(&sum, sizeof sum, 1, file) == 1 && sum == mix(HASH_START, keys, n * sizeof *keys);
  }
  fclose(file);
  return good;
}

- (instancetype)initWithPath:(NSString *)path error:(NSError **)error {
  if (host_fails("archive-open") || (path && ![self readFrom:path.UTF8String])) {
    [self release];
    return host_refuse(error, "MTLBinaryArchiveDomain", 1, "Invalid archive at %s", path ? path.UTF8String : "(none)");
  }
  return self;
}

- (BOOL)contains:(uint64_t)key {
  for (NSUInteger i = 0; i < count; i++)
    if (keys[i] == key) return YES;
  return NO;
}

- (BOOL)addComputePipelineFunctionsWithDescriptor:(MTLComputePipelineDescriptor *)descriptor error:(NSError **)error {
  if (host_fails("archive-add")) {
    if (error) *error = host_error("MTLBinaryArchiveDomain", 3, "a test asked for this");
    return NO;
  }
  HostFunction *function = (HostFunction *)descriptor.computeFunction;
  if ([self contains:function->key]) return YES;
  keys = realloc(keys, (count + 1) * sizeof *keys);
  keys[count++] = function->key;
  return YES;
}

- (BOOL)serializeToURL:(NSURL *)url error:(NSError **)error {
  uint64_t n = count, sum = mix(HASH_START, keys, count * sizeof *keys);
  FILE *file = host_fails("archive-write") ? NULL : fopen(url.path.UTF8String, "wb");
  BOOL good = file && fwrite(ARCHIVE_MAGIC, sizeof ARCHIVE_MAGIC - 1, 1, file) == 1 && fwrite(&n, sizeof n, 1, file) == 1 &&
              fwrite(keys, sizeof *keys, n, file) == n && fwrite(&sum, sizeof sum, 1, file) == 1;
  if (file && fclose(file)) good = NO;
  if (!good && error) *error = host_error("MTLBinaryArchiveDomain", 2, "the file could not be written");
  return good;
}

- (void)dealloc {
  free(keys);
  [super dealloc];
}

@end
