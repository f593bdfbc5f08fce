/** Device memory behind lazy buffers: counted references, and a small store of blocks that are free. */
import type { Device, DeviceBuffer } from "../runtime/device.ts";

/** Free blocks that a device keeps for the next plan, in bytes together. */
const KEPT_BYTES = 256 * 2 ** 20;

/** Blocks by size. Sizes are rounded up, so that shapes that nearly agree share blocks. */
export class MemoryPool {
  private readonly free = new Map<number, DeviceBuffer[]>();
  private keptBytes = 0;

  constructor(readonly device: Device) {}

  take(bytes: number): DeviceBuffer {
    const size = blockSize(bytes);
    const block = this.free.get(size)?.pop();
    if (block) this.keptBytes -= size;
    return block ?? this.device.allocate(size);
  }

  give(block: DeviceBuffer): void {
    if (this.keptBytes + block.bytes > KEPT_BYTES) return block.free();
    this.keptBytes += block.bytes;
    const same = this.free.get(block.bytes);
    if (same) same.push(block);
    else this.free.set(block.bytes, [block]);
  }
}

/** At least 256 bytes; then four steps for every doubling. */
function blockSize(bytes: number): number {
  if (bytes <= 256) return 256;
  const step = 2 ** Math.max(6, Math.floor(Math.log2(bytes)) - 2);
  return Math.ceil(bytes / step) * step;
}

const pools = new WeakMap<Device, MemoryPool>();

export function poolOf(device: Device): MemoryPool {
  let pool = pools.get(device);
  if (!pool) pools.set(device, (pool = new MemoryPool(device)));
  return pool;
}

/** A block that several buffers may share; it goes back to the pool with the last of them. */
export class Storage {
  private holders = 1;

  constructor(
    private readonly pool: MemoryPool,
    readonly block: DeviceBuffer,
  ) {}

  static make(pool: MemoryPool, bytes: number): Storage {
    return new Storage(pool, pool.take(bytes));
  }

  get device(): Device {
    return this.pool.device;
  }

  retain(): this {
    this.holders++;
    return this;
  }

  release(): void {
    if (--this.holders === 0) this.pool.give(this.block);
  }
}
