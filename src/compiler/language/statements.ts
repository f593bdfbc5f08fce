/** Statements of the kernel language. */
import type * as ES from "estree";
import type { Compiler } from "./compiler.ts";
import { branch } from "./control.ts";
import { assignPattern, expression, truthy } from "./expressions.ts";
import { forOfStatement, forStatement, scalarCondition, whileStatement } from "./loops.ts";
import { Scope } from "./scope.ts";
import type { CT } from "./values.ts";
import { isNumeric, literal, UNDEFINED } from "./values.ts";
import { nameMemory } from "./vocabulary-threads.ts";

/** Compiles a function's body and returns what it returns. */
export function body(c: Compiler, block: ES.BlockStatement, scope: Scope): CT {
  return list(c, block.body, scope, () => UNDEFINED);
}

/** True if the statement contains a `return` of the function itself. */
function returns(node: ES.Node): boolean {
  switch (node.type) {
    case "ReturnStatement":
      return true;
    case "IfStatement":
      return returns(node.consequent) || (node.alternate ? returns(node.alternate) : false);
    case "BlockStatement":
      return node.body.some(returns);
    case "ForStatement":
    case "ForOfStatement":
    case "WhileStatement":
      return returns(node.body);
    default:
      return false;
  }
}

/**
 * Compiles statements and then `rest`, what follows them in the function. A `return` drops the rest, so that in an `if` with a
 * return the remaining statements become part of the way that goes on: early exit without jumps.
 */
function list(c: Compiler, statements: readonly ES.Statement[], scope: Scope, rest: () => CT): CT {
  // Function declarations are visible from the start of their block.
  for (const s of statements) if (s.type === "FunctionDeclaration") declareFunction(c, s, scope);
  for (let i = 0; i < statements.length; i++) {
    const s = statements[i];
    if (s.type === "ReturnStatement") {
      c.at(s);
      return s.argument ? expression(c, s.argument, scope) : UNDEFINED;
    }
    if ((s.type === "IfStatement" || s.type === "BlockStatement") && returns(s)) {
      return leaving(c, s, scope, () => list(c, statements.slice(i + 1), scope, rest));
    }
    statement(c, s, scope);
  }
  return rest();
}

/** A statement with a `return` in it, followed by `rest`. */
function leaving(c: Compiler, s: ES.Statement, scope: Scope, rest: () => CT): CT {
  if (s.type === "BlockStatement") return list(c, s.body, new Scope(scope), rest);
  if (s.type !== "IfStatement") return list(c, [s], scope, rest);
  c.at(s);
  const test = expression(c, s.test, scope);
  const then = (): CT => leaving(c, s.consequent, scope, rest);
  const otherwise = (): CT => (s.alternate ? leaving(c, s.alternate, scope, rest) : rest());
  if (!isNumeric(test) || test.kind === "literal") return truthy(test) ? then() : otherwise();
  return branch(c, scalarCondition(c, test, s.test), then, otherwise);
}

export function statement(c: Compiler, node: ES.Statement, scope: Scope): void {
  c.at(node);
  switch (node.type) {
    case "EmptyStatement":
    case "FunctionDeclaration":
      return;
    case "ExpressionStatement":
      return expressionStatement(c, node.expression, scope);
    case "VariableDeclaration":
      return declaration(c, node, scope);
    case "BlockStatement": {
      list(c, node.body, new Scope(scope), () => UNDEFINED);
      return;
    }
    case "IfStatement":
      return ifStatement(c, node, scope);
    case "ForStatement":
    case "ForOfStatement":
    case "WhileStatement":
      if (returns(node.body))
        c.fail("return inside a loop is not possible", "Keep the result in a variable, and let the loop's condition end it.");
      if (node.type === "ForStatement") return forStatement(c, node, scope);
      return node.type === "WhileStatement" ? whileStatement(c, node, scope) : forOfStatement(c, node, scope);
    case "ReturnStatement":
      return c.fail("return is not possible here");
    case "BreakStatement":
      return c.fail("break is not part of the kernel language", "Put the condition into the loop: while (i < n && !done) { … }.");
    case "ContinueStatement":
      return c.fail("continue is not part of the kernel language", "Put the rest of the body into an if.");
    case "DoWhileStatement":
      return c.fail("do … while is not part of the kernel language", "Write a while loop.");
    case "SwitchStatement":
      return c.fail("switch is not part of the kernel language", "Write if … else if …; a constexpr condition costs nothing.");
    case "ForInStatement":
      return c.fail("for … in is not part of the kernel language", "Write for (const u of al.unroll(n)).");
    case "TryStatement":
    case "ThrowStatement":
      return c.fail("exceptions are not part of the kernel language", "For compile-time checks use al.staticAssert.");
    default:
      return c.fail(`${node.type} is not part of the kernel language`);
  }
}

/** Expressions for their effects; `c && f()` and `c ? f() : g()`, which minifiers write for `if`, are conditions here. */
function expressionStatement(c: Compiler, node: ES.Expression, scope: Scope): void {
  if (node.type === "SequenceExpression") return node.expressions.forEach((e) => expressionStatement(c, e, scope));
  if (node.type === "LogicalExpression" && node.operator !== "??") {
    const effect = (): void => expressionStatement(c, node.right, scope);
    const nothing = (): void => {};
    return node.operator === "&&" ? decide(c, node.left, scope, effect, nothing) : decide(c, node.left, scope, nothing, effect);
  }
  if (node.type === "ConditionalExpression") {
    return decide(
      c,
      node.test,
      scope,
      () => expressionStatement(c, node.consequent, scope),
      () => expressionStatement(c, node.alternate, scope),
    );
  }
  expression(c, node, scope);
}

function declaration(c: Compiler, node: ES.VariableDeclaration, scope: Scope): void {
  for (const d of node.declarations) {
    const value = d.init ? expression(c, d.init, scope) : UNDEFINED;
    if (d.id.type === "Identifier" && value.kind === "value" && value.value.name === undefined) value.value.name = d.id.name;
    if (d.id.type === "Identifier" && value.kind === "pointer") nameMemory(c, value, d.id.name);
    const named =
      d.id.type === "Identifier" && value.kind === "function" && value.name === "(function)" ? { ...value, name: d.id.name } : value;
    assignPattern(c, d.id, named, scope, node.kind);
  }
}

function declareFunction(c: Compiler, node: ES.FunctionDeclaration, scope: Scope): void {
  const { source } = c.sources.at(-1)!;
  scope.declare(c.cell(node.id.name, { kind: "function", name: node.id.name, node, scope, source, takesAl: false }, true));
}

function ifStatement(c: Compiler, node: ES.IfStatement, scope: Scope): void {
  decide(
    c,
    node.test,
    scope,
    () => statement(c, node.consequent, new Scope(scope)),
    () => node.alternate && statement(c, node.alternate, new Scope(scope)),
  );
}

/** Runs one of two ways at compile time if the condition is known, else builds a run-time `if`. */
function decide(c: Compiler, test: ES.Expression, scope: Scope, then: () => void, otherwise: () => void): void {
  const condition = expression(c, test, scope);
  const known = isNumeric(condition) ? condition : literal(truthy(condition));
  if (known.kind === "literal") return known.value ? then() : otherwise();
  const run = (way: () => void) => (): CT => {
    way();
    return UNDEFINED;
  };
  branch(c, scalarCondition(c, known, test), run(then), run(otherwise));
}
