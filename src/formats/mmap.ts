/**
 * Read-only maps of model files of any size. `Bun.mmap` and JavaScript's ArrayBuffer end at 4 GiB, so the map comes from
 * libc and is handed on as an address (a JS number: user-space addresses are below 2^53); windows of at most 4 GiB are
 * made where JavaScript itself has to read.
 */
import { dlopen, toArrayBuffer, type Pointer } from "bun:ffi";
import { type BigIntStats, closeSync, fstatSync, openSync } from "node:fs";
import { AlloyError } from "../support/errors.ts";
import { LIBC_NAMES } from "../support/libc.ts";

/** Largest window that one ArrayBuffer can show, in bytes. */
export const MAX_WINDOW_BYTES = 2 ** 32;

// The values are the same on Linux and macOS.
const PROT_READ = 1;
const MAP_SHARED = 1;
const MADV_SEQUENTIAL = 2;
const MADV_WILLNEED = 3;
const MADV_DONTNEED = 4;
/** Linux alone has it. */
const MADV_HUGEPAGE = 14;

/** Places at which a file's content is looked at to tell it from another's, and bytes of each. */
const SAMPLES = 16;
const SAMPLE_BYTES = 4096;

/** Opened on first use, so that importing this file costs nothing. */
let libc: ReturnType<typeof openLibc>["symbols"] | undefined;
let pageBytes = 0;

function openLibc(name: string) {
  return dlopen(name, {
    mmap: { args: ["ptr", "u64", "i32", "i32", "i32", "i64"], returns: "ptr" },
    munmap: { args: ["ptr", "u64"], returns: "i32" },
    madvise: { args: ["ptr", "u64", "i32"], returns: "i32" },
    getpagesize: { args: [], returns: "i32" },
  });
}

function symbols(): NonNullable<typeof libc> {
  if (libc) return libc;
  let failure: unknown;
  for (const name of LIBC_NAMES) {
    try {
      libc = openLibc(name).symbols;
      pageBytes = libc.getpagesize();
      return libc;
    } catch (e) {
      failure = e;
    }
  }
  throw new AlloyError("device_error", `cannot open the C library (tried ${LIBC_NAMES.join(", ")})`, {
    hint: "Alloy needs the system's C library to map model files.",
    cause: failure,
  });
}

/** Live maps of this thread, so that a window on an address can be checked before it is made. */
const live = new Set<MappedFile>();

/**
 * A file mapped read-only. Reading beyond it throws. As with any map, reading through a window after `close`, or after another
 * process has cut the file short, is undefined and may kill the process.
 */
export class MappedFile {
  readonly path: string;
  /** Size of the file in bytes. */
  readonly bytes: number;
  /** Address of the first byte; page-aligned. */
  readonly address: number;
  /** What the system tells this file's content from others' by (`fileIdentity`). */
  readonly identity: string;
  #open = true;

  constructor(path: string, bytes: number, address: number, identity: string) {
    this.path = path;
    this.bytes = bytes;
    this.address = address;
    this.identity = identity;
    live.add(this);
  }

  /** Of the identity, and of samples of the content: a few pages. */
  fingerprint(): string {
    const hash = new Bun.CryptoHasher("sha256").update(this.identity);
    const length = Math.min(SAMPLE_BYTES, this.bytes);
    for (let i = 0; i < SAMPLES; i++) hash.update(this.window(Math.floor(((this.bytes - length) * i) / (SAMPLES - 1)), length));
    return hash.digest("hex");
  }

  /**
   * Bytes [offset, offset + length) of the file, not copied. The pages are read-only: writing through the window kills the
   * process. Throws `internal` outside the file, over 4 GiB, or after `close`.
   */
  window(offset: number, length: number): Uint8Array {
    if (!this.#open) throw new AlloyError("internal", `${this.path} was read after it was closed`);
    const inside = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
    if (!inside || offset + length > this.bytes)
      throw new AlloyError("internal", `read of ${length} bytes at offset ${offset} leaves ${this.path} (${this.bytes} bytes)`);
    if (length > MAX_WINDOW_BYTES) throw new AlloyError("internal", `a window of ${length} bytes on ${this.path} is over the 4 GiB limit`);
    if (length === 0) return new Uint8Array(0);
    return new Uint8Array(toArrayBuffer((this.address + offset) as Pointer, 0, length));
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    live.delete(this);
    symbols().munmap(this.address as Pointer, this.bytes);
  }
}

/** Another one for another file, and for the same file after a change: its number on its disk, size, and time of last change. */
export const fileIdentity = ({ ino, size, mtimeNs }: BigIntStats): string => `${ino} ${size} ${mtimeNs}`;

/**
 * Map a whole file read-only. Nothing is read from disk until it is touched.
 *
 * Throws `model_not_found` when there is no such file and `bad_file` when it is a folder, empty, unreadable or cannot be mapped.
 */
export function mapFile(path: string): MappedFile {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (e) {
    throw openError(path, e);
  }
  try {
    const stat = fstatSync(fd);
    if (stat.isDirectory()) throw new AlloyError("bad_file", `${path} is a folder, not a file`, { hint: "Give the path of a file in it." });
    if (!stat.isFile()) throw new AlloyError("bad_file", `${path} is not a regular file`);
    if (stat.size === 0) throw new AlloyError("bad_file", `${path} is empty (0 bytes)`, { hint: "Download or copy it again." });
    const address = Number(symbols().mmap(null, stat.size, PROT_READ, MAP_SHARED, fd, 0));
    // MAP_FAILED is -1, which arrives as 2^64 - 1.
    if (address === 0 || address > Number.MAX_SAFE_INTEGER)
      throw new AlloyError("bad_file", `cannot map ${path} (${stat.size} bytes) into memory`, {
        hint: "Check `ulimit -v` and whether the file lies on a file system that supports mmap.",
      });
    return new MappedFile(path, stat.size, address, fileIdentity(fstatSync(fd, { bigint: true })));
  } finally {
    // The map keeps the file alive.
    closeSync(fd);
  }
}

function openError(path: string, e: unknown): AlloyError {
  const code = (e as { code?: string }).code ?? String(e);
  if (code === "ENOENT" || code === "ENOTDIR")
    return new AlloyError("model_not_found", `there is no file ${path}`, { hint: "Check the path.", cause: e });
  if (code === "EACCES" || code === "EPERM")
    return new AlloyError("bad_file", `no permission to read ${path}`, {
      hint: "Check the permissions of the file and its folders.",
      cause: e,
    });
  return new AlloyError("bad_file", `cannot open ${path}: ${code}`, { cause: e });
}

/**
 * Bytes at an absolute address inside a file that this thread has mapped, not copied; at most 4 GiB.
 * Throws `internal` when the range lies in no open map, instead of reading foreign memory.
 */
export function bytesAt(address: number, length: number): Uint8Array {
  for (const file of live)
    if (address >= file.address && address - file.address + length <= file.bytes) return file.window(address - file.address, length);
  throw new AlloyError("internal", `address ${address} (${length} bytes) lies in no open model file`);
}

/** Drop the pages that lie wholly inside the range from memory; they come back from disk when touched. For weights that were repacked. */
export function adviseDontNeed(address: number, bytes: number): void {
  symbols();
  const start = Math.ceil(address / pageBytes) * pageBytes;
  const end = Math.floor((address + bytes) / pageBytes) * pageBytes;
  if (end > start) advise(start, end - start, MADV_DONTNEED);
}

/** Ask for large pages for memory that will be written whole: filling it takes a fraction of the time. */
export function adviseHugePages(address: number, bytes: number): void {
  if (process.platform === "linux") adviseAround(address, bytes, MADV_HUGEPAGE);
}

/** Tell the system that the range is about to be read front to back, so that it reads far ahead. */
export function adviseSequential(address: number, bytes: number): void {
  adviseAround(address, bytes, MADV_SEQUENTIAL);
}

/** Tell the system to start reading the range from disk now. */
export function adviseWillNeed(address: number, bytes: number): void {
  adviseAround(address, bytes, MADV_WILLNEED);
}

function adviseAround(address: number, bytes: number, advice: number): void {
  symbols();
  const start = Math.floor(address / pageBytes) * pageBytes;
  advise(start, address + bytes - start, advice);
}

/** Advice is a hint: a system that refuses it changes nothing but speed, so the result is not looked at. */
function advise(address: number, bytes: number, advice: number): void {
  symbols().madvise(address as Pointer, bytes, advice);
}
