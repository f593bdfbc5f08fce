/*
 * The part of Foundation that the shim uses, written from its public documentation: for building without Apple's SDK. One set of headers
 * serves the cross-build for macOS and the build against the test host (test/metal-host/objc/), so that the shim cannot use what only one
 * of them has. On a Mac Apple's own headers are used instead. test/metal-host/headers.test.ts pins every selector and constant.
 *
 * HOST_IVARS: instance variables of the test host's classes. Its Objective-C runtime (GCC's) wants them in the @interface; Apple's has its
 * own.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __APPLE__
typedef signed long NSInteger;
typedef unsigned long NSUInteger;
typedef _Bool BOOL; /* on arm64 */
#define YES __objc_yes
#define NO __objc_no
#define nil ((id)0)
#define HOST_IVARS(...)
#else
#include <objc/objc.h>
typedef long NSInteger;
typedef unsigned long NSUInteger;
#define HOST_IVARS(...) {__VA_ARGS__}
#endif

typedef double CFTimeInterval;
typedef struct {
  NSInteger majorVersion, minorVersion, patchVersion;
} NSOperatingSystemVersion;

@protocol NSObject
- (instancetype)retain;
- (oneway void)release;
- (instancetype)autorelease;
- (NSUInteger)retainCount;
- (BOOL)respondsToSelector:(SEL)selector;
- (BOOL)conformsToProtocol:(Protocol *)protocol;
@end

__attribute__((objc_root_class))
@interface NSObject <NSObject> HOST_IVARS(@public Class isa;)
+ (instancetype)alloc;
+ (instancetype)new;
+ (Class)class;
- (instancetype)init;
- (void)dealloc;
@end

#define NSUTF8StringEncoding 4ul

@interface NSString : NSObject HOST_IVARS(char *text; unsigned int length;)
+ (instancetype)stringWithUTF8String:(const char *)text;
- (instancetype)initWithBytes:(const void *)bytes length:(NSUInteger)length encoding:(NSUInteger)encoding;
@property(readonly) const char *UTF8String;
@end

#ifdef __APPLE__
@interface NSSimpleCString : NSString
@end
@interface NSConstantString : NSSimpleCString
@end
#else
/* What clang lays out for @"…": class, text, length. */
@interface NSConstantString : NSString
@end
#endif

Class NSClassFromString(NSString *name);

@interface NSError : NSObject HOST_IVARS(NSString *domain; NSInteger code; NSString *text;)
@property(readonly) NSString *domain;
@property(readonly) NSInteger code;
@property(readonly) NSString *localizedDescription;
@end

#ifdef __APPLE__
__attribute__((objc_exception))
#endif
@interface NSException : NSObject HOST_IVARS(@public NSString *name; NSString *reason;)
@property(readonly) NSString *name;
@property(readonly) NSString *reason;
@end

@interface NSURL : NSObject HOST_IVARS(NSString *path;)
+ (instancetype)fileURLWithPath:(NSString *)path;
@property(readonly) NSString *path;
@end

@interface NSArray<ObjectType> : NSObject HOST_IVARS(id *items; NSUInteger count;)
+ (instancetype)arrayWithObject:(ObjectType)object;
@property(readonly) NSUInteger count;
- (ObjectType)objectAtIndex:(NSUInteger)index;
@end

@interface NSNumber : NSObject HOST_IVARS(unsigned long long value;)
@property(readonly) unsigned long long unsignedLongLongValue;
@end

@interface NSProcessInfo : NSObject
@property(class, readonly) NSProcessInfo *processInfo;
@property(readonly) NSOperatingSystemVersion operatingSystemVersion;
@property(readonly) unsigned long long physicalMemory;
@end

#ifndef __APPLE__
/* @autoreleasepool on GCC's runtime. */
@interface NSAutoreleasePool : NSObject {
  NSAutoreleasePool *parent;
  id *objects;
  NSUInteger count, capacity;
}
- (void)drain;
@end
#endif
