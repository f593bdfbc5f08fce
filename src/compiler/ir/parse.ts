/** Reads the text that `print` writes. */
import { AlloyError } from "../../support/errors.ts";
import type { Attr, Block, DType, KernelIR, Loc, Op, Param, PrintSite, Value, ValueType } from "./types.ts";
import { DTYPE_BYTES } from "./types.ts";

/**
 * The IR that `print` gave this text for; `source` is the user's text, which is not printed. Checks the text's form and that values
 * are defined before they are used; `verify` checks the rest. Throws AlloyError `bad_argument` with the line.
 */
export function parse(text: string, source?: string): KernelIR {
  return new Parser(text).kernel(source);
}

const TOKEN =
  /\s*(?:("(?:[^"\\]|\\.)*")|(%(?:"(?:[^"\\]|\\.)*"|[\w$]+)(?:\.\d+)?)|(-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?n?|Infinity))(?![\w$])|([\w$]+)|([-{}()[\]:=,.@]))/gy;

const KINDS: readonly string[] = ["ptr", "out", "dim", "scalar", "shared", "local", "constant"];

class Parser {
  private readonly tokens: { text: string; line: number }[] = [];
  private at = 0;
  private readonly values = new Map<string, Value>();
  private readonly params: Param[] = [];

  constructor(text: string) {
    text.split("\n").forEach((lineText, i) => {
      TOKEN.lastIndex = 0;
      const end = lineText.trimEnd().length;
      while (TOKEN.lastIndex < end) {
        const from = TOKEN.lastIndex;
        const m = TOKEN.exec(lineText);
        if (!m)
          throw new AlloyError("bad_argument", `IR text line ${i + 1}: cannot read ${JSON.stringify(lineText.slice(from, from + 20))}`);
        this.tokens.push({ text: m[0].trim(), line: i + 1 });
      }
    });
  }

  kernel(source: string | undefined): KernelIR {
    this.expect("kernel");
    const name = this.word();
    const constexprs = this.attributes() as KernelIR["constexprs"];
    const threads = this.take("threads") ? (this.attribute() as unknown as KernelIR["threads"]) : undefined;
    const simdgroups = this.take("simdgroups") ? Number(this.next()) : undefined;
    const distinct = this.take("distinct");
    const lanes = this.take("lanes") ? Number(this.next()) : undefined;
    while (this.take("param")) this.params.push(this.param());
    const prints: PrintSite[] = [];
    while (this.take("print")) prints.push(this.print());
    const body = this.block([]);
    if (this.at < this.tokens.length) this.fail("the end of the text");
    const ids = [...this.values.values()].map((v) => v.id);
    const ir: KernelIR = { name, params: this.params, body, constexprs, source, nextId: ids.reduce((a, b) => Math.max(a, b), -1) + 1 };
    if (threads) ir.threads = threads;
    if (simdgroups !== undefined) ir.simdgroups = simdgroups;
    if (distinct) ir.distinct = true;
    if (lanes !== undefined) ir.lanes = lanes;
    if (prints.length) ir.prints = prints;
    return ir;
  }

  private param(): Param {
    const name = this.word();
    this.expect(":");
    const kind = this.next();
    if (!KINDS.includes(kind)) this.fail(KINDS.join(", "), kind);
    const dtype = this.dtype();
    const p: Param = { name, kind: kind === "out" ? "ptr" : (kind as Param["kind"]), dtype, output: kind === "out" };
    if (this.peek() === "[") [p.elements] = this.attribute() as number[];
    if (this.take("=")) p.value = this.define(this.valueName(), { dtype, shape: [] });
    if (kind === "constant") p.constant = this.attributes().value as number | boolean;
    return p;
  }

  private print(): PrintSite {
    const label = this.word();
    this.expect("(");
    const types: ValueType[] = [];
    while (!this.take(")")) {
      types.push(this.type());
      this.take(",");
    }
    this.expect("@");
    return { label, types, line: Number(this.next()) };
  }

  private block(args: Value[]): Block {
    this.expect("{");
    const ops: Op[] = [];
    while (!this.take("}")) ops.push(this.op());
    return { args, ops };
  }

  private op(): Op {
    const named = this.peekValue() ? this.typedNames() : [];
    if (named.length) this.expect("=");
    const op: Op = { op: this.word(), args: [], results: [], attrs: {}, regions: [] };
    this.operands(op);
    if (this.peek() === "{") Object.assign(op.attrs, this.attributes());
    if (this.take("@")) op.loc = this.loc();
    while (this.take("(")) {
      const args = this.peek() === ")" ? [] : this.typedNames().map(([n, t]) => this.define(n, t));
      this.expect(")");
      op.regions.push(this.block(args));
    }
    op.results = named.map(([n, t]) => this.define(n, t));
    return op;
  }

  private operands(op: Op): void {
    const next = this.tokens[this.at + 1]?.text;
    if (!this.peekValue() && next === "[") {
      const name = this.word();
      const param = this.params.findIndex((p) => p.name === name);
      if (param < 0) this.fail("a parameter's name", name);
      op.attrs.param = param;
      this.expect("[");
      op.args.push(this.use());
      this.expect("]");
      if (!this.take(",")) return;
    }
    if (!this.peekValue()) return;
    do op.args.push(this.use());
    while (this.take(","));
  }

  private typedNames(): [string, ValueType][] {
    const list: [string, ValueType][] = [];
    do {
      const name = this.valueName();
      this.expect(":");
      list.push([name, this.type()]);
    } while (this.take(","));
    return list;
  }

  private type(): ValueType {
    const dtype = this.dtype();
    const shape = this.peek() === "[" ? (this.attribute() as number[]) : [];
    return { dtype, shape };
  }

  private dtype(): DType {
    const d = this.next();
    return d in DTYPE_BYTES ? (d as DType) : this.fail("a type", d);
  }

  private loc(): Loc {
    const line = Number(this.next());
    this.expect(":");
    return { line, column: Number(this.next()) };
  }

  private attributes(): Record<string, Attr> {
    this.expect("{");
    const attrs: Record<string, Attr> = {};
    if (this.take("}")) return attrs;
    do {
      const key = this.word();
      this.expect("=");
      attrs[key] = this.attribute();
    } while (this.take(","));
    this.expect("}");
    return attrs;
  }

  private attribute(): Attr {
    const t = this.next();
    if (t === "[") {
      const list: Attr[] = [];
      if (this.take("]")) return [];
      do list.push(this.attribute());
      while (this.take(","));
      this.expect("]");
      return list as number[];
    }
    if (t.startsWith('"')) return JSON.parse(t) as string;
    if (t === "true" || t === "false") return t === "true";
    if (t === "NaN") return NaN;
    if (/^-?\d+n$/.test(t)) return BigInt(t.slice(0, -1));
    if (/^-?(\d|Infinity)/.test(t)) return Number(t);
    return this.fail("an attribute's value", t);
  }

  private peekValue(): boolean {
    return this.peek()?.startsWith("%") ?? false;
  }

  /** `%id` or `%name.id`, as written. */
  private valueName(): string {
    const t = this.next();
    return t.startsWith("%") ? t : this.fail("a value", t);
  }

  private define(written: string, type: ValueType): Value {
    const m = /^%(?:(.+)\.)?(\d+)$/.exec(written);
    if (!m) return this.fail("a value's number", written);
    const v: Value = { id: Number(m[2]), type };
    if (m[1] !== undefined) v.name = m[1].startsWith('"') ? (JSON.parse(m[1]) as string) : m[1];
    this.values.set(written, v);
    return v;
  }

  private use(): Value {
    const written = this.valueName();
    return this.values.get(written) ?? this.fail("a value defined before", written);
  }

  private word(): string {
    const t = this.next();
    if (t.startsWith('"')) return JSON.parse(t) as string;
    return /^[\w$]+$/.test(t) ? t : this.fail("a name", t);
  }

  private peek(): string | undefined {
    return this.tokens[this.at]?.text;
  }

  private next(): string {
    return this.tokens[this.at++]?.text ?? this.fail("more text", "the end");
  }

  private take(text: string): boolean {
    if (this.peek() !== text) return false;
    this.at++;
    return true;
  }

  private expect(text: string): void {
    const t = this.next();
    if (t !== text) this.fail(`"${text}"`, t);
  }

  private fail(wanted: string, found = this.peek() ?? "the end"): never {
    const line = this.tokens[Math.min(this.at, this.tokens.length) - 1]?.line ?? 1;
    throw new AlloyError("bad_argument", `IR text line ${line}: expected ${wanted}, found ${found}`);
  }
}
