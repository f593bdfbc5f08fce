/** SmolLM3: every fourth layer has no rotary positions (NoPE, Yang et al. 2025, arXiv 2501.18795). */
import type { Family } from "../registry.ts";
import { describeGguf, describeHf } from "./decoder.ts";

/** GGUF files do not say which layers; the published models leave out every fourth. */
const NO_ROPE_INTERVAL = 4;

export const smollm3: Family = {
  gguf: ["smollm3"],
  huggingface: ["smollm3"],
  describe: (file, architecture) =>
    file.format === "gguf"
      ? describeGguf(file, architecture, {
          interleaved: true,
          attention: (_, layer, c) => ((layer + 1) % NO_ROPE_INTERVAL === 0 ? { ...c, rope: undefined } : c),
        })
      : describeHf(file, architecture, {
          interleaved: false,
          attention: (f, layer, c) => {
            const interval = f.number("no_rope_layer_interval", NO_ROPE_INTERVAL);
            // In this list 1 means that the layer has rope.
            const roped = f.numbers("no_rope_layers")?.[layer] ?? ((layer + 1) % interval === 0 ? 0 : 1);
            return roped ? c : { ...c, rope: undefined };
          },
        }),
};
