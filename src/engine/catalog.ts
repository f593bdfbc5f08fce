/** Which models requests may name: what is installed, and files that whoever started the engine named by path. */
import { basename } from "node:path";
import type { ResolvedModel } from "../hub/api.ts";
import { modelInfo } from "../hub/info.ts";
import { listModels, resolveModel } from "../hub/resolve.ts";
import type { ModelInfo } from "./api.ts";

export class Catalog {
  /** Files by the path as it was given. */
  private readonly files = new Map<string, ResolvedModel>();

  private constructor() {}

  /**
   * @param references those that are paths make their files known, under the name without folder and `.gguf`
   * Throws `model_not_found` when one is not there. Opens no model file.
   */
  static async open(references: readonly string[] = []): Promise<Catalog> {
    const catalog = new Catalog();
    for (const reference of references) {
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
    // A request must not open whatever file it likes.
    return file ?? resolveModel(reference, { paths: false });
  }

  async info(reference: string): Promise<ModelInfo> {
    return modelInfo(await this.resolve(reference));
  }
}
