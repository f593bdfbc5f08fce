import { describe, expect, test } from "bun:test";
import { gguf } from "@huggingface/gguf";
import { ggufNumber, writeGguf, type GgufModel } from "../../src/formats/gguf-write.ts";
import { splitPath } from "../../src/formats/gguf.ts";
import { openModel } from "../../src/formats/open.ts";
import { quantize } from "../../src/formats/quant/table.ts";
import { elementCount, readRows, readTensor, tensorBytes } from "../../src/formats/read.ts";
import { rmSync, writeFileSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { alloyError, DEMO, generator, inFolder, printedSeed, RawGguf, weights } from "./tools.ts";

/** A model of a few tensors with every kind of metadata. */
function sample(): GgufModel & { values: Float32Array } {
  const values = weights(512, generator(1));
  return {
    values,
    metadata: {
      "general.architecture": "test",
      "general.name": "größe 🦊",
      "a.u8": ggufNumber("u8", 200),
      "a.i8": ggufNumber("i8", -5),
      "a.u16": ggufNumber("u16", 60000),
      "a.i16": ggufNumber("i16", -30000),
      "a.u32": 4_000_000_000,
      "a.i32": -7,
      "a.f32": 0.5,
      "a.f64": ggufNumber("f64", Math.PI),
      "a.u64": 5n,
      "a.u64.large": 2n ** 60n + 1n,
      "a.i64": ggufNumber("i64", -(2n ** 60n)),
      "a.bool": true,
      "a.strings": ["", "a", "é", "日本", "x".repeat(1000)],
      "a.bools": [true, false, true],
      "a.floats": Float32Array.of(1, 2.5, -3),
      "a.ints": Int32Array.of(-1, 0, 1),
      "a.bytes": Uint8Array.of(1, 2, 255),
      "a.longs": BigUint64Array.of(1n, 2n ** 63n),
    },
    tensors: [
      { name: "plain", type: "f32", shape: [2, 256], data: new Uint8Array(values.buffer) },
      { name: "scalar", type: "f32", shape: [], data: new Uint8Array(Float32Array.of(3).buffer) },
      { name: "quantized", type: "q4_k", shape: [2, 1, 256], data: () => quantize("q4_k", values) },
      {
        name: "pieces",
        type: "q8_0",
        shape: [16, 32],
        data: () => [quantize("q8_0", values.slice(0, 256)), quantize("q8_0", values.slice(256))],
      },
    ],
  };
}

describe("writer and reader", () => {
  test("metadata of every type and tensors come back", () =>
    inFolder((folder) => {
      const path = join(folder, "m.gguf");
      const model = sample();
      writeGguf(path, model);
      const file = openModel(path);
      const meta = file.metadata;
      expect(meta.size).toBe(Object.keys(model.metadata).length);
      expect([...meta.keys()]).toEqual(Object.keys(model.metadata));
      expect(meta.get("general.name")).toBe("größe 🦊");
      expect(meta.get("a.u8")).toBe(200);
      expect(meta.get("a.i8")).toBe(-5);
      expect(meta.get("a.u16")).toBe(60000);
      expect(meta.get("a.i16")).toBe(-30000);
      expect(meta.get("a.u32")).toBe(4_000_000_000);
      expect(meta.get("a.i32")).toBe(-7);
      expect(meta.get("a.f32")).toBe(0.5);
      expect(meta.get("a.f64")).toBe(Math.PI);
      expect(meta.get("a.u64")).toBe(5);
      expect(meta.get("a.u64.large")).toBe(2n ** 60n + 1n);
      expect(meta.get("a.i64")).toBe(-(2n ** 60n));
      expect(meta.get("a.bool")).toBe(true);
      for (const key of ["a.strings", "a.bools", "a.floats", "a.ints", "a.bytes", "a.longs"])
        expect(meta.get(key)).toEqual(model.metadata[key] as never);
      expect(meta.get("a.strings")).toBe(meta.get("a.strings")!);
      expect(meta.get("nothing")).toBeUndefined();
      expect(new Map(meta).get("a.strings")).toEqual(model.metadata["a.strings"] as never);
      const seen: string[] = [];
      meta.forEach((value, key, map) => {
        expect(map.get(key)).toBe(value);
        seen.push(key);
      });
      expect(seen).toEqual([...meta.keys()]);
      expect([...meta.values()]).toHaveLength(meta.size);

      expect([...file.tensors.keys()]).toEqual(["plain", "scalar", "quantized", "pieces"]);
      expect(file.tensors.get("plain")).toMatchObject({ type: "f32", shape: [2, 256], bytes: 2048 });
      expect(file.tensors.get("quantized")).toMatchObject({ type: "q4_k", shape: [2, 1, 256], bytes: 288 });
      expect(readTensor(file.tensors.get("plain")!)).toEqual(model.values);
      expect(readTensor(file.tensors.get("scalar")!)).toEqual(Float32Array.of(3));
      expect(tensorBytes(file.tensors.get("quantized")!)).toEqual(quantize("q4_k", model.values));
      expect(tensorBytes(file.tensors.get("pieces")!)).toEqual(quantize("q8_0", model.values));
      for (const { address } of file.tensors.values()) expect(address % 32).toBe(0);
      expect(readRows(file.tensors.get("plain")!, 1, 1)).toEqual(model.values.slice(256));
      alloyError(() => readRows(file.tensors.get("plain")!, 1, 2), "bad_argument");
      file.close();
      alloyError(() => tensorBytes(file.tensors.get("plain")!), "internal");
    }));

  test("@huggingface/gguf reads what is written", () =>
    inFolder(async (folder) => {
      const path = join(folder, "m.gguf");
      const model = sample();
      writeGguf(path, model);
      const theirs = await gguf(path, { allowLocalFile: true });
      const metadata = theirs.metadata as Record<string, unknown>;
      expect(metadata["general.name"]).toBe("größe 🦊");
      expect(metadata["a.f64"]).toBe(Math.PI);
      expect(metadata["a.i64"]).toBe(-(2n ** 60n));
      expect(metadata["a.strings"]).toEqual(model.metadata["a.strings"]);
      expect(metadata["a.bools"]).toEqual(model.metadata["a.bools"]);
      expect(metadata["a.floats"]).toEqual([1, 2.5, -3]);
      expect(theirs.tensorInfos.map(({ name, dtype, offset }) => [name, dtype, Number(offset)])).toEqual([
        ["plain", 0, 0],
        ["scalar", 0, 2048],
        ["quantized", 12, 2080],
        ["pieces", 8, 2368],
      ]);
    }));

  test("a vocabulary of 150k strings is walked at once and decoded on demand", () =>
    inFolder((folder) => {
      const random = generator(printedSeed("vocabulary"));
      const alphabet = ["a", "e", "Ġ", "▁", "日", "🦊", "x", "é"];
      const tokens = Array.from({ length: 150_000 }, (_, i) => i + alphabet[Math.floor(random() * 8)].repeat(1 + Math.floor(random() * 4)));
      const path = join(folder, "m.gguf");
      writeGguf(path, { metadata: { "tokenizer.ggml.tokens": tokens }, tensors: [] });
      const file = openModel(path);
      const decoded = file.metadata.get("tokenizer.ggml.tokens");
      expect(decoded).toEqual(tokens);
      file.close();
    }));

  test("another alignment is kept", () =>
    inFolder((folder) => {
      const path = join(folder, "m.gguf");
      const model = sample();
      writeGguf(path, { ...model, metadata: { "general.alignment": 256, ...model.metadata } });
      const file = openModel(path);
      for (const { address } of file.tensors.values()) expect(address % 256).toBe(0);
      expect(readTensor(file.tensors.get("plain")!)).toEqual(model.values);
      file.close();
    }));

  test("the writer refuses what does not fit and leaves no file behind", () =>
    inFolder((folder) => {
      const path = join(folder, "m.gguf");
      const data = new Uint8Array(4);
      const bad = (tensor: GgufModel["tensors"][number], metadata = {}) =>
        alloyError(() => writeGguf(path, { metadata, tensors: [tensor] }), "bad_argument");
      expect(bad({ name: "t", type: "f32", shape: [2], data }).message).toContain("takes 8 bytes, not 4");
      expect(bad({ name: "t", type: "q8_0", shape: [33], data }).message).toContain("blocks of 32");
      expect(bad({ name: "t", type: "u8", shape: [4], data }).message).toContain("no type u8");
      expect(bad({ name: "t", type: "f32", shape: [1], data }, { "general.alignment": 24 }).message).toContain("24");
      expect(alloyError(() => openModel(path)).code).toBe("model_not_found");
      alloyError(() => writeGguf(join(folder, "no/such/m.gguf"), { metadata: {}, tensors: [] }), "io_error");
    }));

  test("version 2 is read", () =>
    inFolder((folder) => {
      const raw = RawGguf.header(1, 1, 2).string("k").u32(7).u8(1).tensor("t", [8], 0, 0).data(32);
      const file = openModel(raw.write(folder));
      expect(file.metadata.get("k")).toBe(true);
      expect(file.tensors.get("t")?.shape).toEqual([8]);
      file.close();
    }));

  test("nested arrays are read", () =>
    inFolder((folder) => {
      const raw = RawGguf.header(0, 1).string("k").u32(9).u32(9).u64(2);
      raw.u32(4).u64(2).u32(10).u32(20).u32(8).u64(1).string("word");
      const file = openModel(raw.write(folder));
      expect(file.metadata.get("k")).toEqual([Uint32Array.of(10, 20), ["word"]]);
      file.close();
    }));
});

describe("the demo model", () => {
  test("agrees with @huggingface/gguf", async () => {
    const theirs = await gguf(DEMO, { allowLocalFile: true });
    const file = openModel(DEMO);
    const keys = Object.keys(theirs.metadata).filter((key) => !["version", "tensor_count", "kv_count"].includes(key));
    expect(keys.toSorted()).toEqual([...file.metadata.keys()].toSorted());
    for (const key of keys) {
      const [a, b] = [file.metadata.get(key), (theirs.metadata as Record<string, unknown>)[key]];
      if (typeof a === "object") expect(Array.from(a as ArrayLike<unknown>)).toEqual(b as unknown[]);
      else expect(a).toEqual((typeof b === "bigint" ? Number(b) : b) as never);
    }
    expect(theirs.tensorInfos.map(({ name }) => name)).toEqual([...file.tensors.keys()]);
    const first = Math.min(...[...file.tensors.values()].map(({ address }) => address));
    for (const info of theirs.tensorInfos) {
      const ours = file.tensors.get(info.name)!;
      expect(ours.shape).toEqual(info.shape.map(Number).toReversed());
      expect(ours.address - first).toBe(Number(info.offset));
      expect({ f32: 0, q8_0: 8 }[ours.type as "f32"]).toBe(info.dtype);
      expect(ours.bytes).toBe(ours.type === "f32" ? elementCount(ours) * 4 : (elementCount(ours) / 32) * 34);
    }
    expect(file.fileBytes).toBe(readFileSync(DEMO).length);
    file.close();
  });
});

describe("split files", () => {
  /** Three shards of one tensor each. */
  function writeShards(folder: string, change: (metadata: Record<string, number>, index: number) => void = () => {}): string[] {
    return [1, 2, 3].map((index) => {
      const path = splitPath(join(folder, "model"), index, 3);
      const metadata = { "split.no": index - 1, "split.count": 3, "split.tensors.count": 3 };
      change(metadata, index);
      const data = new Uint8Array(Float32Array.of(index, index).buffer);
      const typed = Object.fromEntries(Object.entries(metadata).map(([k, v]) => [k, ggufNumber("u16", v)]));
      writeGguf(path, {
        metadata: { "general.name": `shard ${index}`, ...typed },
        tensors: [{ name: `t${index}`, type: "f32", shape: [2], data }],
      });
      return path;
    });
  }

  test("any shard opens the whole, in order, with the first one's metadata", () =>
    inFolder((folder) => {
      for (const path of writeShards(folder)) {
        const file = openModel(path);
        expect(file.path).toBe(splitPath(join(folder, "model"), 1, 3));
        expect(file.metadata.get("general.name")).toBe("shard 1");
        expect([...file.tensors.keys()]).toEqual(["t1", "t2", "t3"]);
        expect(readTensor(file.tensors.get("t3")!)).toEqual(Float32Array.of(3, 3));
        file.close();
      }
    }));

  test("a missing shard is named", () =>
    inFolder((folder) => {
      const [first, second] = writeShards(folder);
      rmSync(second);
      const error = alloyError(() => openModel(first), "model_not_found");
      expect(error.message).toContain("shard 2 of 3");
      expect(error.message).toContain(second);
    }));

  test("shards that were swapped, renamed or mixed are refused", () => {
    const cases: [string, (paths: string[]) => string][] = [
      ["split.no", ([a, b]) => (renameSync(a, `${a}.x`), renameSync(b, a), renameSync(`${a}.x`, b), a)],
      ["its name", ([a]) => (renameSync(a, join(a, "../renamed.gguf")), join(a, "../renamed.gguf"))],
      ["another shard", ([a, b, c]) => (writeFileSync(c, readFileSync(b)), patchSplitNo(c, 2), a)],
    ];
    for (const [message, damage] of cases)
      inFolder((folder) => {
        const path = damage(writeShards(folder));
        expect(alloyError(() => openModel(path), "bad_file").message).toContain(message);
      });
    inFolder((folder) => {
      const [path] = writeShards(folder, (metadata) => (metadata["split.tensors.count"] = 4));
      expect(alloyError(() => openModel(path), "bad_file").message).toContain("split.tensors.count is 4");
    });
    inFolder((folder) => {
      const [path] = writeShards(folder, (metadata, index) => index === 2 && (metadata["split.count"] = 2));
      expect(alloyError(() => openModel(path), "bad_file").message).toContain("split.count 2");
    });
  });

  function patchSplitNo(path: string, no: number): void {
    const bytes = readFileSync(path);
    bytes.writeUInt16LE(no, bytes.indexOf("split.no") + "split.no".length + 4);
    writeFileSync(path, bytes);
  }
});
