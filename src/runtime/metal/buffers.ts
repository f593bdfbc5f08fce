/** Buffers of a Metal device: memory that CPU and GPU share, and the way back from an address to the buffer it lies in. */
import { AlloyError } from "../../support/errors.ts";
import type { DeviceBuffer } from "../device.ts";
import { checkWindow, viewOf } from "../host-memory.ts";
import type { Shim } from "./shim.ts";

/** A buffer as the GPU knows it. */
interface Root {
  readonly handle: number;
  /** First byte that is ours, as the CPU sees it. */
  readonly address: number;
  readonly bytes: number;
  /** Where that byte lies in the GPU's buffer: wrapped memory starts within a page. */
  readonly offset: number;
}

export class MetalBuffer implements DeviceBuffer {
  private freed = false;

  constructor(
    readonly root: Root,
    private readonly start: number,
    readonly bytes: number,
    private readonly release?: () => void,
  ) {}

  get address(): number {
    return this.root.address + this.start;
  }

  /** Bytes from the start of the GPU's buffer. */
  get offset(): number {
    return this.root.offset + this.start;
  }

  slice(offset: number, bytes: number): DeviceBuffer {
    checkWindow(offset, bytes, this.bytes);
    return new MetalBuffer(this.root, this.start + offset, bytes);
  }

  view(offset = 0, bytes = this.bytes - offset): Uint8Array {
    checkWindow(offset, bytes, this.bytes);
    return viewOf(this.address + offset, bytes);
  }

  free(): void {
    if (this.freed) return;
    this.freed = true;
    this.release?.();
  }
}

/** All buffers of a device. */
export class Buffers {
  private readonly roots = new Set<Root>();

  constructor(private readonly shim: Shim) {}

  allocate(bytes: number): DeviceBuffer {
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new AlloyError("bad_argument", `A buffer cannot have ${bytes} bytes`);
    return this.keep({ ...this.shim.create(bytes), bytes, offset: 0 });
  }

  /** Host memory in place. Weights are what is wrapped: they stay wired, so that a pause does not cost paging them in anew. */
  wrap(address: number, bytes: number): DeviceBuffer {
    if (bytes === 0) return this.allocate(0);
    const { handle, offset } = this.shim.wrap(address, bytes);
    this.shim.resident(handle);
    return this.keep({ handle, address, bytes, offset });
  }

  private keep(root: Root): DeviceBuffer {
    this.roots.add(root);
    return new MetalBuffer(root, 0, root.bytes, () => {
      // Closing the device freed what was left.
      if (this.roots.delete(root)) this.shim.free(root.handle);
    });
  }

  /** The buffer that an address lies in. Throws `device_error` for memory that this device does not know. */
  find(address: number): MetalBuffer {
    for (const root of this.roots) {
      const at = address - root.address;
      if (at >= 0 && (at < root.bytes || (at === 0 && root.bytes === 0))) return new MetalBuffer(root, at, root.bytes - at);
    }
    throw new AlloyError("device_error", `Address ${address} is in no buffer of the Metal device`, {
      hint: "Pass a buffer that the device allocated or wrapped, or a window of one.",
    });
  }

  freeAll(): void {
    for (const root of this.roots) this.shim.free(root.handle);
    this.roots.clear();
  }
}
