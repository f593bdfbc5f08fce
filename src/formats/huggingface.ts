/** A Hugging Face model folder: config.json, safetensors (one file or sharded by an index), tokenizer and template files. */
import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { AlloyError, suggest } from "../support/errors.ts";
import { isObject, readJsonObject, readText } from "./json.ts";
import { openSafetensors, type SafetensorsFile } from "./safetensors.ts";
import type { HfConfig, ModelFile, TensorInfo } from "./weights.ts";

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/**
 * Open a folder. The weights are mapped; tokenizer.json is parsed when `config.tokenizer` is first read.
 *
 * Throws `model_not_found` (no config.json, weights or shard), `bad_file` (damaged: names file, field and offset),
 * `unsupported_model` (a dtype that Alloy does not read, or weights only in another format).
 */
export function openHuggingFace(folder: string): ModelFile {
  const config = readHfConfig(folder);
  const files: SafetensorsFile[] = [];
  try {
    const tensors = existsSync(join(folder, INDEX)) ? openSharded(folder, files) : openSingle(folder, files);
    return {
      format: "huggingface",
      path: folder,
      metadata: new Map(),
      config,
      tensors,
      fileBytes: files.reduce((sum, { file }) => sum + file.bytes, 0),
      close() {
        for (const { file } of files) file.close();
      },
    };
  } catch (e) {
    for (const { file } of files) file.close();
    throw e;
  }
}

/** The JSON files and the chat template of a folder. Throws `model_not_found` without config.json, `bad_file` for a file that does not parse. */
export function readHfConfig(folder: string): HfConfig {
  const config = readJsonObject(join(folder, "config.json"));
  if (!config)
    throw new AlloyError("model_not_found", `the folder ${folder} holds no config.json`, {
      hint: "Give a Hugging Face model folder (config.json and *.safetensors) or a .gguf file.",
    });
  const tokenizerConfig = readJsonObject(join(folder, "tokenizer_config.json"));
  let tokenizer: Record<string, unknown> | undefined;
  let parsed = false;
  return {
    config,
    generation: readJsonObject(join(folder, "generation_config.json")),
    // Parsed on first use: with a large vocabulary it is 10 MB and more, and listing models does not need it.
    get tokenizer() {
      if (!parsed) tokenizer = readJsonObject(join(folder, "tokenizer.json"));
      parsed = true;
      return tokenizer;
    },
    tokenizerConfig,
    chatTemplate: readChatTemplate(folder, tokenizerConfig),
  };
}

/** In transformers' order: chat_template.jinja, chat_template.json, then tokenizer_config.json (text, or a list of named ones). */
function readChatTemplate(folder: string, tokenizerConfig?: Record<string, unknown>): HfConfig["chatTemplate"] {
  const jinja = readText(join(folder, "chat_template.jinja"));
  if (jinja !== undefined) return jinja;
  const value = readJsonObject(join(folder, "chat_template.json"))?.chat_template ?? tokenizerConfig?.chat_template;
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const named: Record<string, string> = {};
  for (const item of value)
    if (isObject(item) && typeof item.name === "string" && typeof item.template === "string") named[item.name] = item.template;
  return named;
}

function openSingle(folder: string, files: SafetensorsFile[]): Map<string, TensorInfo> {
  const path = join(folder, SINGLE);
  if (!existsSync(path)) throw missingWeights(folder);
  const opened = openSafetensors(path);
  files.push(opened);
  return new Map(opened.tensors.map((tensor) => [tensor.name, tensor]));
}

function missingWeights(folder: string): AlloyError {
  const names = readdirSync(folder);
  const other = names.find((name) => /\.(bin|pt|pth|h5|msgpack|onnx|npz)$/.test(name));
  if (other)
    return new AlloyError("unsupported_model", `${folder} holds weights only as ${other}, which Alloy does not read`, {
      hint: "Take the safetensors or GGUF form of the model.",
    });
  const near = names.find((name) => name.endsWith(".safetensors"));
  return new AlloyError("model_not_found", `the folder ${folder} holds neither ${SINGLE} nor ${INDEX}`, {
    hint: near ? `It holds ${near}: rename it to ${SINGLE}.` : "Download the model's weights into the folder.",
  });
}

function openSharded(folder: string, files: SafetensorsFile[]): Map<string, TensorInfo> {
  const indexPath = join(folder, INDEX);
  const weightMap = readJsonObject(indexPath)?.weight_map;
  if (!isObject(weightMap)) throw new AlloyError("bad_file", `${indexPath}: weight_map is no object`);
  const byFile = new Map<string, Map<string, TensorInfo>>();
  const tensors = new Map<string, TensorInfo>();
  for (const [name, shard] of Object.entries(weightMap)) {
    // A name with a folder in it could lead anywhere on the disk.
    if (typeof shard !== "string" || shard === "" || basename(shard) !== shard || shard.includes("\\"))
      throw new AlloyError("bad_file", `${indexPath}: weight_map of "${name}" is ${JSON.stringify(shard)}, no file name`);
    let inShard = byFile.get(shard);
    if (!inShard) byFile.set(shard, (inShard = openShard(folder, shard, files)));
    const tensor = inShard.get(name);
    if (!tensor) {
      const near = suggest(name, [...inShard.keys()]);
      throw new AlloyError("bad_file", `${join(folder, shard)}: holds no tensor "${name}", which ${INDEX} says is there`, {
        hint: near ? `It holds "${near}". Download index and files of one version.` : "Download index and files of one version.",
      });
    }
    tensors.set(name, tensor);
  }
  return tensors;
}

function openShard(folder: string, shard: string, files: SafetensorsFile[]): Map<string, TensorInfo> {
  const path = join(folder, shard);
  if (!existsSync(path))
    throw new AlloyError("model_not_found", `shard ${shard} is missing: there is no file ${path}`, {
      hint: `Download all files that ${INDEX} names.`,
    });
  const opened = openSafetensors(path);
  files.push(opened);
  return new Map(opened.tensors.map((tensor) => [tensor.name, tensor]));
}
