/** POST /api/create (spec 4.9). */
import { Type } from "@sinclair/typebox";
import { pullModel } from "../../../hub/pull/pull.ts";
import { resolveModel } from "../../../hub/resolve.ts";
import { createModel } from "../../../hub/store/create.ts";
import { AlloyError } from "../../../support/errors.ts";
import { readJson } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { fieldError } from "../../errors.ts";
import { checkPullHost } from "../../pull-hosts.ts";
import { opt, validate } from "../../validate.ts";
import { parseOptions } from "./options.ts";
import { checkTemplate } from "./template.ts";
import { answerWithProgress, unloadStale, type StatusLine } from "./progress.ts";

const Files = Type.Record(Type.String(), Type.String());
export const Body = Type.Object({
  model: opt(Type.String()),
  name: opt(Type.String()),
  stream: opt(Type.Boolean()),
  from: opt(Type.String()),
  files: opt(Files),
  adapters: opt(Files),
  draft_files: opt(Files),
  template: opt(Type.String()),
  system: opt(Type.String()),
  license: opt(Type.Union([Type.String(), Type.Array(Type.String())])),
  parameters: opt(Type.Record(Type.String(), Type.Unknown())),
  messages: opt(Type.Array(Type.Object({ role: Type.String(), content: Type.String() }))),
  quantize: opt(Type.String()),
  quantization: opt(Type.String()),
  renderer: opt(Type.String()),
  parser: opt(Type.String()),
  requires: opt(Type.String()),
});

const ROLES = new Set(["system", "user", "assistant"]);

export async function create(context: RequestContext): Promise<Response> {
  const body = validate(Body, await readJson(context));
  const name = body.model || body.name;
  if (!name) throw fieldError("missing_parameter", "model", "is required");
  refuse("adapters", Object.keys(body.adapters ?? {}), "LoRA adapters are not applied by this version. Merge them into the weights.");
  refuse("draft_files", Object.keys(body.draft_files ?? {}), "Draft models are not used by this version.");
  refuse("quantize", body.quantize || body.quantization, "Upload or pull a model that is quantized already.");
  checkTemplate(body.template);
  // Throws for options of a wrong type.
  parseOptions(body.parameters);
  for (const [i, { role }] of (body.messages ?? []).entries())
    if (!ROLES.has(role))
      throw fieldError("invalid_value", `messages[${i}].role`, `is ${JSON.stringify(role)}, not system, user or assistant`);
  const { env } = context.settings;
  const license = typeof body.license === "string" ? [body.license] : (body.license ?? []);
  const config = Object.fromEntries((["renderer", "parser", "requires"] as const).flatMap((key) => (body[key] ? [[key, body[key]]] : [])));
  return answerWithProgress(context, body.stream ?? true, async (emit) => {
    if (body.from) await pullUnlessHere(context, body.from, emit);
    const made = await createModel(
      {
        name,
        from: body.from ?? undefined,
        files: body.files ?? undefined,
        template: body.template ?? undefined,
        system: body.system ?? undefined,
        parameters: body.parameters ?? undefined,
        messages: body.messages ?? undefined,
        license: license.filter((text) => text !== ""),
        config,
      },
      { env, signal: context.signal, onStatus: (status) => emit({ status }) },
    );
    await unloadStale(context, made);
  });
}

function refuse(param: string, given: string | readonly string[] | null | undefined, hint: string): void {
  if (given && given.length > 0) throw fieldError("unsupported_feature", param, "is not supported", hint);
}

async function pullUnlessHere(context: RequestContext, from: string, emit: (line: StatusLine) => void): Promise<void> {
  const { env } = context.settings;
  try {
    await resolveModel(from, { env, paths: false });
  } catch (e) {
    if (!(e instanceof AlloyError) || e.code !== "model_not_found") throw e;
    checkPullHost(context.settings, from);
    await pullModel(from, { env, signal: context.signal, onEvent: (event) => event.status !== "success" && emit(event) }).catch(
      (failed: unknown) => {
        if (failed instanceof AlloyError && (failed.code === "model_not_found" || failed.code === "download_failed")) throw e;
        throw failed;
      },
    );
  }
}
