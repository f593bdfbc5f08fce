/** /openapi.json: valid OpenAPI 3.1, of all routes and no others, with the schemas that bodies are held to. */
import { expect, test } from "bun:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import Ajv2020 from "ajv/dist/2020.js";
import fc from "fast-check";
import { ROUTES } from "../../src/server/routes.ts";
import { BODIES, places, replaced } from "./bodies.ts";
import { start } from "./harness.ts";

interface Operation {
  operationId: string;
  summary: string;
  security?: unknown[];
  requestBody?: { content: Record<string, { schema?: { $ref: string } }> };
  responses: Record<string, { content?: Record<string, { schema?: { $ref: string } }> }>;
}

interface Document {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object> };
}

const seed = Number(process.env.ALLOY_FUZZ_SEED ?? Date.now() % 2 ** 31);

async function documentOf(url: string): Promise<Document> {
  const response = await fetch(`${url}/openapi.json`);
  expect([response.status, response.headers.get("content-type")]).toEqual([200, "application/json; charset=utf-8"]);
  return (await response.json()) as Document;
}

test("a validator of OpenAPI has nothing to say against it", async () => {
  await using h = await start();
  const document = await documentOf(h.url);
  const validator = new Validator();
  expect(await validator.validate(structuredClone(document) as never)).toEqual({ valid: true });
  expect(validator.version).toBe("3.1");
  // It does find what is wrong.
  expect(await new Validator().validate({ ...structuredClone(document), paths: { nope: { get: { responses: 3 } } } })).toMatchObject({
    valid: false,
  });
  const refs = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map((m) => m[1]);
  expect([...new Set(refs)].toSorted()).toEqual(Object.keys(document.components.schemas).toSorted());
});

test("every route is in it, under its own id, and each of its paths is a route", async () => {
  await using h = await start();
  const { paths } = await documentOf(h.url);
  const listed = Object.entries(paths).flatMap(([path, item]) => Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`));
  expect(listed.toSorted()).toEqual(ROUTES.map((r) => `${r.method} ${r.path.replace(/\*$/, `{${r.rest ?? "rest"}}`)}`).toSorted());
  const operations = Object.values(paths).flatMap((item) => Object.values(item));
  expect(new Set(operations.map((o) => o.operationId)).size).toBe(operations.length);
  for (const { operationId, summary } of operations) expect([operationId, summary.length > 5]).toEqual([operationId, true]);
  for (const [path, item] of Object.entries(paths)) {
    for (const method of Object.keys(item)) {
      const response = await fetch(h.url + path.replace(/\{\w+\}/, "x"), {
        method: method.toUpperCase(),
        body: method === "post" ? "{}" : undefined,
      });
      const answer = await response.text();
      const unknown = response.status === 405 || (!path.includes("{") && /unknown URL|404 page not found/.test(answer));
      expect([method, path, unknown]).toEqual([method, path, false]);
      const stated = item[method].responses;
      if (response.status === 501 && !("default" in stated)) expect(Object.keys(stated)).toEqual(["501"]);
      if (response.status === 200) {
        const type = response.headers.get("content-type")?.replace(/;.*/, "");
        const types = Object.keys(stated["200"].content ?? {});
        if (types[0] !== "*/*" && answer !== "") expect([path, types]).toEqual([path, expect.arrayContaining([type])]);
      }
    }
  }
});

test(`a body that is answered fits its schema, and one that does not fit is refused (seed ${seed})`, async () => {
  await using h = await start();
  const { paths, components } = await documentOf(h.url);
  const ajv = new Ajv2020({ strict: false });
  ajv.addSchema({ $id: "api", components });
  const fits = Object.fromEntries(
    Object.keys(BODIES).map((path) => {
      const { $ref } = paths[path].post.requestBody!.content["application/json"].schema!;
      return [path, ajv.compile({ $ref: `api${$ref}` })];
    }),
  );
  for (const [path, body] of Object.entries(BODIES)) expect([path, fits[path](body)]).toEqual([path, true]);
  const cases = Object.entries(BODIES).flatMap(([path, body]) => places(body).map((place) => ({ path, body, place })));
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...cases), fc.jsonValue(), async ({ path, body, place }, by) => {
      const changed = replaced(body, place, by);
      const response = await h.post(path, changed as object);
      await response.text();
      const fit = fits[path](changed);
      if (!fit) refused++;
      if (response.status === 200 && !fit)
        throw new Error(`${path} answers ${JSON.stringify(changed)}: ${ajv.errorsText(fits[path].errors)}`);
    }),
    { seed, numRuns: 500 },
  );
  expect(refused).toBeGreaterThan(50);
}, 120_000);

test("streams, uploads, errors and keys are told", async () => {
  await using h = await start();
  const { paths } = await documentOf(h.url);
  const post = (path: string) => paths[path].post;
  expect(Object.keys(post("/v1/chat/completions").responses["200"].content!)).toEqual(["application/json", "text/event-stream"]);
  expect(Object.keys(post("/api/chat").responses["200"].content!)).toEqual(["application/json", "application/x-ndjson"]);
  expect(Object.keys(post("/v1/audio/transcriptions").requestBody!.content)).toEqual(["multipart/form-data"]);
  expect(post("/v1/messages").responses.default.content!["application/json"].schema!.$ref).toBe("#/components/schemas/anthropic.Error");
  expect(Object.keys(post("/v1/chat/completions/control").responses)).toEqual(["501"]);
  expect(paths["/health"].get.security).toEqual([]);
  expect(paths["/metrics"].get.security).toBeUndefined();
});
