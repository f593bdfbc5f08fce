/** Answers for what the contract has and this version has not. */
import { AlloyError } from "../support/errors.ts";
import type { Handler, RequestContext } from "./context.ts";
import { errorResponse } from "./errors.ts";

/** A 501 in the path's dialect, which asks clients not to try again. */
export function notSupported(context: RequestContext, what: string, hint?: string): Response {
  const error = new AlloyError("unsupported_feature", `${what} is not supported by this version of alloy`, { hint });
  context.outcome.error = error;
  return errorResponse(context.dialect, error, context.id, 501);
}

export function notBuilt(what: string): Handler {
  return (context) => notSupported(context, what);
}
