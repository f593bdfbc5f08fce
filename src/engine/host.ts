/** The engine's side of the border: turns messages into calls of an engine, and what comes of them into messages. */
import { AlloyError } from "../support/errors.ts";
import { VERSION } from "../support/version.ts";
import type { Engine } from "./api.ts";
import type { EngineOptions } from "./core.ts";
import { pack, unpack } from "./pack.ts";
import type { FromEngine, ToEngine } from "./protocol.ts";

type Create = (options: EngineOptions) => Promise<Engine>;

/** The scope of a worker, as far as it is used here. */
interface Scope {
  postMessage(message: FromEngine): void;
  onmessage: ((event: MessageEvent<ToEngine>) => void) | null;
}

/** Serves the engine that `create` makes to the thread that started this worker. */
export function serveThread(create: Create): void {
  const scope = globalThis as unknown as Scope;
  const handle = host(create, (message) => scope.postMessage(message));
  scope.onmessage = ({ data }) => handle(data);
}

/** Serves it to the process that started this one, and ends with that. */
export function serveParent(create: Create): void {
  // Ctrl-C and a service manager's SIGTERM go to both processes; the parent says when it is over.
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => {});
  process.on("disconnect", () => process.exit(0));
  // The end of the channel is not seen while what the parent has not read stands in front of it.
  const parent = process.ppid;
  setInterval(() => process.ppid === parent || process.exit(0), 1000).unref();
  // What one step emits goes in one message: each costs a system call and a turn of the parent.
  let step: FromEngine[] = [];
  const send = (): void => {
    process.send!(step.map(pack));
    step = [];
  };
  const handle = host(create, (message) => {
    if (step.push(message) === 1) queueMicrotask(send);
  });
  process.on("message", (message: ToEngine) => handle(unpack(message)));
}

/** What is to be done with each message. */
function host(create: Create, post: (message: FromEngine) => void): (message: ToEngine) => void {
  const running = new Map<number, AbortController>();
  let opened: Promise<Engine> | undefined;

  const engine = (): Promise<Engine> => opened ?? Promise.reject(new AlloyError("internal", "the engine was not opened"));

  /** Answers `id` with an error if `work` throws. */
  const answering = async (id: number, work: () => Promise<FromEngine>): Promise<void> => {
    try {
      post(await work());
    } catch (e) {
      post({ type: "error", id, error: AlloyError.from(e).toJSON() });
    }
  };

  const handle = (message: ToEngine): void => {
    switch (message.type) {
      case "open": {
        opened = message.version === VERSION ? create(message.options) : Promise.reject(replaced(message.version));
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
  return handle;
}

const replaced = (expected: string): AlloyError =>
  new AlloyError("engine_died", `Alloy ${expected} was replaced by version ${VERSION} while it ran`, { hint: "Start it again." });
