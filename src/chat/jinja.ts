/**
 * Chat templates as untrusted programs: @huggingface/jinja's parser and interpreter, with limits on size, steps, time and
 * output, and with the places mended where the interpreter is stricter than Jinja2 and published templates rely on it.
 */
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";
import { AlloyError } from "../support/errors.ts";
import { strftime } from "./strftime.ts";

export interface RenderLimits {
  /** Characters of template source. */
  source: number;
  /** Nodes evaluated in one rendering. */
  steps: number;
  /** Milliseconds of one rendering. */
  time: number;
  /** Characters of any text that a rendering makes. */
  output: number;
}

export const RENDER_LIMITS: RenderLimits = { source: 1 << 20, steps: 100_000_000, time: 10_000, output: 1 << 24 };

/** For templates that come with a request: whoever sends one must not hold up the others, whose answers are computed beside it. */
export const REQUEST_LIMITS: RenderLimits = { source: 1 << 16, steps: 10_000_000, time: 500, output: 1 << 22 };

/** For the small conversations by which a template is examined. */
export const PROBE_LIMITS: RenderLimits = { ...RENDER_LIMITS, steps: 1_000_000, time: 250 };

/** Longest `range()`. */
const MAX_RANGE = 100_000;
const MAX_INDENT = 1000;
/** Nodes evaluated inside of each other; a macro that calls itself takes about ten of them. */
const MAX_DEPTH = 2000;
/** Steps between looks at the clock. */
const CLOCK_STEPS = 4096;

type Node = NonNullable<Parameters<Interpreter["evaluate"]>[0]>;
type Value = ReturnType<Interpreter["evaluate"]>;
type Fields = Record<string, unknown>;

/** A compiled template. `render` throws AlloyError `template_error` with the template's own message. */
export interface CompiledTemplate {
  render(variables: Record<string, unknown>, limits?: RenderLimits): string;
}

/** `now` is the time that `strftime_now` tells. Throws `template_error` for a template that does not parse. */
export function compileTemplate(
  source: string,
  limits: RenderLimits = RENDER_LIMITS,
  now: () => Date = () => new Date(),
): CompiledTemplate {
  if (source.length > limits.source) {
    throw new AlloyError("template_error", `The chat template has ${source.length} characters; at most ${limits.source} are allowed.`, {
      hint: "Use another chat template for this model.",
    });
  }
  let program: Parameters<Interpreter["run"]>[0];
  try {
    program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
    markOutput(program);
  } catch (cause) {
    throw failure("The chat template cannot be parsed", cause);
  }
  return {
    render(variables, bounds = limits) {
      const environment = new Environment();
      defineGlobals(environment, now);
      for (const [name, value] of Object.entries(variables)) {
        if (value !== undefined) environment.setVariable(name, toValue(value));
      }
      try {
        return String(new GuardedInterpreter(environment, bounds).run(program).value);
      } catch (cause) {
        throw failure("The chat template failed", cause);
      }
    },
  };
}

function failure(what: string, cause: unknown): AlloyError {
  if (cause instanceof AlloyError) return cause;
  // The interpreter's own stack runs out in templates that nest or call themselves without end.
  const message =
    cause instanceof RangeError ? "it nests too deeply or makes too much text" : cause instanceof Error ? cause.message : String(cause);
  return new AlloyError("template_error", `${what}: ${message}`, {
    hint: "Check that the messages have the roles and order that the model expects, or give another chat template.",
    cause,
  });
}

function defineGlobals(environment: Environment, now: () => Date): void {
  const globals: Record<string, unknown> = {
    true: true,
    True: true,
    false: false,
    False: false,
    none: null,
    None: null,
    raise_exception: (message: unknown) => {
      throw new Error(String(message));
    },
    strftime_now: (format: unknown) => strftime(now(), String(format)),
    range: (a: number, b?: number, step = 1) => {
      const [from, to] = b === undefined ? [0, a] : [a, b];
      const count = Math.ceil((to - from) / step);
      if (!Number.isFinite(count) || count > MAX_RANGE) throw new Error(`range(${from}, ${to}, ${step}) is too long`);
      return Array.from({ length: Math.max(0, count) }, (_, i) => from + i * step);
    },
  };
  for (const [name, value] of Object.entries(globals)) environment.setVariable(name, toValue(value));
}

const scratch = new Environment();

/** The library's own representation of a JavaScript value; its classes are not exported, but a variable has it. */
function toValue(value: unknown): Value {
  scratch.variables.delete("value");
  return scratch.set("value", value);
}

const isText = (v: Value) => v.type === "StringValue";
const isUndefined = (v: Value) => v.type === "UndefinedValue";

/** A value as Jinja2 prints it. */
const display = (v: Value) => (isUndefined(v) ? "" : isText(v) ? String(v.value) : repr(v));

/** A value as Python writes it inside a list. */
function repr(v: Value): string {
  switch (v.type) {
    case "NullValue":
      return "None";
    case "BooleanValue":
      return v.value ? "True" : "False";
    case "StringValue":
      return quoted(String(v.value));
    case "ArrayValue":
      return `[${(v.value as Value[]).map(repr).join(", ")}]`;
    case "TupleValue":
      return `(${(v.value as Value[]).map(repr).join(", ")})`;
    case "ObjectValue":
      return `{${Array.from(v.value as Map<string, Value>, ([k, x]) => `${quoted(k)}: ${repr(x)}`).join(", ")}}`;
    default:
      return v.toString();
  }
}

function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const body = text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\t", "\\t").replaceAll("\r", "\\r");
  return quote + (quote === "'" ? body.replaceAll("'", "\\'") : body) + quote;
}

const STATEMENTS = ["Set", "If", "For", "Macro", "CallStatement", "FilterStatement", "Comment", "Break", "Continue", "Program"];

/** Marks the expressions whose value is printed, in all blocks below `node`. */
function markOutput(node: unknown): void {
  if (node === null || typeof node !== "object") return;
  for (const [key, child] of Object.entries(node)) {
    if (!Array.isArray(child)) {
      markOutput(child);
      continue;
    }
    for (let i = 0; i < child.length; i++) {
      markOutput(child[i]);
      if (["body", "alternate", "defaultBlock"].includes(key) && !STATEMENTS.includes(child[i].type))
        child[i] = { type: "AlloyOutput", value: child[i] };
    }
  }
}

/** A list or function that holds the library's values as they are. */
function toList(items: Value[]): Value {
  const list = toValue([]);
  (list as { value: unknown }).value = items;
  return list;
}

function toFunction(call: (args: Value[]) => Value): Value {
  const f = toValue(() => null);
  (f as { value: unknown }).value = call;
  return f;
}

const LIST_METHODS: Record<string, (list: Value[], args: Value[]) => Value> = {
  append: (list, [item]) => {
    list.push(item);
    return toValue(null);
  },
  pop: (list, [at]) => {
    const i = at === undefined ? list.length - 1 : Number(at.value);
    const [item] = list.splice(i < 0 ? list.length + i : i, 1);
    if (item === undefined) throw new Error("pop from empty list");
    return item;
  },
};

const MAPPING_METHODS = ["items", "keys", "values", "get"];
const TEXT_FILTERS = ["upper", "lower", "trim", "capitalize", "title"];

/** A node that stands for a value already computed. */
const literal = (value: Value): Node => ({ type: "AlloyValue", value }) as unknown as Node;

/** The value of an argument, named or not. */
const valueOf = (argument: Node): Node =>
  argument.type === "KeywordArgumentExpression" ? (argument as unknown as { value: Node }).value : argument;

class GuardedInterpreter extends Interpreter {
  private steps = 0;
  private depth = 0;
  private readonly deadline: number;

  constructor(
    environment: Environment,
    private readonly limits: RenderLimits,
  ) {
    super(environment);
    this.deadline = performance.now() + limits.time;
  }

  override evaluate(node: Node | undefined, environment: Environment): Value {
    this.spend(1);
    if (++this.depth > MAX_DEPTH) throw limit("nests too deeply");
    try {
      const value = this.mended(node, environment);
      if (isText(value)) this.checkLength((value.value as string).length);
      return value;
    } finally {
      this.depth--;
    }
  }

  private spend(steps: number): void {
    const before = this.steps;
    this.steps += steps;
    if (this.steps > this.limits.steps) throw limit(`needs more than ${this.limits.steps} steps`);
    const look = Math.floor(before / CLOCK_STEPS) !== Math.floor(this.steps / CLOCK_STEPS);
    if (look && performance.now() > this.deadline) throw limit(`takes longer than ${this.limits.time} ms`);
  }

  private checkLength(length: number): void {
    if (length > this.limits.output) throw limit(`makes a text of more than ${this.limits.output} characters`);
  }

  private mended(node: Node | undefined, environment: Environment): Value {
    if (!node) return super.evaluate(node, environment);
    const fields = node as unknown as Fields;
    switch (node.type) {
      case "AlloyValue":
        return fields.value as Value;
      case "AlloyOutput":
        return this.output(fields.value as Node, environment);
      case "ObjectLiteral":
        return super.evaluate(this.textKeys(fields, environment), environment);
      case "MemberExpression":
        return this.member(fields, environment);
      case "CallExpression":
        return super.evaluate(this.methodCall(fields, environment), environment);
      case "FilterExpression":
        return this.filter(fields, environment);
      case "BinaryExpression":
        return this.binary(fields, environment);
      case "For":
        return super.evaluate(this.loop(fields, environment), environment);
      default:
        return super.evaluate(node, environment);
    }
  }

  private output(node: Node, environment: Environment): Value {
    const value = this.evaluate(node, environment);
    return isText(value) ? value : toValue(display(value));
  }

  /** Numbers as keys of a mapping. */
  private textKeys(node: Fields, environment: Environment): Node {
    const entries = [...(node.value as Map<Node, Node>)].map(([key, value]): [Node, Node] => {
      const k = this.evaluate(key, environment);
      return [literal(isText(k) ? k : toValue(String(k.value))), value];
    });
    return { ...node, value: new Map(entries) } as unknown as Node;
  }

  /** Methods that change lists, and numbers as keys of a mapping. */
  private member(node: Fields, environment: Environment): Value {
    const object = this.evaluate(node.object as Node, environment);
    const property = node.property as Node;
    const method = object.type === "ArrayValue" && !node.computed ? LIST_METHODS[String((property as unknown as Fields).value)] : undefined;
    if (method) return toFunction((args) => method(object.value as Value[], args));
    if (isText(object) && !node.computed && (property as unknown as Fields).value === "replace") {
      const replace = super.evaluate({ ...node, object: literal(object) } as unknown as Node, environment);
      return toFunction((args) => {
        this.checkReplace(object, args);
        return (replace.value as (args: Value[], environment: Environment) => Value)(args, environment);
      });
    }
    const held: Fields = { ...node, object: literal(object) };
    if (object.type === "ObjectValue" && node.computed && property.type !== "SliceExpression") {
      const key = this.evaluate(property, environment);
      held.property = literal(isText(key) ? key : toValue(String(key.value)));
    }
    return super.evaluate(held as unknown as Node, environment);
  }

  /** A mapping's own methods, also where it has a key of that name (a JSON schema has "items"). */
  private methodCall(node: Fields, environment: Environment): Node {
    const callee = node.callee as Fields & { property?: { value?: unknown } };
    const name = String(callee.property?.value);
    if (callee.type !== "MemberExpression" || callee.computed || !MAPPING_METHODS.includes(name)) return node as unknown as Node;
    const object = this.evaluate(callee.object as Node, environment);
    const method = object.type === "ObjectValue" ? object.builtins.get(name) : undefined;
    const held = method ? literal(method) : ({ ...callee, object: literal(object) } as unknown as Node);
    return { ...node, callee: held } as unknown as Node;
  }

  /** A text of n characters can grow by n times the replacement. */
  private checkReplace(text: Value, [from, to]: Value[]): void {
    if (!from || !to || !isText(from) || !isText(to)) return;
    const count = String(text.value).split(String(from.value)).length - 1;
    this.checkLength(count * String(to.value).length);
  }

  /** Joining texts with undefined (empty) and, by "~", with anything. */
  private binary(node: Fields, environment: Environment): Value {
    const operator = (node.operator as { value: string }).value;
    if (operator === "in" || operator === "not in") return this.contains(node, operator === "in", environment);
    if (operator === "*") return this.times(node, environment);
    if (operator !== "+" && operator !== "~") return super.evaluate(node as unknown as Node, environment);
    let left = this.evaluate(node.left as Node, environment);
    let right = this.evaluate(node.right as Node, environment);
    if (operator === "~") return toValue(display(left) + display(right));
    if (isUndefined(left) && isText(right)) left = toValue("");
    if (isUndefined(right) && isText(left)) right = toValue("");
    for (const v of isText(left) || isText(right) ? [left, right] : []) {
      if (v.type === "ObjectValue" || v.type === "ArrayValue") throw new Error(`can only join text with text, not with a ${v.type}`);
    }
    return super.evaluate({ ...node, left: literal(left), right: literal(right) } as unknown as Node, environment);
  }

  /** A text times a number. */
  private times(node: Fields, environment: Environment): Value {
    const left = this.evaluate(node.left as Node, environment);
    const right = this.evaluate(node.right as Node, environment);
    const [text, count] = isText(left) ? [left, right] : [right, left];
    if (!isText(text) || count.type !== "IntegerValue")
      return super.evaluate({ ...node, left: literal(left), right: literal(right) } as unknown as Node, environment);
    const times = Math.max(0, Number(count.value));
    this.checkLength(String(text.value).length * times);
    return toValue(String(text.value).repeat(times));
  }

  /** Tuples count as lists, and a list is no member of a list of words. */
  private contains(node: Fields, wanted: boolean, environment: Environment): Value {
    const left = this.evaluate(node.left as Node, environment);
    const right = this.evaluate(node.right as Node, environment);
    if (right.type !== "ArrayValue" && right.type !== "TupleValue")
      return super.evaluate({ ...node, left: literal(left), right: literal(right) } as unknown as Node, environment);
    this.spend((right.value as Value[]).length);
    const isList = Array.isArray(left.value);
    const equal = (v: Value) => (isList ? Array.isArray(v.value) && repr(v) === repr(left) : v.value === left.value);
    return toValue((right.value as Value[]).some(equal) === wanted);
  }

  /** Filters on undefined (empty, as in Jinja2), and those for texts on anything. */
  private filter(node: Fields, environment: Environment): Value {
    const operand = this.evaluate(node.operand as Node, environment);
    const filter = node.filter as Node & { value?: unknown; callee?: { value?: unknown } };
    const name = String(filter.type === "CallExpression" ? filter.callee?.value : filter.value);
    if (name === "replace" || name === "indent") {
      const args = ((filter as unknown as { args?: Node[] }).args ?? []).map((a) => this.evaluate(valueOf(a), environment));
      if (name === "replace") this.checkReplace(operand, args);
      else for (const a of args) if (Number(a.value) > MAX_INDENT) throw limit(`indents by more than ${MAX_INDENT} characters`);
    }
    const again = (value: Value) => super.evaluate({ ...node, operand: literal(value) } as unknown as Node, environment);
    if (isUndefined(operand)) {
      if (name === "default") return filter.type === "CallExpression" ? again(operand) : toValue("");
      if (["length", "count"].includes(name)) return toValue(0);
      if (["list", "selectattr", "rejectattr", "map", "sort", "unique", "reverse", "items"].includes(name)) return toValue([]);
      if (["string", "trim", "upper", "lower", "join", "first", "last"].includes(name)) return toValue("");
    }
    if (name === "default" && filter.type !== "CallExpression") return operand;
    if (name === "count")
      return super.evaluate({ ...node, operand: literal(operand), filter: { ...filter, value: "length" } } as unknown as Node, environment);
    if (name === "string" && !isText(operand)) return toValue(display(operand));
    if (TEXT_FILTERS.includes(name) && !isText(operand)) return again(toValue(display(operand)));
    if (name === "dictsort" && operand.type === "ObjectValue") {
      const entries = [...(operand.value as Map<string, Value>)];
      // Keys that were numbers: in their order, and numbers again.
      if (entries.every(([k]) => /^-?\d+$/.test(k)))
        return toList(entries.sort(([a], [b]) => Number(a) - Number(b)).map(([k, v]) => toList([toValue(Number(k)), v])));
    }
    if (name === "list" && isText(operand)) return toValue(Array.from(String(operand.value)));
    if (name === "list" && operand.type === "ObjectValue") return toValue([...(operand.value as Map<string, Value>).keys()]);
    return again(operand);
  }

  /** Loops over nothing, over the characters of a text, and unpacking of tuples. */
  private loop(node: Fields, environment: Environment): Node {
    const iterable = node.iterable as Node & { lhs?: Node };
    const selected = iterable.type === "SelectExpression";
    let value = this.evaluate(selected ? iterable.lhs : iterable, environment);
    if (isUndefined(value)) value = toValue([]);
    else if (isText(value)) value = toValue(Array.from(String(value.value)));
    if (Array.isArray(value.value)) this.spend(value.value.length);
    const loopvar = node.loopvar as Node;
    if (value.type === "ArrayValue" && loopvar.type === "TupleLiteral") {
      for (const item of value.value as Value[]) if (item.type === "TupleValue") item.type = "ArrayValue";
    }
    const held = literal(value);
    return { ...node, iterable: selected ? { ...iterable, lhs: held } : held } as unknown as Node;
  }
}

const limit = (what: string) =>
  new AlloyError("template_error", `The chat template ${what}.`, { hint: "Send a shorter conversation, or give another chat template." });
