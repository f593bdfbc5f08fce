/** The program's own parts, each loaded when a command first asks for it. */
import { AlloyError } from "../support/errors.ts";
import type { Deps, ModelListing } from "./deps.ts";

export const realDeps: Deps = {
  async createEngine(options) {
    const { createEngine } = await import("../engine/create.ts");
    return createEngine(options);
  },

  async startServer(engine, options) {
    const { createServer } = await import("../server/app.ts");
    return createServer({ engine, ...options });
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

  async pullModel(reference, request) {
    const { pullModel } = await import("../hub/pull/pull.ts");
    return pullModel(reference, request);
  },

  async removeModel(reference) {
    const { removeModel } = await import("../hub/store/remove.ts");
    const { removeStalePacked } = await import("../graph/packed-cache.ts");
    const { name, freed } = await removeModel(reference);
    return { name, freed: freed + removeStalePacked() };
  },

  async removeUnfinished() {
    const { removeUnfinished } = await import("../hub/store/remove.ts");
    return removeUnfinished();
  },

  async copyModel(source, destination) {
    const { copyModel } = await import("../hub/store/create.ts");
    return copyModel(source, destination);
  },

  async createModel(name, what, onStatus) {
    const { createModel } = await import("../hub/store/create.ts");
    const { parseModelfile } = await import("../hub/modelfile.ts");
    if ("from" in what) return createModel({ name, ...what }, { onStatus, paths: true });
    const { adapters, ...rest } = parseModelfile(what.modelfile);
    if (adapters.length > 0)
      throw new AlloyError("unsupported_feature", "ADAPTER is not supported", { hint: "Merge the adapter into the weights first." });
    if (rest.template !== undefined) {
      const { isGoTemplate } = await import("../hub/template.ts");
      const { compileGoTemplate } = await import("../chat/go/template.ts");
      const { compileTemplate } = await import("../chat/jinja.ts");
      (isGoTemplate(rest.template) ? compileGoTemplate : compileTemplate)(rest.template);
    }
    return createModel({ name, ...rest }, { onStatus, paths: true, folder: what.folder });
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

  async openRunner(reference, choice) {
    const { resolveModel } = await import("../hub/resolve.ts");
    const { openModel } = await import("../formats/open.ts");
    const { createDevice } = await import("../runtime/index.ts");
    const { loadRunner } = await import("../models/runner.ts");
    const { BLOCK_TOKENS } = await import("../../kernels/kv-cache.ts");
    const file = openModel((await resolveModel(reference)).path);
    const device = await createDevice(choice.device, { threads: choice.threads });
    const { contextLength, precision, sequences = 1 } = choice;
    const runner = await loadRunner(file, {
      device,
      contextLength,
      kvTokens: Math.ceil(contextLength / BLOCK_TOKENS) * BLOCK_TOKENS * sequences,
      precision,
      kvType: choice.kvType,
      maxBatchTokens: choice.batch,
      maxSequences: sequences,
      // Nothing beside what is measured.
      writePacked: false,
    });
    const { name, isa, threads, kind } = device.properties;
    return {
      runner,
      fileBytes: file.fileBytes,
      device: `${name} ${isa}, ${threads} ${kind === "cpu" ? "threads" : "GPU cores"}`,
      close() {
        runner.close();
        device.close();
        file.close();
      },
    };
  },

  async deviceProperties(name) {
    const { createDevice } = await import("../runtime/index.ts");
    const device = createDevice(name);
    device.close();
    return device.properties;
  },

  async selftest({ device: name, ...options }) {
    const { createDevice } = await import("../runtime/index.ts");
    const { selftest } = await import("../../kernels/selftest/index.ts");
    const device = createDevice(name);
    const reports = async function* () {
      try {
        yield* selftest(device, options);
      } finally {
        device.close();
      }
    };
    return { device: `${device.properties.name} ${device.properties.isa}`, reports: reports() };
  },

  async kernels() {
    const { inspectableKernels } = await import("./kernel-stages.ts");
    return inspectableKernels();
  },
};
