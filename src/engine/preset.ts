/** What comes with a model from its store, applied to requests: system message, first messages, num_ctx, num_predict. */
import type { ChatMessage } from "../chat/api.ts";
import type { ModelPreset } from "./api.ts";

/**
 * A conversation with the model's own messages in front: its system message unless the conversation begins with one, then the messages that
 * every conversation begins with.
 */
export function withPreset(messages: readonly ChatMessage[], { system, messages: first = [] }: ModelPreset = {}): ChatMessage[] {
  const own = first.flatMap(({ role, content }) => (isRole(role) ? [{ role, content }] : []));
  const begins = messages[0]?.role === "system" ? messages.slice(0, 1) : system ? [{ role: "system" as const, content: system }] : [];
  return [...begins, ...own, ...messages.slice(messages[0]?.role === "system" ? 1 : 0)];
}

function isRole(role: string): role is "system" | "user" | "assistant" {
  return role === "system" || role === "user" || role === "assistant";
}

/** The context window that the model asks for, in tokens; undefined: it leaves it open. */
export function presetContext({ parameters = {} }: ModelPreset = {}): number | undefined {
  return positive(parameters.num_ctx);
}

/** Longest answer where a request sets no limit, in tokens. */
export function presetMaxTokens({ parameters = {} }: ModelPreset = {}): number | undefined {
  return positive(parameters.num_predict);
}

function positive(value: unknown): number | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : undefined;
}
