/** What a running server remembers between requests. */
import { ResponseStore } from "./dialects/openai/responses/store.ts";
import { Metrics } from "./metrics/metrics.ts";

export class ServerState {
  /** The server finishes what runs and takes nothing new. */
  draining = false;
  readonly responses = new ResponseStore();
  readonly metrics: Metrics;

  constructor(version: string) {
    this.metrics = new Metrics(version);
  }
}
