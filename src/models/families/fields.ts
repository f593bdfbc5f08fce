/** Checked reading of a model's configuration, from GGUF metadata (`<arch>.key`) or a Hugging Face config.json. */
import type { ModelFile } from "../../formats/weights.ts";
import { AlloyError } from "../../support/errors.ts";

export interface Fields {
  readonly architecture: string;
  readonly file: ModelFile;
  number(key: string): number;
  number(key: string, fallback: number): number;
  optional(key: string): number | undefined;
  text(key: string): string | undefined;
  flag(key: string, fallback: boolean): boolean;
  numbers(key: string): number[] | undefined;
  object(key: string): Record<string, unknown> | undefined;
}

const LIMIT = 2 ** 40;

function fieldsOver(file: ModelFile, architecture: string, get: (key: string) => unknown, where: (key: string) => string): Fields {
  const fail = (key: string, wanted: string, got: unknown): never => {
    throw new AlloyError(
      "bad_file",
      `${file.path}: ${where(key)} should be ${wanted}, found ${got === undefined ? "nothing" : JSON.stringify(got)?.slice(0, 60)}`,
      {
        hint: "The model's configuration is damaged or of a variant that Alloy does not know.",
      },
    );
  };
  const asNumber = (key: string, v: unknown): number => {
    const n = typeof v === "bigint" ? Number(v) : v;
    if (typeof n !== "number" || !Number.isFinite(n) || Math.abs(n) > LIMIT) return fail(key, "a number", v);
    return n;
  };
  const optional = (key: string): number | undefined => {
    const v = get(key);
    // Some GGUF files store one value per layer; equal values are one value.
    if (v !== null && typeof v === "object" && "length" in v && (v as ArrayLike<unknown>).length > 0) {
      const all = Array.from(v as ArrayLike<unknown>, (e) => asNumber(key, e));
      if (all.every((e) => e === all[0])) return all[0];
      return fail(key, "the same for every layer", all);
    }
    return v === undefined || v === null ? undefined : asNumber(key, v);
  };
  return {
    architecture,
    file,
    optional,
    number: (key: string, fallback?: number) => optional(key) ?? fallback ?? fail(key, "a number", undefined),
    text: (key) => (typeof get(key) === "string" ? (get(key) as string) : undefined),
    flag: (key, fallback) => (typeof get(key) === "boolean" ? (get(key) as boolean) : fallback),
    numbers(key) {
      const v = get(key);
      if (v === undefined || v === null || typeof v !== "object" || !("length" in v)) return undefined;
      return Array.from(v as ArrayLike<unknown>, (e) => asNumber(key, e));
    },
    object: (key) => {
      const v = get(key);
      return v !== null && typeof v === "object" && !Array.isArray(v) ? (v as Record<string, unknown>) : undefined;
    },
  };
}

export const ggufFields = (file: ModelFile, architecture: string): Fields =>
  fieldsOver(
    file,
    architecture,
    (key) => file.metadata.get(`${architecture}.${key}`),
    (key) => `metadata key ${architecture}.${key}`,
  );

export const hfFields = (file: ModelFile, architecture: string): Fields =>
  fieldsOver(
    file,
    architecture,
    (key) => file.config?.config[key],
    (key) => `config.json's ${key}`,
  );

/** Fields of a nested object of config.json (rope_scaling, rope_parameters). */
export const nestedFields = (f: Fields, object: Record<string, unknown>, name: string): Fields =>
  fieldsOver(
    f.file,
    f.architecture,
    (key) => object[key],
    (key) => `config.json's ${name}.${key}`,
  );

/** A positive whole number no larger than `max`, for sizes that memory is taken by. */
export function size(f: Fields, key: string, value: number, max: number): number {
  if (!Number.isInteger(value) || value <= 0 || value > max)
    throw new AlloyError("bad_file", `${f.file.path}: ${key} is ${value}, expected a whole number from 1 to ${max}`, {
      hint: "The model's configuration is damaged; download the file again.",
    });
  return value;
}
