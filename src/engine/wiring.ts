/** The real parts of an engine. */
import { kvBytes, type KvType } from "../../kernels/kv-cache.ts";
import { loadChatFormat } from "../chat/load.ts";
import { StopMatcher } from "../chat/stop.ts";
import { openModel } from "../formats/open.ts";
import { elementCount } from "../formats/read.ts";
import type { ModelFile } from "../formats/weights.ts";
import { modelInfo } from "../hub/info.ts";
import { describeModel } from "../models/registry.ts";
import { loadRunner } from "../models/runner.ts";
import { createDevice } from "../runtime/index.ts";
import { loadTokenizer } from "../tokenizer/load.ts";
import type { Catalog } from "./catalog.ts";
import { freeMemory } from "./free-memory.ts";
import type { EngineParts, ModelSizes } from "./parts.ts";
import { fileSampling, ollamaSampling, ollamaStops } from "./recommended.ts";

export function realParts(catalog: Catalog): EngineParts {
  return {
    createDevice: ({ device, threads }) => createDevice(device, { threads }),
    freeMemory,
    listModels: () => catalog.list(),
    async findModel(reference) {
      const found = await catalog.resolve(reference);
      const { params } = found.layers ?? {};
      return { info: modelInfo(found), sampling: ollamaSampling(params), stops: ollamaStops(params) };
    },
    openModel,
    sizes,
    loadTokenizer: (file) => loadTokenizer(file),
    loadChat: (file, { architecture, template }, tokenizer, limits) =>
      loadChatFormat({ template: chatTemplate(file, template), tokenizer, architecture, limits }),
    samplingDefaults: fileSampling,
    loadRunner,
    stopFilter(stops) {
      const matcher = new StopMatcher(stops);
      return {
        push(text) {
          const { text: shown, stopped } = matcher.push(text);
          return { text: shown, stop: stopped };
        },
        finish: () => matcher.flush(),
      };
    },
  };
}

function sizes(file: ModelFile, o: { kvType: KvType; precision: "fast" | "exact" }): ModelSizes {
  const { layers, contextLength } = describeModel(file).config;
  const kvBytesPerToken = layers.reduce((n, { mixer }) => n + 2 * mixer.kvHeads * kvBytes(o.kvType, mixer.headDim), 0);
  let weightBytes = file.fileBytes;
  // Exact runs keep every weight as float32.
  if (o.precision === "exact") weightBytes = [...file.tensors.values()].reduce((n, t) => n + 4 * elementCount(t), 0);
  return { kvBytesPerToken, contextLength, weightBytes };
}

/** The file's template, or several by name; or the one that the store has instead. @param effective the one that the model is listed with */
function chatTemplate({ metadata, config }: ModelFile, effective: string | undefined): string | Record<string, string> | undefined {
  if (config) return isOneOf(effective, config.chatTemplate) ? config.chatTemplate : effective;
  const main = metadata.get("tokenizer.chat_template");
  const names = metadata.get("tokenizer.chat_templates");
  const templates: Record<string, string> = typeof main === "string" ? { default: main } : {};
  for (const name of Array.isArray(names) ? names : []) {
    const text = metadata.get(`tokenizer.chat_template.${String(name)}`);
    if (typeof text === "string") templates[String(name)] = text;
  }
  if (!isOneOf(effective, templates)) return effective;
  return Object.keys(templates).length > 0 ? templates : undefined;
}

function isOneOf(effective: string | undefined, own: string | Record<string, string> | undefined): boolean {
  return effective === undefined || (typeof own === "object" ? Object.values(own).includes(effective) : own === effective);
}
