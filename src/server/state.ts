/** What a running server remembers between requests. */
import { ResponseStore } from "./dialects/openai/responses/store.ts";

export class ServerState {
  readonly responses = new ResponseStore();
}
