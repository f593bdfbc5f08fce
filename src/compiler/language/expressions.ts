/** Expressions of the kernel language. */
import type * as ES from "estree";
import { suggest } from "../../support/errors.ts";
import type { Compiler } from "./compiler.ts";
import { call } from "./calls.ts";
import { branch } from "./control.ts";
import { binary, integerDivide, logical, select, toBool, unary } from "./operators.ts";
import type { Scope } from "./scope.ts";
import type { ArrayValue, Cell, CT, Literal } from "./values.ts";
import { describe, isNumeric, isUndefined, literal, UNDEFINED } from "./values.ts";
import { isInt } from "../ir/types.ts";

/** Compiles an expression to the value it stands for. */
export function expression(c: Compiler, node: ES.Expression, scope: Scope): CT {
  const outer = c.node;
  c.at(node);
  const value = evaluate(c, node, scope);
  // Not restored when an error passes: the innermost node is where it happened.
  if (outer) c.at(outer);
  return value;
}

function evaluate(c: Compiler, node: ES.Expression, scope: Scope): CT {
  switch (node.type) {
    case "Literal":
      if (typeof node.value === "bigint") return literal(Number(node.value));
      if (node.value instanceof RegExp) return c.fail("regular expressions are not part of the kernel language");
      return literal(node.value as Literal["value"]);
    case "Identifier":
      return identifier(c, node, scope);
    case "TemplateLiteral":
      return template(c, node, scope);
    case "ArrayExpression":
      return arrayLiteral(c, node, scope);
    case "ObjectExpression":
      return objectLiteral(c, node, scope);
    case "ArrowFunctionExpression":
    case "FunctionExpression":
      return { kind: "function", name: "(function)", node, scope, source: c.sources.at(-1)!.source, takesAl: false };
    case "MemberExpression":
      return member(c, node, scope);
    case "CallExpression":
      return call(c, node as ES.CallExpression, scope);
    case "UnaryExpression":
      return unaryExpression(c, node, scope);
    case "BinaryExpression":
      return binaryExpression(c, node, scope);
    case "LogicalExpression":
      return logicalExpression(c, node, scope);
    case "ConditionalExpression":
      return conditional(c, node, scope);
    case "AssignmentExpression":
      return assignment(c, node, scope);
    case "UpdateExpression":
      return update(c, node, scope);
    case "SequenceExpression":
      return node.expressions.map((e) => expression(c, e, scope)).at(-1)!;
    case "ChainExpression":
      return c.fail("?. is not part of the kernel language");
    default:
      return c.fail(
        `${node.type} is not part of the kernel language`,
        "Kernels use operators, calls of al.* and of helpers, arrays and objects.",
      );
  }
}

function identifier(c: Compiler, node: ES.Identifier, scope: Scope): CT {
  const cell = scope.lookup(node.name);
  if (!cell) {
    // Three-letter names are all alike: a typo keeps the first letter.
    const near = suggest(
      node.name,
      scope.names().filter((name) => name[0] === node.name[0]),
    );
    const outside = `A kernel sees its parameters and locals only: hand helpers and constants over as { uses: { ${node.name} } }.`;
    return c.fail(`${node.name} is not defined`, near ? `Did you mean ${near}? ${outside}` : outside);
  }
  if (cell.value.kind === "poison") c.fail(cell.value.reason);
  return cell.value;
}

function template(c: Compiler, node: ES.TemplateLiteral, scope: Scope): CT {
  let text = "";
  node.quasis.forEach((q, i) => {
    text += q.value.cooked;
    if (i >= node.expressions.length) return;
    const v = expression(c, node.expressions[i], scope);
    if (v.kind !== "literal") c.fail(`a template string needs compile-time values, got ${describe(v)}`);
    text += String(v.value);
  });
  return literal(text);
}

export function makeArray(c: Compiler, items: readonly CT[]): ArrayValue {
  const { depth } = c.journal;
  return { kind: "array", cells: items.map((v, i) => c.cell(String(i), v)), depth };
}

function arrayLiteral(c: Compiler, node: ES.ArrayExpression, scope: Scope): CT {
  return makeArray(
    c,
    node.elements.flatMap((e) => {
      if (!e) return [UNDEFINED];
      if (e.type !== "SpreadElement") return [expression(c, e, scope)];
      return spread(c, expression(c, e.argument, scope));
    }),
  );
}

export function spread(c: Compiler, v: CT): CT[] {
  return v.kind === "array" ? v.cells.map((cell) => cell.value) : c.fail(`only arrays can be spread, got ${describe(v)}`);
}

function objectLiteral(c: Compiler, node: ES.ObjectExpression, scope: Scope): CT {
  const cells = new Map<string, Cell>();
  for (const p of node.properties) {
    if (p.type === "SpreadElement") {
      const v = expression(c, p.argument, scope);
      if (v.kind !== "object") return c.fail(`only objects can be spread here, got ${describe(v)}`);
      for (const [key, cell] of v.cells) cells.set(key, c.cell(key, cell.value));
    } else {
      const key = propertyName(c, p, scope);
      cells.set(key, c.cell(key, expression(c, p.value as ES.Expression, scope)));
    }
  }
  return { kind: "object", cells, depth: c.journal.depth };
}

function propertyName(c: Compiler, p: ES.Property | ES.AssignmentProperty, scope: Scope): string {
  if (p.computed) return keyText(c, expression(c, p.key as ES.Expression, scope));
  return p.key.type === "Identifier" ? p.key.name : String((p.key as ES.Literal).value);
}

function keyText(c: Compiler, v: CT): string {
  if (v.kind === "literal" && (typeof v.value === "string" || typeof v.value === "number")) return String(v.value);
  return c.fail(
    `an index must be known at compile time, got ${describe(v)}`,
    "Index arrays with literals, constexpr parameters or al.unroll variables.",
  );
}

/** `object.key` and `object[key]`. */
function member(c: Compiler, node: ES.MemberExpression, scope: Scope): CT {
  if (node.object.type === "Super") return c.fail("super is not part of the kernel language");
  const object = expression(c, node.object, scope);
  return readMember(c, object, memberKey(c, node, scope), node);
}

export function memberKey(c: Compiler, node: ES.MemberExpression, scope: Scope): string {
  return node.computed ? keyText(c, expression(c, node.property as ES.Expression, scope)) : (node.property as ES.Identifier).name;
}

export function readMember(c: Compiler, object: CT, key: string, node: ES.Node): CT {
  switch (object.kind) {
    case "namespace":
      return object.get(c, key, node);
    case "array": {
      if (key === "length") return literal(object.cells.length);
      const cell = object.cells[Number(key)];
      if (cell?.value.kind === "poison") c.fail(cell.value.reason);
      return cell ? cell.value : c.fail(`index ${key} is outside an array of ${object.cells.length}`);
    }
    case "object": {
      const cell = object.cells.get(key);
      if (cell?.value.kind === "poison") c.fail(cell.value.reason);
      if (cell) return cell.value;
      const near = suggest(
        key,
        [...object.cells.keys()].filter((name) => name[0] === key[0]),
      );
      return c.fail(`there is no property ${key}`, near ? `Did you mean ${near}?` : `It has ${[...object.cells.keys()].join(", ")}.`);
    }
    case "literal":
      if (typeof object.value === "string" && key === "length") return literal(object.value.length);
      break;
    case "value":
      return c.fail(`${describe(object)} has no ${key}`, "Elements of a tile are taken with al.extract(x, ...index) or al.slice.");
    case "pointer":
      return c.fail(`a pointer has no ${key}`, "Read memory with al.load(p + i), write it with al.store(p + i, value).");
  }
  return c.fail(`${describe(object)} has no property ${key}`);
}

function unaryExpression(c: Compiler, node: ES.UnaryExpression, scope: Scope): CT {
  if (node.operator === "void") return UNDEFINED;
  if (node.operator === "typeof" || node.operator === "delete") return c.fail(`${node.operator} is not part of the kernel language`);
  const inner = node.argument;
  if (node.operator === "~" && inner.type === "UnaryExpression" && inner.operator === "~") {
    const v = integerQuotient(c, inner.argument, scope, false) ?? expression(c, inner.argument, scope);
    return binary(c, "|", v, literal(0));
  }
  return unary(c, node.operator, expression(c, inner, scope));
}

/** `a / b`, of which the surrounding code takes the integer part: an integer division if both are integers; undefined for anything but a division. */
export function integerQuotient(c: Compiler, node: ES.Node, scope: Scope, down: boolean): CT | undefined {
  if (node.type !== "BinaryExpression" || node.operator !== "/") return undefined;
  const quotient = operandsOf(c, node, scope);
  const integers = quotient.every((v) => isNumeric(v) && (v.kind === "value" ? isInt(v.value.type.dtype) : Number.isInteger(v.value)));
  if (!integers || quotient.every((v) => v.kind === "literal")) return binary(c, "/", ...quotient);
  return integerDivide(c, c.numeric(quotient[0], "dividend"), c.numeric(quotient[1], "divisor"), "/", down);
}

function operandsOf(c: Compiler, node: ES.BinaryExpression, scope: Scope): [CT, CT] {
  return [expression(c, node.left as ES.Expression, scope), expression(c, node.right, scope)];
}

function binaryExpression(c: Compiler, node: ES.BinaryExpression, scope: Scope): CT {
  if (node.operator === "|" && node.right.type === "Literal" && node.right.value === 0) {
    const quotient = integerQuotient(c, node.left, scope, false);
    if (quotient) return binary(c, "|", quotient, literal(0));
  }
  const [a, b] = operandsOf(c, node, scope);
  return binary(c, node.operator, a, b);
}

function logicalExpression(c: Compiler, node: ES.LogicalExpression, scope: Scope): CT {
  const left = expression(c, node.left, scope);
  if (node.operator === "??")
    return isUndefined(left) || (left.kind === "literal" && left.value === null) ? expression(c, node.right, scope) : left;
  const and = node.operator === "&&";
  if (left.kind === "literal") return Boolean(left.value) === and ? expression(c, node.right, scope) : left;
  if (left.kind !== "value") return and ? expression(c, node.right, scope) : left;
  const right = expression(c, node.right, scope);
  return logical(c, and ? "and" : "or", left, c.numeric(right, `right side of ${node.operator}`, node.right));
}

function conditional(c: Compiler, node: ES.ConditionalExpression, scope: Scope): CT {
  const test = expression(c, node.test, scope);
  const condition = isNumeric(test) ? test : literal(truthy(test));
  if (condition.kind === "literal") return expression(c, condition.value ? node.consequent : node.alternate, scope);
  const value = toBool(c, condition);
  const ways = [node.consequent, node.alternate].map((e) => () => expression(c, e, scope));
  if (value.type.shape.length === 0) return branch(c, value, ways[0], ways[1], true);
  const [a, b] = ways.map((way, i) => c.numeric(way(), "both sides of ? : on a tile", i ? node.alternate : node.consequent));
  return select(c, value, a, b, "? :");
}

/** Truth of a compile-time value. */
export const truthy = (v: CT): boolean => (v.kind === "literal" ? Boolean(v.value) : true);

function assignment(c: Compiler, node: ES.AssignmentExpression, scope: Scope): CT {
  if (node.operator === "=") {
    const value = expression(c, node.right, scope);
    assignPattern(c, node.left, value, scope);
    return value;
  }
  if (["&&=", "||=", "??="].includes(node.operator))
    return c.fail(`${node.operator} is not part of the kernel language`, "Write the assignment out.");
  const cell = targetCell(c, node.left, scope);
  const value = binary(c, node.operator.slice(0, -1), cell.value, expression(c, node.right, scope));
  c.journal.write(cell, value);
  return value;
}

function update(c: Compiler, node: ES.UpdateExpression, scope: Scope): CT {
  const cell = targetCell(c, node.argument, scope);
  const before = cell.value;
  const after = binary(c, node.operator[0], before, literal(1));
  c.journal.write(cell, after);
  return node.prefix ? after : before;
}

/** The variable, element or property that is read and written. */
function targetCell(c: Compiler, node: ES.Node, scope: Scope): Cell {
  const cell = writableCell(c, node, scope, false);
  if (cell.value.kind === "poison") c.fail(cell.value.reason, undefined, node);
  return cell;
}

function writableCell(c: Compiler, node: ES.Node, scope: Scope, create: boolean): Cell {
  if (node.type === "Identifier") {
    const cell = scope.lookup(node.name);
    if (!cell) return c.fail(`${node.name} is not defined`, undefined, node);
    if (cell.constant)
      c.fail(`${node.name} cannot be assigned: it is a constant, a parameter or a loop variable`, "Declare a variable with let.", node);
    return cell;
  }
  if (node.type !== "MemberExpression" || node.object.type === "Super") return c.fail("this cannot be assigned to", undefined, node);
  const object = expression(c, node.object, scope);
  const key = memberKey(c, node, scope);
  if (object.kind === "array") {
    const i = Number(key);
    if (create && i === object.cells.length) return grow(c, object, UNDEFINED);
    return object.cells[i] ?? c.fail(`index ${key} is outside an array of ${object.cells.length}`, undefined, node);
  }
  if (object.kind === "object") {
    const cell = object.cells.get(key);
    if (cell?.constant)
      c.fail(`${key} cannot be assigned: it is a parameter or a constant`, "Keep it in a variable declared with let.", node);
    if (cell) return cell;
    if (!create) return c.fail(`there is no property ${key}`, undefined, node);
    if (object.depth < c.journal.depth) c.fail(`a property cannot be added inside a run-time loop or if`, "Create it before.", node);
    const added = c.cell(key, UNDEFINED);
    object.cells.set(key, added);
    return added;
  }
  if (object.kind === "pointer") return c.fail("memory is not written by index", "Write al.store(p + i, value).", node);
  return c.fail(
    `${describe(object)} has no element to assign to`,
    object.kind === "value" ? "Tiles are values: build a new one with al.where or al.cat." : undefined,
    node,
  );
}

/** Appends to an array; its length is a compile-time fact, so only where that is unconditional. */
export function grow(c: Compiler, array: ArrayValue, value: CT): Cell {
  if (array.depth < c.journal.depth) {
    c.fail("an array cannot grow inside a run-time loop or if", "Fill it before, in an al.unroll loop, and assign its elements here.");
  }
  const cell = c.cell(String(array.cells.length), value);
  array.cells.push(cell);
  return cell;
}

/** Binds `value` to a pattern: declares with `kind`, assigns without. */
export function assignPattern(c: Compiler, pattern: ES.Pattern, value: CT, scope: Scope, kind?: string): void {
  switch (pattern.type) {
    case "Identifier":
      if (kind !== undefined) {
        if (scope.has(pattern.name) && kind !== "var") c.fail(`${pattern.name} is declared twice`, undefined, pattern);
        scope.declare(c.cell(pattern.name, value, kind === "const"));
        return;
      }
      c.journal.write(writableCell(c, pattern, scope, true), value);
      return;
    case "MemberExpression":
      c.journal.write(writableCell(c, pattern, scope, true), value);
      return;
    case "AssignmentPattern":
      assignPattern(c, pattern.left, isUndefined(value) ? expression(c, pattern.right, scope) : value, scope, kind);
      return;
    case "ArrayPattern": {
      if (value.kind !== "array") return c.fail(`an array is wanted here, got ${describe(value)}`, undefined, pattern);
      const { cells } = value;
      pattern.elements.forEach((e, i) => {
        if (!e) return;
        if (e.type === "RestElement") {
          assignPattern(
            c,
            e.argument,
            makeArray(
              c,
              cells.slice(i).map((cell) => cell.value),
            ),
            scope,
            kind,
          );
        } else if (i < cells.length) assignPattern(c, e, readMember(c, value, String(i), e), scope, kind);
        else if (e.type === "AssignmentPattern") assignPattern(c, e, UNDEFINED, scope, kind);
        else c.fail(`there is no element ${i} in an array of ${cells.length}`, undefined, e);
      });
      return;
    }
    case "ObjectPattern":
      for (const p of pattern.properties) {
        if (p.type === "RestElement") return c.fail("...rest of an object is not part of the kernel language", undefined, p);
        const key = propertyName(c, p, scope);
        const absent = value.kind === "object" && !value.cells.has(key) && p.value.type === "AssignmentPattern";
        assignPattern(c, p.value, absent ? UNDEFINED : readMember(c, value, key, p), scope, kind);
      }
      return;
    default:
      return c.fail(`${pattern.type} is not part of the kernel language`, undefined, pattern);
  }
}
