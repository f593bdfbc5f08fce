/**
 * The parts of Alloy that commands call, as one object: tests hand in others, and the program loads each part only when a command
 * asks for it, so that `alloy version` does not pay for the engine.
 */
import type { KvType } from "../../kernels/kv-cache.ts";
import type { Engine, ModelInfo } from "../engine/api.ts";
import type { CreateOptions } from "../engine/create.ts";
import type { ModelRunner } from "../models/api.ts";
import type { KernelReport } from "../../kernels/selftest/index.ts";
import type { Logger } from "../server/log.ts";
import type { DeviceProperties } from "../runtime/device.ts";
import type { Tokenizer } from "../tokenizer/api.ts";
import type { ProgressEvent } from "./progress.ts";

import type { SelftestChoice } from "./selftest.ts";

export type { CreateOptions };

/** A model on this machine, as `alloy list` shows it. */
export interface ModelListing {
  /** Reference that every command accepts. */
  name: string;
  /** Which store holds it: "demo", "alloy", "ollama" or "huggingface". */
  source: string;
  path: string;
  /** ISO time of the last change. */
  modified: string;
  /** What its file says; left out when that cannot be read, and `problem` says why. */
  info?: Pick<ModelInfo, "architecture" | "parameters" | "quantization" | "fileBytes" | "contextLength">;
  problem?: string;
}

export interface ServeOptions {
  host: string;
  port: number;
  log?: Logger;
  timeoutMs?: number;
  maxBody?: number;
}

export interface RunningServer {
  /** Where clients on this machine reach it, without a trailing slash. */
  url: string;
  /** Stops accepting, lets running requests finish for at most `graceMs`, then ends them. */
  stop(graceMs: number): Promise<void>;
}

export interface RunnerChoice {
  precision: "exact" | "fast";
  /** Longest sequence in tokens. */
  contextLength: number;
  threads?: number;
  device?: string;
  kvType?: KvType;
  /** Most tokens in one step. */
  batch?: number;
  /** Sequences that compute at the same time, each as long as `contextLength`. Default 1. */
  sequences?: number;
}

export interface OpenRunner {
  runner: ModelRunner;
  /** Bytes of the model's files. */
  fileBytes: number;
  /** Device in words, e.g. "cpu avx512-vnni, 2 threads". */
  device: string;
  close(): void;
}

/** A stock kernel as `alloy inspect` shows it. */
export interface InspectableKernel {
  name: string;
  /** In order, with their types in the language's words: "ptr(f32)", "dim", "constexpr". */
  parameters: { name: string; type: string }[];
  /** Signature, tile IR as written, after each pass, and the target's source, in order. */
  stages(options: {
    isa?: string;
    target?: string;
    constexprs: Record<string, number | boolean | string>;
  }): { name: string; text: string }[];
}

/** What `alloy pull` can be told beside the name. */
export interface PullChoice {
  revision?: string;
  projector?: boolean;
  insecure?: boolean;
}

export interface PullRequest extends PullChoice {
  signal: AbortSignal;
  onEvent: (event: ProgressEvent) => void;
}

/** What to make a model of: the text of a Modelfile, whose paths are relative to `folder`, or another model. */
export type NewModel = { modelfile: string; folder: string } | { from: string; system?: string };

export interface Deps {
  createEngine(options: CreateOptions): Promise<Engine>;
  startServer(engine: Engine, options: ServeOptions): Promise<RunningServer>;
  /** Whether a word names a model that is here (path, `demo`, a store's name). */
  isModel(reference: string): Promise<boolean>;
  /** Path of a model's file or folder. Throws `model_not_found` with what to do. */
  resolveModel(reference: string): Promise<string>;
  listModels(): Promise<ModelListing[]>;
  /** Downloads into Alloy's store; the model's name. Throws `model_not_found`, `download_failed`, `forbidden`, `io_error`, `cancelled`. */
  pullModel(reference: string, request: PullRequest): Promise<string>;
  /** Deletes from Alloy's store; bytes that became free. Throws `model_not_found`, and `forbidden` for other programs' models. */
  removeModel(reference: string): Promise<{ name: string; freed: number }>;
  removeUnfinished(): Promise<{ files: number; freed: number }>;
  /** The new name. */
  copyModel(source: string, destination: string): Promise<string>;
  createModel(name: string, what: NewModel, onStatus: (status: string) => void): Promise<string>;
  /** Opens the file to read what it is; runs nothing. */
  describeModel(reference: string): Promise<ModelInfo>;
  openTokenizer(reference: string): Promise<Tokenizer>;
  /** The bare model, below engine and scheduler: for `bench` and `logits`. */
  openRunner(reference: string, choice: RunnerChoice): Promise<OpenRunner>;
  kernels(): Promise<InspectableKernel[]>;
  /** What a device is (default: the one that commands compute on). Throws `device_error` when it is not there. */
  deviceProperties(name?: string): Promise<DeviceProperties>;
  /** Compares the stock kernels on a device with the interpreter, one after the other. Throws `device_error` when it is not there. */
  selftest(choice: SelftestChoice): Promise<{ /** In words. */ device: string; reports: AsyncIterable<KernelReport> }>;
}
