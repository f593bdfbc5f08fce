/** Responses that the server keeps for `previous_response_id` and `GET /v1/responses/{id}` (spec 2.7, 2.11). In memory only. */
import type { InputItem } from "./input.ts";

export interface StoredResponse {
  /** As the client got it. */
  response: object;
  /** The request's own input items. */
  input: InputItem[];
  /** The whole conversation before the response: previous ones, then `input`. */
  history: InputItem[];
  output: InputItem[];
  /** Size of request and response as JSON text, roughly what it holds beyond its predecessors. */
  size: number;
}

const MAX_COUNT = 1000;
const MAX_SIZE = 64 * 2 ** 20;
const MAX_AGE_MS = 3_600_000;

/** Forgets what was not used for longest once there are too many, they are too large together, or an hour is over. */
export class ResponseStore {
  readonly #entries = new Map<string, { stored: StoredResponse; expires: number }>();
  /** Ids of output items to the ids of their responses. */
  readonly #owners = new Map<string, string>();
  #size = 0;

  constructor(private readonly now: () => number = Date.now) {}

  put(id: string, stored: StoredResponse): void {
    this.#entries.set(id, { stored, expires: this.now() + MAX_AGE_MS });
    this.#size += stored.size;
    for (const item of stored.output) if (typeof item.id === "string") this.#owners.set(item.id, id);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= MAX_COUNT && this.#size <= MAX_SIZE) break;
      this.delete(oldest);
    }
  }

  get(id: string): StoredResponse | undefined {
    const entry = this.#entries.get(id);
    if (!entry) return undefined;
    if (entry.expires <= this.now()) {
      this.delete(id);
      return undefined;
    }
    // A map keeps the order of insertion: the last used goes to its end.
    this.#entries.delete(id);
    this.#entries.set(id, entry);
    return entry.stored;
  }

  /** An output item of a response that is kept. */
  item(id: string): InputItem | undefined {
    const owner = this.#owners.get(id);
    return owner === undefined ? undefined : this.get(owner)?.output.find((item) => item.id === id);
  }

  /** Whether there was one. */
  delete(id: string): boolean {
    const entry = this.#entries.get(id);
    if (!entry) return false;
    this.#size -= entry.stored.size;
    for (const item of entry.stored.output) if (typeof item.id === "string") this.#owners.delete(item.id);
    return this.#entries.delete(id);
  }
}
