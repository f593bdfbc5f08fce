/** Formats that store values one by one: floats and integers. */
import { bf16ToNumber, f16Table, f32ToNumber, numberToBf16, numberToF16 } from "../half.ts";
import { putU16, roundClamp, u16, type QuantType } from "./codec.ts";

const scratch = new DataView(new ArrayBuffer(8));

/** A format whose blocks are single values of `size` bytes, read and written through a DataView. */
function scalar(
  ggml: number | undefined,
  size: number,
  get: (view: DataView) => number,
  set: (view: DataView, value: number) => void,
): QuantType {
  return {
    ggml,
    blockSize: 1,
    blockBytes: size,
    decode(bytes, at, out, to) {
      for (let i = 0; i < size; i++) scratch.setUint8(i, bytes[at + i]);
      out[to] = get(scratch);
    },
    encode(values, from, bytes, at) {
      set(scratch, values[from]);
      for (let i = 0; i < size; i++) bytes[at + i] = scratch.getUint8(i);
    },
  };
}

export const f32: QuantType = {
  ggml: 0,
  blockSize: 1,
  blockBytes: 4,
  decode(bytes, at, out, to) {
    out[to] = f32ToNumber(u16(bytes, at) | (u16(bytes, at + 2) << 16));
  },
  encode(values, from, bytes, at) {
    scratch.setFloat32(0, values[from], true);
    for (let i = 0; i < 4; i++) bytes[at + i] = scratch.getUint8(i);
  },
};

export const f16: QuantType = {
  ggml: 1,
  blockSize: 1,
  blockBytes: 2,
  decode(bytes, at, out, to) {
    out[to] = f16Table()[u16(bytes, at)];
  },
  encode(values, from, bytes, at) {
    putU16(bytes, at, numberToF16(values[from]));
  },
};

export const bf16: QuantType = {
  ggml: 30,
  blockSize: 1,
  blockBytes: 2,
  decode(bytes, at, out, to) {
    out[to] = bf16ToNumber(u16(bytes, at));
  },
  encode(values, from, bytes, at) {
    putU16(bytes, at, numberToBf16(values[from]));
  },
};

export const f64 = scalar(
  28,
  8,
  (v) => v.getFloat64(0, true),
  (v, x) => v.setFloat64(0, x, true),
);
export const i8 = scalar(
  24,
  1,
  (v) => v.getInt8(0),
  (v, x) => v.setInt8(0, roundClamp(x, -128, 127)),
);
export const i16 = scalar(
  25,
  2,
  (v) => v.getInt16(0, true),
  (v, x) => v.setInt16(0, roundClamp(x, -32768, 32767), true),
);
export const i32 = scalar(
  26,
  4,
  (v) => v.getInt32(0, true),
  (v, x) => v.setInt32(0, roundClamp(x, -(2 ** 31), 2 ** 31 - 1), true),
);
export const i64 = scalar(
  27,
  8,
  (v) => Number(v.getBigInt64(0, true)),
  (v, x) => v.setBigInt64(0, BigInt(roundClamp(x, -Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)), true),
);
export const u8 = scalar(
  undefined,
  1,
  (v) => v.getUint8(0),
  (v, x) => v.setUint8(0, roundClamp(x, 0, 255)),
);
export const bool = scalar(
  undefined,
  1,
  (v) => (v.getUint8(0) ? 1 : 0),
  (v, x) => v.setUint8(0, x ? 1 : 0),
);
