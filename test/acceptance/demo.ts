/** A server on the demo model, for the rows that a scripted model cannot show; what its engine was asked is kept. */
import type { Engine, GenerateRequest } from "../../src/engine/api.ts";
import { createEngine } from "../../src/engine/create.ts";
import { createServer } from "../../src/server/app.ts";

export interface Demo extends AsyncDisposable {
  url: string;
  engine: Engine;
  /** Every request handed to `generate`, in order. */
  requests: GenerateRequest[];
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
  /** Token ids of a request's prompt, the last request's by default. */
  ids(at?: number): Promise<number[]>;
}

export async function startDemo(): Promise<Demo> {
  const engine = await createEngine({ models: ["demo"], parallel: 4 });
  const requests: GenerateRequest[] = [];
  const generate = engine.generate.bind(engine);
  engine.generate = (request, signal) => {
    requests.push(request);
    return generate(request, signal);
  };
  const server = await createServer({ engine, host: "127.0.0.1", port: 0, env: {} });
  return {
    url: server.url,
    engine,
    requests,
    post: (path, body, headers = {}) => fetch(server.url + path, { method: "POST", body: JSON.stringify(body), headers }),
    ids: async (at = -1) => {
      const { model, prompt } = requests.at(at)!;
      return (await engine.tokenize(model, prompt)).ids;
    },
    async [Symbol.asyncDispose]() {
      await server.stop(0);
      await engine.close();
    },
  };
}

/** How many tokens two prompts begin with in common. */
export function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const differs = a.findIndex((id, i) => id !== b[i]);
  return differs < 0 ? a.length : differs;
}
