/** Calls: vocabulary operations, inlined functions, and the few methods of compile-time arrays. */
import type * as ES from "estree";
import type { Compiler } from "./compiler.ts";
import { assignPattern, expression, grow, makeArray, memberKey, readMember, spread, integerQuotient } from "./expressions.ts";
import { Scope } from "./scope.ts";
import { body } from "./statements.ts";
import type { ArrayValue, CT, FunctionValue } from "./values.ts";
import { describe, isNumeric, literal, UNDEFINED } from "./values.ts";
import { isInt } from "../ir/types.ts";
import { vocabulary } from "./vocabulary.ts";

/** Calls whose argument `a / b` divides integers as integers. */
const TRUNCATING = ["floor", "trunc"];

export function call(c: Compiler, node: ES.CallExpression, scope: Scope): CT {
  const { callee } = node;
  if (callee.type === "Super") return c.fail("super is not part of the kernel language");
  if (callee.type === "MemberExpression" && callee.object.type !== "Super") {
    const object = expression(c, callee.object, scope);
    const key = memberKey(c, callee, scope);
    if (object.kind === "array" && key in ARRAY_METHODS) return ARRAY_METHODS[key](c, object, argumentsOf(c, node, scope), node);
    if (object.kind === "namespace" && TRUNCATING.includes(key) && node.arguments.length === 1) {
      const quotient = integerQuotient(c, node.arguments[0], scope, key === "floor");
      if (quotient) {
        const integer = isNumeric(quotient) && quotient.kind === "value" && isInt(quotient.value.type.dtype);
        if (integer) return quotient;
        return invoke(c, object.get(c, key, callee), [quotient], node, `${object.name}.${key}`);
      }
    }
    return invoke(c, readMember(c, object, key, callee), argumentsOf(c, node, scope), node, calleeName(callee));
  }
  const target = expression(c, callee, scope);
  const name = calleeName(callee);
  return invoke(c, target, argumentsOf(c, node, scope), node, name);
}

const calleeName = (node: ES.Node): string => {
  if (node.type === "Identifier") return node.name;
  if (node.type === "MemberExpression" && !node.computed) return `${calleeName(node.object)}.${(node.property as ES.Identifier).name}`;
  return "this call";
};

function argumentsOf(c: Compiler, node: ES.CallExpression, scope: Scope): CT[] {
  return node.arguments.flatMap((a) =>
    a.type === "SpreadElement" ? spread(c, expression(c, a.argument, scope)) : [expression(c, a, scope)],
  );
}

export function invoke(c: Compiler, target: CT, args: CT[], node: ES.CallExpression, name: string): CT {
  if (target.kind === "builtin") return target.call(c, args, { node, name: target.name });
  if (target.kind === "function") return inline(c, target, args, node);
  return c.fail(
    `${name} is ${describe(target)}, not a function`,
    "Operations are al.*; helpers are made with fn and handed over in uses.",
    node.callee,
  );
}

/** How a function wants to be called, as its author wrote it. */
function signatureHint(f: FunctionValue): string {
  const params = f.node.params as (ES.Pattern & { start: number; end: number })[];
  const shown = params.slice(f.takesAl ? 1 : 0).map((p) => f.source.text.slice(p.start, p.end));
  return `It is ${f.name}(${shown.join(", ")}).`;
}

/** Compiles the function's body in place of the call. */
export function inline(c: Compiler, f: FunctionValue, args: CT[], node: ES.CallExpression): CT {
  if (c.sources.some((s) => s.body === f.node))
    c.fail(`${f.name} calls itself: recursion is not possible in a kernel`, "Write a loop.", node);
  const scope = new Scope(f.scope);
  const given = f.takesAl ? [vocabulary, ...args] : args;
  if (given.length > f.node.params.length && f.node.params.at(-1)?.type !== "RestElement") {
    const wanted = f.node.params.length - (f.takesAl ? 1 : 0);
    if (!(f.takesAl && f.node.params.length === 0 && args.length === 0))
      c.fail(`${f.name} takes ${Math.max(0, wanted)} arguments, got ${args.length}`, signatureHint(f), node);
  }
  const caller = c.node;
  c.sources.push({ source: f.source, call: node, body: f.node });
  f.node.params.forEach((p, i) => {
    if (p.type === "RestElement") assignPattern(c, p.argument, makeArray(c, given.slice(i)), scope, "let");
    else if (given[i] === undefined && p.type === "Identifier") {
      c.sources.pop();
      c.fail(`${f.name} is missing its argument ${p.name}`, signatureHint(f), node);
    } else assignPattern(c, p, given[i] ?? UNDEFINED, scope, "let");
  });
  const result = f.node.body.type === "BlockStatement" ? body(c, f.node.body, scope) : expression(c, f.node.body, scope);
  c.sources.pop();
  if (caller) c.at(caller);
  return result;
}

const ARRAY_METHODS: Readonly<Record<string, (c: Compiler, array: ArrayValue, args: CT[], node: ES.CallExpression) => CT>> = {
  push: (c, array, args) => {
    for (const v of args) grow(c, array, v);
    return literal(array.cells.length);
  },
  map: (c, array, [f], node) =>
    makeArray(
      c,
      array.cells.map((cell, i) => apply(c, f, [cell.value, literal(i)], node)),
    ),
  forEach: (c, array, [f], node) => {
    array.cells.forEach((cell, i) => apply(c, f, [cell.value, literal(i)], node));
    return UNDEFINED;
  },
  reduce: (c, array, [f, ...init], node) => {
    const items = [...init, ...array.cells.map((cell) => cell.value)];
    if (items.length === 0) return c.fail("reduce of an empty array needs a first value");
    return items.slice(1).reduce((acc, v) => apply(c, f, [acc, v], node), items[0]);
  },
};

/** Calls a callback with as many of the arguments as it takes. */
function apply(c: Compiler, f: CT | undefined, args: CT[], node: ES.CallExpression): CT {
  if (f?.kind !== "function") return c.fail(`a function is wanted here, got ${f ? describe(f) : "nothing"}`);
  return inline(c, f, args.slice(0, f.node.params.length), node);
}
