/**
 * One file from a server to disk: in parallel ranges, resumed after whatever cut it, hashed while it comes. The hash follows the front of
 * what is there and reads from disk (mostly from the system's cache), so ranges may come in any order, and resuming is no special case.
 */
import { rmSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { AlloyError } from "../../support/errors.ts";
import { readJournal, removeJournal, writeJournal, type Journal } from "./journal.ts";
import { TransferError, type Net, type Reply } from "./net.ts";
import type { Range } from "./ranges.ts";

/** What is known of a file's content beforehand: its SHA-256, or the SHA-1 that git names it by (over `blob SIZE\0` and the content). */
export type Pin = { sha256: string } | { git: string };

export interface FileSource {
  url: string;
  headers?: Readonly<Record<string, string>>;
  /** New headers, for a server whose leave ends while a long download runs; asked for when it answers 401. */
  renew?: () => Promise<Readonly<Record<string, string>>>;
  size: number;
  /** Without one the entity tag tells whether the file is still the same. */
  pin?: Pin;
}

export interface DownloadOptions {
  net: Net;
  signal?: AbortSignal;
  /** Bytes that are there by now, of `size`. */
  onProgress?: (completed: number) => void;
  /** Ranges fetched at the same time. Default 4. */
  connections?: number;
  /** Bytes of a range. Default 32 MiB. */
  partBytes?: number;
}

const PART_BYTES = 32 * 2 ** 20;
const CONNECTIONS = 4;
/** Written at once: many small writes cost more than they give. */
const WRITE_BYTES = 2 ** 20;
/** A slow connection's bytes are written at least this often. */
const WRITE_MS = 250;
const JOURNAL_MS = 500;
const HASH_BYTES = 2 ** 20;
/** A try that brought this much was no failure. */
const PROGRESS_BYTES = 64 * 1024;

/**
 * Fetches a file to `path`, going on with what an earlier call left there, and returns its hex SHA-256. When it throws, what came is
 * kept for the next call, unless it proved to be wrong. The caller sees to it that one call at a time works on a path.
 *
 * Throws `download_failed` for a digest or a size that is not as promised, `io_error` when it cannot be written, TransferError, and the
 * signal's reason.
 */
export async function downloadFile(source: FileSource, path: string, options: DownloadOptions): Promise<string> {
  const journal = readJournal(path, source.size);
  for (let whole = false; ;) {
    const resumed = journal.ranges.bytes > 0;
    const end = await new Attempt(source, path, options, journal, whole).run();
    if (typeof end === "string") {
      removeJournal(path);
      return end;
    }
    if (end.why === "no ranges") {
      whole = true;
      continue;
    }
    journal.ranges.clear();
    journal.etag = undefined;
    removeJournal(path);
    // What came before the last start may have been of another version of the file, or never reached the disk: once more, from nothing.
    if (end.why === "other file" || resumed) continue;
    rmSync(path, { force: true });
    throw mismatch(source);
  }
}

/** Why an attempt has to be followed by another. */
type Setback = { why: "no ranges" | "other file" | "wrong digest" };

class SetbackError extends Error {
  constructor(readonly setback: Setback) {
    super(setback.why);
  }
}

class Attempt {
  private readonly group = new AbortController();
  private handle!: FileHandle;
  private headers: FileSource["headers"];
  private saved = -Infinity;
  private saving: Promise<void> = Promise.resolve();
  /** Resolved when the front moves, and when all is over. */
  private moved = Promise.withResolvers<void>();

  constructor(
    private readonly source: FileSource,
    private readonly path: string,
    private readonly options: DownloadOptions,
    private readonly journal: Journal,
    /** The server knows no ranges: one stream of everything. */
    private readonly whole: boolean,
  ) {
    this.headers = source.headers;
  }

  async run(): Promise<string | Setback> {
    const { signal } = this.options;
    const leave = () => this.stop(signal!.reason);
    signal?.throwIfAborted();
    signal?.addEventListener("abort", leave, { once: true });
    try {
      this.handle = await open(this.path, this.journal.ranges.bytes > 0 ? "r+" : "w+");
      await this.handle.truncate(this.source.size);
      this.options.onProgress?.(this.journal.ranges.bytes);
      const all = [this.transfer(), this.digest()].map((work) =>
        work.catch((e: unknown) => {
          this.stop(e);
          throw e;
        }),
      ) as [Promise<void>, Promise<Digests>];
      // Nothing may write to the file any more when it is closed.
      const [, digests] = await Promise.allSettled(all);
      if (this.group.signal.aborted) throw this.group.signal.reason;
      if (digests.status === "rejected") throw digests.reason;
      if (!agrees(this.source.pin, digests.value)) return { why: "wrong digest" };
      await this.handle.sync();
      return digests.value.sha256;
    } catch (e) {
      if (e instanceof SetbackError) return e.setback;
      throw diskError(this.path, e);
    } finally {
      signal?.removeEventListener("abort", leave);
      await this.close();
    }
  }

  private stop(reason: unknown): void {
    if (!this.group.signal.aborted) this.group.abort(reason);
    this.moved.resolve();
  }

  private async close(): Promise<void> {
    if (this.handle === undefined) return;
    this.save();
    await this.saving;
    await this.handle.close();
  }

  /** Brings what is missing. */
  private async transfer(): Promise<void> {
    const { size } = this.source;
    const { connections = CONNECTIONS, partBytes = PART_BYTES } = this.options;
    const { ranges } = this.journal;
    const gaps: Range[] = this.whole ? [[ranges.front, size]] : ranges.gaps(size, partBytes);
    const work = async (onHead?: () => void) => {
      for (let gap = gaps.shift(); gap; gap = gaps.shift()) await this.part(gap, onHead);
    };
    // The first answer tells whether the server knows ranges: the others wait for it.
    const head = Promise.withResolvers<void>();
    const first = work(head.resolve);
    await Promise.race([head.promise, first]);
    const others = Array.from({ length: Math.max(0, connections - 1) }, () => work());
    const ends = await Promise.allSettled(
      [first, ...others].map((w) =>
        w.catch((e: unknown) => {
          this.stop(e);
          throw e;
        }),
      ),
    );
    for (const end of ends) if (end.status === "rejected") throw this.group.signal.reason;
  }

  /** One range, with as many requests as it takes. */
  private async part([start, end]: Range, onHead?: () => void): Promise<void> {
    const { net } = this.options;
    const { signal } = this.group;
    let at = start;
    for (let failures = 0; at < end;) {
      const before = at;
      try {
        const reply = await this.request(at, end);
        onHead?.();
        at = await this.receive(reply, at, end, (done) => (at = done));
        if (at < end) throw new TransferError(`the connection for ${this.source.url} was closed after ${at} bytes`, { retry: true });
      } catch (e) {
        failures = at - before >= PROGRESS_BYTES ? 1 : failures + 1;
        // A second refusal in a row is one.
        if (failures === 1 && (await this.renewed(e))) continue;
        await net.pause(e, failures, signal);
      }
    }
  }

  private async renewed(error: unknown): Promise<boolean> {
    const { renew } = this.source;
    if (!renew || !(error instanceof TransferError) || error.detail.status !== 401) return false;
    this.headers = await renew();
    return true;
  }

  private async request(at: number, end: number): Promise<Reply> {
    const { headers } = this;
    const { url, size, pin } = this.source;
    const ranged = !this.whole && !(at === 0 && end === size);
    const etag = pin === undefined ? this.journal.etag : undefined;
    const reply = await this.options.net.open(url, {
      headers: {
        ...headers,
        ...(ranged ? { range: `bytes=${at}-${end - 1}` } : {}),
        // What is pinned by a digest may come from servers with different tags.
        ...(ranged && etag !== undefined ? { "if-range": etag } : {}),
      },
      signal: this.group.signal,
    });
    try {
      this.check(reply, at, ranged);
    } catch (e) {
      reply.close();
      throw e;
    }
    return reply;
  }

  /** Is this the file, and the range, that was asked for? */
  private check(reply: Reply, at: number, ranged: boolean): void {
    const { size, pin, url } = this.source;
    const tag = reply.headers.get("etag");
    // Weak tags promise the same meaning, not the same bytes.
    const etag = tag !== null && !tag.startsWith("W/") ? tag : undefined;
    if (pin === undefined && this.journal.etag !== undefined && etag !== undefined && etag !== this.journal.etag)
      throw new SetbackError({ why: "other file" });
    this.journal.etag ??= etag;
    if (ranged && reply.status === 200) throw new SetbackError({ why: "no ranges" });
    if (!ranged && reply.status === 206) throw new TransferError(`${url} came in part though all of it was asked for`, { retry: false });
    const total = ranged ? rangeTotal(reply.headers, at, url) : length(reply.headers);
    if (total !== undefined && total !== size)
      throw new AlloyError("download_failed", `${url} has ${total} bytes on the server, and not the ${size} that were announced`, {
        hint: "Pull again; if it stays so, the files on the server do not belong together.",
      });
  }

  /** Writes a reply's bytes from `at` on, and returns where they end. `written` hears of all that is safe even when it throws. */
  private async receive(reply: Reply, at: number, end: number, written: (at: number) => void): Promise<number> {
    let skip = this.whole ? at : 0;
    let held: Uint8Array[] = [];
    let bytes = 0;
    let flushed = performance.now();
    const flush = async () => {
      if (bytes === 0) return;
      await writeAll(this.handle, Buffer.concat(held, bytes), at);
      this.add(at, at + bytes);
      written((at += bytes));
      [held, bytes, flushed] = [[], 0, performance.now()];
    };
    try {
      for await (const chunk of reply.body()) {
        const useful = chunk.subarray(Math.min(skip, chunk.byteLength), skip + end - at - bytes);
        skip = Math.max(0, skip - chunk.byteLength);
        if (useful.byteLength > 0) held.push(useful);
        bytes += useful.byteLength;
        if (at + bytes >= end) break;
        if (bytes >= WRITE_BYTES || performance.now() - flushed > WRITE_MS) await flush();
      }
    } finally {
      // Also what came before the connection broke.
      await flush();
    }
    return at;
  }

  private add(start: number, end: number): void {
    const { ranges } = this.journal;
    const front = ranges.front;
    ranges.add(start, end);
    if (ranges.front > front) {
      this.moved.resolve();
      this.moved = Promise.withResolvers<void>();
    }
    this.options.onProgress?.(ranges.bytes);
    if (performance.now() - this.saved < JOURNAL_MS) return;
    this.saved = performance.now();
    this.save();
  }

  /** Writes the journal, after the one that is being written. */
  private save(): void {
    const write = () => writeJournal(this.path, this.source.size, this.journal);
    // A full disk has no room for it; the last one that was written still holds.
    this.saving = this.saving.then(write).catch(() => {});
  }

  /** Hashes the file behind its front. */
  private async digest(): Promise<Digests> {
    const { size, pin } = this.source;
    const sha256 = new Bun.CryptoHasher("sha256");
    const git = pin && "git" in pin ? new Bun.CryptoHasher("sha1").update(`blob ${size}\0`) : undefined;
    const buffer = Buffer.allocUnsafe(HASH_BYTES);
    for (let at = 0; at < size;) {
      this.group.signal.throwIfAborted();
      const { front } = this.journal.ranges;
      if (front <= at) {
        await this.moved.promise;
        continue;
      }
      const { bytesRead } = await this.handle.read(buffer, 0, Math.min(buffer.length, front - at), at);
      if (bytesRead === 0) throw new AlloyError("io_error", `${this.path} ends at byte ${at}, though more was written to it`);
      sha256.update(buffer.subarray(0, bytesRead));
      git?.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
    return { sha256: sha256.digest("hex"), git: git?.digest("hex") };
  }
}

interface Digests {
  sha256: string;
  git?: string;
}

function agrees(pin: Pin | undefined, { sha256, git }: Digests): boolean {
  if (pin === undefined) return true;
  return "git" in pin ? pin.git === git : pin.sha256 === sha256;
}

function mismatch({ url }: FileSource): AlloyError {
  const text = "digest mismatch, file must be downloaded again";
  return new AlloyError("download_failed", `${text}: ${url} is not what its digest says`, {
    hint: "Pull again; if it stays so, the server's file is damaged.",
    data: { ollama: text },
  });
}

function length(headers: Headers): number | undefined {
  const value = headers.get("content-length");
  return value === null || headers.has("content-encoding") ? undefined : Number(value);
}

/** The whole file's size by Content-Range; undefined when the server does not know it. */
function rangeTotal(headers: Headers, at: number, url: string): number | undefined {
  const value = headers.get("content-range") ?? "";
  const match = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(value);
  if (!match || Number(match[1]) !== at)
    throw new TransferError(`${url} was asked for from byte ${at}, and came as "${value}"`, { retry: true });
  return match[2] === "*" ? undefined : Number(match[2]);
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength;) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.byteLength - done, at + done);
    done += bytesWritten;
  }
}

/** Errors of the file system in words; anything else as it is. */
export function diskError(path: string, error: unknown): unknown {
  const { code } = error as { code?: unknown };
  if (error instanceof AlloyError || error instanceof TransferError || typeof code !== "string") return error;
  if (code === "ENOSPC" || code === "EDQUOT")
    return new AlloyError("io_error", `the disk is full: ${path} cannot be written`, {
      hint: "Free some space and pull again; what is here already is kept.",
      cause: error,
    });
  if (["EACCES", "EPERM", "EROFS"].includes(code))
    return new AlloyError("io_error", `${path} cannot be written: ${code}`, {
      hint: "Set ALLOY_MODELS to a folder that you may write.",
      cause: error,
    });
  return new AlloyError("io_error", `${path} cannot be written: ${code}`, { cause: error });
}
