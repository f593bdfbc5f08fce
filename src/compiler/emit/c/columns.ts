/**
 * Loops whose carried tiles do not fit the registers, such as the [6, 64] of a matrix product on 16 of them: where the columns do not depend on
 * each other the whole loop is run for some columns at a time, with their accumulators in registers.
 */
import type { Block, Op } from "../../ir/types.ts";
import { elements } from "../../ir/types.ts";
import type { Emitter } from "./emitter.ts";
import { ELEMENTWISE } from "./elementwise.ts";
import { columns, countChunks } from "./values.ts";

const STEADY = new Set(["const", "load", "prefetch", "arange", "programId", "numPrograms", "broadcast", "reshape", "yield"]);

export interface Part {
  of: number;
  from: number;
  to: number;
}

/** How a `for` is written. */
export interface Columns {
  /** The column ranges that it is run for one after the other; [undefined]: all at once. */
  parts: (Part | undefined)[];
  /** Its columns do not depend on each other, and nothing is written in it that it reads. */
  independent: boolean;
}

export function columnsOf(e: Emitter, op: Op): Columns {
  const whole = (independent: boolean): Columns => ({ parts: [undefined], independent });
  const [body] = op.regions;
  const carried = body.args.slice(1);
  const of = carried[0]?.type.shape.at(-1) ?? 1;
  if (e.window || of === 1 || e.ir.lanes !== undefined) return whole(false);
  const fits = ({ type: { shape } }: (typeof carried)[number]): boolean => shape.at(-1) === of && !e.analysis.large(shape);
  if (!carried.every((v) => fits(v) && !e.analysis.needsArray(v) && elements(v.type.shape) > 1)) return whole(false);
  if (!body.ops.every((o) => independent(e, o, of) || separateStore(e, o, body, of))) return whole(false);
  const widths = columns(of, e.isa.width);
  // Per column of vectors: the accumulators, and one vector that is multiplied; beside them one broadcast.
  const rows = carried.reduce((n, v) => n + countChunks(v.type.shape, e.isa.width), 0) / widths.length;
  if ((rows + 1) * widths.length + 1 <= e.isa.registers) return whole(true);
  const most = Math.floor((e.isa.registers - 1) / (rows + 1));
  if (most < 1) return whole(true);
  const count = Math.ceil(widths.length / Math.ceil(widths.length / most));
  const parts: Part[] = [];
  for (let i = 0; i < widths.length; i += count) parts.push({ of, from: widths[i].at, to: widths[i + count]?.at ?? of });
  return { parts, independent: true };
}

/** Whether an op stores a row of columns in memory of the program that the loop does not read. */
function separateStore(e: Emitter, op: Op, body: Block, of: number): boolean {
  if (op.op !== "store" || op.args.length > 2 || e.ir.params[op.attrs.param as number].kind !== "local") return false;
  const read = body.ops.some((o) => o.op === "load" && o.attrs.param === op.attrs.param);
  return !read && op.args[1].type.shape.at(-1) === of && !e.analysis.large(op.args[1].type.shape);
}

/** Whether column i of the results depends on column i of the operands only, and nothing is written. */
function independent(e: Emitter, op: Op, of: number): boolean {
  if (!ELEMENTWISE.has(op.op) && !STEADY.has(op.op)) return false;
  const wide = (shape: readonly number[]): boolean => shape.at(-1) === of;
  if ([...op.args, ...op.results].some(({ type: { shape } }) => e.analysis.large(shape))) return false;
  return op.op !== "reshape" || wide(op.args[0].type.shape) === wide(op.results[0].type.shape);
}
