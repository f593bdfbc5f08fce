import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from "../../src/formats/half.ts";
import { openModel } from "../../src/formats/open.ts";
import { dequantize, QUANT_TYPES, quantize, typeBytes } from "../../src/formats/quant/table.ts";
import { readTensor } from "../../src/formats/read.ts";
import type { TensorType } from "../../src/formats/weights.ts";
import independent from "../fixtures/formats/dequantize.json";
import { alloyError, DEMO, generator, printedSeed, SHARED, weights } from "./tools.ts";

/** Relative RMS error that a format may have on weights of different spreads (measured some 10 % below), and its bits per value. */
const FORMATS: [TensorType, number, bitsPerValue: number][] = [
  ["f32", 0, 32],
  ["f16", 4e-4, 16],
  ["bf16", 3e-3, 16],
  ["f64", 0, 64],
  ["q8_0", 0.012, 8.5],
  ["q8_1", 0.012, 9],
  ["q4_0", 0.13, 4.5],
  ["q4_1", 0.12, 5],
  ["q5_0", 0.07, 5.5],
  ["q5_1", 0.06, 6],
  ["q2_k", 0.5, 2.625],
  ["q3_k", 0.25, 3.4375],
  ["q4_k", 0.12, 4.5],
  ["q5_k", 0.06, 5.5],
  ["q6_k", 0.04, 6.5625],
  ["q8_k", 0.02, 9.125],
  ["iq4_nl", 0.13, 4.5],
  ["iq4_xs", 0.13, 4.25],
  ["mxfp4", 0.2, 4.25],
];

function relativeError(a: Float32Array, b: Float32Array): number {
  let [error, total] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    error += (a[i] - b[i]) ** 2;
    total += b[i] ** 2;
  }
  return Math.sqrt(error / total);
}

describe("codecs", () => {
  const random = generator(printedSeed("codecs"));
  const values = weights(256 * 64, random);

  test.each(FORMATS)("%s: error within its bound, size as ggml has it", (type, bound, bits) => {
    const stored = quantize(type, values);
    expect(stored.length).toBe((values.length * bits) / 8);
    const back = dequantize(type, stored, values.length);
    const error = relativeError(back, values);
    expect(error).toBeLessThanOrEqual(bound);
    // A codec that did nothing would be good in every case: coarse formats must lose something.
    if (bits < 16) expect(error).toBeGreaterThan(bound / 20);
    // A part of the blocks, and a DataView on the same bytes, give the same values.
    const { blockSize, blockBytes } = QUANT_TYPES[type];
    expect(dequantize(type, stored, 3 * blockSize)).toEqual(back.slice(0, 3 * blockSize));
    const view = new DataView(stored.buffer, blockBytes, blockBytes);
    expect(dequantize(type, view, blockSize)).toEqual(back.slice(blockSize, 2 * blockSize));
  });

  test.each(FORMATS)("%s: encoding what was decoded comes near it again, zeros stay zeros", (type, bound) => {
    const once = dequantize(type, quantize(type, values), values.length);
    const twice = dequantize(type, quantize(type, once), values.length);
    expect(relativeError(twice, once)).toBeLessThanOrEqual(bound);
    const zeros = new Float32Array(512);
    expect(dequantize(type, quantize(type, zeros), 512).every((x) => x === 0)).toBe(true);
  });

  test.each(FORMATS)("%s: any bytes decode without an exception", (type) => {
    const bytes = Uint8Array.from({ length: typeBytes(type, 512) }, () => Math.floor(random() * 256));
    expect(dequantize(type, bytes, 512)).toHaveLength(512);
  });

  test("sizes and counts that do not fit are refused", () => {
    alloyError(() => typeBytes("q4_k", 255), "bad_argument");
    alloyError(() => typeBytes("f32", -1), "bad_argument");
    alloyError(() => quantize("q8_0", new Float32Array(33)), "bad_argument");
    expect(alloyError(() => dequantize("q8_0", new Uint8Array(33), 32), "bad_argument").message).toContain("34 bytes, not 33");
  });

  test("integers are clamped and kept", () => {
    const ints = Float32Array.of(-1e10, -129, -1, 0, 1.4, 2.6, 200, 1e10);
    expect([...dequantize("i8", quantize("i8", ints), 8)]).toEqual([-128, -128, -1, 0, 1, 3, 127, 127]);
    expect([...dequantize("u8", quantize("u8", ints), 8)]).toEqual([0, 0, 0, 0, 1, 3, 200, 255]);
    expect([...dequantize("i16", quantize("i16", ints), 8)]).toEqual([-32768, -129, -1, 0, 1, 3, 200, 32767]);
    expect([...dequantize("i32", quantize("i32", ints), 8)]).toEqual([-(2 ** 31), -129, -1, 0, 1, 3, 200, 2 ** 31]);
    expect([...dequantize("i64", quantize("i64", ints), 8)]).toEqual([-1e10, -129, -1, 0, 1, 3, 200, 1e10]);
    expect([...dequantize("bool", quantize("bool", ints), 8)]).toEqual([1, 1, 1, 0, 1, 1, 1, 1]);
  });
});

describe("against another implementation (test/fixtures/formats/dequantize.json)", () => {
  const floats = (base64: string) => new Float32Array(new Uint8Array(Buffer.from(base64, "base64")).buffer);

  test.each(Object.entries(independent.types))("%s: random bytes give the same values to the last bit", (type, { bytes, values }) => {
    expect(dequantize(type as TensorType, Buffer.from(bytes, "base64"), 512)).toEqual(floats(values));
  });
});

describe("layouts, by hand", () => {
  const f16 = (x: number) => [numberToF16(x) & 255, numberToF16(x) >> 8];

  test("q4_0: byte j holds values j and j + 16, offset 8", () => {
    const out = dequantize("q4_0", Uint8Array.of(...f16(0.5), 0x1f, ...Array<number>(15).fill(0x88)), 32);
    expect([out[0], out[16], out[1], out[17]]).toEqual([3.5, -3.5, 0, 0]);
  });

  test("q5_1: bit j of the mask is the fifth bit of value j", () => {
    const out = dequantize("q5_1", Uint8Array.of(...f16(2), ...f16(-1), 1, 0, 2, 0, 0x21, 0x43, ...Array<number>(14).fill(0)), 32);
    expect([out[0], out[16], out[1], out[17]]).toEqual([2 * 17 - 1, 2 * 2 - 1, 2 * 3 - 1, 2 * (4 + 16) - 1]);
  });

  test("q4_k: scales and minima 4 to 7 take their upper bits from the bytes of 0 to 3", () => {
    const bytes = new Uint8Array(144);
    bytes.set([...f16(1), ...f16(0.5)]);
    bytes[4] = 0b10_000011; // scale 0 = 3; upper bits of scale 4 = 2
    bytes[8] = 0b01_000101; // minimum 0 = 5; upper bits of minimum 4 = 1
    bytes[12] = 0x76; // lower bits of scale 4 = 6, of minimum 4 = 7
    bytes[16] = 0x0a; // value 0
    bytes[16 + 64] = 0x0b; // value 128
    const out = dequantize("q4_k", bytes, 256);
    expect(out[0]).toBe(3 * 10 - 0.5 * 5);
    expect(out[128]).toBe((6 + 32) * 11 - 0.5 * (7 + 16));
    expect(out[32]).toBe(0);
  });

  test("q6_k: low nibbles, upper pairs and signed scales", () => {
    const bytes = new Uint8Array(210);
    bytes[64 + 33] = 0xa5; // values 128 + 33 (low) and 128 + 97 (high)
    bytes[128 + 32 + 1] = 0b11_00_01_00; // upper bits of 128 + 1, 33, 65, 97
    bytes[192 + 10] = 2; // scale of values 160 to 175
    bytes[192 + 14] = 256 - 3; // scale of values 224 to 239
    bytes.set(f16(0.5), 208);
    const out = dequantize("q6_k", bytes, 256);
    expect(out[161]).toBe(0.5 * 2 * (5 + 16 - 32));
    expect(out[225]).toBe(0.5 * -3 * (10 + 48 - 32));
  });

  test("mxfp4: all sixteen values and the scale's exponent", () => {
    const bytes = Uint8Array.of(128, ...Array.from({ length: 16 }, (_, i) => i | ((15 - i) << 4)));
    const magnitudes = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
    const expected = [...magnitudes, ...magnitudes.map((x) => -x)].map((x) => 2 * x);
    const out = dequantize("mxfp4", bytes, 32);
    expect(Array.from(out.subarray(0, 16), (x) => x + 0)).toEqual(expected.map((x) => x + 0));
    expect(Array.from(out.subarray(16), (x) => x + 0)).toEqual(expected.toReversed().map((x) => x + 0));
    expect(dequantize("mxfp4", Uint8Array.of(0, 0x01, ...Array<number>(15).fill(0)), 32)[0]).toBe(2 ** -128);
  });
});

describe("16-bit floats", () => {
  test("every pattern survives the way there and back", () => {
    for (let bits = 0; bits < 65536; bits++) {
      const [half, brain] = [f16ToNumber(bits), bf16ToNumber(bits)];
      if (half === half) expect(numberToF16(half)).toBe(bits);
      if (brain === brain) expect(numberToBf16(brain)).toBe(bits);
    }
    expect(bf16ToNumber(numberToBf16(NaN))).toBeNaN();
    expect(f16ToNumber(numberToF16(NaN))).toBeNaN();
  });

  test("halfway cases go to even", () => {
    expect(numberToBf16(1 + 2 ** -8)).toBe(0x3f80);
    expect(numberToBf16(1 + 3 * 2 ** -8)).toBe(0x3f82);
    expect(numberToF16(1 + 2 ** -11)).toBe(0x3c00);
    expect(numberToF16(65520)).toBe(0x7c00);
  });
});

const exact = join(SHARED, "models/alloy-demo-f16.gguf");

describe.skipIf(!existsSync(exact))("files of llama.cpp's quantizer against their F16 form (needs ../shared/models)", () => {
  const bounds: Partial<Record<TensorType, number>> = { f32: 0, q8_0: 0.01, q6_k: 0.03, q4_k: 0.1 };

  test.each([DEMO, join(SHARED, "models/alloy-demo-q4_k_m.gguf")])("%s", (path) => {
    const reference = openModel(exact);
    const file = openModel(path);
    const seen = new Set<TensorType>();
    for (const [name, tensor] of file.tensors) {
      seen.add(tensor.type);
      const error = relativeError(readTensor(tensor), readTensor(reference.tensors.get(name)!));
      expect(error).toBeLessThanOrEqual(bounds[tensor.type]!);
    }
    expect(seen.size).toBeGreaterThan(1);
    reference.close();
    file.close();
  });
});
