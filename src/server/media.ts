/** Images in requests: no model that Alloy loads today takes them (spec 1.16). */
import type { AlloyError } from "../support/errors.ts";
import { fieldError } from "./errors.ts";

/** Stands for images in old turns and tool results, so that a long agent session survives a switch to a text-only model. */
export const IMAGE_OMITTED = "[image omitted: model has no vision]";

export function imageError(param: string, model: string): AlloyError {
  return fieldError("unsupported_content", param, `is an image, which the model '${model}' cannot take`, "Send text only.");
}
