/** The parts an engine is put together from, as one object: the real ones are in ./wiring.ts, tests hand in small ones. */
import type { RenderLimits } from "../chat/jinja.ts";
import type { KvType } from "../../kernels/kv-cache.ts";
import type { ChatFormat } from "../chat/api.ts";
import type { ModelFile } from "../formats/weights.ts";
import type { LoadRunner } from "../models/api.ts";
import type { Device } from "../runtime/device.ts";
import type { Tokenizer } from "../tokenizer/api.ts";
import type { ModelInfo, SamplingParams } from "./api.ts";

/** Finds stop strings in streamed text. */
export interface StopFilter {
  /** The text that can be shown for certain (before the stop string if one was found), and the stop string. */
  push(text: string): { text: string; stop?: string };
  /** What was held back. */
  finish(): string;
}

/** A model's memory needs, known before it is loaded. */
export interface ModelSizes {
  /** Bytes of the weights as they will be kept. */
  weightBytes: number;
  /** Bytes of KV cache per token and context. */
  kvBytesPerToken: number;
  /** Longest context the model was made for. */
  contextLength: number;
}

/** An installed model, and what its store says about how to use it. */
export interface FoundModel {
  info: ModelInfo;
  sampling: Partial<SamplingParams>;
  stops: readonly string[];
}

export interface EngineParts {
  createDevice(options: { device?: string; threads?: number }): Device | Promise<Device>;
  /** Bytes of memory that can be taken without swapping. */
  freeMemory(): number;
  listModels(): Promise<ModelInfo[]>;
  /** Throws `model_not_found`. */
  findModel(reference: string): Promise<FoundModel>;
  openModel(path: string): ModelFile | Promise<ModelFile>;
  sizes(file: ModelFile, o: { kvType: KvType; precision: "fast" | "exact" }): ModelSizes;
  loadTokenizer(file: ModelFile): Tokenizer;
  /** Undefined: the model has no chat template. @param limits of rendering, where the template is not the model's own */
  loadChat(file: ModelFile, info: ModelInfo, tokenizer: Tokenizer, limits?: RenderLimits): ChatFormat | undefined;
  /** What the model's makers recommend. */
  samplingDefaults(file: ModelFile): Partial<SamplingParams>;
  loadRunner: LoadRunner;
  stopFilter(stops: readonly string[]): StopFilter;
}
