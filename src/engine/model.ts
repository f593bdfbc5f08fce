/** A loaded model: runner, tokenizer, chat format and scheduler, and the way of one request into it. */
import { REQUEST_LIMITS } from "../chat/jinja.ts";
import type { ChatFormat, ToolSpec } from "../chat/api.ts";
import type { ModelFile } from "../formats/weights.ts";
import type { KvType } from "../../kernels/kv-cache.ts";
import type { ModelRunner } from "../models/api.ts";
import type { Device } from "../runtime/device.ts";
import { AlloyError } from "../support/errors.ts";
import { pauses } from "../support/pauses.ts";
import type { Tokenizer } from "../tokenizer/api.ts";
import { GRAMMAR_SECONDS, type GenerateRequest, type LoadedModel, type ModelInfo, type Prompt, type SamplingParams } from "./api.ts";
import type { Guide } from "./grammar/guide.ts";
import { Guides } from "./grammar/guides.ts";
import { planMemory } from "./memory.ts";
import { Output } from "./output.ts";
import type { EngineParts, FoundModel } from "./parts.ts";
import { presetContext, presetMaxTokens, withPreset } from "./preset.ts";
import { endsWithAssistant, offeredTools } from "./prompts.ts";
import type { EventQueue } from "./queue.ts";
import { resolveSampling } from "./sampling.ts";
import { Scheduler } from "./scheduler.ts";
import { Sequence } from "./sequence.ts";

export interface ModelOptions {
  contextLength?: number;
  parallel: number;
  maxQueue: number;
  clientParallel?: number;
  clientQueue?: number;
  /** Requests that wait in all models' queues. */
  waiting?: () => number;
  maxBatchTokens?: number;
  maxGap?: number;
  precision?: "fast" | "exact";
  kvType?: KvType;
  cacheShare?: number;
  /** Milliseconds that a request's grammar may take to compile, and bytes of memory for all of them. Default 2000 and 512 MiB. */
  grammarTimeout?: number;
  grammarMemory?: number;
  onStep?: () => void;
}

/** What else is in memory while a model loads. */
export interface Surroundings {
  /** Bytes that are left of the budget for models, and the whole of it; Infinity where there is none. */
  budget: { left: number; of: number };
  /** Bytes of the free memory that other models will take as their caches fill. */
  promised: number;
  /** Other models may be at work meanwhile. */
  others: boolean;
  /** Rather no room than a short context. */
  roomy: boolean;
}

/** A prompt as token ids, with what is needed to read the answer. */
export interface PreparedPrompt {
  ids: number[];
  text?: string;
  tools: ToolSpec[];
  startsInReasoning: boolean;
}

export class Model {
  private readonly guides: Guides;

  private constructor(
    readonly info: ModelInfo,
    readonly runner: ModelRunner,
    readonly tokenizer: Tokenizer,
    readonly scheduler: Scheduler,
    private readonly chat: ChatFormat | undefined,
    private readonly file: ModelFile,
    /** Expected in all, and for a token's keys and values. */
    private readonly planned: { bytes: number; kvBytesPerToken: number; kvType: KvType },
    private readonly parts: EngineParts,
    private readonly defaults: Partial<SamplingParams>[],
    private readonly stops: readonly string[],
    { grammarTimeout, grammarMemory }: ModelOptions,
  ) {
    this.guides = new Guides({
      tokenizer,
      vocabSize: runner.vocabSize,
      chat,
      timeoutMs: grammarTimeout,
      memory: grammarMemory,
      onCompiled: (seconds) => {
        scheduler.work.grammarSeconds += seconds;
        const bucket = GRAMMAR_SECONDS.findIndex((most) => seconds <= most);
        scheduler.work.grammars[bucket === -1 ? GRAMMAR_SECONDS.length : bucket]++;
      },
    });
  }

  /** Loads what was found. Throws `out_of_memory`, and what the readers of its parts throw. */
  static async load(found: FoundModel, parts: EngineParts, device: Device, o: ModelOptions & Surroundings): Promise<Model> {
    const { info } = found;
    const pause = o.others ? pauses() : () => undefined;
    const file = await parts.openModel(info.path);
    let runner: ModelRunner | undefined;
    try {
      const { precision = "fast", maxBatchTokens } = o;
      const kvType = o.kvType ?? (precision === "exact" ? "f32" : "f16");
      const needs = parts.sizes(file, { kvType, precision });
      // A window that the model asks for is a limit, and no reason to fail where memory holds less.
      const sizes = {
        ...needs,
        contextLength: Math.min(needs.contextLength, o.contextLength === undefined ? (presetContext(info.preset) ?? Infinity) : Infinity),
      };
      const plan = planMemory({
        model: info.name,
        sizes,
        contextLength: o.contextLength,
        parallel: o.parallel,
        cacheShare: o.cacheShare,
        free: Math.max(0, Math.min(parts.freeMemory(), device.freeBytes ?? Infinity) - o.promised),
        budget: o.budget,
        roomy: o.roomy,
      });
      await pause();
      const tokenizer = parts.loadTokenizer(file);
      await pause();
      const chat = parts.loadChat(file, info, tokenizer);
      await pause();
      const { contextLength, kvTokens } = plan;
      runner = await parts.loadRunner(file, {
        device,
        contextLength,
        kvTokens,
        precision,
        maxBatchTokens,
        kvType,
        maxSequences: o.parallel,
        // Lets cancellations and other models' steps in between.
        onProgress: () => {},
        gentle: o.others,
      });
      const parallel = Math.min(o.parallel, runner.maxSequences);
      const scheduler: Scheduler = new Scheduler(runner, {
        ...o,
        parallel,
        elsewhere: () => (o.waiting?.() ?? 0) - scheduler.counts.queued,
      });
      const defaults = [found.sampling, parts.samplingDefaults(file)];
      const planned = { bytes: plan.bytes, kvBytesPerToken: sizes.kvBytesPerToken, kvType };
      return new Model(info, runner, tokenizer, scheduler, chat, file, planned, parts, defaults, found.stops, o);
    } catch (e) {
      runner?.close();
      file.close();
      throw e;
    }
  }

  /** Bytes in use. What the runner holds may include copies of weights whose pages of the file went back to the system. */
  get memoryBytes(): number {
    return Math.max(this.runner.memoryBytes, this.planned.bytes);
  }

  /** Bytes of the cache that the system counts as free because nothing was written there yet. */
  get promisedBytes(): number {
    return this.scheduler.cache.untouched * this.planned.kvBytesPerToken;
  }

  /** The cache's size and use, as `loaded` reports it. */
  get cacheState(): LoadedModel["cache"] {
    const { blockCount: blocks, blockTokens, available, cached, capacity } = this.scheduler.cache;
    const { kvBytesPerToken, kvType: type } = this.planned;
    return { blocks, blockTokens, used: blocks - available, cached, bytes: capacity * kvBytesPerToken, type };
  }

  /** Most tokens of one sequence. */
  get contextLength(): number {
    return Math.min(this.runner.contextLength, this.scheduler.cache.capacity);
  }

  /** Tokenises a prompt. Throws `template_error`, `unsupported_capability`, `invalid_value`. */
  prepare(prompt: Prompt, chat = this.chatOf(prompt)): PreparedPrompt {
    if (prompt.kind === "chat") return this.prepareChat(prompt, chat);
    if (prompt.kind === "ids") return { ids: this.checkedIds(prompt.ids), tools: [], startsInReasoning: false };
    const ids = this.tokenizer.encode(prompt.text, { addSpecial: prompt.addSpecial ?? true, parseSpecial: prompt.parseSpecial });
    return { ids, text: prompt.text, tools: [], startsInReasoning: false };
  }

  /** What holds a request to the grammar and the budget of reasoning that it asks for, if any. Throws what is wrong with the grammar. */
  guide(request: GenerateRequest): Promise<Guide | undefined> | undefined {
    const chat = this.chatOf(request.prompt);
    return this.guides.make(request, chat, () => this.prepare(request.prompt, chat).startsInReasoning);
  }

  /** Tokenises, checks and queues a request, and emits its start event. Returns how to cancel it. Throws what is wrong with it. */
  submit(
    request: GenerateRequest,
    events: EventQueue,
    clock: { created: number; loadMs: number },
    onOver: () => void,
    guide?: Guide,
  ): () => void {
    const chat = this.chatOf(request.prompt);
    const prompt = this.prepare(request.prompt, chat);
    const { ids } = prompt;
    if (ids.length === 0 && this.tokenizer.bos !== undefined) ids.push(this.tokenizer.bos);
    if (ids.length === 0)
      throw new AlloyError("invalid_value", "the prompt is empty", { param: "prompt", hint: "give at least one token" });
    const window = Math.min(this.contextLength, request.contextLimit ?? Infinity);
    if (ids.length >= window) throw this.overflow(ids.length, window, request);
    const layers = [request.sampling, ...this.defaults, request.samplingDefaults ?? {}];
    const sampling = resolveSampling(layers, this.runner.vocabSize);
    const hiddenStops = [...this.stops, ...(chat?.stops ?? [])];
    const { maxTokens = presetMaxTokens(this.info.preset), ignoreEos = false, logprobs, deadline, priority = 0, client = "" } = request;
    const sequence = new Sequence({
      id: request.id,
      prompt: Int32Array.from(ids),
      sampling,
      tokenizer: this.tokenizer,
      guide,
      output: new Output({
        stream: this.tokenizer.stream({ skipSpecial: chat === undefined }),
        stops: this.parts.stopFilter([...(request.stop ?? []), ...hiddenStops].filter((s) => s !== "")),
        hiddenStops: hiddenStops.filter((s) => !request.stop?.includes(s)),
        parser: chat?.parser({ tools: prompt.tools, startsInReasoning: prompt.startsInReasoning }),
        startsInReasoning: prompt.startsInReasoning,
        single: request.prompt.kind === "chat" && request.prompt.singleCall,
        emit: (event) => events.push(event),
      }),
      events,
      window,
      maxTokens,
      ignoreEos,
      logprobs,
      deadline,
      priority,
      client,
      ...clock,
      onOver,
    });
    const begin = (): void => {
      const text = request.echo ? (prompt.text ?? this.tokenizer.decode(ids)) : undefined;
      events.push({ type: "start", promptTokens: ids.length, seed: sampling.seed, prompt: text });
    };
    if (maxTokens !== undefined && maxTokens <= 0) {
      begin();
      sequence.finish(this.scheduler.cache, "length");
      return () => {};
    }
    this.scheduler.submit(sequence);
    begin();
    return () => this.scheduler.cancel(sequence);
  }

  /** Frees everything. Only when nothing runs. @param gently other models are at work meanwhile */
  async close(gently: boolean): Promise<void> {
    this.guides.close();
    if (gently && this.runner.closeGently) await this.runner.closeGently();
    else this.runner.close();
    this.file.close();
  }

  /** How a prompt is written and its answer is read: the model's own way, or by a template that came with the request. */
  private chatOf(prompt: Prompt): ChatFormat | undefined {
    if (prompt.kind !== "chat") return undefined;
    const { template } = prompt;
    return template === undefined ? this.chat : this.parts.loadChat(this.file, { ...this.info, template }, this.tokenizer, REQUEST_LIMITS);
  }

  private prepareChat(prompt: Extract<Prompt, { kind: "chat" }>, chat: ChatFormat | undefined): PreparedPrompt {
    if (!chat) {
      throw new AlloyError("unsupported_capability", `${this.info.name} has no chat template`, {
        hint: "use it with a plain prompt, or take a model that was made for chat",
      });
    }
    const { tools: given = [], toolChoice } = prompt;
    const tools = toolChoice === "none" ? [] : given;
    const messages = prompt.bare ? prompt.messages : withPreset(prompt.messages, this.info.preset);
    const rendered = chat.render(messages, {
      tools: tools.length > 0 ? tools : undefined,
      thinking: prompt.thinking,
      addGenerationPrompt: !(prompt.continueLast && endsWithAssistant(prompt.messages)),
      extra: prompt.templateExtra,
    });
    const ids = this.tokenizer.encode(rendered.text, { addSpecial: false });
    // Most templates write the beginning-of-sequence token themselves; the others leave it to the tokenizer.
    const { bos, addBos } = this.tokenizer;
    if (addBos && bos !== undefined && ids[0] !== bos) ids.unshift(bos);
    return { ids, text: rendered.text, tools: offeredTools(prompt), startsInReasoning: rendered.startsInReasoning };
  }

  /** The ids, all of them in the vocabulary. Throws `invalid_value`. */
  checkedIds(ids: readonly number[]): number[] {
    const wrong = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < this.runner.vocabSize));
    if (wrong === undefined) return [...ids];
    throw new AlloyError("invalid_value", `token id ${wrong} does not exist in ${this.info.name}`, {
      param: "prompt",
      hint: `ids run from 0 to ${this.runner.vocabSize - 1}`,
    });
  }

  private overflow(tokens: number, window: number, request: GenerateRequest): AlloyError {
    const hint =
      window < this.info.contextLength && request.contextLimit !== window
        ? `shorten the prompt, or load the model with a longer context (it allows ${this.info.contextLength})`
        : "shorten the prompt";
    return new AlloyError("context_length_exceeded", `the prompt has ${tokens} tokens, and the context window holds ${window}`, {
      hint,
      data: { tokens, window },
    });
  }
}
