/** `for`, `while` and `for…of` statements. */
import type * as ES from "estree";
import type { Block, Value } from "../ir/types.ts";
import { isInt } from "../ir/types.ts";
import type { Compiler } from "./compiler.ts";
import { assignedNames, loop } from "./control.ts";
import { assignPattern, expression } from "./expressions.ts";
import { binary, toBool } from "./operators.ts";
import { Scope } from "./scope.ts";
import type { Writes } from "./scope.ts";
import { statement } from "./statements.ts";
import type { Cell, CT, Numeric } from "./values.ts";
import { describe, literal, runTime } from "./values.ts";

/** Cells that the loop's code assigns to by name: the first guess of what the loop carries. */
function seeds(scope: Scope, nodes: readonly (ES.Node | null | undefined)[]): Cell[] {
  const cells = new Set<Cell>();
  const add = (cell: Cell): void => {
    const v = cell.value;
    if (v.kind === "array") v.cells.forEach(add);
    else if (v.kind === "object") v.cells.forEach(add);
    else cells.add(cell);
  };
  for (const node of nodes) {
    if (!node) continue;
    for (const name of assignedNames(node)) {
      const cell = scope.lookup(name);
      if (cell) add(cell);
    }
  }
  return [...cells];
}

interface Counted {
  name: string;
  init: ES.Expression;
  limit: ES.Expression;
  /** Added to the limit: 1 for `<=`, -1 for `>=`. */
  adjust: number;
  down: boolean;
  step: ES.Expression | 1;
}

/** Recognises `for (let i = a; i < b; i += c)` and its variants. */
function counted(node: ES.ForStatement): Counted | undefined {
  const { init, test, update } = node;
  if (init?.type !== "VariableDeclaration" || init.declarations.length !== 1 || !test || !update) return undefined;
  const [d] = init.declarations;
  if (d.id.type !== "Identifier" || !d.init || test.type !== "BinaryExpression") return undefined;
  const { name } = d.id;
  const isVariable = (n: ES.Node): boolean => n.type === "Identifier" && n.name === name;
  if (!isVariable(test.left) || !["<", "<=", ">", ">="].includes(test.operator) || assignedNames(node.body).has(name)) return undefined;
  const down = test.operator.startsWith(">");
  const adjust = test.operator.length === 1 ? 0 : down ? -1 : 1;
  const of = (step: ES.Expression | 1): Counted => ({ name, init: d.init!, limit: test.right, adjust, down, step });
  if (update.type === "UpdateExpression" && isVariable(update.argument)) {
    return (update.operator === "--") === down ? of(1) : undefined;
  }
  if (update.type !== "AssignmentExpression" || !isVariable(update.left)) return undefined;
  return update.operator === (down ? "-=" : "+=") ? of(update.right) : undefined;
}

export function forStatement(c: Compiler, node: ES.ForStatement, scope: Scope): void {
  const shape = counted(node);
  if (!shape) return generalFor(c, node, scope);
  const lower = c.numeric(expression(c, shape.init, scope), "the loop's start", shape.init);
  const given = c.numeric(expression(c, shape.limit, scope), "the loop's end", shape.limit);
  const limit = shape.adjust === 0 ? given : (binary(c, "+", given, literal(shape.adjust)) as Numeric);
  const size = shape.step === 1 ? literal(1) : c.numeric(expression(c, shape.step, scope), "the loop's step", shape.step);
  const step = shape.down ? (binary(c, "-", literal(0), size) as Numeric) : size;
  c.at(node);
  if (size.kind === "literal" && !(Number(size.value) > 0))
    c.fail(`the loop's step is ${describe(size)}: it would never end`, "Use a positive step.");
  if (lower.kind === "literal" && limit.kind === "literal") {
    const [a, b] = [Number(lower.value), Number(limit.value)];
    if (shape.down ? a <= b : a >= b) return;
  }
  const dtype = c.commonType([lower, limit, size], true);
  if (!isInt(dtype)) c.fail(`a loop variable must be an integer, got ${dtype}`, "Count in integers and compute the float from the count.");
  const bounds = [lower, limit, step].map((x) => c.toValue(x, dtype));
  for (const b of bounds) if (b.type.shape.length) c.fail(`a loop's bounds must be scalars, got a tile [${b.type.shape.join(",")}]`);

  loop<{ block: Block; writes: Writes }>(
    c,
    seeds(scope, [node.body]),
    (args, enter) => {
      const index = c.builder.value({ dtype, shape: [] }, shape.name);
      const block: Block = { args: [index, ...args], ops: [] };
      const writes = c.journal.region(() => {
        enter(args);
        c.builder.within(block, () => {
          const inner = new Scope(scope);
          inner.declare(c.cell(shape.name, runTime(index), true));
          statement(c, node.body, inner);
        });
      });
      return { writes, state: { block, writes } };
    },
    (init, _, { block, writes }, leave) => {
      c.builder.within(block, () => c.builder.append("yield", leave(writes), {}, [], []));
      c.at(node);
      const types = init.map((v) => v.type);
      return c.builder.append("for", [...bounds, ...init], { down: shape.down }, types, [block]).results;
    },
  );
}

/** A `for` that is no counted loop: a `while` with its update at the end of the body. */
function generalFor(c: Compiler, node: ES.ForStatement, outer: Scope): void {
  const scope = new Scope(outer);
  if (node.init?.type === "VariableDeclaration") statement(c, node.init, scope);
  else if (node.init) expression(c, node.init, scope);
  whileLoop(c, node, node.test, node.body, node.update, scope);
}

export function whileStatement(c: Compiler, node: ES.WhileStatement, scope: Scope): void {
  whileLoop(c, node, node.test, node.body, undefined, scope);
}

function whileLoop(
  c: Compiler,
  node: ES.Node,
  test: ES.Expression | null | undefined,
  body: ES.Statement,
  update: ES.Expression | null | undefined,
  scope: Scope,
): void {
  if (!test) c.fail("a loop needs a condition: this one would never end");
  loop<{ condition: Block; body: Block; head: Writes; writes: Writes; go: Value }>(
    c,
    seeds(scope, [test, body, update]),
    (args, enter) => {
      const condition: Block = { args, ops: [] };
      let go!: Value;
      const head = c.journal.region(() => {
        enter(args);
        c.builder.within(condition, () => {
          const value = c.numeric(expression(c, test, scope), "the loop's condition", test);
          if (value.kind === "literal" && value.value) c.fail("the loop's condition is always true: it would never end", undefined, test);
          go = scalarCondition(c, value, test);
        });
      });
      // The body starts from the state that the condition leaves.
      const bodyArgs = args.map((a) => c.builder.value(a.type, a.name));
      bodyArgs.forEach((b, i) => c.untyped.has(args[i]) && c.untyped.add(b));
      const block: Block = { args: bodyArgs, ops: [] };
      const writes = c.journal.region(() => {
        enter(bodyArgs);
        c.builder.within(block, () => {
          statement(c, body, new Scope(scope));
          if (update) expression(c, update, scope);
        });
      });
      const swap = new Map(bodyArgs.map((b, i) => [b, args[i]]));
      return { writes: joinWrites(head, writes, swap), state: { condition, body: block, head, writes, go } };
    },
    (init, _, s, leave) => {
      c.builder.within(s.condition, () => c.builder.append("yield", [s.go, ...leave(s.head)], {}, [], []));
      c.builder.within(s.body, () => c.builder.append("yield", leave(s.writes), {}, [], []));
      c.at(node);
      const types = init.map((v) => v.type);
      return c.builder.append("while", init, {}, types, [s.condition, s.body]).results;
    },
  );
}

/** Writes of condition and body as of one turn; unchanged body arguments count as the condition's. */
function joinWrites(head: Writes, body: Writes, swap: ReadonlyMap<Value, Value>): Writes {
  const joined: Writes = new Map(head);
  for (const [cell, w] of body) {
    const unchanged = w.after.kind === "value" && swap.has(w.after.value);
    const before = head.get(cell)?.before ?? w.before;
    if (!unchanged) joined.set(cell, { before, after: w.after });
    else if (!joined.has(cell)) joined.set(cell, { before, after: runTime(swap.get((w.after as { value: Value }).value)!) });
  }
  return joined;
}

/** A condition of control flow: a scalar bool. */
export function scalarCondition(c: Compiler, x: Numeric, node: ES.Node): Value {
  const value = toBool(c, x);
  if (value.type.shape.length) {
    c.fail(
      `a condition must be a scalar, got a tile [${value.type.shape.join(",")}]`,
      "Use al.where(c, a, b) to choose per element, or al.any / al.all to reduce.",
      node,
    );
  }
  return value;
}

/** `for (const x of al.unroll(n))` and over arrays: compile-time repetition. */
export function forOfStatement(c: Compiler, node: ES.ForOfStatement, scope: Scope): void {
  const over = expression(c, node.right, scope);
  let items: CT[];
  if (over.kind === "range") items = over.items.map(literal);
  else if (over.kind === "array") items = over.cells.map((cell) => cell.value);
  else
    items = c.fail(
      `for…of runs over al.unroll(n) or an array, got ${describe(over)}`,
      "For a run-time loop write for (let i = 0; i < n; i++).",
      node.right,
    );
  for (const item of items) {
    const inner = new Scope(scope);
    if (node.left.type === "VariableDeclaration") assignPattern(c, node.left.declarations[0].id, item, inner, node.left.kind);
    else assignPattern(c, node.left, item, inner);
    statement(c, node.body, inner);
  }
}
