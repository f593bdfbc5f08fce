/** Names in scope, and the journal of writes that run-time control flow needs to merge or carry variables. */
import type { Cell, CT } from "./values.ts";

export class Scope {
  private readonly cells = new Map<string, Cell>();

  constructor(readonly parent?: Scope) {}

  declare(cell: Cell): void {
    this.cells.set(cell.name, cell);
  }

  has(name: string): boolean {
    return this.cells.has(name);
  }

  lookup(name: string): Cell | undefined {
    return this.cells.get(name) ?? this.parent?.lookup(name);
  }

  /** All visible names, for suggestions. */
  names(): string[] {
    return [...this.cells.keys(), ...(this.parent?.names() ?? [])];
  }
}

/** Writes to cells from outside a run-time region: cell -> its value before the region and after it. */
export type Writes = Map<Cell, { before: CT; after: CT }>;

export class Journal {
  private readonly frames: Map<Cell, CT>[] = [];

  /** Number of run-time regions being compiled. */
  get depth(): number {
    return this.frames.length;
  }

  write(cell: Cell, value: CT): void {
    const frame = this.frames.at(-1);
    if (frame && cell.depth < this.frames.length && !frame.has(cell)) frame.set(cell, cell.value);
    cell.value = value;
  }

  /** Runs `f` as a run-time region; afterwards all outer cells have their old values back and the writes are returned. */
  region(f: () => void): Writes {
    const frame = new Map<Cell, CT>();
    this.frames.push(frame);
    const writes: Writes = new Map();
    try {
      f();
    } finally {
      this.frames.pop();
      for (const [cell, before] of frame) {
        writes.set(cell, { before, after: cell.value });
        cell.value = before;
      }
    }
    return writes;
  }
}
