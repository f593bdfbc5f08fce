/** What `alloy launch` finds out before a tool starts: which model, how long its window is, what it can do. */
import { createHash } from "node:crypto";
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AlloyError } from "../support/errors.ts";
import { cacheDir } from "../support/paths.ts";
import type { Context } from "./context.ts";
import { UsageError } from "./strict.ts";
import type { Endpoint, Tool } from "./tools.ts";

/** Chooses a model, loads it, and asks the server what a tool must be told of it. Throws what the server says, and UsageError without a choice. */
export async function findEndpoint(url: string, wanted: string | undefined, context: Context): Promise<Endpoint> {
  const key = context.io.env.ALLOY_API_KEY?.split(",")[0].trim() || "alloy";
  const server = new Server(url, key);
  const model = wanted ?? (await chooseModel(server, context));
  await server.call("/api/generate", { model, keep_alive: -1, stream: false });
  const loaded = await server.loaded();
  const mine = loaded.find((m) => m.name === model || m.model === model || m.name === `${model}:latest`) ?? loaded[0];
  const { capabilities = [] } = await server.call<{ capabilities?: string[] }>("/api/show", { model });
  const can = (capability: string) => capabilities.includes(capability);
  return { url, model, context: mine?.context_length ?? 4096, key, vision: can("vision"), thinking: can("thinking") };
}

interface Loaded {
  name: string;
  model?: string;
  context_length?: number;
}

/** The few calls that launching makes, to a server that may be another process. */
class Server {
  constructor(
    private readonly url: string,
    private readonly key: string,
  ) {}

  async call<T>(path: string, body?: unknown): Promise<T> {
    const headers = { "content-type": "application/json", authorization: `Bearer ${this.key}` };
    const init = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
    const response = await fetch(this.url + path, init);
    const answer = (await response.json()) as T & { error?: unknown };
    if (response.ok) return answer;
    const code = response.status === 404 ? "model_not_found" : response.status === 401 ? "unauthorized" : "model_load_failed";
    const hint = code === "unauthorized" ? "set ALLOY_API_KEY to the server's key" : "`alloy list` shows the models";
    throw new AlloyError(code, `the server at ${this.url} refused: ${String(answer.error ?? response.status)}`, { hint });
  }

  async loaded(): Promise<Loaded[]> {
    return (await this.call<{ models?: Loaded[] }>("/api/ps")).models ?? [];
  }

  /** Names of the models that can hold a conversation, the newest first. */
  async chatModels(): Promise<string[]> {
    const { models = [] } = await this.call<{ models?: { name: string; capabilities?: string[] }[] }>("/api/tags");
    return models.filter((m) => m.capabilities?.includes("completion") ?? true).map((m) => short(m.name));
  }
}

/** As people write it. */
const short = (name: string) => name.replace(/:latest$/, "");

/** The loaded model, else the only one beside the demo model, else what the user says. */
async function chooseModel(server: Server, { io, json, style }: Context): Promise<string> {
  const [loaded] = await server.loaded();
  if (loaded !== undefined) return short(loaded.name);
  if (io.env.ALLOY_DEFAULT_MODEL) return io.env.ALLOY_DEFAULT_MODEL;
  const models = (await server.chatModels()).filter((name) => name !== "demo");
  if (models.length === 0) return "demo";
  if (models.length === 1) return models[0];
  if (json || !io.stdinIsTty || !io.stdoutIsTty) {
    throw new UsageError(`there are several models: ${models.join(", ")}`, `name one of them: --model ${models[0]}`);
  }
  models.forEach((name, i) => io.err(`${String(i + 1).padStart(3)}  ${name}\n`));
  for (;;) {
    const line = await io.readLine(`Which model? ${style.dim("[1]")} `, { history: false });
    if (typeof line === "string") throw new AlloyError("cancelled", "no model was chosen", { hint: "name one with --model" });
    const word = line.text.trim();
    if (word === "") return models[0];
    const chosen = models[Number(word) - 1] ?? models.find((name) => name === word);
    if (chosen !== undefined) return chosen;
    io.err(`"${word}" is none of them: a number from 1 to ${models.length}, or a name\n`);
  }
}

/**
 * Writes the tool's file, if it has one, into the cache folder: whole or not at all. `owner` keeps launches side by side apart; without one, as for a
 * command line that is printed, it is named after its text.
 */
export function writeToolFile(tool: Pick<Tool, "file">, endpoint: Endpoint, env: Context["io"]["env"], owner?: string): string {
  if (tool.file === undefined) return "";
  const text = tool.file(endpoint);
  const folder = join(cacheDir(env), "launch");
  const path = join(folder, `${owner ?? createHash("sha256").update(text).digest("hex").slice(0, 16)}.json`);
  const unfinished = `${path}.${process.pid}`;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // It may hold the server's key.
    writeFileSync(unfinished, text, { mode: 0o600 });
    renameSync(unfinished, path);
  } catch (cause) {
    throw new AlloyError("io_error", `${path} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`, {
      hint: "ALLOY_CACHE_DIR names another folder",
      cause,
    });
  }
  return path;
}
