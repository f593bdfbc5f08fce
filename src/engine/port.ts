/** Where an engine may run: in a worker of this process, or in a process of its own. Both are sent the same messages. */
import { pack, unpack } from "./pack.ts";
import type { FromEngine, ToEngine } from "./protocol.ts";

/** What the executable is started with, in place of a command, to be the engine's process. */
export const ENGINE_WORD = "__engine";

/** The near end of the way to an engine. */
export interface Port {
  post(message: ToEngine): void;
  /** Ends the engine at once, whatever it does. */
  end(): void;
  /** Of the engine's own process, if it has one. */
  readonly pid?: number;
}

export interface PortEvents {
  message(message: FromEngine): void;
  /** It ended, and nobody asked it to. Called at most once, and nothing after it. */
  died(why: string): void;
}

export type OpenPort = (events: PortEvents) => Port;

/** An engine in a worker. What breaks it beyond a JavaScript exception takes this process along. */
export function workerPort(start: () => Worker): OpenPort {
  return (events) => {
    const worker = start();
    worker.onmessage = ({ data }: MessageEvent<FromEngine>) => events.message(data);
    worker.onerror = (event) => {
      event.preventDefault();
      events.died(event.message);
    };
    worker.addEventListener("close", () => events.died("its thread ended"));
    return { post: (message) => worker.postMessage(message), end: () => worker.terminate() };
  };
}

/**
 * An engine in a process of its own: a crash in native code or the system's out-of-memory killer end that one alone, and its memory goes
 * back with it.
 * @param command what runs ./child.ts
 */
export function processPort(command: string[]): OpenPort {
  return (events) => {
    let child: Bun.Subprocess;
    try {
      child = Bun.spawn(command, {
        // Standard output belongs to the command that started it.
        stdio: ["ignore", 2, 2],
        serialization: "advanced",
        ipc(messages) {
          for (const message of messages as FromEngine[]) events.message(unpack(message));
        },
        onExit: (_, code, signal) => events.died(ending(code, signal)),
      });
    } catch (e) {
      queueMicrotask(() => events.died(`its process cannot be started: ${(e as Error).message}`));
      return { post: () => {}, end: () => {} };
    }
    return {
      pid: child.pid,
      post(message) {
        try {
          child.send(pack(message));
        } catch {
          // It just ended, of which onExit tells; what was meant for it is sent again or failed then.
        }
      },
      end: () => child.kill("SIGKILL"),
    };
  };
}

function ending(code: number | null, signal: number | string | null): string {
  const name = typeof signal === "string" ? signal : signal === null ? undefined : SIGNALS[signal];
  if (name === "SIGKILL") return "its process was killed (SIGKILL), by someone or because the system ran out of memory";
  if (signal !== null) return `its process crashed (${name ?? `signal ${signal}`})`;
  return `its process exited with code ${code}`;
}

/** What crashes, where Bun gives the number. */
const SIGNALS: Record<number, string> = { 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM" };
