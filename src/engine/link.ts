/** One engine that runs elsewhere, for as long as it lives, and what was sent to it. */
import { AlloyError } from "../support/errors.ts";
import { VERSION } from "../support/version.ts";
import type { EngineOptions } from "./core.ts";
import type { Errand } from "./errand.ts";
import type { OpenPort, Port } from "./port.ts";
import type { FromEngine } from "./protocol.ts";

export interface LinkEvents {
  /** It brought a generation to its end. */
  answered(): void;
  /** It ended without being asked to, and had begun to look at what is in `seen`. */
  died(why: string, seen: ReadonlySet<Errand>): void;
  /** It said that it cannot come up, and ended. */
  failed(error: AlloyError): void;
}

export class Link {
  /** Rejects when the engine cannot come up. */
  readonly ready: Promise<void>;
  up = false;
  over = false;
  private ids = 0;
  private readonly sent = new Map<number, Errand>();
  private readonly numbers = new Map<Errand, number>();
  private readonly opened = Promise.withResolvers<void>();
  private readonly port: Port;

  constructor(
    openPort: OpenPort,
    options: EngineOptions,
    private readonly on: LinkEvents,
  ) {
    this.ready = this.opened.promise;
    // Whoever waits for it hears of it; the failure of one that was started again reaches its requests.
    this.ready.catch(() => {});
    this.port = openPort({ message: (message) => this.receive(message), died: (why) => this.died(why) });
    this.port.post({ type: "open", version: VERSION, options });
  }

  get pid(): number | undefined {
    return this.over ? undefined : this.port.pid;
  }

  send(errand: Errand): void {
    if (this.over) return;
    const id = this.ids++;
    this.sent.set(id, errand);
    this.numbers.set(errand, id);
    this.port.post(errand.message(id));
  }

  /** False when it was not sent here. */
  cancel(errand: Errand): boolean {
    const id = this.numbers.get(errand);
    if (id === undefined || this.over) return false;
    this.port.post({ type: "cancel", id });
    return true;
  }

  /** Ends the engine. */
  end(error: AlloyError): void {
    if (this.close(error)) this.port.end();
  }

  private died(why: string): void {
    const seen = new Set(this.up ? this.sent.values() : []);
    if (this.close(new AlloyError("engine_died", `the engine stopped: ${why}`))) this.on.died(why, seen);
  }

  private close(error: AlloyError): boolean {
    if (this.over) return false;
    this.over = true;
    this.up = false;
    this.opened.reject(error);
    this.sent.clear();
    this.numbers.clear();
    return true;
  }

  private receive(message: FromEngine): void {
    if (this.over) return;
    if (message.type === "ready") {
      this.up = true;
      return this.opened.resolve();
    }
    if (message.type === "failed") {
      const error = AlloyError.fromJSON(message.error);
      this.end(error);
      return this.on.failed(error);
    }
    const errand = this.sent.get(message.id);
    if (message.type === "event") return errand?.event(message.event);
    this.sent.delete(message.id);
    if (!errand) return;
    this.numbers.delete(errand);
    if (message.type === "error") return errand.fail(AlloyError.fromJSON(message.error));
    if (message.type === "result") return errand.result(message.value);
    this.on.answered();
    errand.end();
  }
}
