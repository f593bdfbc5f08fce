/** Who accessed which element of memory, and whether two accesses race. */
import type { Access } from "./machine.ts";
import type { Op } from "./types.ts";
import { SIMD_WIDTH } from "./types.ts";

interface Entry {
  thread: number;
  /** Barriers of its simdgroup so far. */
  epoch: number;
  op: Op;
}

type Element = Record<Access, Entry[]>;

const OTHERS: Record<Access, readonly Access[]> = {
  read: ["write", "atomic"],
  write: ["read", "write", "atomic"],
  atomic: ["read", "write"],
};

/** Accesses of one threadgroup to one parameter since the last barrier for it. */
export class AccessLog {
  private readonly elements = new Map<number, Element>();

  /** `simdEpochs`: by simdgroup, how many simdgroup barriers it has passed. */
  constructor(private readonly simdEpochs: readonly number[]) {}

  clear(): void {
    this.elements.clear();
  }

  /** Notes an access and returns an earlier one that it races with. */
  add(index: number, thread: number, access: Access, op: Op): Entry | undefined {
    let e = this.elements.get(index);
    if (!e) this.elements.set(index, (e = { read: [], write: [], atomic: [] }));
    for (const kind of OTHERS[access]) {
      const other = e[kind].find((o) => o.thread !== thread && !this.ordered(o, thread));
      if (other) return other;
    }
    this.note(e, access, { thread, epoch: this.simdEpochs[simdgroupOf(thread)], op });
    return undefined;
  }

  /** True if a simdgroup barrier stands between the access and what the thread does now. */
  private ordered(o: Entry, thread: number): boolean {
    const group = simdgroupOf(thread);
    return simdgroupOf(o.thread) === group && o.epoch < this.simdEpochs[group];
  }

  /** Two entries say enough: of different simdgroups if there are such, else of different threads of the latest epoch. */
  private note(e: Element, access: Access, entry: Entry): void {
    const known = e[access].filter(
      (o) => o.thread !== entry.thread && !(simdgroupOf(o.thread) === simdgroupOf(entry.thread) && o.epoch < entry.epoch),
    );
    if (known.length < 2) e[access] = [...known, entry];
    else if (simdgroupOf(known[0].thread) === simdgroupOf(known[1].thread) && simdgroupOf(known[0].thread) !== simdgroupOf(entry.thread))
      e[access] = [known[0], entry];
  }
}

const simdgroupOf = (thread: number): number => Math.floor(thread / SIMD_WIDTH);

/** Accesses of all threadgroups of a launch to one parameter: nothing orders them. */
export class GroupLog {
  private readonly elements = new Map<number, Partial<Record<Access, number>>>();

  /** Notes an access and returns the number of another threadgroup that it races with. */
  add(index: number, group: number, access: Access): number | undefined {
    const e = this.elements.get(index);
    if (!e) {
      this.elements.set(index, { [access]: group });
      return undefined;
    }
    const other = OTHERS[access].map((kind) => e[kind]).find((g) => g !== undefined && g !== group);
    if (other === undefined) e[access] = group;
    return other;
  }
}
