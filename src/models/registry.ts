/** Model families in one table: a family turns a file's metadata into a description (what to build) and tensor names (from what). */
import type { ModelFile } from "../formats/weights.ts";
import { AlloyError, suggest } from "../support/errors.ts";
import type { ModelDescription } from "./config.ts";
import { gpt2 } from "./families/gpt2.ts";
import { granite } from "./families/granite.ts";
import { llama, mistral } from "./families/llama.ts";
import { phi3 } from "./families/phi3.ts";
import { qwen } from "./families/qwen.ts";
import { smollm3 } from "./families/smollm3.ts";

export interface Family {
  /** Values of general.architecture. */
  gguf: readonly string[];
  /** Values of config.json's model_type. */
  huggingface: readonly string[];
  describe(file: ModelFile, architecture: string): ModelDescription;
}

export const FAMILIES: readonly Family[] = [llama, mistral, qwen, phi3, smollm3, granite, gpt2];

/** Architecture name as the file states it; undefined when it states none. */
export function architectureOf(file: ModelFile): string | undefined {
  const name = file.format === "gguf" ? file.metadata.get("general.architecture") : file.config?.config.model_type;
  return typeof name === "string" ? name : undefined;
}

export function describeModel(file: ModelFile): ModelDescription {
  const architecture = architectureOf(file);
  if (!architecture)
    throw new AlloyError(
      "bad_file",
      `${file.path}: ${file.format === "gguf" ? "metadata key general.architecture" : "config.json's model_type"} is missing`,
      {
        hint: "This is not a language model, or its metadata is damaged.",
      },
    );
  const key = file.format === "gguf" ? "gguf" : "huggingface";
  const family = FAMILIES.find((f) => f[key].includes(architecture));
  if (family) return family.describe(file, architecture);
  const known = FAMILIES.flatMap((f) => f[key]);
  const near = suggest(architecture, known);
  throw new AlloyError("unsupported_model", `${file.path}: architecture "${architecture}" is not supported`, {
    hint: `Supported are ${known.join(", ")}${near ? `; the nearest is ${near}` : ""}.`,
  });
}
