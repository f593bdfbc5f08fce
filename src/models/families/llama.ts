/** Llama 2 and 3, and Mistral (sliding window). Their GGUF form has rotary pairs side by side. */
import type { Family } from "../registry.ts";
import { describeGguf, describeHf } from "./decoder.ts";

export const llama: Family = {
  gguf: ["llama"],
  huggingface: ["llama"],
  describe: (file, architecture) =>
    file.format === "gguf"
      ? describeGguf(file, architecture, {
          interleaved: true,
          attention: (f, _, c) => ({ ...c, window: f.number("attention.sliding_window", 0) }),
        })
      : describeHf(file, architecture, { interleaved: false }),
};

export const mistral: Family = {
  gguf: ["mistral"],
  huggingface: ["mistral"],
  describe: (file, architecture) =>
    file.format === "gguf"
      ? llama.describe(file, architecture)
      : describeHf(file, architecture, { interleaved: false, attention: (f, _, c) => ({ ...c, window: f.number("sliding_window", 0) }) }),
};
