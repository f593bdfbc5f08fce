/** What the rest of Alloy sees of a model file: typed metadata and tensors at addresses. No reader-specific types cross this line. */

/** Storage types of tensor data. Names are ggml's, lower-cased where Hugging Face has the same type. */
export type TensorType =
  | "f32"
  | "f16"
  | "bf16"
  | "f64"
  | "i8"
  | "i16"
  | "i32"
  | "i64"
  | "u8"
  | "bool"
  | "q8_0"
  | "q4_0"
  | "q4_1"
  | "q5_0"
  | "q5_1"
  | "q8_1"
  | "q2_k"
  | "q3_k"
  | "q4_k"
  | "q5_k"
  | "q6_k"
  | "q8_k"
  | "iq4_nl"
  | "iq4_xs"
  | "mxfp4";

/** A tensor that lies in mapped memory. `shape` is row-major, outermost first: a linear layer's weight is [out, in]. */
export interface TensorInfo {
  name: string;
  type: TensorType;
  shape: number[];
  /** Absolute address of the first byte (a JS number: user-space addresses are below 2^53). */
  address: number;
  /** Size of the data in bytes. */
  bytes: number;
}

export type MetaValue = string | number | bigint | boolean | MetaArray;
/** GGUF arrays; numeric ones are typed arrays so that a 260k-entry vocabulary costs no boxing. */
export type MetaArray =
  | string[]
  | boolean[]
  | MetaArray[]
  | Float32Array
  | Float64Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array;

/** An opened model: one GGUF file, a split GGUF, or a Hugging Face folder. Close it only when nothing uses the addresses any more. */
export interface ModelFile {
  format: "gguf" | "huggingface";
  /** Path as opened (first shard, or the folder). */
  path: string;
  /** GGUF metadata by key; for a Hugging Face folder empty. */
  metadata: ReadonlyMap<string, MetaValue>;
  /** Parsed config.json etc. of a Hugging Face folder; undefined for GGUF. */
  config?: HfConfig;
  tensors: ReadonlyMap<string, TensorInfo>;
  /** Bytes of all files together. */
  fileBytes: number;
  /** Tells the files' content from others' and from what they held before, without reading all of it. Undefined: nothing is known. */
  fingerprint?(): Fingerprint;
  close(): void;
}

export interface Fingerprint {
  hash: string;
  /** What it is of, and what the system tells each file's content by (mmap.ts, `fileIdentity`). */
  files: { path: string; identity: string }[];
}

/** The JSON files of a Hugging Face folder, parsed leniently (NaN and Infinity as Python writes them are accepted). */
export interface HfConfig {
  config: Record<string, unknown>;
  generation?: Record<string, unknown>;
  tokenizer?: Record<string, unknown>;
  tokenizerConfig?: Record<string, unknown>;
  /** chat_template.jinja or tokenizer_config's chat_template. */
  chatTemplate?: string | Record<string, string>;
}
