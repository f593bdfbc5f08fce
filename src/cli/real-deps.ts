/** The program's own parts, each loaded when a command first asks for it. */
import { AlloyError } from "../support/errors.ts";
import type { Deps } from "./deps.ts";

const missing = (what: string) => () => Promise.reject(new AlloyError("unsupported_feature", `${what} is not in this build yet`));

export const realDeps: Deps = {
  createEngine: missing("the engine"),
  startServer: missing("the server"),
  isModel: async (reference) => reference === "demo",
  resolveModel: missing("the model store"),
  listModels: async () => [],
  describeModel: missing("the model store"),
  openTokenizer: missing("the tokenizer"),
  openRunner: missing("the model runner"),
  kernels: missing("the kernel table"),
};
