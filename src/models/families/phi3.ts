/** Phi-3 and Phi-4-mini: fused qkv and gate/up weights, longrope, partial rotary dimensions. */
import type { Family } from "../registry.ts";
import { describeGguf, describeHf } from "./decoder.ts";

export const phi3: Family = {
  gguf: ["phi3"],
  huggingface: ["phi3"],
  describe: (file, architecture) =>
    file.format === "gguf"
      ? describeGguf(file, architecture, {
          interleaved: false,
          attention: (f, _, c) => ({ ...c, window: f.number("attention.sliding_window", 0) }),
        })
      : describeHf(file, architecture, { interleaved: false, attention: (f, _, c) => ({ ...c, window: f.number("sliding_window", 0) }) }),
};
