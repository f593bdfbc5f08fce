/** From a parsed kernel to IR. */
import { renumber } from "../ir/walk.ts";
import type { DType, KernelIR, Param } from "../ir/types.ts";
import { Compiler } from "./compiler.ts";
import { assignPattern, expression, makeArray } from "./expressions.ts";
import type { Helper, UsedValue, Uses } from "./kernel.ts";
import { Scope } from "./scope.ts";
import type { Constexpr, Signature } from "./signature.ts";
import { DTYPES } from "./signature.ts";
import type { Source } from "./source.ts";
import { sourceError } from "./source.ts";
import { body } from "./statements.ts";
import type { Cell, CT } from "./values.ts";
import { literal, runTime, UNDEFINED } from "./values.ts";
import { mathNamespace, vocabulary } from "./vocabulary.ts";

/** Names that every function sees. */
function globals(c: Compiler): Scope {
  const scope = new Scope();
  const declare = (name: string, value: CT): void => scope.declare(c.cell(name, value, true));
  declare("Math", mathNamespace);
  declare("undefined", UNDEFINED);
  declare("Infinity", literal(Infinity));
  declare("NaN", literal(NaN));
  for (const [name, d] of Object.entries(DTYPES)) declare(name, { kind: "dtype", dtype: d.dtype });
  return scope;
}

const isHelper = (v: UsedValue): v is Helper => typeof v === "function" && v.kind === "helper";

/** A host value as a compile-time value. A helper sees the globals and its own uses. */
function hostValue(c: Compiler, name: string, v: UsedValue, outer: Scope): CT {
  if (isHelper(v)) {
    const scope = new Scope(outer);
    declareUses(c, v.uses, scope, outer);
    const source = { ...v.source, title: `fn ${name}` };
    return { kind: "function", name, node: v.source.node, scope, source, takesAl: true };
  }
  if (typeof v === "number" || typeof v === "string" || typeof v === "boolean") return literal(v);
  if (Array.isArray(v) || ArrayBuffer.isView(v)) {
    return makeArray(
      c,
      Array.from(v as ArrayLike<UsedValue>, (x, i) => hostValue(c, `${name}[${i}]`, x, outer)),
    );
  }
  if (typeof v === "object" && v !== null) {
    if ("kind" in v && v.kind === "dtype") return { kind: "dtype", dtype: v.dtype as (typeof DTYPES)["f32"]["dtype"] };
    const cells = new Map<string, Cell>(Object.entries(v).map(([key, x]) => [key, c.cell(key, hostValue(c, key, x, outer), true)]));
    return { kind: "object", cells, depth: 0 };
  }
  throw sourceError(
    c.sources[0].source,
    undefined,
    `uses.${name} is ${typeof v}, which a kernel cannot see`,
    "Hand over fn helpers, numbers, strings, booleans, or arrays and objects of these.",
  );
}

function declareUses(c: Compiler, uses: Uses, scope: Scope, outer: Scope): void {
  for (const [name, v] of Object.entries(uses)) scope.declare(c.cell(name, hostValue(c, name, v, outer), true));
}

/** A folded function constant: an SSA value of its type, so that a body means the same whether it is folded or kept. */
const typedConstant = (c: Compiler, dtype: DType, value: Constexpr): CT =>
  runTime(c.constant({ dtype, shape: [] }, value as number | boolean));

/** What a kernel's options say of its IR: threads of a threadgroup, or the simdgroups hint of a tile-level kernel; pointers that do not overlap. */
export interface Level {
  threads?: readonly [number, number, number];
  simdgroups?: number;
  distinct?: boolean;
}

/** Compiles a kernel for given constexpr values, without optimising it. With `keepConstants` function constants stay parameters. */
export function lowerFunction(
  name: string,
  signature: Signature,
  source: Source,
  uses: Uses,
  constexprs: Record<string, Constexpr>,
  level: Level = {},
  options: { keepConstants?: boolean } = {},
): KernelIR {
  const c = new Compiler(source);
  if (level.threads) c.builder.facts.threads = level.threads;
  if (level.simdgroups !== undefined) c.builder.facts.simdgroups = level.simdgroups;
  if (level.distinct) c.builder.facts.distinct = true;
  const base = globals(c);
  const scope = new Scope(base);
  declareUses(c, uses, scope, base);
  const params = new Map<string, Cell>();
  for (const [key, spec] of Object.entries(signature)) {
    let value: CT;
    if (spec.kind === "constexpr") value = literal(constexprs[key]);
    else if (spec.kind === "constant" && !options.keepConstants) value = typedConstant(c, spec.dtype, constexprs[key]);
    else {
      const index = c.builder.params.length;
      const param: Param = { name: key, kind: spec.kind, dtype: spec.dtype, output: spec.kind === "ptr" && spec.output };
      if (spec.kind === "constant") param.constant = constexprs[key] as number | boolean;
      c.builder.params.push(param);
      if (spec.kind === "ptr") value = { kind: "pointer", param: index, offset: literal(0) };
      else {
        const v = c.builder.value({ dtype: spec.dtype, shape: [] }, key);
        c.builder.params[index].value = v;
        value = runTime(v);
      }
    }
    params.set(key, c.cell(key, value, true));
  }
  for (const key of Object.keys(uses)) params.set(key, scope.lookup(key)!);

  const { node } = source;
  if (node.params.length > 2)
    c.fail(`a kernel's function takes (al, params), this one ${node.params.length} parameters`, undefined, node.params[2]);
  const values: CT[] = [vocabulary, { kind: "object", cells: params, depth: 0 }];
  const inner = new Scope(scope);
  node.params.forEach((p, i) => {
    c.node = p;
    assignPattern(c, p, values[i], inner, "let");
  });
  const result = node.body.type === "BlockStatement" ? body(c, node.body, inner) : expression(c, node.body, inner);
  if (node.body.type === "BlockStatement" && !(result.kind === "literal" && result.value === undefined) && result.kind !== "poison") {
    c.fail("a kernel returns nothing", "Write results with al.store.", node.body);
  }
  const ir = c.builder.finish(name, constexprs, source.text);
  renumber(ir);
  return ir;
}
