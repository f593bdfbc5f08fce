/** Qwen2 (q/k/v biases) and Qwen3 (q/k norm): both follow from which tensors the file holds. */
import type { Family } from "../registry.ts";
import { describeGguf, describeHf } from "./decoder.ts";

export const qwen: Family = {
  gguf: ["qwen2", "qwen3"],
  huggingface: ["qwen2", "qwen3"],
  describe: (file, architecture) =>
    file.format === "gguf"
      ? describeGguf(file, architecture, { interleaved: false })
      : describeHf(file, architecture, {
          interleaved: false,
          // Layers from max_window_layers on have the window, when it is switched on at all.
          attention: (f, layer, c) => {
            const windowed = f.flag("use_sliding_window", false) && layer >= f.number("max_window_layers", 0);
            return { ...c, window: windowed ? f.number("sliding_window", 0) : 0 };
          },
        }),
};
