/** Any JSON value in any field: an answer or a shaped refusal, never a crash or a 5xx. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { BODIES, places, replaced } from "./bodies.ts";
import { start } from "./harness.ts";

const seed = Number(process.env.ALLOY_FUZZ_SEED ?? Date.now() % 2 ** 31);
test(`mutated bodies (seed ${seed})`, async () => {
  await using h = await start();
  const cases = Object.entries(BODIES).flatMap(([path, body]) => places(body).map((place) => ({ path, body, place })));
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...cases), fc.jsonValue(), async ({ path, body, place }, by) => {
      const response = await h.post(path, replaced(body, place, by) as object);
      const answer = await response.text();
      const context = `${path} ${place.join(".")} = ${JSON.stringify(by)}: ${response.status} ${answer.slice(0, 300)}`;
      if (response.status >= 500) throw new Error(context);
      if (response.status !== 200) {
        const { error } = JSON.parse(answer) as { error: unknown };
        const message = typeof error === "string" ? error : (error as { message: unknown }).message;
        if (typeof message !== "string" || message === "" || /undefined|\[object/.test(message)) throw new Error(context);
      } else if (/"error":(?!null)/.test(answer)) throw new Error(context);
    }),
    { seed, numRuns: 3000 },
  );
  expect(h.engine.running).toBe(0);
}, 60_000);

test(`broken bytes (seed ${seed})`, async () => {
  await using h = await start();
  const source = new TextEncoder().encode(JSON.stringify(BODIES["/v1/messages"]));
  await fc.assert(
    fc.asyncProperty(fc.nat(source.length - 1), fc.nat(255), fc.boolean(), async (at, byte, cut) => {
      const bytes = cut ? source.slice(0, at) : source.with(at, byte);
      const response = await fetch(`${h.url}/v1/messages`, { method: "POST", body: bytes });
      await response.text();
      if (response.status >= 500) throw new Error(`${response.status} for byte ${byte} at ${at}, cut ${cut}`);
    }),
    { seed, numRuns: 300 },
  );
}, 60_000);
