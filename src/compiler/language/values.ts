/** What an expression of a kernel stands for while it is compiled: a compile-time value, an SSA value, a pointer or a container of these. */
import type * as ES from "estree";
import type { DType, Value, ValueType } from "../ir/types.ts";
import type { Compiler } from "./compiler.ts";
import type { Scope } from "./scope.ts";
import type { Source } from "./source.ts";

export type Primitive = number | string | boolean | undefined | null;

/** Known at compile time. */
export interface Literal {
  kind: "literal";
  value: Primitive;
}
/** Known at run time. */
export interface RunTime {
  kind: "value";
  value: Value;
}
export type Numeric = Literal | RunTime;
export interface PointerValue {
  kind: "pointer";
  /** Index of the kernel's parameter. */
  param: number;
  offset: Numeric;
}
/** A variable, array element or object property. */
export interface Cell {
  value: CT;
  name: string;
  /** Number of run-time regions around its creation: a cell outside the region that writes it must be carried. */
  depth: number;
  constant?: boolean;
}
export interface ArrayValue {
  kind: "array";
  cells: Cell[];
  depth: number;
}
export interface ObjectValue {
  kind: "object";
  cells: Map<string, Cell>;
  depth: number;
}
/** A function that is inlined where it is called: a local arrow function, or a `fn` helper with the names it uses. */
export interface FunctionValue {
  kind: "function";
  name: string;
  node: ES.ArrowFunctionExpression | ES.FunctionExpression | ES.FunctionDeclaration;
  scope: Scope;
  source: Source;
  /** True for `fn` helpers, whose first parameter is `al`. */
  takesAl: boolean;
}
export interface CallInfo {
  node: ES.CallExpression;
  /** Name for messages, e.g. "al.load". */
  name: string;
}
/** An operation of the vocabulary. */
export interface BuiltinValue {
  kind: "builtin";
  name: string;
  call: (c: Compiler, args: CT[], info: CallInfo) => CT;
}
/** `al` or `Math`. */
export interface NamespaceValue {
  kind: "namespace";
  name: string;
  get: (c: Compiler, name: string, node: ES.Node) => CT;
}
export interface DTypeValue {
  kind: "dtype";
  dtype: DType;
}
/** The result of al.unroll: only for…of takes it. */
export interface RangeValue {
  kind: "range";
  items: number[];
}
/** A variable whose value depends on control flow in a way that cannot exist at run time; reading it is an error. */
export interface Poison {
  kind: "poison";
  reason: string;
}
export type CT =
  Numeric | PointerValue | ArrayValue | ObjectValue | FunctionValue | BuiltinValue | NamespaceValue | DTypeValue | RangeValue | Poison;

export const literal = (value: Primitive): Literal => ({ kind: "literal", value });
export const runTime = (value: Value): RunTime => ({ kind: "value", value });
export const UNDEFINED: Literal = literal(undefined);

export const isUndefined = (v: CT): boolean => v.kind === "literal" && v.value === undefined;
/** A number or boolean, known or not: what operators work on. */
export const isNumeric = (v: CT): v is RunTime | (Literal & { value: number | boolean }) =>
  v.kind === "value" || (v.kind === "literal" && (typeof v.value === "number" || typeof v.value === "boolean"));

const shapeText = (t: ValueType): string => (t.shape.length ? `a tile ${t.dtype}[${t.shape.join(",")}]` : `a run-time ${t.dtype}`);

/** What a value is, for messages. */
export function describe(v: CT): string {
  switch (v.kind) {
    case "literal":
      return typeof v.value === "string" ? JSON.stringify(v.value) : String(v.value);
    case "value":
      return shapeText(v.value.type);
    case "pointer":
      return "a pointer";
    case "array":
      return `an array of ${v.cells.length}`;
    case "object":
      return "an object";
    case "function":
      return `the function ${v.name}`;
    case "builtin":
      return `the operation ${v.name}`;
    case "namespace":
      return v.name;
    case "dtype":
      return `the type ${v.dtype}`;
    case "range":
      return "al.unroll(…)";
    case "poison":
      return "no value";
  }
}

let identities = 0;
const ids = new WeakMap<object, number>();
const identity = (o: object): number => {
  let id = ids.get(o);
  if (id === undefined) ids.set(o, (id = ++identities));
  return id;
};

export interface Flat {
  /** Equal for values that differ in numbers only. */
  structure: string;
  leaves: Numeric[];
  rebuild(leaves: readonly Numeric[], depth: number): CT;
}

/** Takes a value apart into its numbers, so that control flow can merge and carry them. */
export function flatten(v: CT): Flat {
  if (isNumeric(v)) return { structure: "n", leaves: [v], rebuild: (l) => l[0] };
  if (v.kind === "pointer") {
    return { structure: `p${v.param}`, leaves: [v.offset], rebuild: (l) => ({ kind: "pointer", param: v.param, offset: l[0] }) };
  }
  if (v.kind === "array") return group(v.cells, (cells, depth) => ({ kind: "array", cells, depth }), "[]");
  if (v.kind === "object") {
    const keys = [...v.cells.keys()];
    const rebuild = (cells: Cell[], depth: number): CT => ({ kind: "object", cells: new Map(keys.map((k, i) => [k, cells[i]])), depth });
    return group([...v.cells.values()], rebuild, keys.join());
  }
  const structure = v.kind === "literal" ? (JSON.stringify(v.value) ?? "undefined") : v.kind === "dtype" ? v.dtype : `#${identity(v)}`;
  return { structure, leaves: [], rebuild: () => v };
}

function group(cells: readonly Cell[], make: (cells: Cell[], depth: number) => CT, tag: string): Flat {
  const parts = cells.map((c) => flatten(c.value));
  return {
    structure: `${tag}(${parts.map((p) => p.structure).join(";")})`,
    leaves: parts.flatMap((p) => p.leaves),
    rebuild(leaves, depth) {
      let at = 0;
      const rebuilt = parts.map((p, i): Cell => {
        const own = leaves.slice(at, (at += p.leaves.length));
        return { value: p.rebuild(own, depth), name: cells[i].name, depth };
      });
      return make(rebuilt, depth);
    },
  };
}
