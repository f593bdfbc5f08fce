/** Thinking control of the dialects as one canonical value (spec 1.14). */
import type { Thinking } from "../chat/api.ts";
import type { ModelInfo } from "../engine/api.ts";
import { fieldError } from "./errors.ts";

const EFFORTS: Record<string, Thinking> = {
  none: "off",
  minimal: "low",
  low: "low",
  medium: "medium",
  high: "high",
  xhigh: "max",
  ultra: "max",
  max: "max",
};

/** An effort name (`none` to `max`); undefined for null or absent. Throws `invalid_value`. */
export function effort(value: string | null | undefined, param: string): Thinking | undefined {
  if (value === null || value === undefined) return undefined;
  const thinking = Object.hasOwn(EFFORTS, value) ? EFFORTS[value] : undefined;
  if (thinking === undefined) {
    throw fieldError("invalid_value", param, `must be one of ${Object.keys(EFFORTS).join(", ")}, not ${JSON.stringify(value)}`);
  }
  return thinking;
}

/** What reaches the engine: nothing at all for a model that cannot think. */
export function thinkingFor(info: ModelInfo, thinking: Thinking | undefined): Thinking | undefined {
  return info.capabilities.includes("thinking") ? thinking : undefined;
}
