/** Messages between an engine's client and the engine, wherever it runs. All of them survive structured cloning; errors travel as plain objects. */
import type { SerializedError } from "../support/errors.ts";
import type { Engine, GenerateEvent, GenerateRequest } from "./api.ts";
import type { EngineOptions } from "./core.ts";

/** Engine methods that are one question and one answer. */
export type Callable = "loaded" | "load" | "unload" | "tokenize" | "detokenize" | "tokenBytes" | "close";

export type CallArguments<M extends Callable> = Parameters<Engine[M]>;
export type CallResult<M extends Callable> = Awaited<ReturnType<Engine[M]>>;

export type ToEngine =
  /** The first message. An executable that was replaced while it ran starts another version of itself. */
  | { type: "open"; version: string; options: EngineOptions }
  | { [M in Callable]: { type: "call"; id: number; method: M; args: CallArguments<M> } }[Callable]
  | { type: "generate"; id: number; request: GenerateRequest }
  /** Cancels the generation `id`. */
  | { type: "cancel"; id: number };

export type FromEngine =
  /** The engine is up: device open, the asked models loaded. */
  | { type: "ready" }
  /** It cannot come up, and is of no more use. */
  | { type: "failed"; error: SerializedError }
  | { type: "result"; id: number; value: unknown }
  | { type: "event"; id: number; event: GenerateEvent }
  /** A generation's events are over. */
  | { type: "done"; id: number }
  /** A call or a generation failed. */
  | { type: "error"; id: number; error: SerializedError };
