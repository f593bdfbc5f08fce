/** A model beyond the 4 GiB that one JavaScript buffer holds. The file is sparse: it takes some kilobytes of disk. */
import { expect, test } from "bun:test";
import { closeSync, ftruncateSync, openSync, statSync, writeSync } from "node:fs";
import { adviseDontNeed, MAX_WINDOW_BYTES } from "../../src/formats/mmap.ts";
import { openModel } from "../../src/formats/open.ts";
import { readRows, readTensor, tensorBytes } from "../../src/formats/read.ts";
import { alloyError, inFolder, RawGguf } from "./tools.ts";

const GIB = 2 ** 30;

test("a 6 GB file: tensors beyond 4 GiB read back right, and one of 5 GiB by rows", () =>
  inFolder((folder) => {
    const width = 2 ** 18;
    const rows = (5 * GIB) / (4 * width);
    const far = 5 * GIB;
    const raw = RawGguf.header(2, 0).tensor("large", [width, rows], 0, 0).tensor("far", [8], 0, far);
    const path = raw.write(folder);
    const dataStart = Math.ceil(raw.buffer().length / 32) * 32;
    const values = Float32Array.of(1, -2, 3.5, 1e30, -1e-30, 0, 7, 8);
    const inLarge = dataStart + 4 * (width * (rows - 1) + 17);
    const fd = openSync(path, "r+");
    ftruncateSync(fd, 6 * GIB);
    writeSync(fd, new Uint8Array(values.buffer), 0, 32, dataStart + far);
    writeSync(fd, new Uint8Array(Float32Array.of(42).buffer), 0, 4, inLarge);
    closeSync(fd);
    expect(statSync(path).blocks * 512).toBeLessThan(GIB);

    const file = openModel(path);
    expect(file.fileBytes).toBe(6 * GIB);
    const large = file.tensors.get("large")!;
    expect(large.bytes).toBe(5 * GIB);
    expect(readTensor(file.tensors.get("far")!)).toEqual(values);
    const last = readRows(large, rows - 1, 1);
    expect(last[17]).toBe(42);
    expect(last.reduce((a, b) => a + b)).toBe(42);
    expect(alloyError(() => tensorBytes(large), "internal").message).toContain(`${5 * GIB} bytes`);
    expect(large.bytes).toBeGreaterThan(MAX_WINDOW_BYTES);
    adviseDontNeed(large.address, large.bytes);
    expect(readRows(large, rows - 1, 1)[17]).toBe(42);
    file.close();
  }));
