/** A machine for the tests of stores: a home folder in a temporary place, and writers of every kind of store in it. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { writeGguf } from "../../src/formats/gguf-write.ts";
import { resolveModel } from "../../src/hub/resolve.ts";
import { AlloyError } from "../../src/support/errors.ts";

/** A machine's stores under one fresh folder. */
export class Machine {
  readonly root = mkdtempSync(join(tmpdir(), "alloy-hub-"));
  readonly env = { HOME: this.root };
  #clock = 1_700_000_000;

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true });
  }

  path(...parts: string[]): string {
    const path = join(this.root, ...parts);
    mkdirSync(dirname(path), { recursive: true });
    return path;
  }

  /** A tiny GGUF file; each later one has a later time. */
  gguf(path: string, metadata: Record<string, string | number> = {}): string {
    mkdirSync(dirname(path), { recursive: true });
    const data = new Uint8Array(Float32Array.of(1, 2).buffer);
    writeGguf(path, {
      metadata: { "general.architecture": "llama", "llama.context_length": 2048, "llama.embedding_length": 2, ...metadata },
      tensors: [{ name: "t", type: "f32", shape: [2], data }],
    });
    return this.touch(path);
  }

  touch(path: string): string {
    this.#clock += 10;
    utimesSync(path, this.#clock, this.#clock);
    return path;
  }

  /** An Ollama model; layers are [kind, content]. Gives the blob of the weights. */
  ollama(place: string, layers: [string, string][] = [], root = ".ollama/models"): string {
    const hex = (n: number) => String(n).padStart(64, "0");
    const id = ++this.#clock * 100;
    const blob = this.gguf(this.path(root, "blobs", `sha256-${hex(id)}`));
    const list = layers.map(([kind, content], i) => {
      writeFileSync(this.path(root, "blobs", `sha256-${hex(id + 1 + i)}`), content);
      return { mediaType: `application/vnd.ollama.image.${kind}`, digest: `sha256:${hex(id + 1 + i)}`, size: content.length };
    });
    const model = { mediaType: "application/vnd.ollama.image.model", digest: `sha256:${hex(id)}`, size: 1 };
    const manifest = this.path(root, "manifests", place);
    writeFileSync(manifest, JSON.stringify({ schemaVersion: 2, config: {}, layers: [model, ...list] }));
    this.touch(manifest);
    return blob;
  }

  /** A repository in the Hugging Face cache; files are links into blobs/, as huggingface_hub makes them. */
  repository(name: string, files: string[], { commit = "c0ffee", main = true, root = ".cache/huggingface/hub" } = {}): string {
    const folder = this.path(root, `models--${name.replaceAll("/", "--")}`);
    const snapshot = join(folder, "snapshots", commit);
    for (const [i, file] of files.entries()) {
      const blob = this.gguf(
        join(
          folder,
          "blobs",
          String(i + 1)
            .repeat(64)
            .slice(0, 64),
        ),
      );
      const link = join(snapshot, file);
      mkdirSync(dirname(link), { recursive: true });
      symlinkSync(blob, link);
    }
    mkdirSync(join(folder, "refs"), { recursive: true });
    if (main) writeFileSync(join(folder, "refs/main"), commit);
    return snapshot;
  }

  resolve(reference: string, paths?: boolean) {
    return resolveModel(reference, { env: this.env, paths });
  }

  async error(reference: string, paths?: boolean): Promise<AlloyError> {
    const error = await this.resolve(reference, paths).then(
      (model) => new Error(`${reference} resolved to ${model.path}`),
      (e: unknown) => e,
    );
    if (!(error instanceof AlloyError)) throw error;
    return error;
  }
}
