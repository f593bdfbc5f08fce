/**
 * What Apple's compiler would reject and the Metal host's does not notice, and what nobody can be sure of. Works on tokens and on what declarations
 * say, so it knows the types of names and of simple expressions only: emitted text is to be plainer than people's.
 */
import type { MslFunction, MslToken } from "./msl-tokens.ts";
import { closing, outline, tokenize } from "./msl-tokens.ts";

export interface LintFinding {
  /** Counts from 1. */
  line: number;
  rule: string;
  text: string;
}

/** Words of C++ that MSL does not have (Metal Shading Language Specification, 1.4.4 "Restrictions"). */
const FORBIDDEN = new Set(
  (
    "double new delete virtual dynamic_cast typeid goto register thread_local noexcept try catch throw asm friend mutable co_await co_return co_yield " +
    "wchar_t char16_t char32_t std printf malloc free __asm__ int128_t __int128 typeof __typeof__ __builtin_expect"
  ).split(" "),
);
/** Names that MSL gives a meaning to: nothing may be called like this. Those that the host itself has are found by its compiler. */
const RESERVED = new Set(
  (
    "vertex fragment visible intersection object mesh sampler texture1d texture1d_array texture2d texture2d_array texture2d_ms texture3d texturecube " +
    "texture_buffer depth2d depth2d_array depthcube access read write read_write sample patch_control_point imageblock threadgroup_imageblock ray_data " +
    "object_data device constant thread threadgroup kernel half bfloat uint ushort uchar ulong size_t float2x2 float2x3 float2x4 float3x2 float3x3 " +
    "float3x4 float4x2 float4x3 float4x4 half2x2 half3x3 half4x4 command_buffer tensor"
  ).split(" "),
);
const SCALARS = ["bool", "char", "uchar", "short", "ushort", "int", "uint", "long", "ulong", "half", "float", "bfloat"];
const VECTORS = new Map<string, { element: string; count: number }>(
  SCALARS.flatMap((s) => [2, 3, 4].map((n) => [`${s}${n}`, { element: s, count: n }] as const)),
);
const ATOMICS = new Set(["atomic_int", "atomic_uint", "atomic_float", "atomic_bool", "atomic_ulong"]);
const isType = (s: string): boolean => SCALARS.includes(s) || VECTORS.has(s) || ATOMICS.has(s);
const COMPARISONS = new Set(["<", ">", "<=", ">=", "==", "!="]);
const ARITHMETIC = new Set(["+", "-", "*", "/"]);
/** Attributes whose parameters must have equally many components. */
const POSITIONS =
  /^(thread|threadgroup)_position_in_(grid|threadgroup)$|^(dispatch_)?threads_per_(grid|threadgroup)$|^threadgroups_per_grid$/;

/** All findings of a text, by line. */
export function lint(text: string): LintFinding[] {
  return new Lint(text).run();
}

class Lint {
  private readonly found: LintFinding[] = [];
  private readonly t: MslToken[];
  private readonly functions: MslFunction[];
  private readonly declarations: [number, number][];
  /** Names that are compile-time constants: array sizes may use them. */
  private readonly constants = new Set<string>();

  constructor(text: string) {
    this.t = tokenize(text, (line, d) => this.directive(line, d));
    const parts = outline(this.t);
    this.functions = parts.functions;
    this.declarations = parts.declarations;
  }

  run(): LintFinding[] {
    this.words();
    this.declarations.forEach(([from, to]) => this.global(from, to));
    this.functions.forEach((f) => this.body(f));
    this.recursion();
    return this.found.sort((a, b) => a.line - b.line);
  }

  private say(at: number, rule: string, text: string): void {
    this.found.push({ line: this.t[Math.min(at, this.t.length - 1)]?.line ?? 0, rule, text });
  }

  private text(i: number): string {
    return this.t[i]?.text ?? "";
  }

  private directive(line: number, d: string): void {
    const include = /^#\s*include\s*(.*)/.exec(d)?.[1];
    if (include !== undefined && !/^<(metal_\w+|simd\/simd\.h)>/.test(include))
      this.found.push({ line, rule: "include", text: `${include} is not part of Metal` });
  }

  private words(): void {
    this.t.forEach(({ text, kind }, i) => {
      if (kind === "word" && FORBIDDEN.has(text) && this.text(i - 1) !== ".") this.say(i, "forbidden-word", `MSL has no "${text}"`);
      if (kind === "number" && /^[\d.]+([eE][+-]?\d+)?[lL]$/.test(text) && /[.eE]/.test(text))
        this.say(i, "double", `${text} is a long double`);
      if (text === "[" && /^([=(,?:{]|return|\|\||&&)$/.test(this.text(i - 1)) && this.text(i + 1) !== "[")
        this.say(i, "lambda", "MSL has no lambdas");
      if (
        text === "(" &&
        this.text(i + 1) === "*" &&
        this.t[i + 2]?.kind === "word" &&
        this.text(i + 3) === ")" &&
        this.text(i + 4) === "("
      )
        this.say(i, "function-pointer", `${this.text(i + 2)} is a pointer to a function`);
      if (text === "constexpr" || text === "enum") this.constants.add(text === "enum" ? this.text(i + 3) : this.named(i));
      // template <typename T, int N>
      if (text === "template") for (let k = i + 2; /^[\w,]+$/.test(this.text(k)); k++) this.constants.add(this.text(k));
      if (
        isType(text) &&
        this.t[i + 1]?.kind === "word" &&
        RESERVED.has(this.text(i + 1)) &&
        !/[)<,]/.test(this.text(i + 2) && this.text(i - 1) === "<" ? "<" : "")
      )
        this.say(i + 1, "reserved-name", `"${this.text(i + 1)}" means something in MSL and cannot be a name`);
    });
  }

  /** The name that a declaration from i on declares: the word before "=", "[" or ";". */
  private named(i: number): string {
    let k = i;
    while (k < this.t.length && !/^[=[;({]$/.test(this.text(k))) k++;
    return this.text(k - 1);
  }

  private global(from: number, to: number): void {
    const words = this.t.slice(from, to).map((x) => x.text);
    if (
      !words.length ||
      /^(using|typedef|template|struct|union|enum|class|static_assert)$/.test(words[0]) ||
      words.includes("static_assert")
    )
      return;
    const value = words.indexOf("=");
    const head = value < 0 ? words : words.slice(0, value);
    if (head.includes("constant")) {
      if (value < 0 && !words.includes("function_constant")) this.say(from, "global", `constant ${this.named(from)} has no value`);
      this.constants.add(this.named(from));
      return;
    }
    // A prototype has parentheses and no value.
    if (value < 0 && head.includes("(")) return;
    if (head.includes("constexpr")) this.say(from, "global", `${this.named(from)} is at program scope and not in constant memory`);
    else this.say(from, "global", `${this.named(from)} is a variable at program scope: only constant memory can be there`);
  }

  private body(f: MslFunction): void {
    const types = new Map<string, { type: string; pointer: boolean }>();
    if (f.kernel) this.parameters(f);
    for (let i = f.open; i < f.end; i++) {
      const text = this.text(i);
      const past = this.attributeEnd(i);
      if (past > i) {
        i = past;
        continue;
      }
      if (i > f.body && text === "static") this.say(i, "static-local", "a function cannot have static variables");
      if (i > f.body && text === "threadgroup" && !f.kernel && !this.pointer(i))
        this.say(i, "threadgroup-variable", `${f.name} is no kernel: it cannot declare threadgroup memory`);
      if (isType(text) && this.text(i - 1) !== "<") this.declared(f, i, types);
      if (COMPARISONS.has(text) || text === "?") this.vectorCondition(f, i, types);
      if (ARITHMETIC.has(text) && i > f.body) this.mixed(i, types);
      if (text === "[") this.atomicAccess(i, types);
    }
  }

  /** Whether a declaration from i on is of a pointer. */
  private pointer(i: number): boolean {
    for (let k = i; k < i + 8; k++) {
      if (this.text(k) === "*" || this.text(k) === "&") return true;
      if (/^[;=[(),]$/.test(this.text(k))) return false;
    }
    return false;
  }

  private attributeEnd(i: number): number {
    return this.text(i) === "[" && this.text(i + 1) === "[" ? closing(this.t, i) : i;
  }

  private parameters(f: MslFunction): void {
    if (!this.t.slice(f.start, f.open).some((x) => x.text === "void")) this.say(f.open, "kernel", `kernel ${f.name} does not return void`);
    let components = "";
    for (let i = f.open + 1; i < f.close;) {
      let end = i;
      let attribute = "";
      while (end < f.close && this.text(end) !== ",") {
        const past = this.attributeEnd(end);
        if (past > end) attribute = this.text(end + 2);
        end = Math.max(past, end) + 1;
      }
      const type = this.text(i);
      if (!attribute) this.say(i, "attribute", `a parameter of kernel ${f.name} has no attribute`);
      if (POSITIONS.test(attribute)) {
        const count = /[23]$/.exec(type)?.[0] ?? "1";
        if (components && components !== count)
          this.say(i, "attribute", `positions of kernel ${f.name} have ${components} and ${count} components: all must have equally many`);
        components = count;
        if (!/^u(int|short)[23]?$/.test(type))
          this.say(i, "attribute", `[[${attribute}]] is declared as ${type}: it must be of uint or ushort`);
      }
      i = end + 1;
    }
  }

  /** `type name ...`: remembers the type; sizes of arrays must be constants; a vector of integers is not made by comparing. */
  private declared(f: MslFunction, i: number, types: Map<string, { type: string; pointer: boolean }>): void {
    let k = i + 1;
    let pointer = false;
    while (/^[*&]$|^const$|^thread$|^restrict$/.test(this.text(k))) pointer = /[*&]/.test(this.text(k++)) || pointer;
    if (this.t[k]?.kind !== "word" || !/^[;=[,)(]$/.test(this.text(k + 1)) || (this.text(k + 1) === "(" && k < f.body)) return;
    // Several names may share the type.
    for (;;) {
      const name = this.text(k);
      let after = k + 1;
      const array = this.text(after) === "[" && this.attributeEnd(after) === after;
      if (k > f.body && this.text(i - 1) === "constexpr") this.constants.add(name);
      while (this.text(after) === "[" && this.attributeEnd(after) === after) {
        const end = closing(this.t, after);
        const loose = this.t
          .slice(after + 1, end)
          .find((x) => x.kind === "word" && !isType(x.text) && !this.constants.has(x.text) && x.text !== "sizeof");
        if (loose) this.say(k, "array-size", `the size of ${name} uses ${loose.text}, which is no constant`);
        after = end + 1;
      }
      types.set(name, { type: this.text(i), pointer: pointer || array });
      const vector = VECTORS.get(this.text(i));
      let depth = 0;
      let compares = false;
      while (after < f.end && !(depth === 0 && /^[;,)]$/.test(this.text(after)))) {
        if (/^[([{]$/.test(this.text(after))) depth++;
        if (/^[)\]}]$/.test(this.text(after))) depth--;
        // as_type<half2>(x) compares nothing.
        if (this.text(after) === "<" && isType(this.text(after + 1)) && /^[>,]$/.test(this.text(after + 2))) after += 3;
        if (depth === 0 && COMPARISONS.has(this.text(after))) compares = true;
        after++;
      }
      if (vector && vector.element !== "bool" && compares && !pointer)
        this.say(k, "comparison", `${name} is ${this.text(i)}, and comparing vectors gives bool${vector.count}`);
      if (k < f.body || this.text(after) !== "," || this.t[after + 1]?.kind !== "word") return;
      k = after + 1;
    }
  }

  /** Type of the operand that ends (or begins) at a token, as far as it is plain: a name, a literal, a constructor. */
  private operand(i: number, right: boolean, types: ReadonlyMap<string, { type: string; pointer: boolean }>): string {
    const t = this.t[i];
    if (!t) return "";
    if (t.kind === "number")
      return /^0x|^\d+[uUlL]*$/.test(t.text) ? "" : /[hH]$/.test(t.text) ? "half" : /bf$/i.test(t.text) ? "bfloat" : "float";
    if (t.kind !== "word") return "";
    if (right && this.text(i + 1) === "(") return isType(t.text) ? t.text : "";
    const next = this.text(i + 1);
    const known = types.get(t.text);
    if (!right && this.text(i - 1) === ".") {
      const owner = types.get(this.text(i - 2));
      const vector = owner && !owner.pointer ? VECTORS.get(owner.type) : undefined;
      return vector && /^[xyzwrgba]+$/.test(t.text) ? (t.text.length === 1 ? vector.element : `${vector.element}${t.text.length}`) : "";
    }
    if (!known || known.pointer || (right && (next === "[" || next === "->" || next === "("))) return "";
    if (right && next === ".") {
      const vector = VECTORS.get(known.type);
      const swizzle = this.text(i + 2);
      return vector ? (swizzle.length === 1 ? vector.element : `${vector.element}${swizzle.length}`) : "";
    }
    return known.type;
  }

  /** half4 * float and its like: Apple's compiler does not narrow the scalar. */
  private mixed(i: number, types: ReadonlyMap<string, { type: string; pointer: boolean }>): void {
    const sides = [this.operand(i - 1, false, types), this.operand(i + 1, true, types)];
    for (const [a, b] of [sides, sides.toReversed()]) {
      const vector = VECTORS.get(a);
      if (!vector || !b || b === vector.element) continue;
      const other = VECTORS.get(b)?.element ?? b;
      const narrow = vector.element === "half" || vector.element === "bfloat";
      if (VECTORS.has(b) ? other !== vector.element : narrow && other === "float")
        return this.say(i, "mixed-vector", `${sides[0]} ${this.text(i)} ${sides[1]}: a vector and an operand of another type`);
    }
  }

  /** cond ? a : b with a condition that is a vector. */
  private vectorCondition(f: MslFunction, i: number, types: ReadonlyMap<string, { type: string; pointer: boolean }>): void {
    if (this.text(i) !== "?") return;
    let depth = 0;
    for (let k = i - 1; k > f.body; k--) {
      const text = this.text(k);
      if (/^[)\]}]$/.test(text)) depth++;
      if (/^[([{]$/.test(text) && depth-- === 0) return;
      if (depth === 0 && /^(=|;|,|return|\?|:|[-+*/]=)$/.test(text)) return;
      // Inside of a call's parentheses types change: any(a < b) is a bool.
      const call = depth > 0 && this.insideCall(k, i);
      const type = this.operand(k, this.text(k + 1) === "." || this.text(k + 1) === "[", types);
      if (!call && this.t[k].kind === "word" && this.text(k - 1) !== "." && VECTORS.has(type))
        return this.say(i, "vector-condition", `the condition is a ${type}: use select()`);
    }
  }

  private insideCall(k: number, before: number): boolean {
    let depth = 0;
    for (let j = k - 1; j > 0 && before - j < 200; j--) {
      const text = this.text(j);
      if (text === ")" || text === "]") depth++;
      if ((text === "(" || text === "[") && depth-- === 0)
        return text === "[" || (this.t[j - 1]?.kind === "word" && this.text(j - 1) !== "return");
      if (/^[;{}]$/.test(text)) return false;
    }
    return false;
  }

  /** counts[i] = 1 where counts are atomics: they are only reached through atomic functions. */
  private atomicAccess(i: number, types: ReadonlyMap<string, { type: string; pointer: boolean }>): void {
    const known = types.get(this.text(i - 1));
    if (!known || !ATOMICS.has(known.type) || isType(this.text(i - 2)) || this.text(i - 2) === "*") return;
    if (this.text(i - 2) !== "&" && !/^[,]$/.test(this.text(i - 2)))
      this.say(i, "atomic-access", `${this.text(i - 1)} holds atomics: pass addresses to atomic functions`);
  }

  private recursion(): void {
    const count = new Map<string, number>();
    for (const f of this.functions) count.set(f.name, (count.get(f.name) ?? 0) + 1);
    // Overloads may call each other; only names with one body are looked at.
    const calls = new Map(
      this.functions
        .filter((f) => count.get(f.name) === 1)
        .map((f) => [
          f.name,
          new Set(this.t.slice(f.body, f.end).flatMap((x, k, all) => (all[k + 1]?.text === "(" && x.kind === "word" ? [x.text] : []))),
        ]),
    );
    for (const f of this.functions) {
      const seen = new Set<string>();
      const todo = [...(calls.get(f.name) ?? [])];
      for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
        if (seen.has(name)) continue;
        seen.add(name);
        todo.push(...(calls.get(name) ?? []));
      }
      if (seen.has(f.name)) this.say(f.open, "recursion", `${f.name} calls itself`);
    }
  }
}
