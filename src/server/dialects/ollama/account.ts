/** What Ollama's clients ask about its cloud, which is not here (spec 4.13). */
import { AlloyError } from "../../../support/errors.ts";
import { jsonResponse } from "../../stream.ts";

export function status(): Response {
  return jsonResponse({ cloud: { disabled: true, source: "env" } });
}

export function recommendations(): Response {
  return jsonResponse({ recommendations: [] });
}

/** Who is signed in: nobody can be. */
export function account(): never {
  throw new AlloyError("unauthorized", "there are no accounts here");
}
