/** GET /openapi.json: OpenAPI 3.1 of the route table. Bodies are the very schemas that requests are checked against. */
import type { RequestContext, Route } from "./context.ts";
import type { Dialect } from "./errors.ts";
import { jsonResponse } from "./stream.ts";

export function openApi(routes: readonly Route[], { settings }: RequestContext): Response {
  return jsonResponse(openApiDocument(routes, settings.version));
}

const TAGS: Record<Dialect, string> = {
  openai: "OpenAI's API, llama-server's additions to it, and what operators need",
  anthropic: "Anthropic's API",
  ollama: "Ollama's API",
};

const object = (properties: object) => ({ type: "object", required: Object.keys(properties), properties });
const text = { type: "string" };
const orNull = { type: ["string", "null"] };

/** Error bodies by dialect (spec 1.7). */
const ERRORS: Record<Dialect, object> = {
  openai: object({ error: object({ message: text, type: text, param: orNull, code: orNull }) }),
  anthropic: object({ type: { const: "error" }, error: object({ type: text, message: text }), request_id: text }),
  ollama: object({ error: text }),
};

export function openApiDocument(routes: readonly Route[], version: string): object {
  const schemas: Record<string, unknown> = Object.fromEntries(Object.entries(ERRORS).map(([d, schema]) => [`${d}.Error`, schema]));
  const names = new Map<object, string>();
  /** Each schema stands once, under the name of the first operation that takes it. */
  const refTo = (schema: object, operation: string) => {
    let name = names.get(schema);
    if (name === undefined) {
      names.set(schema, (name = `${operation}.Request`));
      schemas[name] = schema;
    }
    return { $ref: `#/components/schemas/${name}` };
  };
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    const id = operationId(route);
    (paths[pathOf(route)] ??= {})[route.method.toLowerCase()] = {
      operationId: id,
      summary: route.summary,
      tags: [route.dialect],
      ...(route.path.endsWith("*") ? { parameters: [{ name: restOf(route), in: "path", required: true, schema: text }] } : {}),
      ...requestBody(route, (schema) => refTo(schema, id)),
      responses: responses(route),
      ...(route.open ? { security: [] } : {}),
    };
  }
  return {
    openapi: "3.1.0",
    info: { title: "Alloy", version, summary: "Language models over the OpenAI, Anthropic and Ollama APIs." },
    servers: [{ url: "/" }],
    tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
    // The empty one: a server without ALLOY_API_KEY asks for no key.
    security: [{ bearer: [] }, { apiKey: [] }, {}],
    paths,
    components: {
      securitySchemes: { bearer: { type: "http", scheme: "bearer" }, apiKey: { type: "apiKey", in: "header", name: "x-api-key" } },
      schemas,
    },
  };
}

function restOf({ rest }: Route): string {
  return rest ?? "rest";
}

function pathOf(route: Route): string {
  return route.path.replace(/\*$/, `{${restOf(route)}}`);
}

/** `POST /v1/chat/completions` -> `post_v1_chat_completions`. */
function operationId(route: Route): string {
  return `${route.method.toLowerCase()}${route.path === "/" ? "_root" : pathOf(route).replace(/\W+/g, "_").replace(/_$/, "")}`;
}

function requestBody({ body, upload }: Route, ref: (schema: object) => object): object {
  if (body) return { requestBody: { required: true, content: { "application/json": { schema: ref(body) } } } };
  return upload ? { requestBody: { required: true, content: { [upload]: {} } } } : {};
}

function responses({ dialect, answers = "application/json", streams, absent }: Route): object {
  const error = {
    description: "an error, in the shape of the API",
    content: { "application/json": { schema: { $ref: `#/components/schemas/${dialect}.Error` } } },
  };
  if (absent) return { 501: error };
  const types = [answers, streams].filter((type) => type !== undefined && type !== "");
  const content = types.length > 0 ? { content: Object.fromEntries(types.map((type) => [type, {}])) } : {};
  return { 200: { description: "done", ...content }, default: error };
}
