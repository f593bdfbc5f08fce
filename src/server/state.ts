/** What a running server remembers between requests. */
import { ResponseStore } from "./dialects/openai/responses/store.ts";
import { Metrics } from "./metrics/metrics.ts";
import { Patience, type PatienceLimits } from "./patience.ts";

export class ServerState {
  /** The server finishes what runs and takes nothing new. */
  draining = false;
  readonly responses = new ResponseStore();
  readonly metrics: Metrics;
  readonly patience: Patience;

  constructor(version: string, patience: PatienceLimits) {
    this.metrics = new Metrics(version);
    this.patience = new Patience(patience);
  }
}
