/** Granite 3: a Llama with multipliers on embeddings, residuals, attention scores and logits. */
import type { Family } from "../registry.ts";
import { describeGguf, describeHf } from "./decoder.ts";

export const granite: Family = {
  gguf: ["granite"],
  huggingface: ["granite"],
  describe: (file, architecture) =>
    file.format === "gguf"
      ? describeGguf(file, architecture, {
          interleaved: true,
          model: (f, c) => ({
            ...c,
            embeddingScale: f.number("embedding_scale", 1),
            residualScale: f.number("residual_scale", 1),
            logitScale: 1 / f.number("logit_scale", 1),
          }),
        })
      : describeHf(file, architecture, {
          interleaved: false,
          model: (f, c) => ({
            ...c,
            embeddingScale: f.number("embedding_multiplier", 1),
            residualScale: f.number("residual_multiplier", 1),
            logitScale: 1 / f.number("logits_scaling", 1),
          }),
        }),
};
