/** What a running server remembers between requests. */
import { ResponseStore } from "./dialects/openai/responses/store.ts";
import { Metrics } from "./metrics/metrics.ts";

export class ServerState {
  readonly responses = new ResponseStore();
  readonly metrics: Metrics;

  constructor(version: string) {
    this.metrics = new Metrics(version);
  }
}
