/** The kernel's body while it is written: structured statements that say what memory they touch, so that barriers can be placed afterwards. */

/** Threadgroup memory of the emitter's own: where it lies is decided when the whole body is known. */
export interface Scratch {
  name: string;
  /** MSL type of an element. */
  type: string;
  elementBytes: number;
  count: number;
  /** Copies that turns of a loop alternate between; the loop's number. */
  rotates?: number;
  /** Byte offset in the arena, set by allocation. */
  offset?: number;
}

export const scratchBytes = (s: Scratch): number => Math.ceil((s.count * s.elementBytes) / 16) * 16 * (s.rotates === undefined ? 1 : 2);

/** One access of a statement. */
export interface Effect {
  /** A parameter's number, or scratch memory. */
  memory: number | Scratch;
  kind: "read" | "write" | "atomic";
  /** Accesses of one parameter with equal keys are by the same thread per element; undefined: by anyone. */
  key?: string;
  /** Element type of a parameter: others of the same type may be bound to the same memory. */
  dtype?: string;
  /** The layout that says which thread does it, where exactly one does. */
  place?: string;
  /** Loops (by number) that the addresses depend on: the key says nothing about other turns of these. */
  varies?: ReadonlySet<number>;
}

export interface Statement {
  kind: "statement";
  lines: string[];
  effects: Effect[];
}
export interface LoopNode {
  kind: "loop";
  head: string;
  number: number;
  body: Node[];
}
export interface BranchNode {
  kind: "branch";
  head: string;
  taken: Node[];
  otherwise: Node[];
}
export interface BreakNode {
  kind: "break";
  text: string;
}
export interface BarrierNode {
  kind: "barrier";
  device: boolean;
  threadgroup: boolean;
}
export type Node = Statement | LoopNode | BranchNode | BreakNode | BarrierNode;

export function printNodes(nodes: readonly Node[], depth: number, out: string[]): void {
  const put = (text: string): number => out.push(text === "" ? "" : "  ".repeat(depth) + text);
  for (const n of nodes) {
    switch (n.kind) {
      case "statement":
        for (const line of n.lines) {
          // A declaration and the first assignment right after it become one.
          const declared = /^(?:  )*(\w+ (\w+));$/.exec(out.at(-1) ?? "");
          if (declared && line.startsWith(`${declared[2]} = `))
            out[out.length - 1] = `${"  ".repeat(depth)}${declared[1]}${line.slice(declared[2].length)}`;
          else put(line);
        }
        break;
      case "break":
        put(n.text);
        break;
      case "barrier": {
        const flags = [n.device ? "mem_flags::mem_device" : "", n.threadgroup ? "mem_flags::mem_threadgroup" : ""].filter(Boolean);
        put(`threadgroup_barrier(${flags.join(" | ")});`);
        break;
      }
      case "loop":
        put(`${n.head} {`);
        printNodes(n.body, depth + 1, out);
        put("}");
        break;
      case "branch":
        put(`${n.head} {`);
        printNodes(n.taken, depth + 1, out);
        if (n.otherwise.length) {
          put("} else {");
          printNodes(n.otherwise, depth + 1, out);
        }
        put("}");
    }
  }
}

/** Every scratch that statements touch, with the first and last statement (in text order) between which its contents matter. */
export function lifetimes(nodes: readonly Node[]): Map<Scratch, { first: number; last: number }> {
  const out = new Map<Scratch, { first: number; last: number }>();
  const loops: { first: number; last: number; number: number }[] = [];
  let position = 0;
  const visit = (list: readonly Node[]): void => {
    for (const n of list) {
      position++;
      if (n.kind === "statement") {
        for (const e of n.effects) {
          if (typeof e.memory === "number") continue;
          const life = out.get(e.memory);
          if (life) life.last = position;
          else out.set(e.memory, { first: position, last: position });
        }
      } else if (n.kind === "loop") {
        const loop = { first: position, last: position, number: n.number };
        visit(n.body);
        loop.last = ++position;
        loops.push(loop);
      } else if (n.kind === "branch") {
        visit(n.taken);
        visit(n.otherwise);
      }
    }
  };
  visit(nodes);
  // What is alive at one end of a loop is alive all through it; what alternates between turns is too.
  for (let changed = true; changed;) {
    changed = false;
    for (const [s, life] of out) {
      for (const loop of loops) {
        const inside = life.first > loop.first && life.last < loop.last;
        const apart = life.last < loop.first || life.first > loop.last;
        if (apart || (inside && s.rotates !== loop.number)) continue;
        const [first, last] = [Math.min(life.first, loop.first), Math.max(life.last, loop.last)];
        if (first !== life.first || last !== life.last) {
          [life.first, life.last] = [first, last];
          changed = true;
        }
      }
    }
  }
  return out;
}
