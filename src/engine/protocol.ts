/** Messages between an engine's client and its worker. All of them survive structured cloning; errors travel as plain objects. */
import type { SerializedError } from "../support/errors.ts";
import type { Engine, GenerateEvent, GenerateRequest } from "./api.ts";
import type { EngineOptions } from "./core.ts";

/** Engine methods that are one question and one answer. */
export type Callable = "loaded" | "load" | "unload" | "tokenize" | "detokenize" | "tokenBytes" | "close";

export type CallArguments<M extends Callable> = Parameters<Engine[M]>;
export type CallResult<M extends Callable> = Awaited<ReturnType<Engine[M]>>;

export type ToWorker =
  /** The first message. */
  | { type: "open"; options: EngineOptions }
  | { [M in Callable]: { type: "call"; id: number; method: M; args: CallArguments<M> } }[Callable]
  | { type: "generate"; id: number; request: GenerateRequest }
  /** Cancels the generation `id`. */
  | { type: "cancel"; id: number };

export type FromWorker =
  /** The engine is up: device open, the asked models loaded. */
  | { type: "ready" }
  /** It cannot come up; the worker is of no more use. */
  | { type: "failed"; error: SerializedError }
  | { type: "result"; id: number; value: unknown }
  | { type: "event"; id: number; event: GenerateEvent }
  /** A generation's events are over. */
  | { type: "done"; id: number }
  /** A call or a generation failed. */
  | { type: "error"; id: number; error: SerializedError };
