/** Go's text/template, as far as chat templates use it: from tree and data to text, with limits. */
import type { RenderLimits } from "../jinja.ts";
import type { Branch, GoNode, GoTemplate, Operand, Pipe } from "./parse.ts";

/** How an object prints itself where Go's type has a String method. */
export const PRINTED = Symbol("printed");

export interface GoOptions {
  limits: RenderLimits;
  /** The text ends with the value of this field. For templates of single turns. */
  stopAfter?: string;
  now?: Date;
}

const CLOCK_STEPS = 1024;
const MAX_CALLS = 100;

class Stop extends Error {}
class Leave extends Error {
  constructor(readonly how: "break" | "continue") {
    super(how);
  }
}

/** Throws Error with what went wrong. */
export function executeGoTemplate(template: GoTemplate, data: unknown, options: GoOptions): string {
  const run = new Run(template, data, options);
  try {
    run.nodes(template.root, data);
  } catch (e) {
    if (!(e instanceof Stop)) throw e;
  }
  return run.out.join("");
}

type Scope = Map<string, unknown>;

class Run {
  readonly out: string[] = [];
  private length = 0;
  private steps = 0;
  private nextLook = CLOCK_STEPS;
  private calls = 0;
  private readonly until: number;
  private scopes: Scope[];

  constructor(
    private readonly template: GoTemplate,
    data: unknown,
    private readonly o: GoOptions,
  ) {
    this.scopes = [new Map([["", data]])];
    this.until = performance.now() + o.limits.time;
  }

  nodes(list: readonly GoNode[], dot: unknown): void {
    for (const node of list) this.node(node, dot);
  }

  private node(node: GoNode, dot: unknown): void {
    this.step();
    switch (node.kind) {
      case "text":
        return this.write(node.text);
      case "break":
      case "continue":
        throw new Leave(node.kind);
      case "action":
        return this.action(node.pipe, dot);
      case "template":
        return this.call(node.name, node.pipe ? this.pipe(node.pipe, dot) : undefined);
      case "if":
      case "with":
        return this.scoped(() => {
          const value = this.pipe(node.pipe, dot);
          if (truth(value)) this.nodes(node.body, node.kind === "with" ? value : dot);
          else this.nodes(node.otherwise, dot);
        });
      case "range":
        return this.scoped(() => this.range(node, dot));
    }
  }

  private action(pipe: Pipe, dot: unknown): void {
    const value = this.pipe(pipe, dot);
    if (pipe.variables.length > 0) return;
    this.write(printed(value));
    const { stopAfter } = this.o;
    if (stopAfter !== undefined && pipe.commands.some((c) => c.some((o) => o.kind === "field" && o.names[0] === stopAfter)))
      throw new Stop();
  }

  private range(node: Branch<"range">, dot: unknown): void {
    const value = this.pipe({ ...node.pipe, variables: [] }, dot);
    const items = entriesOf(value);
    this.step(items.length);
    if (items.length === 0) return this.nodes(node.otherwise, dot);
    const names = node.pipe.variables;
    for (const [key, item] of items) {
      try {
        this.scoped(() => {
          if (names.length > 0) this.declare(names.at(-1)!, item);
          if (names.length > 1) this.declare(names[0], key);
          this.nodes(node.body, item);
        });
      } catch (e) {
        if (!(e instanceof Leave)) throw e;
        if (e.how === "break") return;
      }
    }
  }

  private call(name: string, data: unknown): void {
    const body = this.template.named.get(name);
    if (!body) throw new Error(`template "${name}" is not defined`);
    if (++this.calls > MAX_CALLS) throw new Error("templates call each other too deeply");
    const outer = this.scopes;
    this.scopes = [new Map([["", data]])];
    this.nodes(body, data);
    this.scopes = outer;
    this.calls--;
  }

  private scoped(work: () => void): void {
    const { length } = this.scopes;
    this.scopes.push(new Map());
    try {
      work();
    } finally {
      this.scopes.length = length;
    }
  }

  private declare(name: string, value: unknown): void {
    this.scopes.at(-1)!.set(name, value);
  }

  private pipe({ variables, declares, commands }: Pipe, dot: unknown): unknown {
    let value: unknown;
    for (const [i, command] of commands.entries()) value = this.command(command, dot, i === 0 ? [] : [value]);
    for (const name of variables) {
      if (declares) this.declare(name, value);
      else {
        const scope = this.scopes.findLast((s) => s.has(name));
        if (!scope) throw new Error(`variable $${name} is not declared`);
        scope.set(name, value);
      }
    }
    return value;
  }

  private command([head, ...rest]: Operand[], dot: unknown, piped: unknown[]): unknown {
    this.step();
    if (head.kind !== "function") {
      if (rest.length + piped.length > 0) throw new Error("a value is called like a function");
      return this.operand(head, dot);
    }
    return this.apply(head.name, rest, dot, piped);
  }

  private apply(name: string, operands: readonly Operand[], dot: unknown, piped: unknown[]): unknown {
    // These evaluate only as much as they need.
    if (name === "and" || name === "or") {
      let value: unknown;
      for (const operand of [...operands.map((o) => () => this.operand(o, dot)), ...piped.map((v) => () => v)]) {
        value = operand();
        if (truth(value) === (name === "or")) break;
      }
      return value;
    }
    const f = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined;
    if (!f) throw new Error(`there is no function "${name}"`);
    const result = f([...operands.map((o) => this.operand(o, dot)), ...piped], this.o.now ?? new Date());
    if (typeof result === "string" && result.length > this.o.limits.output) throw this.tooLong();
    return result;
  }

  private operand(o: Operand, dot: unknown): unknown {
    this.step();
    switch (o.kind) {
      case "dot":
        return dot;
      case "literal":
        return o.value;
      case "pipe":
        return this.pipe(o.pipe, dot);
      case "function":
        return this.apply(o.name, [], dot, []);
      case "variable": {
        const scope = this.scopes.findLast((s) => s.has(o.name));
        if (!scope) throw new Error(`variable $${o.name} is not declared`);
        return scope.get(o.name);
      }
      case "field":
        return o.names.reduce(fieldOf, this.operand(o.of, dot));
    }
  }

  private write(text: string): void {
    this.length += text.length;
    if (this.length > this.o.limits.output) throw this.tooLong();
    this.out.push(text);
  }

  private tooLong(): Error {
    return new Error(`it makes more than ${this.o.limits.output} characters`);
  }

  /** Counts work, and looks at the clock now and then. */
  private step(work = 1): void {
    this.steps += work;
    if (this.steps > this.o.limits.steps) throw new Error(`it takes more than ${this.o.limits.steps} steps`);
    if (this.steps < this.nextLook) return;
    this.nextLook = this.steps + CLOCK_STEPS;
    if (performance.now() > this.until) throw new Error(`it takes longer than ${this.o.limits.time} ms`);
  }
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

function truth(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  // A struct is true, a map if it holds something; what prints itself stands for a struct.
  if (typeof value === "object" && value !== null) return PRINTED in value || Object.keys(value).length > 0;
  return Boolean(value);
}

function entriesOf(value: unknown): [unknown, unknown][] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value)) return value.map((item, i) => [i, item]);
  if (typeof value === "number") return Array.from({ length: Math.min(Math.max(0, value), 100_000) }, (_, i) => [i, i]);
  if (typeof value === "object") return Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  throw new Error(`range cannot go over ${JSON.stringify(value)}`);
}

/** As Go's fmt.Print shows a value. */
function printed(value: unknown): string {
  if (value === undefined || value === null) return value === null ? "<nil>" : "<no value>";
  if (typeof value !== "object") return String(value);
  if (PRINTED in value) return String(value[PRINTED]);
  if (Array.isArray(value)) return `[${value.map(printed).join(" ")}]`;
  return `map[${entriesOf(value)
    .map(([k, v]) => `${String(k)}:${printed(v)}`)
    .join(" ")}]`;
}

function json(value: unknown): string {
  return typeof value === "object" && value !== null && PRINTED in value ? String(value[PRINTED]) : (JSON.stringify(value) ?? "null");
}

const sized = (value: unknown): string | unknown[] => {
  if (typeof value === "string" || Array.isArray(value)) return value;
  if (value === undefined || value === null) return [];
  throw new Error(`${JSON.stringify(value)} has no parts`);
};

function compare(a: unknown, b: unknown): number {
  if (typeof a !== typeof b || (typeof a !== "number" && typeof a !== "string"))
    throw new Error(`${json(a)} and ${json(b)} cannot be compared`);
  return a < (b as typeof a) ? -1 : a > (b as typeof a) ? 1 : 0;
}

/** A date as `January 2, 2006` and the like are not asked for: only Ollama's one format is. */
const isoDate = (date: Date): string =>
  `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, "0")}-${String(date.getDate()).padStart(2, "0")}`;

const FUNCTIONS: Readonly<Record<string, (args: unknown[], now: Date) => unknown>> = {
  not: ([v]) => !truth(v),
  len: ([v]) =>
    typeof v === "object" && v !== null && !Array.isArray(v)
      ? Object.keys(v).length
      : typeof v === "string"
        ? Buffer.byteLength(v)
        : sized(v).length,
  index: ([v, ...keys]) =>
    keys.reduce((at: unknown, key) => {
      if (typeof key !== "number") return fieldOf(at, String(key));
      const parts = sized(at);
      if (key < 0 || key >= parts.length) throw new Error(`index ${key} is outside of ${parts.length} items`);
      return parts[key];
    }, v),
  slice: ([v, from = 0, to]) => {
    const parts = sized(v);
    const [start, end] = [Number(from), to === undefined ? parts.length : Number(to)];
    if (!(start >= 0 && start <= end && end <= parts.length)) throw new Error(`slice ${start} to ${end} of ${parts.length} items`);
    return parts.slice(start, end);
  },
  eq: ([a, ...others]) => others.some((b) => a === b),
  ne: ([a, b]) => a !== b,
  lt: ([a, b]) => compare(a, b) < 0,
  le: ([a, b]) => compare(a, b) <= 0,
  gt: ([a, b]) => compare(a, b) > 0,
  ge: ([a, b]) => compare(a, b) >= 0,
  print: (args) => args.map(printed).join(""),
  println: (args) => `${args.map(printed).join(" ")}\n`,
  printf: ([format, ...args]) => sprintf(String(format), args),
  json: ([v]) => json(v),
  currentDate: (_, now) => isoDate(now),
  yesterdayDate: (_, now) => isoDate(new Date(now.getTime() - 24 * 3600_000)),
};

function sprintf(format: string, args: unknown[]): string {
  let next = 0;
  return format.replace(/%(%|[-+#0]*\d*(?:\.\d+)?[vsdqtfg])/g, (_, verb: string) => {
    if (verb === "%") return "%";
    const value = args[next++];
    return verb.endsWith("q") ? JSON.stringify(String(value)) : printed(value);
  });
}
