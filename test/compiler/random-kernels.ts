/** Random kernels in the kernel language, and memory to run them on. */
import { constexpr, dim, f32, i32, kernel, out, ptr, scalar } from "../../src/compiler/language/index.ts";

/** Deterministic random numbers (mulberry32). */
export class Random {
  constructor(private state: number) {}
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
  int(lo: number, hi: number): number {
    return lo + Math.floor(this.next() * (hi - lo + 1));
  }
  pick<T>(list: readonly T[]): T {
    return list[this.int(0, list.length - 1)];
  }
}

/** The seed of a test run: printed by the tests that use it, given again with ALLOY_TEST_SEED. */
export const seed = Number(process.env.ALLOY_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** Elements of every buffer of a random kernel. */
const SIZE = 64;
type Kind = "f" | "i" | "b";

class Writer {
  private names = 0;
  private readonly lines: string[] = [];
  /** Readable names by kind and shape; assignable ones keep their type. */
  private visible: { name: string; kind: Kind; tile: boolean; mutable: boolean }[] = [
    { name: "N", kind: "i", tile: false, mutable: false },
    { name: "s", kind: "f", tile: false, mutable: false },
    { name: "B", kind: "i", tile: false, mutable: false },
    { name: "lane", kind: "i", tile: true, mutable: false },
    { name: "pid", kind: "i", tile: false, mutable: false },
  ];

  constructor(private readonly r: Random) {}

  body(): string {
    this.lines.push("const pid = al.programId(0);", "const lane = al.arange(B);");
    this.statements(6, 2);
    this.lines.push(`al.store(y + pid * 8 + lane, ${this.expression("f", true, 3)});`);
    this.lines.push(`al.store(z + pid * 8 + lane, ${this.expression("i", true, 3)}, { mask: lane < N });`);
    return this.lines.join("\n");
  }

  private statements(count: number, depth: number): void {
    for (let i = 0; i < count; i++) this.statement(depth);
  }

  private nested(head: string, depth: number, tail?: string): void {
    const before = this.visible;
    this.lines.push(`${head} {`);
    this.statements(this.r.int(1, 3), depth - 1);
    if (tail) this.lines.push(tail);
    this.lines.push("}");
    this.visible = before;
  }

  private statement(depth: number): void {
    const { r } = this;
    const what = r.next();
    const mutable = this.visible.filter((v) => v.mutable);
    if (what < 0.35) return this.declare(false);
    if (what < 0.5) return this.declare(true);
    if (what < 0.65 && mutable.length) {
      const v = r.pick(mutable);
      this.lines.push(`${v.name} = ${this.expression(v.kind, v.tile, 2)};`);
    } else if (what < 0.73) {
      const kind = r.pick(["f", "i"] as const);
      const at = `${kind === "f" ? "y" : "z"} + (${this.expression("i", true, 1)} & ${SIZE - 1})`;
      this.lines.push(`al.store(${at}, ${this.expression(kind, true, 2)}, { mask: ${this.expression("b", true, 1)} });`);
    } else if (depth > 0 && what < 0.85) {
      this.nested(`if (${this.expression("b", false, 2)})`, depth);
      if (r.next() < 0.5) this.nested("else", depth);
    } else if (depth > 0 && what < 0.95) {
      const i = `i${this.names++}`;
      const bound = r.pick(["N", "2", "1", "0", "B", "pid"]);
      const head =
        r.next() < 0.8
          ? `for (let ${i} = 0; ${i} < ${bound}; ${i} += ${r.pick([1, 2, 3])})`
          : `for (let ${i} = ${bound}; ${i} > 0; ${i}--)`;
      const before = this.visible;
      this.visible = [...before, { name: i, kind: "i", tile: false, mutable: false }];
      this.nested(head, depth);
      this.visible = before;
    } else if (depth > 0) {
      const i = `w${this.names++}`;
      this.lines.push(`let ${i} = 0;`);
      this.nested(`while (${i} < 3 && ${this.expression("b", false, 1)})`, depth, `${i} += 1;`);
    }
  }

  private declare(mutable: boolean): void {
    const { r } = this;
    const kind = r.pick(["f", "i", "b"] as const);
    const tile = r.next() < 0.5;
    const name = `v${this.names++}`;
    const value = this.expression(kind, tile, 3);
    // A variable starts as a run-time value, so that its type and shape stay.
    const type = { f: "al.f32", i: "al.i32", b: "al.bool" }[kind];
    const start = tile ? `al.broadcast(al.cast(${value}, ${type}), [B])` : `al.cast(${value}, ${type})`;
    this.lines.push(`${mutable ? "let" : "const"} ${name} = ${mutable ? start : value};`);
    this.visible = [...this.visible, { name, kind, tile: mutable ? tile : false, mutable }];
    if (!mutable) this.visible.at(-1)!.tile = tile;
  }

  /** An expression of a kind; scalars only unless `tile`, where scalars may occur too. */
  private expression(kind: Kind, tile: boolean, depth: number): string {
    const { r } = this;
    const names = this.visible.filter((v) => v.kind === kind && (tile || !v.tile));
    if (depth === 0 || r.next() < 0.15) {
      if (names.length && r.next() < 0.7) return r.pick(names).name;
      if (kind === "b") return `${this.expression("i", tile, 0)} < ${r.int(0, 6)}`;
      return kind === "i" ? r.pick(["0", "1", "2", "-1", "7", "63", "4"]) : r.pick(["0", "1", "0.5", "-2.25", "3", "-0"]);
    }
    const sub = (k: Kind): string => this.expression(k, tile, depth - 1);
    if (kind === "b") {
      const form = r.int(0, 4);
      if (form === 0) return `!(${sub("b")})`;
      if (form === 1) return `((${sub("b")}) ${r.pick(["&&", "||"])} (${sub("b")}))`;
      const k = r.pick(["f", "i"] as const);
      return `((${sub(k)}) ${r.pick(["<", "<=", ">", ">=", "===", "!=="])} (${sub(k)}))`;
    }
    if (r.next() < 0.12) return `(${this.expression("b", false, depth - 1)} ? ${sub(kind)} : ${sub(kind)})`;
    if (r.next() < 0.12) return `al.where(${sub("b")}, ${sub(kind)}, ${sub(kind)})`;
    if (r.next() < 0.15) return `al.load(${kind === "f" ? "x" : "n"} + (${sub("i")} & ${SIZE - 1}))`;
    if (tile && r.next() < 0.06) return `al.sum(al.broadcast(al.cast(${sub(kind)}, ${kind === "f" ? "al.f32" : "al.i32"}), [B]))`;
    if (kind === "i") {
      const form = r.int(0, 5);
      if (form === 0) return `al.cast(${sub("f")}, al.i32)`;
      if (form === 1) return `al.${r.pick(["min", "max"])}(${sub("i")}, ${sub("i")}, ${sub("i")})`;
      if (form === 2) return `((${sub("i")}) ${r.pick(["&", "|", "^"])} (${sub("i")}))`;
      if (form === 3) return `((${sub("i")}) ${r.pick(["<<", ">>"])} ${r.int(0, 5)})`;
      return `((${sub("i")}) ${r.pick(["+", "-", "*"])} (${sub("i")}))`;
    }
    const form = r.int(0, 5);
    if (form === 0) return `al.${r.pick(["abs", "floor", "sin", "tanh"])}(${sub("f")})`;
    if (form === 1) return `al.fma(${sub("f")}, ${sub("f")}, 1.5)`;
    if (form === 2) return `-(${sub("f")})`;
    return `((${sub("f")}) ${r.pick(["+", "-", "*", "/"])} (${sub("f")}))`;
  }
}

const SIGNATURE = { x: ptr(f32), n: ptr(i32), y: out(f32), z: out(i32), N: dim, s: scalar(f32), B: constexpr(8) };

/** A random kernel as it would be written; the text compiles unless the random types clash. */
export function randomSource(r: Random): string {
  return `(al, { x, n, y, z, N, s, B }) => {\n${new Writer(r).body()}\n}`;
}

type Body = Parameters<typeof kernel<typeof SIGNATURE>>[2];

export const kernelOf = (source: string) => kernel("random", SIGNATURE, new Function(`return ${source}`)() as Body);

/** Arguments for `kernelOf` kernels. */
export function randomArguments(r: Random): Record<string, Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | number> {
  const floats = Float32Array.from({ length: SIZE }, () => r.pick([0, -0, 1, -1, 0.5, NaN, Infinity, r.next() * 8 - 4, r.next(), 3]));
  const ints = Int32Array.from({ length: SIZE }, () => r.pick([0, 1, -1, 2147483647, -2147483648, r.int(-9, 9), r.int(0, 99)]));
  return { x: floats, n: ints, y: new Float32Array(SIZE), z: new Int32Array(SIZE), N: r.int(0, 5), s: r.next() * 4 - 2 };
}
