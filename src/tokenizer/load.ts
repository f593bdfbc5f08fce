/** The entry: a tokenizer from whatever the model file carries. */
import type { ModelFile } from "../formats/weights.ts";
import { AlloyError } from "../support/errors.ts";
import type { Tokenizer } from "./api.ts";
import { fromGguf } from "./from-gguf.ts";
import { fromHuggingFace } from "./from-huggingface.ts";
import { createTokenizer } from "./tokenizer.ts";

/** What is read of a model file; a `ModelFile` is one. */
export type TokenizerSource = Pick<ModelFile, "metadata" | "config">;

/**
 * Builds the tokenizer of a model file: from `tokenizer.ggml.*` metadata, or from tokenizer.json of a Hugging Face folder.
 * `warn` hears of things that work but may cost quality, such as a pre-tokenizer that is not known.
 * Throws `unsupported_model` for kinds that Alloy does not know and `bad_file` for contradictory data.
 */
export function loadTokenizer(file: TokenizerSource, warn: (message: string) => void = () => {}): Tokenizer {
  try {
    if (file.metadata.size > 0) return createTokenizer(fromGguf(file.metadata, warn));
    if (file.config?.tokenizer) return createTokenizer(fromHuggingFace(file.config, warn));
  } catch (cause) {
    if (cause instanceof AlloyError) throw cause;
    // Contradictions that no check names, in files of unknown origin.
    throw new AlloyError("bad_file", `The model's tokenizer cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, {
      hint: "The file is damaged or was made by a faulty converter.",
      cause,
    });
  }
  throw new AlloyError("unsupported_model", "The model has no tokenizer: tokenizer.json is missing.", {
    hint: "Put the model's tokenizer.json next to its config.json.",
  });
}
