/**
 * Random thread-level kernels without races: threads read shared array `a` anywhere and write their own element of `b`; `exchange` moves b to a
 * between barriers. Numbers stay small, so that nothing overflows or rounds and every target must agree to the last bit.
 */
import { dim, i32, kernel, out, ptr } from "../../src/compiler/language/index.ts";
import type { Random } from "./random-kernels.ts";

/** Elements of x and n, and of each kind of atomic in c. */
const SIZE = 64;
const COUNTERS = 8;
const ATOMICS = ["Add", "Min", "Max", "And", "Or", "Xor"];

interface Variable {
  name: string;
  /** Same in all threads of a threadgroup. */
  uniform: boolean;
  mutable: boolean;
}

class Writer {
  private names = 0;
  readonly lines: string[] = [];
  private visible: Variable[] = [
    { name: "N", uniform: true, mutable: false },
    { name: "pid", uniform: true, mutable: false },
    { name: "t", uniform: false, mutable: false },
    { name: "tx", uniform: false, mutable: false },
  ];

  constructor(
    private readonly r: Random,
    private readonly threads: readonly number[],
    private readonly lanes: boolean,
  ) {}

  body(): string {
    const [X, Y, Z] = this.threads;
    const T = X * Y * Z;
    this.lines.push(
      "const pid = al.programId(0), tx = al.threadId(0);",
      `const t = tx + ${X} * (al.threadId(1) + ${Y} * al.threadId(2));`,
      `const a = al.shared(${T}, al.i32), b = al.shared(${T}, al.i32), own = al.local(4, al.i32);`,
      `for (const i of al.unroll(4)) al.store(own + i, t * i);`,
      `al.store(a + t, (t * 7) & 31); al.store(b + t, t & 15); al.barrier();`,
    );
    this.statements(6, 2, true);
    this.lines.push(
      `al.store(z + pid * ${T} + t, ${this.int(3)});`,
      "al.barrier();",
      `al.store(y + pid * ${T} + t, al.load(a + t) + al.load(b + (${T - 1} - t)));`,
    );
    return this.lines.join("\n");
  }

  private statements(count: number, depth: number, uniform: boolean): void {
    for (let i = 0; i < count; i++) this.statement(depth, uniform);
  }

  private nested(head: string, depth: number, uniform: boolean, tail?: string): void {
    const before = this.visible;
    this.lines.push(`${head} {`);
    this.statements(this.r.int(1, 3), depth - 1, uniform);
    if (tail) this.lines.push(tail);
    this.lines.push("}");
    this.visible = before;
  }

  private statement(depth: number, uniform: boolean): void {
    const { r } = this;
    const T = this.threads.reduce((p, n) => p * n, 1);
    const what = r.next();
    const mutable = this.visible.filter((v) => v.mutable && (uniform || !v.uniform));
    if (uniform && what < 0.08) {
      const from = `from${this.names++}`;
      this.lines.push(`const ${from} = ${this.index(T)}; al.barrier(); al.store(a + t, al.load(b + ${from})); al.barrier();`);
    } else if (uniform && this.lanes && what < 0.25) {
      this.declare(this.lane(), false);
    } else if (what < 0.4) this.declare(this.int(3), r.next() < 0.5);
    else if (what < 0.5 && mutable.length) {
      const v = r.pick(mutable);
      this.lines.push(`${v.name} = ${v.uniform ? this.uniform(2) : this.int(2)};`);
    } else if (what < 0.56) this.lines.push(`al.store(b + t, ${this.int(2)}${this.maybeMask()});`);
    else if (what < 0.62) this.lines.push(`al.store(own + (${this.int(1)} & 3), ${this.int(2)}${this.maybeMask()});`);
    else if (what < 0.7) {
      const kind = r.int(0, ATOMICS.length - 1);
      this.lines.push(
        `al.atomic${ATOMICS[kind]}(c + ${kind * COUNTERS} + (${r.next() < 0.4 ? this.uniform(1) : this.int(1)} & ${COUNTERS - 1}), ${this.int(1)}${this.maybeMask()});`,
      );
    } else if (what < 0.74) this.lines.push(`al.store(z + pid * ${T} + t, ${this.int(2)});`);
    else if (depth > 0 && what < 0.86) {
      const same = uniform && r.next() < 0.4;
      this.nested(`if (${same ? this.uniformBool() : this.bool(2)})`, depth, same);
      if (r.next() < 0.5) this.nested("else", depth, same);
    } else if (depth > 0 && what < 0.94) {
      const i = `i${this.names++}`;
      const same = uniform && r.next() < 0.5;
      const bound = same ? r.pick(["N", "2", "(pid + 1)"]) : `(${this.int(1)} & 3)`;
      const before = this.visible;
      this.visible = [...before, { name: i, uniform: same, mutable: false }];
      this.nested(
        r.next() < 0.7 ? `for (let ${i} = 0; ${i} < ${bound}; ${i}++)` : `for (let ${i} = ${bound}; ${i} > 0; ${i}--)`,
        depth,
        same,
      );
      this.visible = before;
    } else if (depth > 0) {
      const i = `w${this.names++}`;
      this.lines.push(`let ${i} = 0;`);
      this.nested(`while (${i} < (${this.int(0)} & 3) && ${this.bool(1)})`, depth, false, `${i} += 1;`);
    }
  }

  private maybeMask = (): string => (this.r.next() < 0.3 ? `, { mask: ${this.bool(1)} }` : "");

  private declare(value: string, mutable: boolean): void {
    const name = `v${this.names++}`;
    this.lines.push(`${mutable ? "let" : "const"} ${name} = al.cast(${value}, al.i32);`);
    this.visible = [...this.visible, { name, uniform: false, mutable }];
  }

  /** An index below a size. */
  private index(n: number): string {
    return (n & (n - 1)) === 0 ? `${this.int(1)} & ${n - 1}` : `((${this.int(1)} & 255) % ${n})`;
  }

  private lane(): string {
    const { r } = this;
    const x = this.int(2);
    return r.pick([
      () => `al.simd${r.pick(["Sum", "Min", "Max", "And", "Or", "Xor"])}((${x}) & 255)`,
      () => `al.simdShuffle${r.pick(["Up", "Down", "Xor"])}(${x}, ${r.pick(["1", "5", "16", "N"])})`,
      () => `al.simdShuffle(${x}, ${this.int(1)})`,
      () => `al.simdBroadcast(${x}, ${r.int(0, 31)})`,
      () => `al.simdPrefixSum((${x}) & 15, { exclusive: ${r.next() < 0.5} })`,
      () => `(al.simdBallot(${this.bool(2)}) >> 5) & 1023`,
      () => `al.where(al.simd${r.pick(["Any", "All"])}(${this.bool(2)}), ${x}, 3)`,
      () => `al.cast(al.simdSum(al.cast((${x}) & 63, al.f32)), al.i32) & 1023`,
    ])();
  }

  /** A small integer that is the same in all threads. */
  private uniform(depth: number): string {
    const { r } = this;
    const names = this.visible.filter((v) => v.uniform);
    if (depth === 0 || r.next() < 0.4) return r.next() < 0.6 ? r.pick(names).name : String(r.int(0, 5));
    if (r.next() < 0.3) return `(al.load(n + ((${this.uniform(depth - 1)}) & ${SIZE - 1})) & 63)`;
    return `((${this.uniform(depth - 1)}) ${r.pick(["+", "-"])} (${this.uniform(depth - 1)}))`;
  }

  private uniformBool = (): string => `(${this.uniform(1)}) ${this.r.pick(["<", ">", "===", ">="])} (${this.uniform(1)})`;

  private bool(depth: number): string {
    const { r } = this;
    if (depth > 0 && r.next() < 0.2) return `((${this.bool(depth - 1)}) ${r.pick(["&&", "||"])} (${this.bool(depth - 1)}))`;
    if (r.next() < 0.2) return `tx % 3 ${r.pick(["<", "===", ">"])} ${r.int(0, 2)}`;
    return `((${this.int(depth)}) ${r.pick(["<", "<=", ">", ">=", "===", "!=="])} (${this.int(depth)}))`;
  }

  /** A small integer expression. */
  private int(depth: number): string {
    const { r } = this;
    const T = this.threads.reduce((p, n) => p * n, 1);
    if (depth === 0 || r.next() < 0.2) return r.next() < 0.7 ? r.pick(this.visible).name : r.pick(["0", "1", "2", "-1", "7", "31"]);
    const sub = (): string => this.int(depth - 1);
    return r.pick([
      () => `(${this.bool(depth - 1)} ? ${sub()} : ${sub()})`,
      () => `al.where(${this.bool(depth - 1)}, ${sub()}, ${sub()})`,
      () => `al.load(a + (${this.index(T)}))`,
      () => `al.load(own + ((${sub()}) & 3))`,
      () => `al.load(n + ((${sub()}) & ${SIZE - 1}))`,
      () => `al.load(n + (t & ${SIZE - 1}), { mask: ${this.bool(depth - 1)}, other: ${sub()} })`,
      () => `al.${r.pick(["min", "max"])}(${sub()}, ${sub()})`,
      () => `(((${sub()}) * (${sub()})) & 255)`,
      () => `((${sub()}) ${r.pick(["+", "-", "+"])} (${sub()}))`,
      () => `((${sub()}) ${r.pick(["&", "|", "^"])} (${sub()}))`,
      () => `al.idiv(${sub()}, ${r.int(1, 9)})`,
      () => `al.cast(al.cast((${sub()}) & 255, al.f32) * 0.5 + 1, al.i32)`,
      () => `al.sum(al.load(n + ((${sub()}) & 31) + al.arange(${r.int(2, 5)})))`,
      () => `al.extract(al.cumsum(al.arange(4) + (${sub()})), ${r.int(0, 3)})`,
      () => `(tx ${r.pick(["%", ">>", "&"])} ${r.pick(["3", "4", "7", "1"])})`,
    ])();
  }
}

const SIGNATURE = { n: ptr(i32), y: out(i32), z: out(i32), c: out(i32), N: dim };
type Body = Parameters<typeof kernel<typeof SIGNATURE>>[2];

export interface RandomThreads {
  source: string;
  threads: readonly [number, number, number];
  kernel: ReturnType<typeof kernel<typeof SIGNATURE>>;
}

const SHAPES: readonly (readonly [number, number, number])[] = [
  [32, 1, 1],
  [64, 1, 1],
  [128, 1, 1],
  [96, 1, 1],
  [16, 4, 1],
  [8, 4, 2],
  [32, 2, 1],
  [48, 1, 1],
  [5, 1, 1],
  [7, 3, 1],
  [1, 1, 1],
];

export function randomThreads(r: Random, name: string): RandomThreads {
  const threads = r.pick(SHAPES);
  const source = `(al, { n, y, z, c, N }) => {\n${new Writer(r, threads, (threads[0] * threads[1] * threads[2]) % 32 === 0).body()}\n}`;
  return { source, threads, kernel: kernel(name, SIGNATURE, new Function(`return ${source}`)() as Body, { threads }) };
}

/** Threadgroups of a random kernel's launch. */
export const GROUPS = 2;

export function randomThreadArguments(r: Random, threads: readonly number[]): Record<string, Int32Array<ArrayBuffer> | number> {
  const n = threads.reduce((p, x) => p * x, 1) * GROUPS;
  return {
    n: Int32Array.from({ length: SIZE }, () => r.pick([0, 1, -1, r.int(-9, 9), r.int(0, 99)])),
    y: new Int32Array(n),
    z: new Int32Array(n),
    c: Int32Array.from({ length: ATOMICS.length * COUNTERS }, () => r.int(0, 50)),
    N: r.int(0, 3),
  };
}
