/**
 * Run-time control flow. A region's writes to outer variables are journalled; an `if` merges them as results, a loop carries them
 * as block arguments. Loops are compiled until the set and types of carried variables no longer change, so that `let acc = 0`
 * takes the type of what is added to it.
 */
import type * as ES from "estree";
import { broadcastShapes, OPS, sameType, typeText } from "../ir/ops.ts";
import type { Block, Value, ValueType } from "../ir/types.ts";
import type { Compiler } from "./compiler.ts";
import type { Writes } from "./scope.ts";
import type { Cell, CT, Flat, Numeric } from "./values.ts";
import { describe, flatten, isUndefined, runTime } from "./values.ts";
import { adapt, literalType, promote } from "./promote.ts";

interface Region {
  block: Block;
  result: CT;
  writes: Writes;
}

function region(c: Compiler, f: () => CT): Region {
  const block: Block = { args: [], ops: [] };
  let result: CT | undefined;
  const writes = c.journal.region(() => {
    c.builder.within(block, () => {
      result = f();
    });
  });
  return { block, result: result!, writes };
}

/** Type that two leaves meet in: literals adapt, tiles broadcast. */
function joinLeaf(c: Compiler, a: Numeric, b: Numeric): ValueType {
  const dtype = c.commonType([a, b], false);
  const shapes = [a, b].map((x) => (x.kind === "value" ? x.value.type.shape : []));
  const shape = broadcastShapes(shapes[0], shapes[1]);
  if (!shape)
    c.fail(`one way gives shape [${shapes[0].join(",")}], the other [${shapes[1].join(",")}]`, "Both ways must give tiles of one shape.");
  return { dtype, shape };
}

const sameLeaf = (a: Numeric, b: Numeric): boolean =>
  a.kind === "value" ? b.kind === "value" && a.value === b.value : b.kind === "literal" && Object.is(a.value, b.value);

function convertTo(c: Compiler, x: Numeric, type: ValueType): Value {
  return c.broadcastTo(c.toValue(x, type.dtype), type.shape, "assignment");
}

const poison = (reason: string): CT => ({ kind: "poison", reason });

/** Why the values of two ways cannot be merged. */
function mismatch(x: CT, y: CT): string {
  if ([x, y].some((v) => isUndefined(v) || v.kind === "poison"))
    return "has a value on one way of a run-time condition only; give it one before";
  if (x.kind === "pointer" && y.kind === "pointer") return "points into different parameters on the two ways of a run-time condition";
  return `is ${describe(x)} on one way of a run-time condition and ${describe(y)} on the other`;
}

interface Merge {
  a: Flat;
  b: Flat;
  /** Result type per leaf, undefined where both ways agree. */
  types: (ValueType | undefined)[];
  deliver: (value: CT) => void;
}

/** True if the ops can run whether or not they are wanted. */
const speculative = (block: Block): boolean => block.ops.every((op) => OPS[op.op].pure);

/**
 * Compiles both ways of a run-time condition. With `mayselect`, ways without memory accesses run both and the results are chosen
 * by `select`; otherwise an `if` op is built. Returns the merged results of the two functions.
 */
export function branch(c: Compiler, condition: Value, then: () => CT, otherwise: () => CT, mayselect = false): CT {
  const node = c.node;
  const a = region(c, then);
  const b = region(c, otherwise);
  c.node = node;
  const merges: Merge[] = [];
  const plan = (x: CT, y: CT, name: string | undefined, deliver: (value: CT) => void): void => {
    const [fa, fb] = [flatten(x), flatten(y)];
    if (fa.structure !== fb.structure) {
      deliver(poison(`${name ?? "the result"} ${mismatch(x, y)}`));
      return;
    }
    const types = fa.leaves.map((l, i) => (sameLeaf(l, fb.leaves[i]) ? undefined : joinLeaf(c, l, fb.leaves[i])));
    if (types.every((t) => t === undefined)) deliver(x);
    else merges.push({ a: fa, b: fb, types, deliver });
  };
  let result!: CT;
  plan(a.result, b.result, undefined, (v) => {
    result = v;
  });
  for (const cell of new Set([...a.writes.keys(), ...b.writes.keys()])) {
    const [x, y] = [a.writes.get(cell)?.after ?? cell.value, b.writes.get(cell)?.after ?? cell.value];
    plan(x, y, cell.name, (v) => c.journal.write(cell, v));
  }

  const wanted = merges.flatMap((m) => m.types.filter((t) => t !== undefined));
  const side = (block: Block, which: "a" | "b"): Value[] => {
    const values: Value[] = [];
    c.builder.within(block, () => {
      for (const m of merges) m.types.forEach((t, i) => t && values.push(convertTo(c, m[which].leaves[i], t)));
    });
    return values;
  };
  const [fromA, fromB] = [side(a.block, "a"), side(b.block, "b")];
  let merged: Value[];
  if (mayselect && speculative(a.block) && speculative(b.block)) {
    c.builder.splice([...a.block.ops, ...b.block.ops]);
    merged = fromA.map((x, i) => {
      const [cond, p, q] = c.broadcast([condition, x, fromB[i]], "choice");
      return c.emit("select", [cond, p, q]);
    });
  } else if (a.block.ops.length + b.block.ops.length + wanted.length === 0) {
    merged = [];
  } else {
    c.builder.within(a.block, () => c.builder.append("yield", fromA, {}, [], []));
    c.builder.within(b.block, () => c.builder.append("yield", fromB, {}, [], []));
    merged = c.builder.append("if", [condition], {}, wanted, [a.block, b.block]).results;
  }
  let at = 0;
  for (const m of merges) {
    const leaves = m.types.map((t, i) => {
      if (!t) return m.a.leaves[i];
      const value = merged[at++];
      if (isUntyped(c, m.a.leaves[i]) && isUntyped(c, m.b.leaves[i])) c.untyped.add(value);
      return runTime(value);
    });
    m.deliver(m.a.rebuild(leaves, c.journal.depth));
  }
  return result;
}

/** A literal, or a value that stands for one. */
const isUntyped = (c: Compiler, x: Numeric): boolean => x.kind === "literal" || c.untyped.has(x.value);

interface Carried {
  cell: Cell;
  flat: Flat;
  types: ValueType[];
  /** Leaves that started as literals take the type of what is assigned to them. */
  free: boolean[];
}

function carry(c: Compiler, cell: Cell): Carried {
  const flat = flatten(cell.value);
  return {
    cell,
    flat,
    types: flat.leaves.map((l) => (l.kind === "value" ? l.value.type : { dtype: literalType(l.value), shape: [] })),
    free: flat.leaves.map((l) => isUntyped(c, l)),
  };
}

/** Widens a carried leaf's type to also hold `x`; fails for a variable whose type is fixed. */
function widen(c: Compiler, k: Carried, i: number, x: Numeric): ValueType {
  const type = k.types[i];
  const dtype = x.kind === "literal" ? adapt(x.value as number | boolean, type.dtype) : x.value.type.dtype;
  const shape = x.kind === "value" ? x.value.type.shape : [];
  const joined = broadcastShapes(type.shape, shape);
  if (k.free[i] && joined) return { dtype: promote(type.dtype, dtype), shape: joined };
  const next: ValueType = { dtype, shape };
  const fits = dtype === type.dtype && joined?.length === type.shape.length && joined.every((n, axis) => n === type.shape[axis]);
  if (!fits) {
    c.fail(
      `${k.cell.name} is ${typeText(type)} before this loop and ${typeText(next)} after one turn`,
      "A variable that a loop changes must keep its type and shape: cast it, or start it as a tile of the final shape and type.",
    );
  }
  return type;
}

export interface LoopShape {
  /** Values that the loop's first region takes before the carried ones. */
  leading: Value[];
  /** Builds the regions; `args` are the carried values on entry. Returns the carried cells' state via the journal. */
  regions: (entry: (block: Block) => void, body: () => Writes) => void;
}

/**
 * Compiles a loop. `build(args)` must compile the loop's regions with the carried variables holding `args` and return the writes of
 * a whole turn; it runs again whenever the carried set or a type changes. `finish(init, args, final)` then builds the op from the
 * last run and returns its results.
 */
export function loop<T>(
  c: Compiler,
  seeds: readonly Cell[],
  build: (args: Value[], enter: (values: readonly Value[]) => void) => { writes: Writes; state: T },
  finish: (init: Value[], args: Value[], state: T, leave: (writes: Writes) => Value[]) => Value[],
): void {
  const node = c.node;
  let carried = seeds.filter((cell) => flatten(cell.value).leaves.length > 0).map((cell) => carry(c, cell));
  const dropped = new Set<Cell>();
  for (;;) {
    const args = carried.flatMap((k) =>
      k.types.map((t, i) => {
        const arg = c.builder.value(t, k.types.length === 1 ? k.cell.name : `${k.cell.name}${i}`);
        if (k.free[i]) c.untyped.add(arg);
        return arg;
      }),
    );
    const enter = (values: readonly Value[]): void => {
      let at = 0;
      for (const k of carried) {
        c.journal.write(k.cell, k.flat.rebuild(values.slice(at, (at += k.types.length)).map(runTime), c.journal.depth));
      }
    };
    const { writes, state } = build(args, enter);
    c.node = node;
    if (!settled(c, carried, writes, args, dropped, (next) => (carried = next))) continue;

    const leave = (final: Writes): Value[] =>
      carried.flatMap((k) => flatten(final.get(k.cell)!.after).leaves.map((l, i) => convertTo(c, l, k.types[i])));
    const init = carried.flatMap((k) => k.flat.leaves.map((l, i) => convertTo(c, l, k.types[i])));
    const results = finish(init, args, state, leave);
    let at = 0;
    for (const k of carried) {
      flatten(writes.get(k.cell)!.after).leaves.forEach((l, i) => k.free[i] && isUntyped(c, l) && c.untyped.add(results[at + i]));
      c.journal.write(k.cell, k.flat.rebuild(results.slice(at, (at += k.types.length)).map(runTime), c.journal.depth));
    }
    const known = new Set(carried.map((k) => k.cell));
    for (const cell of writes.keys()) {
      if (!known.has(cell))
        c.journal.write(cell, poison(`${cell.name} gets its value in a loop that may run zero times; give it a value before the loop`));
    }
    return;
  }
}

/** Compares the carried set and types with what one compiled turn did; false (after `update`) if another run is needed. */
function settled(
  c: Compiler,
  carried: Carried[],
  writes: Writes,
  args: readonly Value[],
  dropped: Set<Cell>,
  update: (next: Carried[]) => void,
): boolean {
  const known = new Set(carried.map((k) => k.cell));
  const added = [...writes.keys()].filter((cell) => {
    const before = writes.get(cell)!.before;
    return !known.has(cell) && cell.depth <= c.journal.depth && !isUndefined(before) && before.kind !== "poison";
  });
  let at = 0;
  let changed = added.length > 0;
  const kept = carried.filter((k) => {
    const own = args.slice(at, (at += k.types.length));
    const after = flatten(writes.get(k.cell)!.after);
    if (after.structure !== k.flat.structure) {
      c.fail(
        `${k.cell.name} changes from ${k.flat.structure === "n" ? "a number" : "one kind of value"} to another in a run-time loop`,
        "In a run-time loop a pointer must keep its base, and arrays, objects and compile-time values their shape.",
      );
    }
    const same = after.leaves.every((l, i) => l.kind === "value" && l.value === own[i]);
    if (same && k.free.includes(true) && !dropped.has(k.cell)) {
      // Assigned only in code that is not compiled: the literal stays known at compile time.
      dropped.add(k.cell);
      changed = true;
      return false;
    }
    after.leaves.forEach((l, i) => {
      const type = widen(c, k, i, l);
      if (!sameType(type, k.types[i])) {
        k.types[i] = type;
        changed = true;
      }
    });
    return true;
  });
  if (changed) update([...kept, ...added.map((cell) => carry(c, cell))]);
  return !changed;
}

/** Names that a piece of code assigns to, directly or through an array element or property. */
export function assignedNames(node: ES.Node): Set<string> {
  const names = new Set<string>();
  const target = (n: ES.Node): void => {
    if (n.type === "Identifier") names.add(n.name);
    else if (n.type === "MemberExpression") target(n.object);
    else if (n.type === "ArrayPattern") n.elements.forEach((e) => e && target(e));
    else if (n.type === "ObjectPattern") n.properties.forEach((p) => target(p.type === "Property" ? p.value : p));
    else if (n.type === "AssignmentPattern") target(n.left);
    else if (n.type === "RestElement") target(n.argument);
  };
  const visit = (n: unknown): void => {
    if (Array.isArray(n)) return n.forEach(visit);
    if (typeof n !== "object" || n === null || typeof (n as ES.Node).type !== "string") return;
    const e = n as ES.Node;
    if (e.type === "AssignmentExpression") target(e.left);
    if (e.type === "UpdateExpression") target(e.argument);
    for (const [key, child] of Object.entries(e)) if (key !== "loc") visit(child);
  };
  visit(node);
  return names;
}
