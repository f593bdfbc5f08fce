/* The classes of Foundation that the shim uses. */
#define _GNU_SOURCE
#include <IOKit/IOKitLib.h>
#include <objc/runtime.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysctl.h>
#include <unistd.h>

#import "host.h"

@implementation NSString

+ (instancetype)stringWithUTF8String:(const char *)bytes {
  return [[[self alloc] initWithBytes:bytes length:strlen(bytes) encoding:NSUTF8StringEncoding] autorelease];
}

/* Whether bytes are UTF-8, as far as lead and continuation bytes tell. */
static BOOL is_utf8(const unsigned char *s, NSUInteger n) {
  for (NSUInteger i = 0; i < n;) {
    NSUInteger more = s[i] < 0x80 ? 0 : s[i] >= 0xc2 && s[i] < 0xe0 ? 1 : s[i] >= 0xe0 && s[i] < 0xf0 ? 2 : s[i] >= 0xf0 && s[i] < 0xf5 ? 3 : 9;
    if (more == 9 || i + more >= n) return NO;
    for (i++; more > 0; more--, i++)
      if ((s[i] & 0xc0) != 0x80) return NO;
  }
  return YES;
}

- (instancetype)initWithBytes:(const void *)bytes length:(NSUInteger)n encoding:(NSUInteger)encoding {
  if (encoding != NSUTF8StringEncoding || !is_utf8(bytes, n)) {
    [self release];
    return nil;
  }
  text = malloc(n + 1);
  memcpy(text, bytes, n);
  text[n] = 0;
  length = (unsigned int)n;
  return self;
}

- (const char *)UTF8String {
  return text;
}

- (void)dealloc {
  free(text);
  [super dealloc];
}

@end

/* Laid out by the compiler: never counted, never freed. */
@implementation NSConstantString

- (instancetype)retain {
  return self;
}

- (oneway void)release {
}

- (instancetype)autorelease {
  return self;
}

- (void)dealloc {
  if (0) [super dealloc];
}

@end

MHO_API Class NSClassFromString(NSString *name) {
  if (!strcmp(name.UTF8String, "MTLResidencySetDescriptor") && host_os() < 150000) return Nil;
  return objc_getClass(name.UTF8String);
}

@implementation NSError

- (instancetype)initWithDomain:(const char *)name code:(NSInteger)number text:(const char *)words {
  domain = [[NSString stringWithUTF8String:name] retain];
  code = number;
  text = [[NSString stringWithUTF8String:words] retain];
  return self;
}

- (NSString *)domain {
  return domain;
}

- (NSInteger)code {
  return code;
}

- (NSString *)localizedDescription {
  return text;
}

- (void)dealloc {
  [domain release];
  [text release];
  [super dealloc];
}

@end

NSError *host_error(const char *domain, NSInteger code, const char *format, ...) {
  char *words;
  va_list list;
  va_start(list, format);
  int n = vasprintf(&words, format, list);
  va_end(list);
  NSError *error = [[[NSError alloc] initWithDomain:domain code:code text:n < 0 ? "" : words] autorelease];
  if (n >= 0) free(words);
  return error;
}

@implementation NSException

- (NSString *)name {
  return name;
}

- (NSString *)reason {
  return reason;
}

@end

void host_throw(NSString *name, NSString *reason) {
  NSException *thrown = [[[NSException alloc] init] autorelease];
  thrown->name = name;
  thrown->reason = reason;
  @throw thrown;
}

@implementation NSURL

+ (instancetype)fileURLWithPath:(NSString *)path {
  NSURL *url = [[[self alloc] init] autorelease];
  url->path = [path retain];
  return url;
}

- (NSString *)path {
  return path;
}

- (void)dealloc {
  [path release];
  [super dealloc];
}

@end

@implementation NSArray

+ (instancetype)arrayWithObject:(id)object {
  NSArray *array = [[[self alloc] init] autorelease];
  array->items = malloc(sizeof(id));
  array->items[0] = [object retain];
  array->count = 1;
  return array;
}

- (NSUInteger)count {
  return count;
}

- (id)objectAtIndex:(NSUInteger)index {
  if (index >= count) host_throw(@"NSRangeException", @"index beyond the end of an array");
  return items[index];
}

- (void)dealloc {
  for (NSUInteger i = 0; i < count; i++) [items[i] release];
  free(items);
  [super dealloc];
}

@end

@implementation NSNumber

+ (instancetype)newWithValue:(unsigned long long)number {
  NSNumber *made = [[self alloc] init];
  made->value = number;
  return made;
}

- (unsigned long long)unsignedLongLongValue {
  return value;
}

@end

@implementation NSProcessInfo

+ (NSProcessInfo *)processInfo {
  return [[[self alloc] init] autorelease];
}

- (NSOperatingSystemVersion)operatingSystemVersion {
  long version = host_os();
  return (NSOperatingSystemVersion){version / 10000, version / 100 % 100, version % 100};
}

- (unsigned long long)physicalMemory {
  return (unsigned long long)sysconf(_SC_PHYS_PAGES) * (unsigned long long)sysconf(_SC_PAGESIZE);
}

@end

/* ---- the C functions of other frameworks -------------------------------------------------------------------------------------- */

MHO_API int sysctlbyname(const char *name, void *value, size_t *bytes, void *new_value, size_t new_bytes) {
  if (strcmp(name, "kern.memorystatus_vm_pressure_level") || *bytes < sizeof(int) || new_value || new_bytes) return -1;
  *(int *)value = (int)host_setting("pressure", 1);
  *bytes = sizeof(int);
  return 0;
}

/* The one entry of this registry is the GPU's: number 1, found by the driver's class. */
MHO_API CFMutableDictionaryRef IOServiceMatching(const char *name) {
  return strcmp(name, "AGXAccelerator") ? NULL : (CFMutableDictionaryRef)name;
}
MHO_API io_service_t IOServiceGetMatchingService(mach_port_t main_port, CFDictionaryRef matching) { return main_port == 0 && matching ? 1 : 0; }
MHO_API kern_return_t IOObjectRelease(io_object_t object) { return object ? 0 : -1; }
MHO_API CFTypeRef IORegistryEntryCreateCFProperty(io_registry_entry_t entry, CFStringRef key, CFAllocatorRef allocator, IOOptionBits options) {
  if (!entry || allocator || options || strcmp(((NSString *)key).UTF8String, "gpu-core-count")) return NULL;
  return [NSNumber newWithValue:(unsigned long long)host_setting("cores", 8)];
}
