/**
 * Packed weights on disk, so that a second load maps what the first one computed: processes share its pages, and nothing is read that is not
 * used. One folder for a model file, one file for a matrix: a header of one page that says what it is, then the panels as they are in memory.
 * A file appears whole (written beside, flushed, renamed) or not at all; what is broken, of another version or not there is packed anew, so a
 * writer that was interrupted goes on where it stopped. Nothing that goes wrong here reaches the user: without a cache a load takes longer.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statfsSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { join } from "node:path";
import { adviseWillNeed, fileIdentity, mapFile, type MappedFile } from "../formats/mmap.ts";
import type { Fingerprint, ModelFile, TensorType } from "../formats/weights.ts";
import type { DeviceBuffer } from "../runtime/device.ts";
import { parseBytes } from "../support/format.ts";
import { cacheDir } from "../support/paths.ts";

/** Of the files' form; what packing does has a fingerprint of its own. */
const VERSION = 1;
const HEADER_BYTES = 4096;
/** Models with less to pack are packed in less time than their files would take to open. */
const LEAST_MODEL_BYTES = 64 << 20;
/** The same of a matrix. */
const LEAST_MATRIX_BYTES = 128 << 10;
/** Of all models together, unless ALLOY_WEIGHT_CACHE says otherwise, and what the disk keeps free in any case. */
const LIMIT_BYTES = 32 * 2 ** 30;
const KEEP_FREE = 0.05;
/** Written at a time. */
const PIECE_BYTES = 1 << 20;
/** A part whose writer has not touched it for so long has none. */
const ABANDONED_MS = 600_000;
/** Says of which files a folder holds the weights. */
const SOURCE = "source.json";

export interface CacheSettings {
  /** Folder of all models' folders. */
  folder: string;
  /** Bytes of all of them; 0: nothing is kept, and what is there is not used. */
  limit: number;
  /** Models with fewer bytes to pack are left alone. */
  least?: number;
}

/** A packed matrix by what decides its bytes. */
export interface PackedKey {
  tensor: string;
  type: TensorType;
  n: number;
  k: number;
  /** Of the packing kernel. */
  packing: string;
  bytes: number;
}

/** ALLOY_WEIGHT_CACHE: "off" or 0, or a limit such as "8GiB"; what cannot be understood turns the cache off. */
export function cacheSettings(env: Readonly<Record<string, string | undefined>> = process.env): CacheSettings {
  const limit = env.ALLOY_WEIGHT_CACHE ? (parseBytes(env.ALLOY_WEIGHT_CACHE) ?? 0) : LIMIT_BYTES;
  return { folder: join(cacheDir(env), "weights"), limit };
}

export class PackedCache {
  readonly #settings: CacheSettings;
  readonly #folder: string;
  readonly #of: Fingerprint;
  readonly #maps: MappedFile[] = [];
  readonly #waiting: { key: PackedKey; buffer: DeviceBuffer }[] = [];
  #stopped = false;
  #writing: Promise<void> | undefined;
  /** The file that is being written. */
  #part = "";

  private constructor(settings: CacheSettings, of: Fingerprint) {
    this.#settings = settings;
    this.#of = of;
    this.#folder = join(settings.folder, hash(of.hash));
  }

  /** The cache of a model with so many bytes of packed matrices; undefined where none is to be kept. */
  static of(file: ModelFile, packedBytes: number, settings = cacheSettings()): PackedCache | undefined {
    if (packedBytes > settings.limit || packedBytes < (settings.least ?? LEAST_MODEL_BYTES)) return undefined;
    const fingerprint = file.fingerprint?.();
    return fingerprint === undefined ? undefined : new PackedCache(settings, fingerprint);
  }

  /** Address of a packed matrix in mapped memory, which lives until `close`; undefined where it has to be packed. */
  find(key: PackedKey): number | undefined {
    const path = this.#path(key);
    let map: MappedFile | undefined;
    try {
      if (!existsSync(path)) return undefined;
      map = mapFile(path);
      if (map.bytes === HEADER_BYTES + key.bytes && Buffer.compare(map.window(0, HEADER_BYTES), header(key)) === 0) {
        this.#maps.push(map);
        if (this.#maps.length === 1) this.#use();
        adviseWillNeed(map.address + HEADER_BYTES, key.bytes);
        return map.address + HEADER_BYTES;
      }
    } catch {
      // Whatever is there is no use.
    }
    map?.close();
    discard(path);
    return undefined;
  }

  /** Will write a matrix that was packed. The buffer must stay as it is until `stop`. */
  add(key: PackedKey, buffer: DeviceBuffer): void {
    if (key.bytes >= LEAST_MATRIX_BYTES) this.#waiting.push({ key, buffer });
  }

  /** Mapped memory in use: address and bytes. */
  get mapped(): readonly { address: number; bytes: number }[] {
    return this.#maps;
  }

  /**
   * Begins to write what was added, in the background. @param busy whether the processor is wanted for something else just now
   * Resolves when all is written or nothing more can be; never throws.
   */
  write(busy: () => boolean): Promise<void> {
    return (this.#writing ??= this.#write(busy).catch(() => this.#drop()));
  }

  /** Stops writing: the buffers that were added may go. */
  stop(): void {
    this.#stopped = true;
    this.#drop();
  }

  /** Stops writing, and unmaps everything. */
  close(): void {
    this.stop();
    for (const map of this.#maps.splice(0)) map.close();
  }

  async #write(busy: () => boolean): Promise<void> {
    if (this.#stopped || this.#waiting.length === 0) return;
    const needed = this.#waiting.reduce((sum, { key }) => sum + HEADER_BYTES + key.bytes, 0);
    mkdirSync(this.#folder, { recursive: true });
    writeFileSync(join(this.#folder, SOURCE), JSON.stringify(this.#of.files));
    this.#use();
    this.#sweep();
    removeStalePacked(this.#settings.folder);
    if (!makeRoom(this.#settings, this.#folder, needed)) return;
    for (const { key, buffer } of this.#waiting.splice(0)) {
      if (this.#stopped) return;
      if (!existsSync(this.#path(key))) await this.#writeOne(key, buffer, busy);
    }
  }

  async #writeOne(key: PackedKey, buffer: DeviceBuffer, busy: () => boolean): Promise<void> {
    const path = this.#path(key);
    this.#part = `${path}.${process.pid}.part`;
    const file = await open(this.#part, "wx", 0o600);
    try {
      await file.write(header(key));
      for (let at = 0; at < key.bytes; at += PIECE_BYTES) {
        const began = performance.now();
        const piece = buffer.view(at, Math.min(PIECE_BYTES, key.bytes - at));
        // A full disk may take less than it was given.
        if ((await file.write(piece)).bytesWritten !== piece.length) throw new Error("the disk is full");
        if (this.#stopped) return;
        // A fifth of a core while others want it, half of one otherwise.
        const took = performance.now() - began;
        await Bun.sleep(Math.max(1, busy() ? 4 * took : took));
        if (this.#stopped) return;
      }
      await file.datasync();
      if (this.#stopped) return;
    } finally {
      await file.close();
      if (this.#stopped) this.#drop();
    }
    await rename(this.#part, path);
    this.#part = "";
  }

  /** Removes the file that is being written. */
  #drop(): void {
    if (this.#part !== "") discard(this.#part);
    this.#part = "";
  }

  /** The folder's time is that of its last use. */
  #use(): void {
    try {
      const now = new Date();
      utimesSync(this.#folder, now, now);
    } catch {
      // A folder that may only be read is as good.
    }
  }

  /** Removes parts that no writer will finish. */
  #sweep(): void {
    for (const name of readdirSync(this.#folder)) {
      const path = join(this.#folder, name);
      if (!name.endsWith(".part") || Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0) < ABANDONED_MS) continue;
      rmSync(path, { force: true });
    }
  }

  #path(key: PackedKey): string {
    return join(this.#folder, hash(header(key)));
  }
}

/** What the first page says. */
function header({ tensor, type, n, k, packing, bytes }: PackedKey): Buffer {
  const page = Buffer.alloc(HEADER_BYTES);
  page.write(`alloy packed weights ${VERSION}\n${JSON.stringify({ type, n, k, packing, bytes, tensor })}\n`);
  return page;
}

function discard(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // Only its owner may.
  }
}

const hash = (of: string | Uint8Array): string => new Bun.CryptoHasher("sha256").update(of).digest("hex").slice(0, 32);

interface CachedModel {
  path: string;
  bytes: number;
  /** Milliseconds since epoch. */
  used: number;
}

function cachedModels(folder: string): CachedModel[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((d) => d.isDirectory())
    .map(({ name }) => {
      const path = join(folder, name);
      const bytes = readdirSync(path).reduce((sum, file) => sum + (statSync(join(path, file), { throwIfNoEntry: false })?.size ?? 0), 0);
      return { path, bytes, used: statSync(path).mtimeMs };
    });
}

/** Deletes what is kept of model files that are gone or have changed. Returns the bytes that the disk has more; never throws. */
export function removeStalePacked(folder = cacheSettings().folder): number {
  let freed = 0;
  try {
    for (const { path, bytes } of cachedModels(folder)) {
      if (isCurrent(path)) continue;
      rmSync(path, { recursive: true, force: true });
      freed += bytes;
    }
  } catch {
    // Another program cleans up too, or only its owner may.
  }
  return freed;
}

function isCurrent(folder: string): boolean {
  try {
    const files = JSON.parse(readFileSync(join(folder, SOURCE), "utf8")) as Fingerprint["files"];
    return files.every(({ path, identity }) => fileIdentity(statSync(path, { bigint: true })) === identity);
  } catch {
    return false;
  }
}

/** Deletes models that were not used for longest, though not `own`, until `needed` more bytes fit. False: they do not. */
function makeRoom({ folder, limit }: CacheSettings, own: string, needed: number): boolean {
  const models = cachedModels(folder).sort((a, b) => a.used - b.used);
  let held = models.reduce((sum, m) => sum + m.bytes, 0);
  const fits = (): boolean => {
    const { bavail, blocks, bsize } = statfsSync(folder);
    return held + needed <= limit && bavail * bsize - needed >= KEEP_FREE * blocks * bsize;
  };
  for (const { path, bytes } of models) {
    if (fits()) return true;
    if (path === own) continue;
    rmSync(path, { recursive: true, force: true });
    held -= bytes;
  }
  return fits();
}
