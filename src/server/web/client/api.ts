/** The two endpoints that the page talks to, on the server that it came from. */

const KEY = "alloy.key";

export interface Model {
  id: string;
  max_input_tokens: number;
  capabilities: Record<string, boolean>;
}

/** What a stream of chat-completion chunks tells, in order. */
export type StreamEvent =
  | { type: "text" | "reasoning"; text: string }
  | { type: "call"; index: number; id: string; name: string }
  | { type: "arguments"; index: number; text: string }
  | { type: "finish"; reason: string }
  | { type: "stats"; promptTokens: number; cachedTokens: number; tokens: number; tokensPerSecond: number };

/** A refusal by the server, in its own words. `status` 0: the server was not reached. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message.charAt(0).toUpperCase() + message.slice(1));
  }
}

/** The key that this browser keeps for servers that ask for one. */
export const apiKey = {
  get: (): string => localStorage.getItem(KEY) ?? "",
  set: (key: string): void => (key === "" ? localStorage.removeItem(KEY) : localStorage.setItem(KEY, key)),
};

/** Models that can chat. */
export async function listModels(): Promise<Model[]> {
  const response = await request("v1/models", {});
  const { data } = (await response.json()) as { data: Model[] };
  return data.filter((m) => m.capabilities.completion !== false && !m.capabilities.embedding);
}

/** Streams one answer. Throws `ApiError`; an abort ends it with the signal's own error. */
export async function* streamChat(body: object, signal: AbortSignal): AsyncGenerator<StreamEvent> {
  const response = await request("v1/chat/completions", { method: "POST", body: JSON.stringify(body), signal });
  let done = false;
  for await (const data of frames(response.body!)) {
    if (data === "[DONE]") {
      done = true;
      break;
    }
    yield* events(JSON.parse(data) as Chunk);
  }
  if (!done) throw new ApiError(0, "The connection to the server broke off in the middle of the answer.");
}

async function request(path: string, init: RequestInit): Promise<Response> {
  const key = apiKey.get();
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (key !== "") headers.authorization = `Bearer ${key}`;
  let response: Response;
  try {
    // Relative: the page may stand below a path of a reverse proxy.
    response = await fetch(path, { ...init, headers });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, "The server cannot be reached. Is “alloy serve” still running?");
  }
  if (!response.ok) throw new ApiError(response.status, await refusal(response));
  return response;
}

async function refusal(response: Response): Promise<string> {
  const text = await response.text();
  try {
    return (JSON.parse(text) as { error: { message: string } }).error.message;
  } catch {
    return `The server answered ${response.status} ${response.statusText}`.trim();
  }
}

/** The `data:` of each server-sent event; comments (heartbeats) are dropped. */
async function* frames(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let held = "";
  try {
    for (;;) {
      let piece: Awaited<ReturnType<typeof reader.read>>;
      try {
        piece = await reader.read();
      } catch (error) {
        if ((error as Error).name === "AbortError") throw error;
        return;
      }
      if (piece.done) return;
      held += decoder.decode(piece.value, { stream: true });
      const lines = held.split("\n");
      held = lines.pop()!;
      for (const line of lines) if (line.startsWith("data: ")) yield line.slice(6);
    }
  } finally {
    void reader.cancel().catch(() => {});
  }
}

/** The fields of a chunk that the page reads. */
interface Chunk {
  error?: { message: string };
  choices?: {
    delta: {
      content?: string | null;
      reasoning_content?: string | null;
      tool_calls?: { index: number; id?: string; function?: { name?: string; arguments?: string } }[];
    };
    finish_reason: string | null;
  }[];
  usage?: { prompt_tokens: number; completion_tokens: number; prompt_tokens_details?: { cached_tokens?: number } } | null;
  timings?: { predicted_per_second?: number };
}

function* events(chunk: Chunk): Generator<StreamEvent> {
  if (chunk.error) throw new ApiError(500, chunk.error.message);
  const choice = chunk.choices?.[0];
  if (choice) {
    const { content, reasoning_content: reasoning, tool_calls: calls } = choice.delta;
    if (reasoning) yield { type: "reasoning", text: reasoning };
    if (content) yield { type: "text", text: content };
    for (const call of calls ?? []) {
      if (call.function?.name) yield { type: "call", index: call.index, id: call.id ?? `call_${call.index}`, name: call.function.name };
      if (call.function?.arguments) yield { type: "arguments", index: call.index, text: call.function.arguments };
    }
    if (choice.finish_reason) yield { type: "finish", reason: choice.finish_reason };
  }
  if (chunk.usage) {
    yield {
      type: "stats",
      promptTokens: chunk.usage.prompt_tokens,
      cachedTokens: chunk.usage.prompt_tokens_details?.cached_tokens ?? 0,
      tokens: chunk.usage.completion_tokens,
      tokensPerSecond: chunk.timings?.predicted_per_second ?? 0,
    };
  }
}
