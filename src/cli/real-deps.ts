/** The program's own parts, each loaded when a command first asks for it. */
import { AlloyError } from "../support/errors.ts";
import type { Deps, ModelListing } from "./deps.ts";

const missing = (what: string) => () => Promise.reject(new AlloyError("unsupported_feature", `${what} is not in this build yet`));

export const realDeps: Deps = {
  createEngine: missing("the engine"),

  async startServer(engine, { host, port }) {
    const { createServer } = await import("../server/app.ts");
    return createServer({ engine, host, port });
  },

  async isModel(reference) {
    const { resolveModel } = await import("../hub/resolve.ts");
    try {
      await resolveModel(reference);
      return true;
    } catch (error) {
      if (error instanceof AlloyError) return false;
      throw error;
    }
  },

  async resolveModel(reference) {
    const { resolveModel } = await import("../hub/resolve.ts");
    return (await resolveModel(reference)).path;
  },

  async listModels() {
    const { installedModels } = await import("../hub/resolve.ts");
    const { modelInfo } = await import("../hub/info.ts");
    return installedModels().map((model): ModelListing => {
      const listing = { name: model.name, source: model.source, path: model.path, modified: new Date(model.modified).toISOString() };
      try {
        const { architecture, parameters, quantization, fileBytes, contextLength } = modelInfo(model);
        return { ...listing, info: { architecture, parameters, quantization, fileBytes, contextLength } };
      } catch (error) {
        return { ...listing, problem: AlloyError.from(error).message };
      }
    });
  },

  async describeModel(reference) {
    const { resolveModel } = await import("../hub/resolve.ts");
    const { modelInfo } = await import("../hub/info.ts");
    return modelInfo(await resolveModel(reference));
  },

  async openTokenizer(reference) {
    const { resolveModel } = await import("../hub/resolve.ts");
    const { openModel } = await import("../formats/open.ts");
    const { loadTokenizer } = await import("../tokenizer/load.ts");
    const file = openModel((await resolveModel(reference)).path);
    return loadTokenizer(file, (warning) => process.stderr.write(`alloy: ${warning}\n`));
  },

  openRunner: missing("the model runner"),
  kernels: missing("the kernel table"),
};
