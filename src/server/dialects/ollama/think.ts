/** `think` of the Ollama dialect (spec 1.14, 4.3). */
import type { Thinking } from "../../../chat/api.ts";
import { AlloyError } from "../../../support/errors.ts";

/** Throws `invalid_value` with Ollama's text. */
export function parseThink(value: unknown): Thinking | undefined {
  if (value === undefined || value === null) return undefined;
  if (value === true) return "on";
  if (value === false) return "off";
  if (value === "high" || value === "medium" || value === "low" || value === "max") return value;
  throw new AlloyError(
    "invalid_value",
    `invalid think value: ${JSON.stringify(value)} (must be "high", "medium", "low", "max", true, or false)`,
    {
      param: "think",
    },
  );
}
