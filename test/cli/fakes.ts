/** Parts and streams for command tests: everything a command may touch, in memory. */
import type { Engine, GenerateEvent, GenerateRequest, ModelInfo } from "../../src/engine/api.ts";
import type { Io } from "../../src/cli/context.ts";
import type { Deps } from "../../src/cli/deps.ts";
import type { LineRead } from "../../src/cli/lines.ts";
import { runProgram } from "../../src/cli/program.ts";
import type { ModelRunner } from "../../src/models/api.ts";
import { AlloyError } from "../../src/support/errors.ts";

export interface FakeIo extends Io {
  stdout: string;
  stderr: string;
  /** Pretends that the user pressed Ctrl-C. */
  interrupt(): void;
}

export interface FakeIoOptions {
  /** Piped standard input; undefined: a terminal. */
  stdin?: string;
  tty?: boolean;
  env?: Record<string, string>;
  /** What the user types in a chat. */
  lines?: (string | LineRead)[];
}

export function fakeIo(options: FakeIoOptions = {}): FakeIo {
  const lines = [...(options.lines ?? [])];
  const interrupts = new Set<(signal: "SIGINT" | "SIGTERM") => void>();
  const io: FakeIo = {
    stdout: "",
    stderr: "",
    out: (text) => void (io.stdout += text),
    err: (text) => void (io.stderr += text),
    log: (line) => void (io.stderr += line),
    flushLog: async () => {},
    readStdin: async () => options.stdin ?? "",
    readLine: async () => {
      const next = lines.shift() ?? "end";
      return typeof next === "string" && next !== "end" && next !== "interrupt" ? { text: next } : (next as LineRead);
    },
    onInterrupt: (callback) => {
      interrupts.add(callback);
      return () => void interrupts.delete(callback);
    },
    interrupt: () => interrupts.forEach((callback) => callback("SIGINT")),
    stdinIsTty: options.stdin === undefined,
    stdoutIsTty: options.tty ?? false,
    stderrIsTty: options.tty ?? false,
    columns: 80,
    env: options.env ?? {},
  };
  return io;
}

export const DEMO_INFO: ModelInfo = {
  name: "demo",
  path: "/models/demo.gguf",
  format: "gguf",
  architecture: "qwen3",
  parameters: 10_000_000,
  fileBytes: 11_289_920,
  quantization: "Q8_0",
  contextLength: 2048,
  embeddingLength: 256,
  capabilities: ["completion", "tools", "thinking"],
  modified: "2026-11-21T00:00:00.000Z",
  digest: "abc",
  metadata: {},
};

export interface FakeEngine extends Engine {
  requests: GenerateRequest[];
  closed: number;
}

/** Answers every chat with "You said: <last message>"; what `reply` returns instead is streamed event by event. */
export function fakeEngine(reply?: (request: GenerateRequest, signal?: AbortSignal) => AsyncIterable<GenerateEvent>): FakeEngine {
  const engine: FakeEngine = {
    requests: [],
    closed: 0,
    models: async () => [DEMO_INFO],
    model: async (reference) => {
      if (reference === "demo") return DEMO_INFO;
      throw new AlloyError("model_not_found", `there is no model "${reference}"`);
    },
    loaded: async () => [],
    load: async () => {},
    unload: async () => {},
    async *generate(request, signal) {
      engine.requests.push(request);
      if (reply !== undefined) {
        yield* reply(request, signal);
        return;
      }
      const prompt = request.prompt.kind === "chat" ? request.prompt.messages.at(-1)!.content : "";
      yield { type: "start", promptTokens: 3, seed: 7 };
      yield { type: "delta", delta: { type: "reasoning", text: "hm" } };
      yield { type: "delta", delta: { type: "text", text: "You said: " } };
      yield { type: "delta", delta: { type: "text", text: prompt } };
      yield endEvent("stop");
    },
    tokenize: async () => ({ ids: [] }),
    detokenize: async () => "",
    tokenBytes: async () => [],
    close: async () => void engine.closed++,
  };
  return engine;
}

export function endEvent(reason: "stop" | "length"): GenerateEvent {
  return {
    type: "end",
    reason,
    usage: { promptTokens: 3, cachedTokens: 0, completionTokens: 4, reasoningTokens: 1 },
    timings: { queued: 0, load: 1, prefill: 2, decode: 4, total: 7 },
    ids: [1, 2, 3, 4],
  };
}

/** Deps whose parts all fail with a name, except those given. */
export function fakeDeps(parts: Partial<Deps>): Deps {
  const fail = (name: string) => () => {
    throw new Error(`this test did not expect ${name} to be called`);
  };
  return {
    createEngine: fail("createEngine"),
    startServer: fail("startServer"),
    isModel: async (reference) => reference === "demo",
    resolveModel: async (reference) => {
      throw new AlloyError("model_not_found", `there is no model "${reference}"`, { hint: "`alloy list` shows the models" });
    },
    listModels: async () => [
      { name: "demo", source: "demo", path: "/models/demo.gguf", modified: "2026-11-21T00:00:00.000Z", info: DEMO_INFO },
    ],
    describeModel: async () => DEMO_INFO,
    pullModel: fail("pullModel"),
    removeModel: fail("removeModel"),
    removeUnfinished: fail("removeUnfinished"),
    copyModel: fail("copyModel"),
    createModel: fail("createModel"),
    openTokenizer: fail("openTokenizer"),
    openRunner: fail("openRunner"),
    kernels: fail("kernels"),
    deviceProperties: async () => ({ name: "Test CPU", kind: "cpu", isa: "avx2", threads: 2, memoryBytes: 2 ** 34, hostPointers: true }),
    selftest: fail("selftest"),
    ...parts,
  };
}

/** Runs a command line against fakes. */
export async function alloy(argv: string[], deps: Partial<Deps> = {}, options: FakeIoOptions | FakeIo = {}) {
  const io = "interrupt" in options ? options : fakeIo(options);
  const code = await runProgram(argv, io, fakeDeps(deps));
  return { code, stdout: io.stdout, stderr: io.stderr };
}

/**
 * A runner whose logits say (last token + 1) mod vocabulary, with the position in every entry, so that wrong positions and wrong
 * chunking are seen. Records its steps.
 */
export function fakeRunner(
  vocabSize = 10,
  maxBatchTokens = 4,
): ModelRunner & { steps: { tokens: number[]; start: number; outputs: string }[] } {
  const steps: { tokens: number[]; start: number; outputs: string }[] = [];
  let row = new Float32Array(vocabSize);
  return {
    steps,
    architecture: "fake",
    vocabSize,
    contextLength: 64,
    maxBatchTokens,
    maxSequences: 1,
    blockTokens: 8,
    blockCount: 8,
    memoryBytes: 0,
    async step(sequences) {
      const [{ tokens, start, outputs, blocks }] = sequences;
      if (tokens.length > maxBatchTokens) throw new Error("batch too large");
      if (blocks.length * 8 < start + tokens.length) throw new Error("blocks do not cover the positions");
      steps.push({ tokens: [...tokens], start, outputs });
      row = new Float32Array(vocabSize).fill(start + tokens.length);
      row[(tokens.at(-1)! + 1) % vocabSize] += 0.1;
      const token = sequences[0].sampling ? (tokens.at(-1)! + 1) % vocabSize : -1;
      return { tokens: Int32Array.of(token), logSumExp: new Float32Array(1), logits: () => row };
    },
    copyBlock: () => {},
    close() {},
  };
}
