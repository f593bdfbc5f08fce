/** What a tool's JSON Schema says about the types of values, for formats that write values without quotes. */
import type { ToolSpec } from "../api.ts";

export type JsonType = "string" | "number" | "integer" | "boolean" | "null" | "array" | "object";

type Node = Record<string, unknown>;

const COMBINING = ["anyOf", "oneOf", "allOf"];
/** Alternatives and references followed from one place at most. */
const MAX_VARIANTS = 64;
/** Places, and levels of them, that a schema in few words keeps. */
const MAX_PLAIN = 1000;
const MAX_DEPTH = 8;
const ANY: ReadonlySet<JsonType> = new Set();

/** A place in a tool's schema. Schemas come from requests: any shape of them must do. */
export class SchemaView {
  private constructor(
    private readonly root: unknown,
    private readonly nodes: readonly Node[],
  ) {}

  /** The arguments of a tool; without a schema nothing is known. */
  static of(tool: ToolSpec | undefined): SchemaView {
    const root = tool?.parameters;
    return new SchemaView(root, variants(root, root));
  }

  /** Types that a value may have here; empty when nothing is said. */
  get types(): ReadonlySet<JsonType> {
    const types = new Set<JsonType>();
    for (const n of this.nodes) {
      const named = Array.isArray(n.type) ? n.type : n.type === undefined ? undefined : [n.type];
      const values = Array.isArray(n.enum) ? n.enum : n.const !== undefined ? [n.const] : undefined;
      const found = named ?? values?.map(typeOf) ?? (n.properties ? ["object"] : n.items ? ["array"] : undefined);
      if (found) for (const t of found) types.add(t as JsonType);
      else if (!("$ref" in n) && !COMBINING.some((k) => k in n)) return ANY;
    }
    return types;
  }

  /** Only a string can stand here. */
  get isText(): boolean {
    const { types } = this;
    return types.size === 1 && types.has("string");
  }

  /** Names of the declared properties. */
  get keys(): string[] {
    const named = this.nodes.map((n) => n.properties).filter((p) => p !== null && typeof p === "object");
    return [...new Set(named.flatMap((p) => Object.keys(p as Node)))];
  }

  property(key: string): SchemaView {
    return this.child((n) => {
      const own = (n.properties as Node | undefined)?.[key];
      return own ?? n.additionalProperties;
    });
  }

  get items(): SchemaView {
    return this.child((n) => n.items);
  }

  /**
   * The schema in the few words that every template understands: one type, description, enum, properties, required,
   * items. What it leaves out is only missing in the prompt.
   */
  plain(depth = 0, budget = { left: MAX_PLAIN }): Node {
    if (--budget.left < 0) return { type: "string" };
    const type = [...this.types].find((t) => t !== "null") ?? "string";
    const said = (key: string) => this.nodes.find((n) => n[key] !== undefined)?.[key];
    const out: Node = { type };
    if (typeof said("description") === "string") out.description = said("description");
    if (type === "string" && Array.isArray(said("enum"))) out.enum = (said("enum") as unknown[]).filter((v) => typeof v === "string");
    if (depth > MAX_DEPTH) return out;
    if (type === "array") out.items = this.items.plain(depth + 1, budget);
    if (type !== "object") return out;
    out.properties = Object.fromEntries(this.keys.map((k) => [k, this.property(k).plain(depth + 1, budget)]));
    out.required = Array.isArray(said("required")) ? said("required") : [];
    return out;
  }

  private child(of: (node: Node) => unknown): SchemaView {
    return new SchemaView(
      this.root,
      this.nodes.flatMap((n) => variants(of(n), this.root)),
    );
  }
}

/** A schema with all that it refers to and offers as alternatives, each once. */
function variants(schema: unknown, root: unknown, found: Set<Node> = new Set()): Node[] {
  if (schema === null || typeof schema !== "object" || Array.isArray(schema)) return [...found];
  const node = schema as Node;
  if (found.has(node) || found.size >= MAX_VARIANTS) return [...found];
  found.add(node);
  if (typeof node.$ref === "string") variants(resolve(node.$ref, root), root, found);
  for (const key of COMBINING) for (const a of Array.isArray(node[key]) ? (node[key] as unknown[]) : []) variants(a, root, found);
  return [...found];
}

function resolve(ref: string, root: unknown): unknown {
  if (!ref.startsWith("#")) return undefined;
  let at: unknown = root;
  for (const part of ref.slice(1).split("/").filter(Boolean)) {
    const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
    at = at !== null && typeof at === "object" && Object.hasOwn(at, key) ? (at as Node)[key] : undefined;
  }
  return at;
}

export function typeOf(value: unknown): JsonType {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  const t = typeof value;
  return t === "string" || t === "number" || t === "boolean" ? t : "object";
}
