/** POST /api/pull and POST /api/push (spec 4.7, 4.8). */
import { Type } from "@sinclair/typebox";
import { pullModel } from "../../../hub/pull/pull.ts";
import { AlloyError } from "../../../support/errors.ts";
import { readJson } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { errorResponse, fieldError } from "../../errors.ts";
import { checkPullHost } from "../../pull-hosts.ts";
import { opt, validate } from "../../validate.ts";
import { answerWithProgress, unloadStale } from "./progress.ts";

export const PullBody = Type.Object({
  model: opt(Type.String()),
  name: opt(Type.String()),
  stream: opt(Type.Boolean()),
  insecure: opt(Type.Boolean()),
  revision: opt(Type.String()),
  projector: opt(Type.Boolean()),
});

export async function pull(context: RequestContext): Promise<Response> {
  const body = validate(PullBody, await readJson(context));
  const reference = body.model || body.name;
  if (!reference) throw fieldError("missing_parameter", "model", "is required");
  checkPullHost(context.settings, reference);
  const stream = body.stream ?? true;
  context.resumable = true;
  return answerWithProgress(context, stream, async (onEvent) => {
    try {
      const name = await pullModel(reference, {
        env: context.settings.env,
        signal: context.signal,
        onEvent,
        insecure: body.insecure ?? false,
        revision: body.revision ?? undefined,
        projector: body.projector ?? false,
      });
      await unloadStale(context, name);
    } catch (e) {
      // Ollama answers 500 with the text that its clients look for: what is missing is on another server, not here.
      if (e instanceof AlloyError && e.code === "model_not_found") throw new AlloyError("download_failed", e.message, e);
      throw e;
    }
  });
}

export const PushBody = Type.Object({ model: opt(Type.String()), name: opt(Type.String()) });

export async function push(context: RequestContext): Promise<Response> {
  const body = validate(PushBody, await readJson(context));
  if (!(body.model || body.name)) throw fieldError("missing_parameter", "model", "is required");
  return errorResponse("ollama", new AlloyError("unsupported_feature", "push is not supported by alloy"), context.id, 501);
}
