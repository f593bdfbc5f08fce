/** POST /v1/audio/transcriptions and /translations (spec 2.12): forms and models are checked; no model hears today. */
import { AlloyError } from "../../../support/errors.ts";
import { readBytes } from "../../body.ts";
import type { RequestContext } from "../../context.ts";
import { fieldError } from "../../errors.ts";
import { resolveModel } from "../../names.ts";

const MAX_BYTES = 25 * 2 ** 20;
const FORMATS = ["json", "text", "srt", "vtt", "verbose_json"];

export async function transcriptions(context: RequestContext): Promise<Response> {
  const form = await readForm(context);
  const file = form.get("file");
  if (!(file instanceof Blob)) throw fieldError("missing_parameter", "file", "is required", "Send the audio as a file of the form.");
  if (file.size === 0) throw fieldError("invalid_value", "file", "is empty");
  const model = form.get("model");
  if (typeof model !== "string" || model === "") throw fieldError("missing_parameter", "model", "is required");
  const format = form.get("response_format") ?? "json";
  if (typeof format !== "string" || !FORMATS.includes(format)) {
    throw fieldError("invalid_value", "response_format", `must be one of ${FORMATS.join(", ")}, not ${JSON.stringify(format)}`);
  }
  if (form.has("timestamp_granularities[]") && format !== "verbose_json") {
    throw fieldError("invalid_value", "timestamp_granularities", "needs 'response_format' to be \"verbose_json\"");
  }
  const info = await resolveModel(context, model);
  throw new AlloyError("unsupported_capability", `the model '${info.name}' does not transcribe audio`, {
    hint: "No model that this version of alloy runs does.",
    param: "model",
  });
}

async function readForm(context: RequestContext): Promise<FormData> {
  const type = context.request.headers.get("content-type") ?? "";
  const bytes = await readBytes(context, MAX_BYTES);
  try {
    return await new Response(bytes, { headers: { "content-type": type } }).formData();
  } catch (e) {
    throw new AlloyError("bad_argument", `the request body is no form (its content type is '${type}')`, {
      hint: "Send multipart/form-data with 'file' and 'model'.",
      cause: e,
    });
  }
}
