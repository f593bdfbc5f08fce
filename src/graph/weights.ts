/** Weights on a device: mapped tensors in place, quantised matrices repacked for the matmul kernels, small vectors as float32. */
import { adviseDontNeed, adviseHugePages, bytesAt } from "../formats/mmap.ts";
import { dequantize } from "../formats/quant/table.ts";
import type { ModelFile, TensorInfo, TensorType } from "../formats/weights.ts";
import type { KernelSet } from "../../kernels/api.ts";
import { FAMILIES, isFloatType, isQuantised, type Span } from "../../kernels/families.ts";
import { dequantDispatches, packDispatches, packedLayout, packFingerprint } from "../../kernels/linear-api.ts";
import { compileProgram } from "../compiler/program.ts";
import type { Device, DeviceBuffer, Dispatch } from "../runtime/device.ts";
import { AlloyError } from "../support/errors.ts";
import { type CacheSettings, PackedCache } from "./packed-cache.ts";

/** Which tensor of the file, and what is done with it first. Plain data, so that it can be an attribute of a graph node. */
export interface WeightRef {
  name: string;
  /** Stored [in, out] (GPT-2's Conv1D) and wanted [out, in]. */
  transpose?: boolean;
}

/** A matrix ready for the linear kernels: [n, k] row-major in `type`, or packed panels of that type. */
export interface Matrix {
  type: TensorType;
  n: number;
  k: number;
  buffer: DeviceBuffer;
  packed: boolean;
}

/** Rows of a packed panel, and how much of a tensor is packed at a time. */
const PANEL_ROWS = 16;
const PACK_BYTES = 4 << 20;

/** Bytes of what kernels load from a tensor of a type: blocks are read in 16-bit words, but for those of mxfp4. */
const elementBytes = (type: TensorType): number => (type === "f32" ? 4 : type === "mxfp4" ? 1 : 2);

export class WeightStore {
  readonly device: Device;
  readonly kernels: KernelSet;
  readonly file: ModelFile;
  readonly #exact: boolean;
  readonly #matrices = new Map<string, Matrix>();
  readonly #inPlace = new Set<string>();
  readonly #tables = new Set<TensorInfo>();
  readonly #mappings = new Map<string, DeviceBuffer>();
  readonly #allocated: DeviceBuffer[] = [];
  readonly #vectors = new Map<string, DeviceBuffer>();
  readonly #packings = new Map<TensorType, string>();
  #cache: PackedCache | undefined;
  /** Bytes held beyond the mapped file. */
  ownedBytes = 0;

  constructor(device: Device, kernels: KernelSet, file: ModelFile, exact: boolean) {
    this.device = device;
    this.kernels = kernels;
    this.file = file;
    this.#exact = exact;
  }

  has(name: string): boolean {
    return this.file.tensors.has(name);
  }

  info(name: string): TensorInfo {
    const t = this.file.tensors.get(name);
    if (!t)
      throw new AlloyError("bad_file", `${this.file.path}: tensor "${name}" is missing`, {
        hint: "The file is incomplete or of an architecture variant that Alloy does not know; download it again or convert it anew.",
      });
    return t;
  }

  /** Checks a tensor's shape, row-major. */
  expect(name: string, shape: readonly number[]): TensorInfo {
    const t = this.info(name);
    const squeezed = t.shape.filter((d, i) => d !== 1 || i === t.shape.length - 1);
    const wanted = shape.filter((d, i) => d !== 1 || i === shape.length - 1);
    if (squeezed.join() !== wanted.join())
      throw new AlloyError(
        "bad_file",
        `${this.file.path}: tensor "${name}" has shape [${t.shape}], the model's configuration asks for [${shape}]`,
        {
          hint: "The metadata and the weights do not belong together; download the file again or convert it anew.",
        },
      );
    return t;
  }

  /** How the linear op will find this matrix: packed, with how many values of its quantised activations to a scale, or not (0). Loads nothing. */
  packs(ref: WeightRef): Span | 0 {
    const t = this.info(ref.name);
    return this.#exact ? 0 : this.kernels.packs({ type: t.type, n: t.shape[0], k: t.shape[1] });
  }

  /** Looks for packed matrices on disk from now on. @param refs all that will be asked for */
  openCache(refs: readonly WeightRef[], settings?: CacheSettings): void {
    const packed = [...new Set(refs.filter((r) => this.packs(r) > 0).map((r) => this.info(r.name)))];
    const bytes = packed.reduce((sum, { type, shape: [n, k] }) => sum + packedLayout(type, n, k).bytes, 0);
    if (bytes > 0) this.#cache = PackedCache.of(this.file, bytes, settings);
  }

  /** Matrices that came from disk packed. */
  get cachedCount(): number {
    return this.#cache?.mapped.length ?? 0;
  }

  /** Begins to write to disk what had to be packed, in the background. @param busy whether the processor is wanted for something else just now */
  async writeCache(busy: () => boolean): Promise<void> {
    await this.#cache?.write(busy);
  }

  /** Before memory is given back. */
  stopCache(): void {
    this.#cache?.stop();
  }

  /** A tensor read in place, whatever its type (embedding tables). */
  raw(name: string): { type: TensorType; n: number; k: number; buffer: DeviceBuffer } {
    const t = this.info(name);
    this.#tables.add(t);
    return { type: t.type, n: t.shape[0], k: t.shape[1], buffer: this.#mapped(t) };
  }

  /**
   * Gives back the mapped pages of embedding tables: reading one row maps its neighbours too, so a long prompt would bring a table in whole.
   * Tables that the output matrix reads in place stay.
   */
  releaseTables(): void {
    if (!this.kernels.releasesPages) return;
    for (const t of this.#tables) if (!this.#inPlace.has(t.name)) adviseDontNeed(t.address, t.bytes);
  }

  /** A vector (norm weight, bias) as float32. */
  vector(name: string): DeviceBuffer {
    const known = this.#vectors.get(name);
    if (known) return known;
    const t = this.info(name);
    const count = t.shape.reduce((a, b) => a * b, 1);
    const values = dequantize(t.type, bytesAt(t.address, t.bytes), count);
    const buffer = this.#own(values);
    this.#vectors.set(name, buffer);
    return buffer;
  }

  /** A weight matrix, packed or converted on first use. */
  matrix(ref: WeightRef): Matrix {
    const work = this.#matrix(ref);
    for (;;) {
      const { done, value } = work.next();
      if (done) return value;
    }
  }

  /** Makes a matrix ready, with a `pause` between pieces of the work. */
  async prepare(ref: WeightRef, pause: () => Promise<void> | undefined): Promise<void> {
    for (const _ of this.#matrix(ref)) await pause();
    await pause();
  }

  *#matrix(ref: WeightRef): Generator<void, Matrix> {
    const key = ref.transpose ? `${ref.name}|transpose` : ref.name;
    let m = this.#matrices.get(key);
    if (!m) this.#matrices.set(key, (m = yield* this.#make(ref)));
    return m;
  }

  *#make(ref: WeightRef): Generator<void, Matrix> {
    const t = this.info(ref.name);
    if (ref.transpose) return this.#transposed(t);
    const [n, k] = t.shape;
    const inPlace = this.#mapped(t);
    const readable = isQuantised(t.type) && k % FAMILIES[t.type].block === 0;
    const asIs = this.#exact
      ? isFloatType(t.type) && this.kernels.exactTypes.includes(t.type)
      : isFloatType(t.type) || (readable && this.packs(ref) === 0);
    if (asIs) {
      this.#inPlace.add(t.name);
      return { type: t.type, n, k, buffer: inPlace, packed: false };
    }
    const ctx = { program: compileProgram.bind(null, this.device) };
    if (this.#exact) {
      const buffer = this.#allocate(n * k * 4);
      this.#run(dequantDispatches(ctx, { type: t.type, n, k, src: inPlace, dst: buffer }));
      return { type: "f32", n, k, buffer, packed: false };
    }
    const layout = packedLayout(t.type, n, k);
    if (!layout.packed)
      throw new AlloyError(
        "unsupported_model",
        `${this.file.path}: tensor "${t.name}" has type ${t.type}, which the matmul kernels do not take`,
        {
          hint: "Use a file in Q4_K_M, Q8_0, F16 or another common type.",
        },
      );
    const key = { tensor: t.name, type: t.type, n, k, packing: this.#packing(t.type), bytes: layout.bytes };
    const known = this.#cache?.find(key);
    if (known !== undefined) {
      yield;
      return { type: t.type, n, k, buffer: this.device.wrap(known, layout.bytes), packed: true };
    }
    const buffer = this.#allocate(layout.bytes);
    adviseHugePages(buffer.address, buffer.bytes);
    // In pieces of whole panels, giving the mapped pages of each back at once: the peak stays near one copy of the weights. Rows that
    // the embedding reads later come back from the page cache.
    const rowBytes = t.bytes / n;
    const piece = Math.max(PANEL_ROWS, Math.floor(PACK_BYTES / rowBytes / PANEL_ROWS) * PANEL_ROWS);
    for (let row = 0; row < n; row += piece) {
      const rows = Math.min(piece, n - row);
      const from = packedLayout(t.type, row, k).bytes;
      const src = inPlace.slice(row * rowBytes, rows * rowBytes);
      const dst = buffer.slice(from, packedLayout(t.type, rows, k).bytes);
      this.#run(packDispatches(ctx, { type: t.type, n: rows, k, src, dst }));
      if (this.kernels.releasesPages) adviseDontNeed(t.address + row * rowBytes, rows * rowBytes);
      yield;
    }
    this.#cache?.add(key, buffer);
    return { type: t.type, n, k, buffer, packed: true };
  }

  #packing(type: TensorType): string {
    let f = this.#packings.get(type);
    if (f === undefined) this.#packings.set(type, (f = packFingerprint(type)));
    return f;
  }

  /**
   * A tensor of the file as device memory: the mapped pages themselves, or a copy where the file puts it at an address that its elements
   * must not have (safetensors promises no alignment).
   */
  #mapped(t: TensorInfo): DeviceBuffer {
    let b = this.#mappings.get(t.name);
    if (!b) {
      if (t.address % elementBytes(t.type) === 0) b = this.device.wrap(t.address, t.bytes);
      else {
        b = this.#allocate(t.bytes);
        b.view().set(bytesAt(t.address, t.bytes));
      }
      this.#mappings.set(t.name, b);
    }
    return b;
  }

  #transposed(t: TensorInfo): Matrix {
    const [k, n] = t.shape;
    const from = dequantize(t.type, bytesAt(t.address, t.bytes), n * k);
    const to = new Float32Array(n * k);
    for (let i = 0; i < k; i++) for (let j = 0; j < n; j++) to[j * k + i] = from[i * n + j];
    return { type: "f32", n, k, buffer: this.#own(to), packed: false };
  }

  /** Gives back the mapped pages around tensors that were copied: reading one maps its neighbours too. */
  releaseCopied(): void {
    if (!this.kernels.releasesPages) return;
    for (const t of this.file.tensors.values()) if (!this.#inPlace.has(t.name)) adviseDontNeed(t.address, t.bytes);
  }

  #run(dispatches: Dispatch[]): void {
    const plan = this.device.plan(dispatches, 0);
    plan.run();
    plan.free();
  }

  #allocate(bytes: number): DeviceBuffer {
    this.ownedBytes += bytes;
    const b = this.device.allocate(bytes);
    this.#allocated.push(b);
    return b;
  }

  #own(values: Float32Array): DeviceBuffer {
    const b = this.#allocate(Math.max(4, values.byteLength));
    b.view().set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return b;
  }

  /** Memory of its own, which `free` gives back. */
  get allocated(): readonly { address: number; bytes: number }[] {
    return [...this.#allocated, ...(this.#cache?.mapped ?? [])];
  }

  free(): void {
    this.#cache?.close();
    for (const b of new Set([...this.#mappings.values(), ...this.#allocated])) b.free();
    this.#mappings.clear();
    this.#allocated.length = 0;
    this.#vectors.clear();
    this.#matrices.clear();
  }
}
