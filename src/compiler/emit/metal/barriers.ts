/**
 * Where threads must wait for each other: a barrier stands before a statement that touches what another thread may have touched since the
 * last one (read after write, write after read, write after write), over the turns of loops too. Control flow at the tile level is the same
 * for all threads, so a barrier may stand in any block.
 */
import type { BarrierNode, Effect, Node, Scratch, Statement } from "./text.ts";
import { lifetimes, scratchBytes } from "./text.ts";

/** An access since the last barrier. `phase` 1: of the turn before, which used the other copy of rotating memory. */
interface Pending extends Effect {
  phase: number;
}
type State = readonly Pending[];

/** Inserts barriers into `nodes`. */
export function placeBarriers(nodes: Node[]): void {
  const written = new Set<number | Scratch>();
  const types = new Set<string | undefined>();
  visit(nodes, (e) => {
    if (e.kind === "read") return;
    written.add(e.memory);
    if (typeof e.memory === "number") types.add(e.dtype);
  });
  // What nothing writes needs no waiting for.
  visit(nodes, (e, s) => {
    if (typeof e.memory === "number" && !written.has(e.memory) && !types.has(e.dtype)) s.effects = s.effects.filter((x) => x !== e);
  });
  run(nodes, []);
}

function visit(nodes: readonly Node[], f: (e: Effect, s: Statement) => void): void {
  for (const n of nodes) {
    if (n.kind === "statement") for (const e of n.effects) f(e, n);
    else if (n.kind === "loop") visit(n.body, f);
    else if (n.kind === "branch") {
      visit(n.taken, f);
      visit(n.otherwise, f);
    }
  }
}

function run(nodes: Node[], before: State): State {
  let state = before;
  for (let i = 0; i < nodes.length; i++) {
    const n = nodes[i];
    switch (n.kind) {
      case "statement": {
        const hits = n.effects.flatMap((e) => state.filter((p) => conflict(p, e)));
        if (hits.length) {
          const barrier = barrierFor(hits);
          const previous = nodes[i - 1];
          if (previous?.kind === "barrier") {
            previous.device ||= barrier.device;
            previous.threadgroup ||= barrier.threadgroup;
          } else nodes.splice(i++, 0, barrier);
          state = afterBarrier(state, barrier);
        }
        state = merge(
          state,
          n.effects.map((e) => ({ ...e, phase: 0 })),
        );
        break;
      }
      case "barrier":
        state = afterBarrier(state, n);
        break;
      case "branch":
        state = merge(run(n.taken, state), run(n.otherwise, state));
        break;
      case "loop": {
        // A while loop ends in its middle: what was pending there is pending after it. Turns are walked until nothing new is pending.
        let entry = state;
        for (let turn = 0; turn < 8; turn++) {
          const end = run(n.body, entry).map((p) => nextTurn(p, n.number));
          const joined = merge(entry, end);
          if (joined.length === entry.length) break;
          entry = joined;
        }
        state = merge(entry, pendingAtBreak(n.body, entry));
        break;
      }
      case "break":
        break;
    }
  }
  return state;
}

function pendingAtBreak(body: Node[], entry: State): State {
  const at = body.findIndex((n) => n.kind === "break");
  return at < 0 ? run([...body], entry) : run(body.slice(0, at), entry);
}

const same = (a: Pending, b: Pending): boolean =>
  a.memory === b.memory && a.kind === b.kind && a.key === b.key && a.place === b.place && a.phase === b.phase;

function merge(a: State, b: State): State {
  const out = [...a];
  for (const p of b) if (!out.some((q) => same(p, q))) out.push(p);
  return out;
}

function nextTurn(p: Pending, loop: number): Pending {
  const rotated = typeof p.memory !== "number" && p.memory.rotates === loop;
  const forgets = p.key !== undefined && (p.varies?.has(loop) ?? false);
  return { ...p, phase: rotated ? 1 - p.phase : p.phase, key: forgets ? undefined : p.key };
}

function conflict(p: Pending, e: Effect): boolean {
  if (p.kind === "read" && e.kind === "read") return false;
  if (p.kind === "atomic" && e.kind === "atomic") return false;
  if (typeof p.memory === "number" && typeof e.memory === "number" && p.memory !== e.memory) {
    // Two parameters may be one memory if every element is read before it is written: by the same thread, or else a barrier must stand between.
    // (Kernels that promise distinct pointers have no types here.)
    return (
      p.dtype !== undefined &&
      p.kind === "read" &&
      e.kind !== "read" &&
      p.dtype === e.dtype &&
      (p.place === undefined || p.place !== e.place)
    );
  }
  if (typeof p.memory === "number" || typeof e.memory === "number") {
    return p.memory === e.memory && (p.key === undefined || p.key !== e.key);
  }
  if (p.memory === e.memory) return p.phase === 0 && (p.key === undefined || p.key !== e.key);
  return overlap(p.memory, e.memory);
}

function overlap(a: Scratch, b: Scratch): boolean {
  if (a.offset === undefined || b.offset === undefined) return false;
  return a.offset < b.offset + scratchBytes(b) && b.offset < a.offset + scratchBytes(a);
}

function barrierFor(hits: readonly Pending[]): BarrierNode {
  const device = hits.some((p) => typeof p.memory === "number");
  return { kind: "barrier", device, threadgroup: hits.some((p) => typeof p.memory !== "number") };
}

const afterBarrier = (state: State, b: BarrierNode): State =>
  state.filter((p) => !(typeof p.memory === "number" ? b.device : b.threadgroup));

/** Gives every scratch its place in one arena; memory whose lifetimes do not meet is shared. Returns the arena's bytes. */
export function allocateScratch(nodes: readonly Node[]): number {
  const lives = [...lifetimes(nodes)].sort(([a], [b]) => scratchBytes(b) - scratchBytes(a));
  const placed: [Scratch, { first: number; last: number }][] = [];
  let total = 0;
  for (const [s, life] of lives) {
    const taken = placed
      .filter(([, other]) => life.first <= other.last && other.first <= life.last)
      .map(([o]) => [o.offset!, o.offset! + scratchBytes(o)] as const)
      .sort((a, b) => a[0] - b[0]);
    let at = 0;
    for (const [from, to] of taken) if (at + scratchBytes(s) > from) at = Math.max(at, to);
    s.offset = at;
    placed.push([s, life]);
    total = Math.max(total, at + scratchBytes(s));
  }
  return total;
}
