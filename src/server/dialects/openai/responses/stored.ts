/** GET and DELETE /v1/responses/{id}, its input items, and what is not offered below that path (spec 2.11). */
import { AlloyError } from "../../../../support/errors.ts";
import type { RequestContext } from "../../../context.ts";
import { jsonResponse } from "../../../stream.ts";
import type { StoredResponse } from "./store.ts";

export function getResponse(context: RequestContext): Response {
  const id = context.rest.replace(/\/input_items$/, "");
  const stored = find(context, id);
  if (id === context.rest) return jsonResponse(stored.response);
  // Newest first, as OpenAI lists them.
  const data = stored.input.map((item, i) => ({ id: `${id}_in_${i}`, type: "message", ...item }));
  if (context.query.get("order") !== "asc") data.reverse();
  return jsonResponse({ object: "list", data, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null, has_more: false });
}

export function deleteResponse(context: RequestContext): Response {
  find(context, context.rest);
  context.state.responses.delete(context.rest);
  return jsonResponse({ id: context.rest, object: "response", deleted: true });
}

/** POST below a response: nothing runs in the background that could be cancelled, and clients compact on their own. */
export function postBelowResponse(context: RequestContext): Response {
  if (!context.rest.endsWith("/cancel")) throw new AlloyError("not_found", `unknown URL: POST ${context.path}`);
  find(context, context.rest.slice(0, -"/cancel".length));
  throw new AlloyError("unsupported_feature", "only background responses can be cancelled, and there are none", {
    hint: "Close the connection to end a response.",
  });
}

function find(context: RequestContext, id: string): StoredResponse {
  const stored = context.state.responses.get(id);
  if (stored) return stored;
  throw new AlloyError("not_found", `Response with id '${id}' not found.`, {
    hint: "Responses are kept in memory for an hour, unless 'store' is false.",
    param: "response_id",
    data: { code: "response_not_found" },
  });
}
