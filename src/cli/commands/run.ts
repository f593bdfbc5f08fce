/** `alloy run`: one answer, or a chat. */
import type { ChatMessage, Thinking } from "../../chat/api.ts";
import type { Engine, SamplingParams } from "../../engine/api.ts";
import { answer, timingLine } from "../answer.ts";
import { printJson, type Context } from "../context.ts";
import { EXIT } from "../exit.ts";
import { KV_TYPE, kvTypeOf } from "../kv-type.ts";
import { requireModel } from "../pulling.ts";
import { strictCommand, UsageError } from "../strict.ts";

const DEMO = "demo";

export default strictCommand({
  name: "run",
  summary: "answer a prompt, or chat",
  description: `With a prompt: one answer, then the end. Without one, in a terminal: a chat (/help tells what it can do, Ctrl-C stops an answer,
Ctrl-D leaves). Piped text is added to the prompt, or is the prompt. When the first word names no model, it belongs to the prompt
and the built-in demo model answers. Standard output carries the answer only; thinking and timings go to standard error.`,
  args: {
    words: {
      type: "positional",
      label: "[MODEL] [PROMPT...]",
      rest: true,
      description: "A model (a path, `demo`, or a name that `alloy list` shows), then the prompt",
    },
    model: { type: "string", alias: "m", hint: "model", description: "The model; all other words are then the prompt" },
    system: { type: "string", alias: "s", hint: "text", description: "System message" },
    temperature: {
      type: "number",
      alias: "t",
      hint: "number",
      min: 0,
      max: 100,
      description: "Randomness; 0 always takes the likeliest token",
    },
    "top-p": { type: "number", hint: "share", min: 0, max: 1, description: "Choose among the likeliest tokens that make up this share" },
    "top-k": { type: "integer", hint: "count", min: 0, description: "Choose among this many likeliest tokens; 0: all" },
    "min-p": { type: "number", hint: "share", min: 0, max: 1, description: "Drop tokens less likely than this share of the likeliest" },
    seed: { type: "integer", hint: "number", min: 0, description: "Same seed, same answer" },
    "max-tokens": { type: "integer", alias: "n", hint: "tokens", min: 1, description: "Longest answer (default: what the context holds)" },
    think: { type: "boolean", negatable: true, description: "Ask the model to think first, or not to (default: the model's own)" },
    ctx: {
      type: "integer",
      alias: "c",
      hint: "tokens",
      min: 16,
      description: "Context window (default: what the model allows and memory holds)",
    },
    "kv-type": KV_TYPE,
    threads: { type: "integer", hint: "count", min: 1, description: "CPU threads (default: one per core)" },
    device: { type: "string", hint: "name", description: "Where to compute, cpu or metal (default: the best there is)" },
    verbose: { type: "boolean", description: "Print timings and token counts after each answer" },
  },
  examples: [
    ['alloy run "What is the capital of France?"', "one answer from the built-in demo model"],
    ["alloy run ./qwen3-0.6b-q8_0.gguf", "chat with a model file"],
    ['cat notes.txt | alloy run -m ./model.gguf "Summarise this:"', "piped text is added to the prompt"],
    ['alloy run --temperature 0 --max-tokens 50 --json "Name a colour"', "repeatable, for scripts"],
  ],
  async run(args, context: Context) {
    const { io, json, style, deps } = context;
    const words = [...args.words];
    if (args.model !== undefined) await requireModel(args.model, context);
    const model = args.model ?? (await takeModel(words, context)) ?? DEMO;
    const piped = io.stdinIsTty ? "" : (await io.readStdin()).trim();
    const prompt = [words.join(" "), piped].filter((t) => t !== "").join("\n\n");
    if (prompt === "" && (!io.stdinIsTty || json)) {
      throw new UsageError("there is no prompt", 'write one, for example `alloy run "Hello"`, or pipe text in');
    }

    const settings = {
      sampling: samplingOf(args),
      maxTokens: args["max-tokens"],
      thinking: thinkingOf(args.think),
      system: args.system,
    };
    const interactive = prompt === "";
    if (interactive) io.err(style.dim(`loading ${model} ...\r`));
    const engine = await deps.createEngine({
      models: [model],
      contextLength: args.ctx,
      threads: args.threads,
      device: args.device,
      kvType: kvTypeOf(args["kv-type"], context.io),
      parallel: 1,
      keepAlive: Infinity,
    });
    try {
      if (interactive) {
        // Spaces over what is left of the line before.
        io.err(`${" ".repeat(model.length + 12)}\r`);
        const { chat } = await import("../chat.ts");
        return await chat(engine, { ...settings, model, verbose: args.verbose ?? false }, context);
      }
      return await oneShot(engine, { ...settings, model, prompt, verbose: args.verbose ?? false }, context);
    } finally {
      await engine.close(0);
    }
  },
});

interface OneShot {
  model: string;
  prompt: string;
  system?: string;
  sampling: Partial<SamplingParams>;
  maxTokens?: number;
  thinking?: Thinking;
  verbose: boolean;
}

async function oneShot(engine: Engine, o: OneShot, context: Context): Promise<number> {
  const { io, json, style } = context;
  const messages: ChatMessage[] = [];
  if (o.system !== undefined) messages.push({ role: "system", content: o.system });
  messages.push({ role: "user", content: o.prompt });
  const stop = new AbortController();
  const forget = io.onInterrupt(() => stop.abort());
  try {
    const result = await answer(engine, { ...o, messages, signal: stop.signal, quiet: json }, context);
    if (stop.signal.aborted) return EXIT.interrupted;
    if (json) {
      const { text, reasoning, toolCalls, reason, usage, timings, seed } = result;
      printJson(io, { model: o.model, text, reasoning, toolCalls, reason, usage, timings, seed });
    } else if (o.verbose) io.err(style.dim(timingLine(result)));
    return EXIT.ok;
  } finally {
    forget();
  }
}

/**
 * Takes the model off the front of the words if the first one names one. A word that can only have been meant as a model
 * (a path, `name:tag`) but names none is an error rather than a prompt; on a terminal it may be downloaded first.
 */
async function takeModel(words: string[], context: Context): Promise<string | undefined> {
  const { deps, io, style, json } = context;
  const first = words[0];
  if (first === undefined) return undefined;
  if (await deps.isModel(first)) {
    words.shift();
    return first;
  }
  if (/^\S+\.(gguf|safetensors)$/i.test(first) || /^(\.{0,2}|~)\/\S*$/.test(first) || /^[\w.-]+(\/[\w.-]+)*:[\w.-]+$/.test(first)) {
    await requireModel(first, context);
    words.shift();
    return first;
  }
  const oneWord = !/\s/.test(first);
  if (oneWord && io.stdinIsTty && !json)
    io.err(style.dim(`(no model is called "${first}": asking ${DEMO}; \`alloy list\` shows the models)\n`));
  return undefined;
}

function thinkingOf(think: boolean | undefined): Thinking | undefined {
  if (think === undefined) return undefined;
  return think ? "on" : "off";
}

function samplingOf(args: {
  temperature?: number;
  "top-p"?: number;
  "top-k"?: number;
  "min-p"?: number;
  seed?: number;
}): Partial<SamplingParams> {
  const all = { temperature: args.temperature, topP: args["top-p"], topK: args["top-k"], minP: args["min-p"], seed: args.seed };
  return Object.fromEntries(Object.entries(all).filter(([, v]) => v !== undefined));
}
