/** What `al.print` wrote: the hidden buffer of a launch, read after the run. */
import type { Device, DeviceBuffer } from "../runtime/device.ts";
import { elementWords, PRINT_HEADER, RECORD_HEAD, recordWords } from "./ir/print-records.ts";
import type { DType, PrintSite, ValueType } from "./ir/types.ts";
import { elements } from "./ir/types.ts";
import type { AnyKernel, Constexprs } from "./language/kernel.ts";

/** Bytes of records that one launch keeps; what comes after is counted only. */
const CAPACITY = 1 << 20;

/** One line of a kernel's output. */
interface PrintRecord {
  program: readonly [number, number, number];
  thread: number;
  site: PrintSite;
  /** By value: its elements. */
  values: (number | bigint | boolean)[][];
}

/** Buffers for the prints of a plan's dispatches. For each: pass `arguments(kernel, constexprs)` behind its own; after the run `flush`, then `free`. */
export class PrintLog {
  private readonly open: { kernel: AnyKernel; sites: readonly PrintSite[]; threads?: readonly number[]; buffer: DeviceBuffer }[] = [];

  constructor(private readonly device: Device) {}

  /** The argument that a kernel with prints takes last; none for one without. */
  arguments(kernel: AnyKernel, constexprs: Constexprs = {}): DeviceBuffer[] {
    const sites = kernel.prints(constexprs);
    if (!sites.length) return [];
    const buffer = this.device.allocate(CAPACITY + PRINT_HEADER.words * 4);
    reset(buffer);
    this.open.push({ kernel, sites, threads: kernel.specialize(constexprs).threads, buffer });
    return [buffer];
  }

  /** Writes what was printed, sorted by program, thread and order in the thread, and makes room for another run. */
  flush(write: (text: string) => void = (text) => void process.stderr.write(text)): void {
    for (const { kernel, sites, threads, buffer } of this.open) {
      const lines = printedLines(kernel.name, wordsOf(buffer), sites, threads);
      if (lines.length) write(`${lines.join("\n")}\n`);
      reset(buffer);
    }
  }

  free(): void {
    for (const { buffer } of this.open) buffer.free();
    this.open.length = 0;
  }
}

function wordsOf(buffer: DeviceBuffer): Int32Array {
  const bytes = buffer.view();
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
}

function reset(buffer: DeviceBuffer): void {
  const words = wordsOf(buffer);
  words.fill(0);
  words[PRINT_HEADER.capacity] = words.length - PRINT_HEADER.words;
}

/** The lines of a print buffer, in order; the last one says how many did not fit. */
export function printedLines(kernel: string, words: Int32Array, sites: readonly PrintSite[], threads?: readonly number[]): string[] {
  const { records, complete } = decode(words, sites);
  records.sort((a, b) => order(a, b));
  const lines = records.map((r) => {
    const who = threads ? ` thread ${threadText(threads, r.thread)}` : "";
    const values = r.values.map((v, i) => valueText(v, r.site.types[i].dtype, r.site.types[i].shape));
    return `${kernel} program ${r.program.join(",")}${who}: ${[r.site.label, ...values].join(" ")}`;
  });
  const lost = (words[PRINT_HEADER.records] >>> 0) - complete;
  if (lost > 0)
    lines.push(`${kernel}: ${lost} more print${lost === 1 ? "" : "s"} did not fit into ${(words.length - PRINT_HEADER.words) * 4} bytes`);
  return lines;
}

const order = (a: PrintRecord, b: PrintRecord): number =>
  a.program[2] - b.program[2] || a.program[1] - b.program[1] || a.program[0] - b.program[0] || a.thread - b.thread;

function decode(words: Int32Array, sites: readonly PrintSite[]): { records: PrintRecord[]; complete: number } {
  const records: PrintRecord[] = [];
  let at: number = PRINT_HEADER.words;
  for (;;) {
    // A number that is no site ends the records: nothing was written there, or a record that did not fit.
    const site = sites[words[at] - 1];
    if (!site || at + recordWords(site.types) > words.length) return { records, complete: records.length };
    const [x, y, z, thread] = words.subarray(at + 1, at + RECORD_HEAD);
    let from = at + RECORD_HEAD;
    const values = site.types.map((type) => {
      const value = readElements(words, from, type);
      from += elementWords(type) * elements(type.shape);
      return value;
    });
    records.push({ program: [x, y, z], thread, site, values });
    at = from;
  }
}

function readElements(words: Int32Array, from: number, type: ValueType): (number | bigint | boolean)[] {
  const size = elementWords(type);
  const bytes = new DataView(words.slice(from, from + size * elements(type.shape)).buffer);
  const read: Partial<Record<DType, (at: number) => number | bigint | boolean>> = {
    bool: (at) => bytes.getInt32(at, true) !== 0,
    u32: (at) => bytes.getUint32(at, true),
    f32: (at) => bytes.getFloat32(at, true),
    f64: (at) => bytes.getFloat64(at, true),
    i64: (at) => bytes.getBigInt64(at, true),
    u64: (at) => bytes.getBigUint64(at, true),
  };
  const one = read[type.dtype] ?? ((at: number) => bytes.getInt32(at, true));
  return Array.from({ length: elements(type.shape) }, (_, i) => one(i * size * 4));
}

/** A scalar, or a tile in brackets, row by row. */
function valueText(values: readonly (number | bigint | boolean)[], dtype: DType, shape: readonly number[]): string {
  if (shape.length === 0) return dtype === "f32" ? shortest(values[0] as number) : String(values[0]);
  const [n, ...rest] = shape;
  const size = values.length / n;
  const rows = Array.from({ length: n }, (_, i) => valueText(values.slice(i * size, (i + 1) * size), dtype, rest));
  return `[${rows.join(", ")}]`;
}

/** The fewest digits that give the same float32. */
function shortest(x: number): string {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(x.toPrecision(digits));
    if (Math.fround(short) === x) return String(short);
  }
  return String(Number.isFinite(x) ? Number(x.toPrecision(9)) : x);
}

function threadText(threads: readonly number[], index: number): string {
  const [x, y, z] = threads;
  const position = [index % x, Math.floor(index / x) % y, Math.floor(index / (x * y))];
  return position.slice(0, z > 1 ? 3 : y > 1 ? 2 : 1).join(",");
}
