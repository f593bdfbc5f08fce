/* The part of IOKit that the shim uses; see Foundation.h. Objects of Core Foundation are objects of Foundation. */
#pragma once
#include <stdint.h>

typedef const void *CFTypeRef;
typedef const struct __CFString *CFStringRef;
typedef const struct __CFAllocator *CFAllocatorRef;
typedef const struct __CFDictionary *CFDictionaryRef;
typedef struct __CFDictionary *CFMutableDictionaryRef;

typedef uint32_t mach_port_t, io_object_t, io_service_t, io_registry_entry_t;
typedef uint32_t IOOptionBits;
typedef int kern_return_t;

CFMutableDictionaryRef IOServiceMatching(const char *name);
/* Takes over the reference to `matching`. */
io_service_t IOServiceGetMatchingService(mach_port_t main_port, CFDictionaryRef matching);
CFTypeRef IORegistryEntryCreateCFProperty(io_registry_entry_t entry, CFStringRef key, CFAllocatorRef allocator, IOOptionBits options);
kern_return_t IOObjectRelease(io_object_t object);
