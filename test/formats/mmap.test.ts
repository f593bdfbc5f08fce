import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { adviseDontNeed, adviseSequential, adviseWillNeed, bytesAt, mapFile } from "../../src/formats/mmap.ts";
import { alloyError, inFolder } from "./tools.ts";

describe("mapFile", () => {
  test("shows the file's bytes through windows and addresses", () =>
    inFolder((folder) => {
      const path = join(folder, "f");
      const content = Uint8Array.from({ length: 100_000 }, (_, i) => i * 7);
      writeFileSync(path, content);
      const map = mapFile(path);
      expect(map.bytes).toBe(content.length);
      expect(Number.isSafeInteger(map.address)).toBe(true);
      expect(map.window(0, map.bytes)).toEqual(content);
      expect(map.window(99_999, 1)).toEqual(content.subarray(99_999));
      expect(map.window(5, 0)).toHaveLength(0);
      expect(bytesAt(map.address + 4097, 10)).toEqual(content.subarray(4097, 4107));
      map.close();
    }));

  test("advice changes nothing about the content", () =>
    inFolder((folder) => {
      const path = join(folder, "f");
      const content = new Uint8Array(50_000).fill(7);
      writeFileSync(path, content);
      const map = mapFile(path);
      adviseSequential(map.address + 100, 20_000);
      adviseWillNeed(map.address + 5000, 1);
      adviseDontNeed(map.address + 1, 49_000);
      adviseDontNeed(map.address + 1, 10);
      expect(map.window(0, map.bytes)).toEqual(content);
      map.close();
    }));

  test("refuses windows outside the file and after close", () =>
    inFolder((folder) => {
      const path = join(folder, "f");
      writeFileSync(path, "0123456789");
      const map = mapFile(path);
      for (const [offset, length] of [
        [0, 11],
        [10, 1],
        [-1, 2],
        [0, -1],
        [0.5, 1],
        [NaN, 1],
        [2 ** 53, 1],
      ])
        alloyError(() => map.window(offset, length), "internal");
      alloyError(() => bytesAt(map.address + 5, 6), "internal");
      alloyError(() => bytesAt(map.address - 1, 2), "internal");
      map.close();
      map.close();
      alloyError(() => map.window(0, 1), "internal");
      alloyError(() => bytesAt(map.address, 1), "internal");
    }));

  test("says what is wrong with a path", () =>
    inFolder((folder) => {
      const missing = alloyError(() => mapFile(join(folder, "none")), "model_not_found");
      expect(missing.message).toContain(join(folder, "none"));
      alloyError(() => mapFile(join(folder, "none/deeper")), "model_not_found");
      mkdirSync(join(folder, "dir"));
      expect(alloyError(() => mapFile(join(folder, "dir")), "bad_file").message).toContain("folder");
      writeFileSync(join(folder, "empty"), "");
      expect(alloyError(() => mapFile(join(folder, "empty")), "bad_file").message).toContain("empty");
    }));

  test.skipIf(process.getuid?.() === 0)("says that permission is missing (needs a user other than root)", () =>
    inFolder((folder) => {
      const path = join(folder, "secret");
      writeFileSync(path, "x");
      chmodSync(path, 0);
      expect(alloyError(() => mapFile(path), "bad_file").message).toContain("permission");
    }),
  );
});
