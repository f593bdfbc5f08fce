import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AlloyError, type ErrorCode } from "../../src/support/errors.ts";
import { parseLenient } from "../../src/formats/json.ts";
import { openModel } from "../../src/formats/open.ts";
import { readTensor } from "../../src/formats/read.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { alloyError, DEMO, FIXTURES, generator, inFolder, printedSeed } from "./tools.ts";

/** Write a safetensors file: header (an object, or text as it stands), then `dataBytes` of data. */
function write(path: string, header: unknown, dataBytes = 0, length?: bigint): string {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(length ?? BigInt(text.length));
  const data = Buffer.from(Float32Array.from({ length: Math.ceil(dataBytes / 4) }, (_, i) => i).buffer).subarray(0, dataBytes);
  writeFileSync(path, Buffer.concat([size, text, data]));
  return path;
}

const f32 = (shape: unknown, data_offsets: unknown) => ({ dtype: "F32", shape, data_offsets });

describe("safetensors", () => {
  test("tensors, scalars, empty tensors and metadata are read", () =>
    inFolder((folder) => {
      const header = {
        __metadata__: { format: "pt" },
        b: f32([2, 2], [4, 20]),
        a: f32([], [0, 4]),
        none: f32([0, 5], [4, 4]),
        ["__proto__x"]: { dtype: "BOOL", shape: [3], data_offsets: [20, 23] },
      };
      const { file, tensors, metadata } = openSafetensors(write(join(folder, "m.safetensors"), header, 23));
      expect(metadata).toEqual({ format: "pt" });
      expect(tensors.map(({ name, type, shape, bytes }) => ({ name, type, shape, bytes }))).toEqual([
        { name: "b", type: "f32", shape: [2, 2], bytes: 16 },
        { name: "a", type: "f32", shape: [], bytes: 4 },
        { name: "none", type: "f32", shape: [0, 5], bytes: 0 },
        { name: "__proto__x", type: "bool", shape: [3], bytes: 3 },
      ]);
      expect(readTensor(tensors[0])).toEqual(Float32Array.of(1, 2, 3, 4));
      expect(readTensor(tensors[1])).toEqual(Float32Array.of(0));
      expect(readTensor(tensors[2])).toHaveLength(0);
      file.close();
    }));

  const CASES: [what: string, header: unknown, dataBytes: number, says: string, code?: ErrorCode, length?: bigint][] = [
    ["header length of 2^60", {}, 0, "absurd", "bad_file", 2n ** 60n],
    ["header beyond the end", {}, 0, "beyond the end", "bad_file", 1000n],
    ["no JSON", "{nope", 0, "no valid JSON"],
    ["a string", JSON.stringify("text"), 0, "no JSON object"],
    ["an array", [], 0, "no JSON object"],
    ["entry no object", { t: 5 }, 0, 'tensor "t"'],
    ["shape missing", { t: f32(undefined, [0, 4]) }, 4, 'shape of tensor "t"'],
    ["shape negative", { t: f32([-1], [0, 4]) }, 4, "[-1]"],
    ["shape of 9 dimensions", { t: f32([1, 1, 1, 1, 1, 1, 1, 1, 1], [0, 4]) }, 4, "no shape"],
    ["shape fractional", { t: f32([1.5], [0, 6]) }, 8, "no shape"],
    ["shape absurd", { t: f32([2 ** 40, 2 ** 40], [0, 4]) }, 4, "4 bytes do not hold"],
    ["offsets missing", { t: f32([1], undefined) }, 4, 'data_offsets of tensor "t"'],
    ["offsets backwards", { t: f32([1], [4, 0]) }, 4, "no pair of offsets"],
    ["offsets beyond the end", { t: f32([2], [0, 8]) }, 4, "beyond the end"],
    ["size not that of the shape", { t: f32([3], [0, 8]) }, 8, "8 bytes do not hold F32 of shape [3] (12 bytes)"],
    ["overlap", { t: f32([2], [0, 8]), u: f32([1], [4, 8]) }, 8, 'inside tensor "t"'],
    ["unknown dtype", { t: { dtype: "F8_E4M3", shape: [4], data_offsets: [0, 4] } }, 4, "F8_E4M3", "unsupported_model"],
    ["dtype of Object's", { t: { dtype: "constructor", shape: [4], data_offsets: [0, 4] } }, 4, "constructor", "unsupported_model"],
  ];

  test.each(CASES)("%s is refused", (_, header, dataBytes, says, code = "bad_file", length) =>
    inFolder((folder) => {
      const path = write(join(folder, "m.safetensors"), header, dataBytes, length);
      const error = alloyError(() => openSafetensors(path), code);
      expect(error.message).toContain(path);
      expect(error.message).toContain(says);
      if (code === "bad_file") expect(error.message).toMatch(/at byte \d+: /);
    }),
  );

  test("cut or damaged copies of a real file: an error or a readable file", () =>
    inFolder((folder) => {
      const random = generator(printedSeed("safetensors"));
      const whole = readFileSync(join(FIXTURES, "qwen2/tiny/hf/model.safetensors"));
      const headerEnd = 8 + Number(whole.readBigUInt64LE(0));
      const path = join(folder, "m.safetensors");
      for (let round = 0; round < 200; round++) {
        const bytes = Buffer.from(whole);
        const at = Math.floor(random() * headerEnd);
        if (round % 2) bytes[at] ^= 1 << Math.floor(random() * 8);
        writeFileSync(path, bytes);
        if (round % 2 === 0) truncateSync(path, Math.floor(random() * whole.length));
        try {
          const { file, tensors } = openSafetensors(path);
          expect(round % 2).toBe(1);
          for (const tensor of tensors) readTensor(tensor);
          file.close();
        } catch (e) {
          if (!(e instanceof AlloyError)) throw e;
          expect(["bad_file", "unsupported_model"]).toContain(e.code);
        }
      }
    }));
});

describe("folders", () => {
  const config = JSON.stringify({ model_type: "test" });

  test("a sharded checkpoint opens by its index", () =>
    inFolder((folder) => {
      writeFileSync(join(folder, "config.json"), config);
      write(join(folder, "model-00001-of-00002.safetensors"), { a: f32([1], [0, 4]) }, 4);
      write(join(folder, "model-00002-of-00002.safetensors"), { b: f32([2], [0, 8]) }, 8);
      const index = join(folder, "model.safetensors.index.json");
      const map = { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" };
      writeFileSync(index, JSON.stringify({ weight_map: map }));
      const file = openModel(folder);
      expect(readTensor(file.tensors.get("b")!)).toEqual(Float32Array.of(0, 1));
      expect([...file.tensors.keys()]).toEqual(["a", "b"]);
      file.close();

      writeFileSync(index, JSON.stringify({ weight_map: { ...map, c: map.b } }));
      expect(alloyError(() => openModel(folder), "bad_file").message).toContain('no tensor "c"');
      for (const name of ["../x.safetensors", "/etc/passwd", "", 5, "..", "a\\b"]) {
        writeFileSync(index, JSON.stringify({ weight_map: { ...map, c: name } }));
        expect(alloyError(() => openModel(folder)).code).toMatch(/bad_file/);
      }
      writeFileSync(index, JSON.stringify({ weight_map: [] }));
      expect(alloyError(() => openModel(folder), "bad_file").message).toContain("weight_map");
      writeFileSync(index, JSON.stringify({ weight_map: map }));
      rmSync(join(folder, map.b));
      expect(alloyError(() => openModel(folder), "model_not_found").message).toContain(map.b);
    }));

  test("says what is missing", () =>
    inFolder((folder) => {
      expect(alloyError(() => openModel(folder), "model_not_found").message).toContain("config.json");
      writeFileSync(join(folder, "config.json"), "{");
      expect(alloyError(() => openModel(folder), "bad_file").message).toContain("no valid JSON");
      writeFileSync(join(folder, "config.json"), "[]");
      expect(alloyError(() => openModel(folder), "bad_file").message).toContain("no JSON object");
      writeFileSync(join(folder, "config.json"), config);
      expect(alloyError(() => openModel(folder), "model_not_found").message).toContain("model.safetensors");
      writeFileSync(join(folder, "weights.safetensors"), "");
      expect(alloyError(() => openModel(folder), "model_not_found").hint).toContain("weights.safetensors");
      writeFileSync(join(folder, "pytorch_model.bin"), "");
      expect(alloyError(() => openModel(folder), "unsupported_model").message).toContain("pytorch_model.bin");
    }));

  test("the chat template comes from the newest place that has one", () =>
    inFolder((folder) => {
      writeFileSync(join(folder, "config.json"), config);
      write(join(folder, "model.safetensors"), { a: f32([1], [0, 4]) }, 4);
      const template = () => {
        const file = openModel(folder);
        file.close();
        return file.config?.chatTemplate;
      };
      expect(template()).toBeUndefined();
      const named = [{ name: "default", template: "D" }, { name: "tool_use", template: "T" }, { bad: 1 }];
      writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify({ chat_template: named }));
      expect(template()).toEqual({ default: "D", tool_use: "T" });
      writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify({ chat_template: "one" }));
      expect(template()).toBe("one");
      writeFileSync(join(folder, "chat_template.json"), JSON.stringify({ chat_template: "two" }));
      expect(template()).toBe("two");
      writeFileSync(join(folder, "chat_template.jinja"), "three");
      expect(template()).toBe("three");
    }));
});

describe("openModel", () => {
  test("decides by content, not by name", () =>
    inFolder((folder) => {
      const path = join(folder, "sha256-0123");
      writeFileSync(path, readFileSync(DEMO));
      const file = openModel(path);
      expect(file.format).toBe("gguf");
      file.close();
    }));

  test("says what a file is that is no model", () =>
    inFolder((folder) => {
      const single = write(join(folder, "model.safetensors"), { a: f32([1], [0, 4]) }, 4);
      expect(alloyError(() => openModel(single), "bad_file").hint).toContain("config.json");
      writeFileSync(join(folder, "config.json"), "{}");
      expect(alloyError(() => openModel(single), "bad_file").hint).toContain(folder);
      const cases: [string, string | Buffer, string][] = [
        ["pointer.gguf", "version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"],
        ["model.pt", Buffer.from("504b030414000000", "hex"), "zip archive"],
        ["page.gguf", "<!DOCTYPE html>", "0x3c21444f"],
        ["short", "GG", "0x4747"],
      ];
      for (const [name, content, says] of cases) {
        writeFileSync(join(folder, name), content);
        const error = alloyError(() => openModel(join(folder, name)));
        expect(error.message).toContain(says);
        expect(error.message).toContain(name);
      }
      writeFileSync(join(folder, "empty.gguf"), "");
      expect(alloyError(() => openModel(join(folder, "empty.gguf")), "bad_file").message).toContain("empty");
      alloyError(() => openModel(join(folder, "none.gguf")), "model_not_found");
      alloyError(() => openModel(join(folder, "empty.gguf/deeper")), "model_not_found");
      for (const path of ["x".repeat(5000), "a\0b"]) alloyError(() => openModel(join(folder, path)), "bad_file");
      mkdirSync(join(folder, "dir"));
      alloyError(() => openModel(join(folder, "dir")), "model_not_found");
    }));
});

describe("lenient JSON", () => {
  test("takes the numbers that Python writes, and leaves strings alone", () => {
    const text = '{"a": [NaN, Infinity, -Infinity, 1], "NaN": "Infinity, NaN \\" NaN", "b": null}';
    expect(parseLenient(text)).toEqual({ a: [NaN, Infinity, -Infinity, 1], NaN: 'Infinity, NaN " NaN', b: null });
    expect(parseLenient('{"a": 1}')).toEqual({ a: 1 });
    for (const bad of ["{", '{"a": nan}', '{"a": NaNa}', "", '{"a": Infinity']) expect(() => parseLenient(bad)).toThrow(SyntaxError);
  });
});
