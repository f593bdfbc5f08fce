/** Deps of commands that start a server: the real one on a free port, with a scripted model behind it. */
import type { CreateOptions } from "../../src/cli/deps.ts";
import { createServer } from "../../src/server/app.ts";
import { ScriptedEngine, scriptedModel, type ScriptedOptions } from "../server/scripted-engine.ts";

export function parts(options: ScriptedOptions = {}) {
  const engine = new ScriptedEngine({ models: [scriptedModel("demo")], ...options });
  const asked: CreateOptions[] = [];
  const find = async (name: string) => (await engine.model(name)).path;
  const deps = {
    isModel: (name: string) =>
      find(name).then(
        () => true,
        () => false,
      ),
    resolveModel: find,
    createEngine: async (o: CreateOptions) => {
      asked.push(o);
      return engine;
    },
    startServer: async (e: typeof engine, o: { host: string; port: number }) => createServer({ engine: e, ...o, env: {} }),
  };
  return { engine, asked, deps: deps as never };
}
