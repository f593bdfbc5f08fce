/** Which models requests may name: what is installed, and files that whoever started the engine named by path. */
import { basename } from "node:path";
import type { ResolvedModel } from "../hub/api.ts";
import { modelInfo } from "../hub/info.ts";
import { listModels, resolveModel } from "../hub/resolve.ts";
import type { ModelInfo } from "./api.ts";

export interface CatalogOptions {
  /** References that may be paths; a file then goes by its name without folder and `.gguf`. */
  models?: readonly string[];
  /** Whether any reference may be a path. Default false: a request must not open whatever file it likes. */
  paths?: boolean;
}

export class Catalog {
  /** Files from `models`, by the path as it was given. */
  private readonly files = new Map<string, ResolvedModel>();

  private constructor(private readonly paths: boolean) {}

  /** Throws `model_not_found` when one of `models` is not there. Opens no model file. */
  static async open(o: CatalogOptions): Promise<Catalog> {
    const catalog = new Catalog(o.paths ?? false);
    for (const reference of o.models ?? []) {
      const found = await resolveModel(reference);
      if (found.source !== "path") continue;
      catalog.files.set(reference, { ...found, name: basename(found.path).replace(/\.gguf$/i, "") });
    }
    return catalog;
  }

  /** All models; those given by path come first. */
  async list(): Promise<ModelInfo[]> {
    const named = [...this.files.values()].map(modelInfo);
    const names = new Set(named.map((m) => m.name.toLowerCase()));
    return [...named, ...(await listModels()).filter((m) => !names.has(m.name.toLowerCase()))];
  }

  /** Throws `model_not_found`. */
  async resolve(reference: string): Promise<ResolvedModel> {
    const bare = reference.replace(/:latest$/i, "").toLowerCase();
    const file = this.files.get(reference) ?? [...this.files.values()].find((f) => f.name.toLowerCase() === bare);
    return file ?? resolveModel(reference, { paths: this.paths });
  }

  async info(reference: string): Promise<ModelInfo> {
    return modelInfo(await this.resolve(reference));
  }
}
