/** What a client of each dialect sends for one turn, and what it reads of a streamed answer. */

export interface Turn {
  role: "user" | "assistant";
  content: string;
}

export interface Ask {
  turns: Turn[];
  maxTokens: number;
  temperature: number;
  seed: number;
}

/** What one frame of a stream says. */
export interface Piece {
  text?: string;
  /** Tokens of the answer, as the server counts them. */
  tokens?: number;
  /** The stream is complete with this. */
  last?: boolean;
  /** The server ended the answer with an error. */
  error?: string;
}

export interface Dialect {
  path: string;
  body(ask: Ask): object;
  /** The JSON of a frame, or `[DONE]`. */
  read(data: string): Piece;
}

const json = (data: string) => JSON.parse(data) as Record<string, any>;
const MODEL = "demo";

/** By name. Reasoning is off everywhere, so that all dialects stream text. */
export const DIALECTS: Readonly<Record<string, Dialect>> = {
  chat: {
    path: "/v1/chat/completions",
    body: ({ turns, maxTokens, temperature, seed }) => ({
      model: MODEL,
      messages: turns,
      max_tokens: maxTokens,
      temperature,
      seed,
      stream: true,
      reasoning_effort: "none",
      stream_options: { include_usage: true },
    }),
    read(data) {
      if (data === "[DONE]") return { last: true };
      const { choices, usage, error } = json(data);
      if (error) return { error: error.message };
      return { text: choices[0]?.delta.content, tokens: usage?.completion_tokens };
    },
  },
  completions: {
    path: "/v1/completions",
    body: ({ turns, maxTokens, temperature, seed }) => ({
      model: MODEL,
      prompt: turns.map((t) => t.content).join("\n"),
      max_tokens: maxTokens,
      temperature,
      seed,
      stream: true,
      stream_options: { include_usage: true },
    }),
    read(data) {
      if (data === "[DONE]") return { last: true };
      const { choices, usage, error } = json(data);
      if (error) return { error: error.message };
      return { text: choices[0]?.text, tokens: usage?.completion_tokens };
    },
  },
  responses: {
    path: "/v1/responses",
    body: ({ turns, maxTokens, temperature, seed }) => ({
      model: MODEL,
      input: turns,
      max_output_tokens: maxTokens,
      temperature,
      seed,
      stream: true,
      store: false,
      reasoning: { effort: "none" },
    }),
    read(data) {
      const event = json(data);
      if (event.type === "response.output_text.delta") return { text: event.delta };
      if (event.type === "response.failed") return { error: event.response.error.message };
      const ended = event.type === "response.completed" || event.type === "response.incomplete";
      return ended ? { last: true, tokens: event.response.usage.output_tokens } : {};
    },
  },
  messages: {
    path: "/v1/messages",
    // This dialect has no seed: only the likeliest answer can be told beforehand.
    body: ({ turns, maxTokens }) => ({ model: MODEL, messages: turns, max_tokens: maxTokens, temperature: 0, stream: true }),
    read(data) {
      const event = json(data);
      if (event.type === "error") return { error: event.error.message };
      if (event.type === "message_stop") return { last: true };
      return { text: event.delta?.text, tokens: event.type === "message_delta" ? event.usage.output_tokens : undefined };
    },
  },
  ollama: {
    path: "/api/chat",
    body: ({ turns, maxTokens, temperature, seed }) => ({
      model: MODEL,
      messages: turns,
      think: false,
      stream: true,
      options: { num_predict: maxTokens, temperature, seed, top_k: 0, top_p: 1 },
    }),
    read(data) {
      const line = json(data);
      if (line.error) return { error: line.error };
      return { text: line.message.content, last: line.done, tokens: line.done ? line.eval_count : undefined };
    },
  },
};

/** How an answer went. Times in milliseconds since the request was sent. */
export interface Outcome {
  text: string;
  /** As the server counts. */
  tokens: number;
  /** When each piece of text came. */
  times: number[];
  /** What went wrong: `status 503`, `cut`, `error frame`, `network`. */
  error?: string;
  detail?: string;
}

/** Streams one answer. Never rejects. */
export async function stream(url: string, dialect: Dialect, ask: Ask, onPiece: () => void = () => {}): Promise<Outcome> {
  const began = performance.now();
  const outcome: Outcome = { text: "", tokens: 0, times: [] };
  const failed = (error: string, detail: string): Outcome => ({ ...outcome, error, detail });
  try {
    const response = await fetch(url + dialect.path, { method: "POST", body: JSON.stringify(dialect.body(ask)) });
    if (response.status !== 200) return failed(`status ${response.status}`, (await response.text()).slice(0, 200));
    const decoder = new TextDecoder();
    let rest = "";
    let last = false;
    for await (const chunk of response.body!) {
      rest += decoder.decode(chunk, { stream: true });
      const lines = rest.split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        const data = line.startsWith("data: ") ? line.slice(6) : line.startsWith("{") ? line : "";
        if (data === "") continue;
        const piece = dialect.read(data);
        if (piece.error !== undefined) return failed("error frame", piece.error);
        if (piece.tokens !== undefined) outcome.tokens = piece.tokens;
        if (piece.last) last = true;
        if (!piece.text) continue;
        outcome.text += piece.text;
        outcome.times.push(performance.now() - began);
        onPiece();
      }
    }
    return last && rest === "" ? outcome : failed("cut", `after ${JSON.stringify(outcome.text.slice(-80))}`);
  } catch (e) {
    return failed("network", e instanceof Error ? e.message : String(e));
  }
}
