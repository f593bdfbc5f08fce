/** What the page keeps: conversations, their turns, and the settings that each carries. */

/** Fields of the request, named as the API names them; null leaves the model's own value. */
export interface Sampling {
  temperature: number | null;
  top_p: number | null;
  top_k: number | null;
  min_p: number | null;
  repeat_penalty: number | null;
  max_tokens: number | null;
  seed: number | null;
}

export interface Settings {
  model: string;
  system: string;
  /** "" leaves it to the model. */
  effort: "" | "none" | "low" | "medium" | "high";
  sampling: Sampling;
  /** Tool definitions as the user wrote them: a JSON array, or nothing. */
  tools: string;
}

export interface UserTurn {
  role: "user";
  text: string;
}

/** A call that the model asked for; `result` is what the user answered in the tool's place. */
export interface Call {
  id: string;
  name: string;
  arguments: string;
  result?: string;
}

export interface Stats {
  promptTokens: number;
  cachedTokens: number;
  tokens: number;
  tokensPerSecond: number;
}

export interface AssistantTurn {
  role: "assistant";
  model: string;
  text: string;
  reasoning: string;
  /** Milliseconds from the first reasoning token to the end of the reasoning. */
  reasoningMs?: number;
  calls: Call[];
  state: "streaming" | "done" | "stopped" | "failed" | "length";
  error?: string;
  stats?: Stats;
}

export type Turn = UserTurn | AssistantTurn;

export interface Conversation {
  id: string;
  title: string;
  /** Milliseconds since 1970 of the last change. */
  updated: number;
  settings: Settings;
  turns: Turn[];
}

export const NO_SAMPLING: Sampling = {
  temperature: null,
  top_p: null,
  top_k: null,
  min_p: null,
  repeat_penalty: null,
  max_tokens: null,
  seed: null,
};

/** An empty conversation that goes on with the settings of another. */
export function newConversation(like?: Settings): Conversation {
  const settings: Settings = like ? structuredClone(like) : { model: "", system: "", effort: "", sampling: NO_SAMPLING, tools: "" };
  // crypto.randomUUID is not there on plain-http addresses of a network.
  const id = Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");
  return { id, title: "", updated: Date.now(), settings, turns: [] };
}

/** The first line of the first message. */
export function titleOf(turns: Turn[]): string {
  const first = turns.find((t): t is UserTurn => t.role === "user")?.text.trim() ?? "";
  const line = first.split("\n")[0];
  return line.length > 60 ? `${line.slice(0, 59).trimEnd()}…` : line;
}

/** Calls that nobody has answered yet. */
export function openCalls(turn: Turn | undefined): Call[] {
  return turn?.role === "assistant" && turn.state === "done" ? turn.calls.filter((c) => c.result === undefined) : [];
}
