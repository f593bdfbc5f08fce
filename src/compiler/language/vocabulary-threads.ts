/** Thread-level vocabulary: where a thread is, memory of its threadgroup, barriers, loads that the group shares. */
import type { Value } from "../ir/types.ts";
import { DTYPE_BYTES, elements } from "../ir/types.ts";
import type { Entry, Handler } from "./arguments.ts";
import { arg, dtypeOf, entry, offsetOf, options, pointer } from "./arguments.ts";
import type { Compiler } from "./compiler.ts";
import { binary, toBool } from "./operators.ts";
import type { CallInfo, CT, Numeric, PointerValue } from "./values.ts";
import { describe, literal, runTime, UNDEFINED } from "./values.ts";
import { loadFrom, storeTo } from "./vocabulary-memory.ts";

/** Bytes of shared memory that every GPU of interest gives a threadgroup. */
export const SHARED_LIMIT = 32 * 1024;
/** Bytes of local memory of one thread: more would not stay near it. */
export const LOCAL_LIMIT = 16 * 1024;
/** Bytes of local memory of a program, which on a CPU lie in the second-level cache. */
export const PROGRAM_LIMIT = 256 * 1024;

/** Sizes of the threadgroup; an error in a kernel without threads. */
export function threadsOf(c: Compiler, info: CallInfo): readonly [number, number, number] {
  return (
    c.builder.facts.threads ??
    c.fail(
      `${info.name} works in kernels of the thread level only`,
      "Declare the threads of a threadgroup in kernel's last argument: { threads: 256 } or { threads: [16, 16] }. Then every thread runs the body.",
    )
  );
}

export const threadCount = (c: Compiler, info: CallInfo): number => elements(threadsOf(c, info));

function axis(c: Compiler, args: CT[], info: CallInfo): number {
  const n = args[0] ? c.integer(args[0], `the axis of ${info.name}`) : 0;
  return n < 0 || n > 2 ? c.fail(`${info.name}: threads have axes 0, 1 and 2, got ${n}`) : n;
}

/** Position on an axis; known where the axis has one thread. */
const threadId = (c: Compiler, axisNumber: number, threads: readonly number[]): Numeric =>
  threads[axisNumber] === 1 ? literal(0) : runTime(c.emit("threadId", [], { axis: axisNumber }));

const plus = (c: Compiler, a: Numeric, b: Numeric): Numeric => binary(c, "+", a, b) as Numeric;
const times = (c: Compiler, a: Numeric, b: Numeric): Numeric => binary(c, "*", a, b) as Numeric;

/** The linear index in the threadgroup, axis 0 fastest. */
function linearId(c: Compiler, threads: readonly number[]): Numeric {
  const [x, y, z] = [0, 1, 2].map((a) => threadId(c, a, threads));
  return plus(c, x, times(c, literal(threads[0]), plus(c, y, times(c, literal(threads[1]), z))));
}

/** Declares memory of the threadgroup or the thread, at the tile level of the program, and gives a pointer to it. */
const memory =
  (kind: "shared" | "local"): Handler =>
  (c, args, info) => {
    if (kind === "shared") threadsOf(c, info);
    if (c.journal.depth > 0)
      c.fail(
        `${info.name} stands inside a run-time loop or condition`,
        "Declare memory at the top of the kernel: it exists once, for the whole run of the body.",
      );
    const sizes = c.shape(args[0], `the size of ${info.name}`);
    const dtype = dtypeOf(c, args[1], `argument 2 of ${info.name}`) ?? "f32";
    const { params } = c.builder;
    const bytes = elements(sizes) * DTYPE_BYTES[dtype];
    const total = params.filter((p) => p.kind === kind).reduce((sum, p) => sum + p.elements! * DTYPE_BYTES[p.dtype], bytes);
    const [who, limit] =
      kind === "shared"
        ? ["a threadgroup", SHARED_LIMIT]
        : c.builder.facts.threads
          ? ["a thread", LOCAL_LIMIT]
          : ["a program", PROGRAM_LIMIT];
    if (total > (limit as number)) {
      const whole = total === bytes ? "" : `, ${total} with what was declared before`;
      c.fail(
        `${info.name}: ${bytes} bytes${whole}, ${who} has ${limit}`,
        "Use smaller blocks or a smaller type, or work in several rounds.",
      );
    }
    const count = params.filter((p) => p.kind === kind).length;
    params.push({ name: `${kind}${count}`, kind, dtype, output: false, elements: elements(sizes) });
    return { kind: "pointer", param: params.length - 1, offset: literal(0) };
  };

/** Names declared memory after the variable that holds it, for messages and emitted code. */
export function nameMemory(c: Compiler, p: PointerValue, name: string): void {
  const param = c.builder.params[p.param];
  const fresh = (param.kind === "shared" || param.kind === "local") && /^(shared|local)\d+$/.test(param.name);
  if (fresh && !c.builder.params.some((q) => q.name === name)) param.name = name;
}

const SCOPES = ["both", "shared", "device"];

const barrier: Handler = (c, args, info) => {
  threadsOf(c, info);
  const { memory: which } = options(c, args[0], ["memory"], info);
  const scope = which === undefined ? "both" : which.kind === "literal" ? which.value : undefined;
  if (typeof scope !== "string" || !SCOPES.includes(scope))
    return c.fail(`option memory of ${info.name} must be "shared", "device" or "both", got ${describe(which!)}`, "Left out, it is both.");
  c.effect("barrier", [], { scope }, info.name);
  return UNDEFINED;
};

/**
 * All threads copy a block of `rows` x `cols` elements to shared memory, each a part. Rows of the source are `stride` elements apart, those of
 * the target `pitch`. Elements at and beyond `validRows`, `validCols` are not read and become `other` (0).
 */
const cooperativeLoad: Handler = (c, args, info) => {
  const threads = threadsOf(c, info);
  const [target, source] = [pointer(c, args, 0, info), pointer(c, args, 1, info)];
  const given = options(c, args[2], ["rows", "cols", "stride", "pitch", "validRows", "validCols", "other"], info);
  if (given.cols === undefined)
    return c.fail(
      `${info.name} needs the option cols`,
      "Give { rows, cols, stride }: the block's size and the distance of the source's rows.",
    );
  const rows = given.rows === undefined ? 1 : c.integer(given.rows, `option rows of ${info.name}`);
  const cols = c.integer(given.cols, `option cols of ${info.name}`);
  if (rows < 1 || cols < 1) c.fail(`${info.name}: a block of ${rows} x ${cols} elements`);
  if (c.builder.params[target.param].kind !== "shared")
    c.fail(
      `argument 1 of ${info.name} must point to shared memory`,
      "Declare it: const block = al.shared([rows, cols]).",
      info.node.arguments[0],
    );
  const number = (v: CT | undefined, name: string, otherwise: number): Numeric =>
    v === undefined ? literal(otherwise) : c.numeric(v, `option ${name} of ${info.name}`);
  const stride = number(given.stride, "stride", cols);
  const pitch = number(given.pitch, "pitch", cols);

  const copy = (row: Numeric, col: Numeric, inside: CT | undefined): void => {
    const at = (p: PointerValue, step: Numeric): PointerValue => ({ ...p, offset: plus(c, p.offset, plus(c, times(c, row, step), col)) });
    const limits: CT[] = [];
    if (given.validRows !== undefined) limits.push(binary(c, "<", row, number(given.validRows, "validRows", 0)));
    if (given.validCols !== undefined) limits.push(binary(c, "<", col, number(given.validCols, "validCols", 0)));
    const all = (list: CT[]): CT | undefined =>
      list.length === 0 ? undefined : list.map((v): CT => runTime(toBool(c, v as Numeric))).reduce((a, b) => binary(c, "&", a, b));
    const optionsOf = (entries: Record<string, CT | undefined>): CT => ({
      kind: "object",
      cells: new Map(Object.entries(entries).flatMap(([k, v]) => (v === undefined ? [] : [[k, c.cell(k, v)] as const]))),
      depth: c.journal.depth,
    });
    const reading = all(inside ? [...limits, inside] : limits);
    const value = loadFrom(c, at(source, stride), optionsOf({ mask: reading, other: reading && given.other }), info);
    storeTo(c, at(target, pitch), value as Numeric, optionsOf({ mask: inside }), info);
  };

  const [X] = threads;
  const count = elements(threads);
  if (cols % X === 0 && rows * (cols / X) <= 64 * (count / X)) {
    // Threads lie along the rows: no division, and neighbours read neighbours.
    const high = count / X;
    const x = threadId(c, 0, threads);
    const y = plus(c, threadId(c, 1, threads), times(c, literal(threads[1]), threadId(c, 2, threads)));
    for (let r = 0; r < rows; r += high) {
      const row = plus(c, y, literal(r));
      const inside = r + high > rows ? binary(c, "<", row, literal(rows)) : undefined;
      for (let k = 0; k < cols; k += X) copy(row, plus(c, x, literal(k)), inside);
    }
    return UNDEFINED;
  }
  const total = rows * cols;
  const turns = Math.ceil(total / count);
  if (turns > 256)
    c.fail(`${info.name}: ${total} elements are ${turns} for each of ${count} threads`, "Use more threads or a smaller block.");
  const id = linearId(c, threads);
  for (let t = 0; t < turns; t++) {
    const i = plus(c, id, literal(t * count));
    const inside = (t + 1) * count > total ? binary(c, "<", i, literal(total)) : undefined;
    copy(...split(c, i, cols), inside);
  }
  return UNDEFINED;
};

/** Row and column of a linear position. */
function split(c: Compiler, i: Numeric, cols: number): [Numeric, Numeric] {
  if (i.kind === "literal") return [literal(Math.floor(Number(i.value) / cols)), literal(Number(i.value) % cols)];
  const n = c.constant({ dtype: "i32", shape: [] }, cols);
  return [runTime(c.emit("div", [i.value, n])), runTime(c.emit("rem", [i.value, n]))];
}

/** The pointer's addresses and the next n - 1, as offsets [n] on a new last axis. */
function vectorAt(c: Compiler, p: PointerValue, n: number, info: CallInfo): PointerValue {
  const steps = c.emit("arange", [], { start: 0, n });
  const offset = offsetOf(c, p);
  const { shape } = offset.type;
  const wide = shape.length ? c.emit("reshape", [offset], { shape: [...shape, 1] }, info.name) : offset;
  return { ...p, offset: binary(c, "+", runTime(wide), runTime(steps)) as Numeric };
}

const loadVector: Handler = (c, args, info) => {
  const n = c.integer(args[1], `the size of ${info.name}`);
  if (n < 1) c.fail(`${info.name}: a vector of ${n} elements`);
  return loadFrom(c, vectorAt(c, pointer(c, args, 0, info), n, info), args[2], info);
};

const storeVector: Handler = (c, args, info) => {
  const x = arg(c, args, 1, info);
  if (x.kind !== "value" || x.value.type.shape.length === 0)
    return c.fail(
      `argument 2 of ${info.name} must be a tile, got ${describe(x)}`,
      "Store single elements with al.store.",
      info.node.arguments[1],
    );
  return storeTo(c, vectorAt(c, pointer(c, args, 0, info), x.value.type.shape.at(-1)!, info), x, args[2], info);
};

const place = (op: string): Entry =>
  entry(0, 0, (c, _, info) => {
    threadsOf(c, info);
    return runTime(c.emit(op, []));
  });

/** laneId as a value, for what is computed from it. */
export const laneId = (c: Compiler): Value => c.emit("laneId", []);

export const THREADS: Readonly<Record<string, Entry>> = {
  threadId: entry(0, 1, (c, args, info) => threadId(c, axis(c, args, info), threadsOf(c, info))),
  numThreads: entry(0, 1, (c, args, info) => literal(threadsOf(c, info)[axis(c, args, info)])),
  globalId: entry(0, 1, (c, args, info) => {
    const a = axis(c, args, info);
    const threads = threadsOf(c, info);
    const first = times(c, runTime(c.emit("programId", [], { axis: a })), literal(threads[a]));
    return plus(c, first, threadId(c, a, threads));
  }),
  laneId: place("laneId"),
  simdgroupId: place("simdgroupId"),
  shared: entry(1, 2, memory("shared")),
  local: entry(1, 2, memory("local")),
  barrier: entry(0, 1, barrier),
  cooperativeLoad: entry(3, 3, cooperativeLoad),
  loadVector: entry(2, 3, loadVector),
  storeVector: entry(2, 3, storeVector),
};
