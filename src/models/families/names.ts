/** Tensor names as llama.cpp's GGUF files and Hugging Face's decoder checkpoints have them. A name is used when the file holds it. */
import type { ModelFile } from "../../formats/weights.ts";
import type { LayerNames, ModelNames, ProjectionNames } from "../config.ts";

const projection = (file: ModelFile, stem: string): ProjectionNames | undefined => {
  if (!file.tensors.has(`${stem}.weight`)) return undefined;
  return { weight: `${stem}.weight`, bias: file.tensors.has(`${stem}.bias`) ? `${stem}.bias` : undefined };
};
/** As `projection`, for tensors that must be there: a missing one is reported by name when it is loaded. */
const required = (file: ModelFile, stem: string): ProjectionNames => projection(file, stem) ?? { weight: `${stem}.weight` };
const present = (file: ModelFile, name: string): string | undefined => (file.tensors.has(name) ? name : undefined);

export function ggufNames(file: ModelFile, layers: number): ModelNames {
  return {
    embedding: "token_embd.weight",
    positions: present(file, "position_embd.weight"),
    finalNorm: "output_norm.weight",
    finalNormBias: present(file, "output_norm.bias"),
    output: projection(file, "output"),
    layers: Array.from({ length: layers }, (_, i): LayerNames => {
      const p = `blk.${i}`;
      const qkv = projection(file, `${p}.attn_qkv`);
      const gate = projection(file, `${p}.ffn_gate`);
      return {
        mixerNorm: `${p}.attn_norm.weight`,
        mixerNormBias: present(file, `${p}.attn_norm.bias`),
        ffnNorm: `${p}.ffn_norm.weight`,
        ffnNormBias: present(file, `${p}.ffn_norm.bias`),
        ...(qkv ? { qkv } : { q: required(file, `${p}.attn_q`), k: required(file, `${p}.attn_k`), v: required(file, `${p}.attn_v`) }),
        o: required(file, `${p}.attn_output`),
        qNorm: present(file, `${p}.attn_q_norm.weight`),
        kNorm: present(file, `${p}.attn_k_norm.weight`),
        gate,
        up: required(file, `${p}.ffn_up`),
        down: required(file, `${p}.ffn_down`),
      };
    }),
  };
}

export function hfNames(file: ModelFile, layers: number, tied: boolean): ModelNames {
  return {
    embedding: "model.embed_tokens.weight",
    finalNorm: "model.norm.weight",
    output: tied ? undefined : required(file, "lm_head"),
    layers: Array.from({ length: layers }, (_, i): LayerNames => {
      const p = `model.layers.${i}`;
      const qkv = projection(file, `${p}.self_attn.qkv_proj`);
      const gateUp = projection(file, `${p}.mlp.gate_up_proj`);
      return {
        mixerNorm: `${p}.input_layernorm.weight`,
        ffnNorm: `${p}.post_attention_layernorm.weight`,
        ...(qkv
          ? { qkv }
          : {
              q: required(file, `${p}.self_attn.q_proj`),
              k: required(file, `${p}.self_attn.k_proj`),
              v: required(file, `${p}.self_attn.v_proj`),
            }),
        o: required(file, `${p}.self_attn.o_proj`),
        qNorm: present(file, `${p}.self_attn.q_norm.weight`),
        kNorm: present(file, `${p}.self_attn.k_norm.weight`),
        ...(gateUp ? { gateUp } : { gate: required(file, `${p}.mlp.gate_proj`), up: required(file, `${p}.mlp.up_proj`) }),
        down: required(file, `${p}.mlp.down_proj`),
      };
    }),
  };
}
