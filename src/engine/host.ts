/** The worker's side of the border: turns messages into calls of an engine, and what comes of them into messages. */
import { AlloyError } from "../support/errors.ts";
import type { Engine } from "./api.ts";
import type { EngineOptions } from "./core.ts";
import type { FromWorker, ToWorker } from "./protocol.ts";

/** The scope of a worker, as far as it is used here. */
interface Scope {
  postMessage(message: FromWorker): void;
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
}

/** Serves the engine that `create` makes to the thread that started this worker. */
export function hostEngine(create: (options: EngineOptions) => Promise<Engine>): void {
  const scope = globalThis as unknown as Scope;
  const post = (message: FromWorker): void => scope.postMessage(message);
  const running = new Map<number, AbortController>();
  let opened: Promise<Engine> | undefined;

  const engine = (): Promise<Engine> => opened ?? Promise.reject(new AlloyError("internal", "the engine's worker was not opened"));

  /** Answers `id` with an error if `work` throws. */
  const answering = async (id: number, work: () => Promise<FromWorker>): Promise<void> => {
    try {
      post(await work());
    } catch (e) {
      post({ type: "error", id, error: AlloyError.from(e).toJSON() });
    }
  };

  const handle = (message: ToWorker): void => {
    switch (message.type) {
      case "open": {
        opened = create(message.options);
        opened.then(
          () => post({ type: "ready" }),
          (e) => post({ type: "failed", error: AlloyError.from(e).toJSON() }),
        );
        return;
      }
      case "call": {
        const { id, method, args } = message;
        void answering(id, async () => {
          const call = (await engine())[method] as (...a: readonly unknown[]) => Promise<unknown>;
          return { type: "result", id, value: await call.apply(await engine(), args) };
        });
        return;
      }
      case "generate": {
        const { id, request } = message;
        const stop = new AbortController();
        running.set(id, stop);
        void answering(id, async () => {
          for await (const event of (await engine()).generate(request, stop.signal)) post({ type: "event", id, event });
          return { type: "done", id };
        }).finally(() => running.delete(id));
        return;
      }
      case "cancel":
        running.get(message.id)?.abort();
    }
  };
  scope.onmessage = ({ data }) => handle(data);
}
