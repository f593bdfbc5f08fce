/** What a tool's JSON Schema says about the types of values, for formats that write values without quotes. */
import type { ToolSpec } from "../api.ts";

export type JsonType = "string" | "number" | "integer" | "boolean" | "null" | "array" | "object";

type Node = Record<string, unknown>;

/** Alternatives and references followed at most. */
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
      else if (!COMBINING.some((k) => k in n)) return ANY;
    }
    return types;
  }

  /** Only a string can stand here. */
  get isText(): boolean {
    const { types } = this;
    return types.size === 1 && types.has("string");
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
  plain(depth = 0): Node {
    const types = [...this.types];
    const type = types.find((t) => t !== "null") ?? "string";
    const said = (key: string) => this.nodes.find((n) => n[key] !== undefined)?.[key];
    const out: Node = { type };
    if (typeof said("description") === "string") out.description = said("description");
    if (type === "string" && Array.isArray(said("enum"))) out.enum = (said("enum") as unknown[]).filter((v) => typeof v === "string");
    if (depth > MAX_DEPTH) return out;
    if (type === "array") out.items = this.items.plain(depth + 1);
    if (type !== "object") return out;
    const keys = new Set(
      this.nodes.flatMap((n) => (n.properties !== null && typeof n.properties === "object" ? Object.keys(n.properties) : [])),
    );
    out.properties = Object.fromEntries([...keys].map((k) => [k, this.property(k).plain(depth + 1)]));
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

const COMBINING = ["anyOf", "oneOf", "allOf"];

/** A schema with all that it refers to and offers as alternatives. */
function variants(schema: unknown, root: unknown, depth = 0): Node[] {
  if (schema === null || typeof schema !== "object" || Array.isArray(schema) || depth > MAX_DEPTH) return [];
  const node = schema as Node;
  if (typeof node.$ref === "string") return variants(resolve(node.$ref, root), root, depth + 1);
  const alternatives = COMBINING.flatMap((k) => (Array.isArray(node[k]) ? (node[k] as unknown[]) : []));
  return [node, ...alternatives.flatMap((a) => variants(a, root, depth + 1))];
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
