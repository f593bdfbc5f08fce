/** The fake frameworks find wrong uses of Metal's API and of objects: each one in objc/misuse.m, and nothing else. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { frameworks } from "./frameworks.ts";

const host = frameworks();
if (!host.available) console.log(host.why);
setDefaultTimeout(120_000);

/** What is said of each misuse. */
const FOUND: Readonly<Record<string, RegExp>> = {
  "over-release": /over-release: -\[NSObject release\]/,
  "use after free": /use after free: -\[MTLCompileOptions setFastMathEnabled:\]/,
  "released and autoreleased": /over-release/,
  "unknown message": /NSObject does not understand UTF8String/,
  "pool drained twice": /use after free: -\[NSAutoreleasePool drain\]/,
  "too many bytes": /setBytes: 4097 bytes at index 1/,
  "no bytes": /setBytes: 0 bytes/,
  "index beyond the table": /index 31 is beyond 30/,
  "offset beyond the buffer": /offset 65 is beyond the 64 bytes/,
  "freed buffer": /the object at index 0 is no buffer/,
  "too many threads": /dispatch of ones: 1025 threads in a threadgroup, its pipeline allows 1024/,
  "empty grid": /grid 0 x 1 x 1/,
  "empty threadgroup": /of 0 x 1 x 1 threads/,
  "huge grid": /grid 2147483648 x 1 x 1 of 32/,
  "no pipeline": /dispatch without a pipeline/,
  "encode after end": /dispatch on an encoder that has ended/,
  "end twice": /endEncoding on an encoder that has ended/,
  "wrong barrier": /memoryBarrierWithScope: 2/,
  "encoder never ended": /a command encoder was never ended/,
  "commit with an open encoder": /commit with an open encoder/,
  "two open encoders": /another encoder is open/,
  "commit twice": /was committed before/,
  "encoder after commit": /the command buffer is committed/,
  "wait without commit": /was never committed/,
  "beyond the queue's limit": /the thread would block, 4 are unfinished/,
  "buffer of no bytes": /a buffer cannot have 0 bytes/,
  "private contents": /contents of a private buffer/,
  "wrap within a page": /is not whole pages of 16384 bytes/,
  "wrap part of a page": /with 20480 bytes is not whole pages/,
};

describe.skipIf(!host.available)("the fake frameworks find", () => {
  if (!host.available) return;
  const { fake } = host;

  test("a table of all misuses", () => expect(fake.misuses().sort()).toEqual(Object.keys(FOUND).sort()));

  for (const [name, words] of Object.entries(FOUND)) {
    test(name, () => {
      fake.all();
      const before = fake.live();
      fake.misuse(name);
      expect(fake.live()).toEqual(before);
      const found = fake.all();
      expect(found).toHaveLength(1);
      expect(found[0]).toMatch(words);
    });
  }

  test("an autorelease without a pool", () => {
    fake.misuse("no pool");
    expect(fake.all()).toEqual([expect.stringMatching(/autorelease of a NSObject without a pool/)]);
  });

  test("a leak", () => {
    const before = fake.live().NSObject ?? 0;
    fake.misuse("leak");
    expect(fake.live().NSObject).toBe(before + 1);
  });

  test("words that mho_inject does not know", () => {
    for (const words of ["nothing", "os", "buffer=1", "buffer@", "buffer@x", "os=", "compile nonsense"])
      expect(() => fake.inject(words)).toThrow(words);
    fake.inject("reset");
  });
});
