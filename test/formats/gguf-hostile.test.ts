/** Damaged and hostile GGUF files: each must give an AlloyError that names file, field and offset, never a crash or an over-read. */
import { describe, expect, test } from "bun:test";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AlloyError, type ErrorCode } from "../../src/support/errors.ts";
import { openModel } from "../../src/formats/open.ts";
import { openGguf } from "../../src/formats/gguf.ts";
import { tensorBytes } from "../../src/formats/read.ts";
import { alloyError, DEMO, generator, inFolder, printedSeed, RawGguf } from "./tools.ts";

const header = RawGguf.header;

/** What is wrong; the file; the field and what the message says of it; the byte offset (-1: none is named). */
const CASES: [what: string, file: RawGguf, says: (string | RegExp)[], offset: number, code?: ErrorCode][] = [
  ["wrong magic", new RawGguf().text("GGML").bytes(40), ["magic", "0x4c4d4747"], 0],
  ["version 1", header(0, 0, 1), ["version 1"], -1, "unsupported_model"],
  ["version 4", header(0, 0, 4), ["version 4"], -1],
  ["big-endian", header(0, 0, 0x03000000), ["big-endian"], -1, "unsupported_model"],
  ["cut after the magic", new RawGguf().text("GGUF"), ["version"], 4],
  ["cut in the counts", new RawGguf().text("GGUF").u32(3).u32(1), ["tensor count"], 8],
  ["absurd tensor count", header(2 ** 40, 0).bytes(99), ["tensor count", "1099511627776"], 8],
  ["tensor count of 2^63", header(2n ** 63n, 0), ["tensor count", "9223372036854775808"], 8],
  ["absurd metadata count", header(0, 1000).bytes(99), ["metadata count", "1000"], 16],
  ["empty key", header(0, 1).u64(0).bytes(20), ["metadata key 0", "0 is not 1 to"], 24],
  [
    "key of 2^40 bytes",
    header(0, 1)
      .u64(2 ** 40)
      .bytes(20),
    ["metadata key 0"],
    24,
  ],
  ["key beyond the end", header(0, 1).u64(50).bytes(20), ["metadata key 0", "20 of the 50"], 32],
  ["duplicate key", header(0, 2).string("kk").u32(7).u8(1).string("kk").u32(7).u8(1), ['"kk" is there twice'], 39],
  ["unknown value type", header(0, 1).string("k").u32(13).bytes(20), ["type of k", "13"], 33],
  ["value cut off", header(0, 1).string("key").u32(10).bytes(3), ["key", "3 of the 8"], 39],
  ["string beyond the end", header(0, 1).string("k").u32(8).u64(99).text("ab"), ["k at", "2 of the 99"], 45],
  [
    "string of 2^62 bytes",
    header(0, 1)
      .string("k")
      .u32(8)
      .u64(2n ** 62n),
    ["length of k"],
    37,
  ],
  [
    "array of 2^40 numbers",
    header(0, 1)
      .string("k")
      .u32(9)
      .u32(4)
      .u64(2 ** 40),
    ["length of k"],
    41,
  ],
  [
    "array of 2^40 strings",
    header(0, 1)
      .string("k")
      .u32(9)
      .u32(8)
      .u64(2 ** 40),
    ["length of k"],
    41,
  ],
  [
    "array of 2^40 arrays",
    header(0, 1)
      .string("k")
      .u32(9)
      .u32(9)
      .u64(2 ** 40),
    ["length of k"],
    41,
  ],
  [
    "array of 2^24 bools",
    header(0, 1)
      .string("k")
      .u32(9)
      .u32(7)
      .u64(2 ** 24),
    ["length of k"],
    41,
  ],
  ["string array cut off", header(0, 1).string("k").u32(9).u32(8).u64(2).string("abcdefgh").u64(5).u8(1), ["item 1 of k"], 65],
  [
    "string of 2^33 in an array",
    header(0, 1)
      .string("k")
      .u32(9)
      .u32(8)
      .u64(1)
      .u64(2 ** 33),
    ["item 0 of k"],
    49,
  ],
  ["deep nesting", nested(40), ["nested deeper"], -2],
  ["alignment 0", header(0, 1).string("general.alignment").u32(4).u32(0), ["general.alignment", "0 is no power"], -2],
  ["alignment 24", header(0, 1).string("general.alignment").u32(4).u32(24), ["general.alignment", "24"], -2],
  [
    "alignment 2^30",
    header(0, 1)
      .string("general.alignment")
      .u32(4)
      .u32(2 ** 30),
    ["general.alignment"],
    -2,
  ],
  ["alignment as text", header(0, 1).string("general.alignment").u32(8).string("32"), ["general.alignment"], -2],
  ["split.count as text", header(0, 1).string("split.count").u32(8).string("2"), ["split.count"], -1],
  ["tensor table cut off", header(1, 0).string("t").u32(1).bytes(11), [/dimension 0|tensor count/], -2],
  ["5 dimensions", header(1, 0).tensor("t", [1, 1, 1, 1, 1], 0, 0).data(64), ['dimension count of tensor "t"', "5"], 33],
  ["2^32 - 1 dimensions", header(1, 0).string("t").u32(0xffffffff).bytes(64), ["4294967295"], 33],
  ["dimension 0", header(1, 0).tensor("t", [4, 0], 0, 0).data(64), ['dimension 1 of tensor "t"', "is 0"], 45],
  [
    "dimension 2^63",
    header(1, 0)
      .tensor("t", [2n ** 63n], 0, 0)
      .data(64),
    ['dimension 0 of tensor "t"'],
    37,
  ],
  [
    "product over 2^53",
    header(1, 0)
      .tensor("t", [2 ** 30, 2 ** 30], 0, 0)
      .data(64),
    ["absurdly large"],
    45,
  ],
  ["rows that are no blocks", header(1, 0).tensor("t", [100], 12, 0).data(512), ["100", "256"], 37],
  ["unknown tensor type", header(1, 0).tensor("t", [32], 99, 0).data(64), ['type of tensor "t"', "99"], 45],
  ["a type of ggml's that is not read", header(1, 0).tensor("t", [256], 16, 0).data(512), ["IQ2_XXS", "byte 45"], -1, "unsupported_model"],
  ["offset not aligned", header(1, 0).tensor("t", [4], 0, 16).data(64), ['offset of tensor "t"', "16"], 49],
  ["offset beyond the end", header(1, 0).tensor("t", [4], 0, 1024).data(64), ['offset of tensor "t"', "beyond"], 49],
  [
    "offset of 2^63",
    header(1, 0)
      .tensor("t", [4], 0, 2n ** 63n)
      .data(64),
    ['offset of tensor "t"'],
    49,
  ],
  ["data cut off", header(1, 0).tensor("t", [32], 0, 0).data(127), ['offset of tensor "t"', "128 bytes", "beyond"], 49],
  ["overlapping tensors", header(2, 0).tensor("a", [16], 0, 0).tensor("b", [4], 0, 32).data(128), ['tensor "b"', 'inside tensor "a"'], 82],
  ["duplicate tensor", header(2, 0).tensor("t", [4], 0, 0).tensor("t", [4], 0, 32).data(128), ["tensor name 1", "twice"], 57],
  ["empty tensor name", header(1, 0).tensor("", [4], 0, 0).data(64), ["tensor name 0"], 24],
];

function nested(depth: number): RawGguf {
  const raw = header(0, 1).string("k").u32(9);
  for (let i = 0; i < depth; i++) raw.u32(9).u64(1);
  return raw.u32(4).u64(0);
}

describe("every field is checked", () => {
  test.each(CASES)("%s", (_, raw, says, offset, code = "bad_file") =>
    inFolder((folder) => {
      const path = raw.write(folder);
      const error = alloyError(() => openGguf(path), code);
      expect(error.message).toContain(path);
      expect(error.hint).not.toBe("");
      for (const part of says) expect(error.message).toMatch(part instanceof RegExp ? part : new RegExp(escape(part)));
      if (offset >= 0) expect(error.data?.offset).toBe(offset);
      if (offset >= 0) expect(error.message).toContain(`at byte ${offset}: `);
      if (offset === -2) expect(error.message).toMatch(/at byte \d+: /);
    }),
  );

  function escape(text: string): string {
    return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  }

  test("the well-formed counterpart of the cases opens", () =>
    inFolder((folder) => {
      const raw = header(2, 0).tensor("a", [16], 0, 0).tensor("b", [4], 0, 64).data(80);
      openModel(raw.write(folder)).close();
    }));
});

/** Open and touch the first and last byte of everything: errors of Alloy's are fine, anything else is not. */
function survive(path: string): boolean {
  try {
    const file = openModel(path);
    for (const key of file.metadata.keys()) file.metadata.get(key);
    for (const tensor of file.tensors.values()) {
      const bytes = tensorBytes(tensor);
      expect(bytes).toHaveLength(tensor.bytes);
      expect(bytes[0] + bytes[bytes.length - 1]).toBeGreaterThanOrEqual(0);
    }
    file.close();
    return true;
  } catch (e) {
    if (!(e instanceof AlloyError)) throw e;
    expect(["bad_file", "model_not_found", "unsupported_model"]).toContain(e.code);
    expect(e.message).toContain(path);
    return false;
  }
}

describe("damaged copies of a real file", () => {
  const demo = readFileSync(DEMO);
  const dataStart = headerBytes();

  function headerBytes(): number {
    const file = openModel(DEMO);
    const bytes = file.fileBytes - [...file.tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    file.close();
    return bytes;
  }

  test("cut anywhere: an error, since every byte belongs to something", () =>
    inFolder((folder) => {
      const random = generator(printedSeed("cut"));
      const path = join(folder, "cut.gguf");
      writeFileSync(path, demo);
      // From the end to the start, so that one copy serves all cuts; half of them in the header.
      const cuts = Array.from({ length: 300 }, (_, i) => Math.floor(random() * (i % 2 ? demo.length : dataStart)));
      for (const length of [...new Set([...cuts, 0, 1, 3, 4, 8, 23, 24, demo.length - 1])].toSorted((a, b) => b - a)) {
        truncateSync(path, length);
        expect({ length, opened: survive(path) }).toEqual({ length, opened: false });
      }
    }));

  test("bits flipped in the header: an error or a readable file", () =>
    inFolder((folder) => {
      const random = generator(printedSeed("flip"));
      const path = join(folder, "flipped.gguf");
      let opened = 0;
      for (let round = 0; round < 300; round++) {
        // The tensor data is left out of the flips (all of its values are valid), and is written as a hole.
        const bytes = Buffer.from(demo.subarray(0, dataStart));
        const flips = 1 + Math.floor(random() * 4);
        // Every other round near the start or near the tensor table, where the structure is densest.
        const zones = [
          [0, dataStart],
          [0, 2000],
          [dataStart - 9000, dataStart],
        ];
        const [from, to] = zones[round % 3];
        for (let i = 0; i < flips; i++) bytes[from + Math.floor(random() * (to - from))] ^= 1 << Math.floor(random() * 8);
        writeFileSync(path, bytes);
        truncateSync(path, demo.length);
        if (survive(path)) opened++;
      }
      expect(opened).toBeGreaterThan(0);
      expect(opened).toBeLessThan(300);
    }));

  test("numbers overwritten with extremes: an error or a readable file", () =>
    inFolder((folder) => {
      const random = generator(printedSeed("extremes"));
      const path = join(folder, "extreme.gguf");
      const extremes = [0n, 1n, 0xffn, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n];
      for (let round = 0; round < 200; round++) {
        const bytes = Buffer.from(demo.subarray(0, dataStart));
        const [from, to] = round % 2 ? [4, 2000] : [dataStart - 9000, dataStart - 8];
        bytes.writeBigUInt64LE(extremes[round % extremes.length], from + Math.floor(random() * (to - from)));
        writeFileSync(path, bytes);
        truncateSync(path, demo.length);
        survive(path);
      }
    }));

  test("noise after the preamble: an error", () =>
    inFolder((folder) => {
      const random = generator(printedSeed("noise"));
      for (let round = 0; round < 100; round++) {
        const noise = Buffer.from(Array.from({ length: 500 }, () => Math.floor(random() * (round % 2 ? 256 : 4))));
        const path = join(folder, `${round}.gguf`);
        writeFileSync(path, Buffer.concat([header(1, 1).buffer(), noise]));
        expect(survive(path)).toBe(false);
      }
    }));
});
