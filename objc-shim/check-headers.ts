/**
 * Compares the hand-written headers with metal-cpp, Apple's own C++ bindings (Apache-2.0): every selector exists, with the same types in the
 * calling convention, and every constant has the same value.
 *
 *   bun objc-shim/check-headers.ts FOLDER     a copy of metal-cpp, with Metal/ and Foundation/ in it
 *
 * test/metal-host/headers.test.ts pins what this confirmed.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));

/** One declaration: its selector, and what it returns and takes as the calling convention sees them: "ptr", "u64", "i64", "bool", "f64", "void" or a struct. */
export interface Declaration {
  selector: string;
  types: string[];
}

export interface Headers {
  methods: Declaration[];
  /** Value by name. */
  constants: Map<string, number>;
}

const stripped = (text: string): string => text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/\/\/.*$/gm, "");

/** `0`, `1 << 4`, `(3 << 16) + 1`, `1ul << 63` */
function value(expression: string): number {
  const plain = expression.replace(/[()\s]/g, "").replace(/u?l*$/i, "");
  const [shifted, add] = plain.split("+");
  const [base, by] = shifted.split("<<").map(Number);
  return base * 2 ** (by || 0) + Number(add ?? 0);
}

const SCALARS: Readonly<Record<string, string>> = {
  void: "void",
  "oneway void": "void",
  BOOL: "bool",
  bool: "bool",
  NSUInteger: "u64",
  "NS::UInteger": "u64",
  uint64_t: "u64",
  "unsigned long long": "u64",
  NSInteger: "i64",
  "NS::Integer": "i64",
  CFTimeInterval: "f64",
  id: "ptr",
  instancetype: "ptr",
  Class: "ptr",
  SEL: "ptr",
  UInteger: "u64",
  "NS::StringEncoding": "u64",
  "NS::ErrorDomain": "ptr",
};

/** How a type is passed; `enums` has the integer type of each enumeration by its short name. */
function passed(type: string, enums: ReadonlyMap<string, string>): string {
  const plain = type
    .replace(/\b(const|class|struct|nullable|_Nullable|_Nonnull)\b/g, "")
    .replace(/\s+/g, " ")
    .trim();
  if (/[*^]/.test(plain) || /^id ?</.test(plain) || /Block$|Handler$/.test(plain) || plain === "ObjectType") return "ptr";
  const short = plain.replace(/^(MTL::|NS::|MTL|NS)/, "");
  return SCALARS[plain] ?? SCALARS[enums.get(short) ?? ""] ?? short;
}

/** Reads the headers beside this file, and what the sources of the shim declare of newer systems. */
export function readOurs(): Headers {
  const files = ["headers/Foundation/Foundation.h", "headers/Metal/Metal.h", "internal.h", "alloy_metal.m"];
  const text = files.map((f) => stripped(readFileSync(join(HERE, f), "utf8"))).join("\n");
  const enums = new Map<string, string>();
  const constants = new Map<string, number>();
  for (const [, name, type, body] of text.matchAll(/enum (MTL\w+) : (\w+) \{([^}]*)\}/g)) {
    enums.set(name.slice(3), type);
    for (const [, constant, expression] of body.matchAll(/(\w+) = ([^,]+)/g)) constants.set(constant, value(expression));
  }
  constants.set("NSUTF8StringEncoding", value(/NSUTF8StringEncoding (\w+)/.exec(text)![1]));
  constants.set("MTLMathModeSafe", value(/MATH_MODE_SAFE = (\d+)/.exec(text)![1]));
  constants.set("MTLMathModeFast", value(/MATH_MODE_FAST = (\d+)/.exec(text)![1]));
  const methods: Declaration[] = [];
  // Only between @interface or @protocol and @end: implementations have methods too.
  for (const [, body] of text.matchAll(/@(?:interface|protocol) \w+(?![^\n]*;\n)[^\n]*\n([\s\S]*?)@end/g)) {
    for (const [, returns, rest] of body.matchAll(/^[-+] \(([^)]*)\)([^;]*);/gm)) {
      const parts = [...rest.matchAll(/(\w+):\(([^)]*)\)\w+/g)];
      const selector = parts.length ? parts.map((p) => `${p[1]}:`).join("") : rest.trim();
      methods.push({ selector, types: [returns, ...parts.map((p) => p[2])].map((t) => passed(t, enums)) });
    }
    for (const [, attributes, type, name] of body.matchAll(/^@property\(([^)]*)\) ([^;]*?)(\w+);/gm)) {
      const t = passed(type, enums);
      methods.push({ selector: name, types: [t] });
      if (!attributes.includes("readonly")) methods.push({ selector: `set${name[0].toUpperCase()}${name.slice(1)}:`, types: ["void", t] });
    }
  }
  return { methods, constants };
}

/** Reads a copy of metal-cpp. A selector may have several C++ functions. */
export function readMetalCpp(folder: string): Headers {
  const text = ["Foundation", "Metal"]
    .flatMap((f) => readdirSync(join(folder, f)).map((name) => join(folder, f, name)))
    .filter((f) => f.endsWith(".hpp"))
    .map((f) => stripped(readFileSync(f, "utf8")))
    .join("\n");
  const enums = new Map<string, string>();
  const constants = new Map<string, number>();
  for (const [, space, type, name, body] of text.matchAll(/_(MTL|NS)_(?:ENUM|OPTIONS)\(([\w:]+), (\w+)\)\s*\{([^}]*)\}/g)) {
    enums.set(name, type.includes("::") ? type : `NS::${type}`);
    for (const [, constant, expression] of body.matchAll(/(\w+) = ([^,\n]+)/g)) constants.set(`${space}${constant}`, value(expression));
  }
  const selectors = new Map([...text.matchAll(/PRIVATE_DEF_SEL\((\w+),\s*"([^"]+)"\)/g)].map((m) => [m[1], m[2]]));
  const inline = /_(?:MTL|NS)_INLINE ([^;{}]*?)([\w:]+)\(([^;{}]*)\)(?: const)?\s*\{[^}]*?PRIVATE_SEL\((\w+)\)/g;
  const methods = [...text.matchAll(inline)].map(([, returns, , parameters, selector]): Declaration => {
    // Commas within a block's own parameters are none of ours.
    const list = parameters
      .replace(/\(\^?\w*\)\([^)]*\)/g, "*")
      .split(",")
      .filter((p) => p.trim() !== "");
    // `void NS::Referencing<_Class, _Base>` is what is before the `::` of a template's function.
    const types = [returns.replace(/ [\w:]+<.*$/, ""), ...list.map((p) => (p.includes("*") ? p : p.trim().replace(/ \w+$/, "")))];
    return { selector: selectors.get(selector) ?? selector, types: types.map((t) => passed(t, enums)) };
  });
  return { methods, constants };
}

/** What Foundation has and metal-cpp does not wrap. */
const NOT_WRAPPED = new Set(
  "stringWithUTF8String: initWithBytes:length:encoding: reason path respondsToSelector: conformsToProtocol: class new dealloc".split(" "),
);

/** What differs; nothing, normally. */
export function differences(ours: Headers, theirs: Headers): string[] {
  const wrong: string[] = [];
  for (const { selector, types } of ours.methods) {
    if (NOT_WRAPPED.has(selector)) continue;
    const same = theirs.methods.filter((m) => m.selector === selector);
    if (!same.length) wrong.push(`${selector} does not exist`);
    else if (!same.some((m) => m.types.join() === types.join()))
      wrong.push(`${selector} is (${same.map((m) => m.types.join(", ")).join(") or (")}), ours is (${types.join(", ")})`);
  }
  for (const [name, v] of ours.constants) {
    const real = theirs.constants.get(name);
    if (real !== v) wrong.push(`${name} is ${real ?? "not there"}, ours is ${v}`);
  }
  return wrong;
}

if (import.meta.main) {
  const folder = process.argv[2];
  if (folder === undefined) {
    console.error("usage: bun objc-shim/check-headers.ts FOLDER   (a copy of metal-cpp)");
    process.exit(2);
  }
  const ours = readOurs();
  const wrong = differences(ours, readMetalCpp(folder));
  for (const line of wrong) console.error(line);
  console.log(`${ours.methods.length} methods and ${ours.constants.size} constants compared, ${wrong.length} differ`);
  process.exit(wrong.length ? 1 : 0);
}
