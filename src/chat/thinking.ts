/** The switches by which templates turn reasoning on and off. */
import type { Thinking } from "./api.ts";

const EFFORT: Partial<Record<Thinking, string>> = { off: "low", low: "low", medium: "medium", high: "high", max: "high" };
/** Tokens of reasoning for templates that take a budget (ByteDance Seed). */
const BUDGET: Partial<Record<Thinking, number>> = { off: 0, low: 512, medium: 2048, high: 8192 };

/** Variables by name, each with its value for a choice; undefined leaves the template's default. */
const SWITCHES: Record<string, (t: Thinking, source: string) => unknown> = {
  enable_thinking: (t) => t !== "off",
  thinking: (t) => t !== "off",
  thinking_budget: (t) => BUDGET[t],
  thinking_mode: (t, source) =>
    source.includes('"disabled"') ? (t === "off" ? "disabled" : "enabled") : t === "off" ? "chat" : "thinking",
  reasoning_effort: (t, source) => (t === "max" && /reasoning_effort\s*==\s*['"]max/.test(source) ? "max" : EFFORT[t]),
};

/** The code of a template: what stands in tags, without comments and strings. */
const code = (source: string) =>
  (source.replace(/\{#[\s\S]*?#\}/g, "").match(/\{[{%][\s\S]*?[%}]\}/g) ?? [])
    .join("\n")
    .replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g, '""');

/** Variables of a template that control reasoning. */
export function thinkingSwitches(source: string): string[] {
  const text = code(source);
  return Object.keys(SWITCHES).filter((name) => new RegExp(`(?<![\\w.])${name}(?!\\w)`).test(text));
}

/** Values for the switches of a template. */
export function thinkingVariables(source: string, switches: readonly string[], thinking: Thinking | undefined): Record<string, unknown> {
  if (thinking === undefined) return {};
  return Object.fromEntries(switches.map((name) => [name, SWITCHES[name](thinking, source)]));
}
