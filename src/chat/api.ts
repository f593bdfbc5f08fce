/** Dialect-neutral chat: what a conversation is, how it becomes a prompt, and what comes out of a model's text. */
import type { RenderLimits } from "./jinja.ts";
import type { Tokenizer } from "../tokenizer/api.ts";
import type { CallGrammar } from "./formats/grammar.ts";
import type { ReasoningMarkers } from "./reasoning.ts";

export interface ToolCall {
  id: string;
  name: string;
  /** JSON text of the arguments object, exactly as the model or client wrote it. */
  arguments: string;
}

export interface ToolSpec {
  name: string;
  description?: string;
  /** JSON Schema of the arguments. */
  parameters?: Record<string, unknown>;
  strict?: boolean;
}

export interface ChatMessage {
  role: "system" | "developer" | "user" | "assistant" | "tool";
  content: string;
  /** Reasoning of an earlier assistant turn; the template decides whether it is kept. */
  reasoning?: string;
  toolCalls?: ToolCall[];
  /** For role "tool": which call this answers, and the tool's name if known. */
  toolCallId?: string;
  name?: string;
}

export type Thinking = "off" | "on" | "low" | "medium" | "high" | "max";

export interface RenderOptions {
  tools?: ToolSpec[];
  /** Undefined leaves the template's own default. */
  thinking?: Thinking;
  /** Open the assistant turn at the end. Default true; false when the last assistant message is to be continued. */
  addGenerationPrompt?: boolean;
  /** Extra variables for the template (`chat_template_kwargs`). */
  extra?: Record<string, unknown>;
}

export interface RenderedPrompt {
  text: string;
  /** True when the rendered prompt already opened a think block, so that output begins inside reasoning. */
  startsInReasoning: boolean;
}

/** Pieces of a model's output, in order. Markers (`<think>`, `<tool_call>`) never appear in them. */
export type ChatDelta =
  | { type: "text"; text: string }
  | { type: "reasoning"; text: string }
  | { type: "tool_call_start"; index: number; id: string; name: string }
  | { type: "tool_call_arguments"; index: number; text: string }
  | { type: "tool_call_end"; index: number };

/** Incremental split of model text into content, reasoning and tool calls. */
export interface OutputParser {
  push(text: string): ChatDelta[];
  /** End of output: what was held back comes out; an unfinished tool call comes out as text. */
  finish(): ChatDelta[];
}

/** A model's chat format: made from its template and tokenizer by `loadChatFormat` in ./load.ts. */
export interface ChatFormat {
  /** Family of the tool-call syntax, e.g. "hermes". */
  readonly toolFormat: string;
  readonly capabilities: { tools: boolean; thinking: boolean; system: boolean };
  /** How calls are written, for a grammar that is to force them. */
  readonly grammar: CallGrammar;
  /** Markers at which a call begins in free text (bare JSON aside): where a grammar for calls that are not forced takes over. */
  readonly callMarkers: readonly string[];
  /** How reasoning is marked. A grammar holds from behind `close` on; `close` also ends reasoning early. */
  readonly reasoning?: ReasoningMarkers;
  readonly template: string;
  /** Extra stop strings that the format needs beyond the tokenizer's end tokens. */
  readonly stops: readonly string[];
  /** Throws AlloyError `template_error` with the template's own message. */
  render(messages: ChatMessage[], options?: RenderOptions): RenderedPrompt;
  parser(options: { tools: ToolSpec[]; startsInReasoning: boolean }): OutputParser;
}

export type LoadChatFormat = (source: {
  template?: string | Record<string, string>;
  tokenizer: Tokenizer;
  architecture?: string;
  /** Default: `RENDER_LIMITS`. */
  limits?: RenderLimits;
}) => ChatFormat;
