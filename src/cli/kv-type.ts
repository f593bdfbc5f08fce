/** How the KV cache is stored, as flags and Ollama's variable say it. */
import type { KvType } from "../../kernels/kv-cache.ts";
import type { Io } from "./context.ts";
import { UsageError } from "./strict.ts";

export const KV_TYPE = {
  type: "string",
  hint: "type",
  description: "Type of the KV cache: f16, q8_0 (half the memory) or f32 (default: OLLAMA_KV_CACHE_TYPE or f16)",
} as const;

const TYPES: readonly KvType[] = ["f16", "q8_0", "f32"];

/** Throws UsageError for a type that is none, or is none here. */
export function kvTypeOf(flag: string | undefined, io: Io): KvType | undefined {
  const value = flag ?? io.env.OLLAMA_KV_CACHE_TYPE;
  if (value === undefined || value === "") return undefined;
  const type = TYPES.find((t) => t === value.toLowerCase());
  if (type) return type;
  const name = flag === undefined ? "OLLAMA_KV_CACHE_TYPE" : "--kv-type";
  const known = /^(bf16|q4_0|q4_1|q5_0|q5_1|iq4_nl)$/i.test(value);
  throw new UsageError(
    known ? `${name}: Alloy has no KV cache of type ${value}` : `${name} is no type of a KV cache: "${value}"`,
    known && !/^bf16$/i.test(value) ? "q8_0 is the smallest there is; the others are f16 and f32" : "take f16, q8_0 or f32",
  );
}
