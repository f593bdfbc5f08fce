/** `alloy pull`. */
import { type Context } from "../context.ts";
import { pullWithProgress } from "../pulling.ts";
import { strictCommand } from "../strict.ts";

export default strictCommand({
  name: "pull",
  summary: "download a model",
  description: `From Ollama's registry (qwen3:8b, namespace/model:tag) or from Hugging Face (org/repo, org/repo:Q4_K_M, hf.co/org/repo:QUANT), into
Alloy's own store. What an interrupted download left is taken up again. HF_TOKEN opens gated and private models; ALLOY_MODELS moves the store;
HTTPS_PROXY and NO_PROXY are obeyed. With --json every event is a line.`,
  args: {
    model: { type: "positional", required: true, description: "A model's name, as its page has it" },
    revision: { type: "string", hint: "name", description: "Branch, tag or commit of a Hugging Face repository (default: main)" },
    projector: { type: "boolean", description: "Also bring the vision or audio projector of a GGUF repository" },
    insecure: { type: "boolean", description: "Allow a registry that is named with http://" },
  },
  examples: [
    ["alloy pull qwen3:0.6b", "from Ollama's registry"],
    ["alloy pull unsloth/Qwen3-4B-GGUF:Q4_K_M", "one quantization of a Hugging Face repository"],
    ["alloy pull Qwen/Qwen3-0.6B", "a checkpoint as safetensors"],
  ],
  async run({ model, ...choice }, context: Context) {
    const name = await pullWithProgress(model, choice, context);
    if (!context.json) context.io.out(`${context.style.green("✓")} ${name}\n`);
  },
});
