/**
 * IR as text that `parse` reads back. One op per line: `%name.id: type = op operands {attributes} @line:column`; memory ops name their
 * parameter as `load x[%offset], %mask`; regions follow their op in braces, with their arguments in front.
 */
import { typeText } from "./ops.ts";
import type { Attr, Block, KernelIR, Op, Value } from "./types.ts";

/** The kernel as text, without the user's source. */
export function print(ir: KernelIR): string {
  const constexprs = Object.entries(ir.constexprs).map(([name, v]) => `${word(name)} = ${attrText(v)}`);
  const lines = [`kernel ${word(ir.name)} {${constexprs.join(", ")}}`];
  if (ir.threads) lines.push(`  threads ${attrText(ir.threads)}`);
  if (ir.simdgroups !== undefined) lines.push(`  simdgroups ${ir.simdgroups}`);
  if (ir.distinct) lines.push("  distinct");
  if (ir.lanes !== undefined) lines.push(`  lanes ${ir.lanes}`);
  for (const p of ir.params) {
    const kind = p.output ? "out" : p.kind;
    const size = p.elements === undefined ? "" : `[${p.elements}]`;
    const constant = p.constant === undefined ? "" : ` {value = ${attrText(p.constant)}}`;
    lines.push(`  param ${word(p.name)}: ${kind} ${p.dtype}${size}${p.value ? ` = ${valueText(p.value)}` : ""}${constant}`);
  }
  for (const s of ir.prints ?? []) lines.push(`  print ${JSON.stringify(s.label)} (${s.types.map(typeText).join(", ")}) @${s.line}`);
  lines.push("{");
  printBlock(ir, ir.body, "  ", lines);
  lines.push("}");
  return `${lines.join("\n")}\n`;
}

/** A name as it is, or quoted when it is no plain word. */
const word = (name: string): string => (/^[\w$]+$/.test(name) ? name : JSON.stringify(name));

/** `%3`, or `%acc.3` for a value with a user's name. */
export const valueText = (v: Value): string => (v.name === undefined ? `%${v.id}` : `%${word(v.name)}.${v.id}`);

const typed = (v: Value): string => `${valueText(v)}: ${typeText(v.type)}`;

/** An attribute as text that keeps its type: 5n is a bigint, -0 and NaN are themselves. */
export function attrText(a: Attr): string {
  if (Array.isArray(a)) return `[${a.map((x: number | string) => attrText(x)).join(", ")}]`;
  if (typeof a === "string") return JSON.stringify(a);
  if (typeof a === "bigint") return `${a}n`;
  return Object.is(a, -0) ? "-0" : String(a);
}

function printBlock(ir: KernelIR, block: Block, indent: string, lines: string[]): void {
  for (const op of block.ops) {
    const results = op.results.length ? `${op.results.map(typed).join(", ")} = ` : "";
    const loc = op.loc ? ` @${op.loc.line}:${op.loc.column}` : "";
    lines.push(`${indent}${results}${op.op}${operandText(ir, op)}${attrsText(ir, op)}${loc}`);
    op.regions.forEach((r) => {
      lines[lines.length - 1] += ` (${r.args.map(typed).join(", ")}) {`;
      printBlock(ir, r, `${indent}  `, lines);
      lines.push(`${indent}}`);
    });
  }
}

/** True if the op's `param` attribute is printed as the parameter's name. */
const namesParam = (ir: KernelIR, op: Op): boolean => typeof op.attrs.param === "number" && op.attrs.param in ir.params;

function operandText(ir: KernelIR, op: Op): string {
  const args = op.args.map(valueText);
  if (namesParam(ir, op)) args[0] = `${word(ir.params[op.attrs.param as number].name)}[${args[0]}]`;
  return args.length ? ` ${args.join(", ")}` : "";
}

function attrsText(ir: KernelIR, op: Op): string {
  const attrs = Object.entries(op.attrs).filter(([key]) => key !== "param" || !namesParam(ir, op));
  return attrs.length ? ` {${attrs.map(([key, a]) => `${key} = ${attrText(a)}`).join(", ")}}` : "";
}
