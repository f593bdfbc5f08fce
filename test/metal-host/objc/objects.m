/*
 * The root class, reference counts and autorelease pools, so made that mistakes show: a freed object keeps its memory for a long while and
 * becomes an object that understands nothing and reports every message.
 */
#include <objc/message.h>
#include <objc/runtime.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#import "host.h"

/* Stands before each object. */
typedef struct header {
  struct header *previous, *next; /* living objects, or freed ones in order of death */
  const char *class_name;
  long count;
} header;
_Static_assert(sizeof(header) % 16 == 0, "objects are aligned as malloc aligns");

/* Freed objects that keep their memory. */
#define KEPT 100000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static header living = {&living, &living, "", 0};
static header freed = {&freed, &freed, "", 0};
static uint64_t living_count, freed_count;

static header *header_of(id object) { return (header *)(void *)object - 1; }

static void unlink_header(header *h) {
  h->previous->next = h->next;
  h->next->previous = h->previous;
}

static void append(header *list, header *h) {
  h->previous = list->previous;
  h->next = list;
  list->previous->next = h;
  list->previous = h;
}

/* What freed objects become. It has no methods at all. */
__attribute__((objc_root_class))
@interface HostFreed {
  Class isa;
}
@end
@implementation HostFreed
@end

static id nothing(id self, SEL selector, ...) {
  (void)self;
  (void)selector;
  return nil;
}

/* The runtime asks here for an implementation that a class lacks. */
static IMP unknown_message(id receiver, SEL selector) {
  const char *name = sel_getName(selector);
  if (object_getClass(receiver) == objc_getClass("HostFreed")) {
    const char *was = header_of(receiver)->class_name;
    if (!strcmp(name, "release") || !strcmp(name, "autorelease")) host_report("object", "over-release: -[%s %s] of a freed object", was, name);
    else host_report("object", "use after free: -[%s %s]", was, name);
  } else {
    host_report("object", "%s does not understand %s", object_getClassName(receiver), name);
  }
  return (IMP)nothing;
}

__attribute__((constructor)) static void install(void) { __objc_msg_forward2 = unknown_message; }

uint64_t mho_live_objects(char *out, size_t size) {
  struct {
    const char *name;
    uint64_t number;
  } kinds[64];
  size_t used = 0, n = 0;
  pthread_mutex_lock(&lock);
  uint64_t total = living_count;
  for (header *h = living.next; h != &living; h = h->next) {
    size_t k = 0;
    while (k < n && strcmp(kinds[k].name, h->class_name)) k++;
    if (k == 64) continue;
    if (k == n) kinds[n++] = (typeof(kinds[0])){h->class_name, 0};
    kinds[k].number++;
  }
  pthread_mutex_unlock(&lock);
  if (size) *out = 0;
  for (size_t k = 0; k < n; k++) {
    int wrote = snprintf(out + used, size - used, "%s: %llu\n", kinds[k].name, (unsigned long long)kinds[k].number);
    if (wrote < 0 || used + (size_t)wrote >= size) break;
    used += (size_t)wrote;
  }
  return total;
}

@implementation NSObject

+ (instancetype)alloc {
  header *h = calloc(1, sizeof(header) + class_getInstanceSize(self));
  h->class_name = class_getName(self);
  h->count = 1;
  id object = (id)(void *)(h + 1);
  object_setClass(object, self);
  pthread_mutex_lock(&lock);
  append(&living, h);
  living_count++;
  pthread_mutex_unlock(&lock);
  return object;
}

+ (instancetype)new {
  return [[self alloc] init];
}

+ (Class)class {
  return self;
}

- (instancetype)init {
  return self;
}

- (instancetype)retain {
  __atomic_add_fetch(&header_of(self)->count, 1, __ATOMIC_RELAXED);
  return self;
}

- (oneway void)release {
  if (__atomic_sub_fetch(&header_of(self)->count, 1, __ATOMIC_ACQ_REL) == 0) [self dealloc];
}

- (NSUInteger)retainCount {
  return (NSUInteger)__atomic_load_n(&header_of(self)->count, __ATOMIC_RELAXED);
}

- (void)dealloc {
  header *h = header_of(self), *old = NULL;
  pthread_mutex_lock(&lock);
  unlink_header(h);
  living_count--;
  append(&freed, h);
  if (++freed_count > KEPT) {
    old = freed.next;
    unlink_header(old);
    freed_count--;
  }
  object_setClass(self, objc_getClass("HostFreed"));
  pthread_mutex_unlock(&lock);
  free(old);
}

- (instancetype)autorelease {
  extern id host_autorelease(id object);
  return host_autorelease(self);
}

- (BOOL)respondsToSelector:(SEL)selector {
  return class_respondsToSelector(object_getClass(self), selector);
}

- (BOOL)conformsToProtocol:(Protocol *)protocol {
  for (Class c = object_getClass(self); c; c = class_getSuperclass(c))
    if (class_conformsToProtocol(c, protocol)) return YES;
  return NO;
}

@end

static __thread NSAutoreleasePool *top;

@implementation NSAutoreleasePool

- (instancetype)init {
  parent = top;
  top = self;
  return self;
}

- (void)add:(id)object {
  if (count == capacity) objects = realloc(objects, (capacity = capacity ? 2 * capacity : 16) * sizeof *objects);
  objects[count++] = object;
}

/* Drains pools opened later too: those that an exception skipped. */
- (void)drain {
  NSAutoreleasePool *pool = top;
  while (pool && pool != self) pool = pool->parent;
  if (!pool) {
    host_report("object", "an autorelease pool is drained twice or on another thread");
    return;
  }
  while (top != self) [top drain];
  for (NSUInteger i = 0; i < count; i++) [objects[i] release];
  top = parent;
  free(objects);
  objects = NULL;
  [self release];
}

@end

id host_autorelease(id object) {
  if (top) [top add:object];
  else host_report("object", "autorelease of a %s without a pool: it is never released", object_getClassName(object));
  return object;
}
