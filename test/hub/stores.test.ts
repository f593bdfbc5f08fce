/** Model stores made in temporary folders: Ollama's, the Hugging Face cache, our own, and paths. */
import { describe, expect, test } from "bun:test";
import { copyFileSync, cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ggufNumber, writeGguf } from "../../src/formats/gguf-write.ts";
import { installedModels, listModels, resolveModel } from "../../src/hub/resolve.ts";
import { modelInfo } from "../../src/hub/info.ts";
import { Machine } from "./machine.ts";

const FIXTURES = join(import.meta.dir, "../fixtures/golden");

describe("Ollama's store", () => {
  test("names resolve with their defaults, without regard to case and with what clients add", async () => {
    using machine = new Machine();
    const qwen = machine.ollama("registry.ollama.ai/library/Qwen3/0.6b");
    const latest = machine.ollama("registry.ollama.ai/library/llama3/latest");
    const own = machine.ollama("registry.ollama.ai/someone/tuned/v1");
    const hf = machine.ollama("hf.co/bartowski/Model-GGUF/Q4_K_M");
    const cases: [string, string, string][] = [
      ["qwen3:0.6b", qwen, "Qwen3:0.6b"],
      ["QWEN3:0.6B", qwen, "Qwen3:0.6b"],
      ["library/qwen3:0.6b", qwen, "Qwen3:0.6b"],
      ["registry.ollama.ai/library/qwen3:0.6b", qwen, "Qwen3:0.6b"],
      ["ollama/qwen3:0.6b", qwen, "Qwen3:0.6b"],
      ["openai/qwen3:0.6b[1m]", qwen, "Qwen3:0.6b"],
      ["qwen3:0.6b:local", qwen, "Qwen3:0.6b"],
      ["llama3", latest, "llama3:latest"],
      ["llama3:latest", latest, "llama3:latest"],
      ["llama3:local", latest, "llama3:latest"],
      ["someone/tuned:v1", own, "someone/tuned:v1"],
      ["hf.co/bartowski/model-gguf:q4_k_m", hf, "hf.co/bartowski/Model-GGUF:Q4_K_M"],
    ];
    for (const [reference, path, name] of cases)
      expect(await machine.resolve(reference)).toMatchObject({ name, path, source: "ollama", format: "gguf" });
    expect((await machine.error("qwen3")).code).toBe("model_not_found");
    expect((await machine.error("qwen3:0.6b-cloud")).message).toContain("cloud");
    expect((await machine.error("llama3:cloud")).message).toContain("cloud");
  });

  test("layers beside the weights come along", async () => {
    using machine = new Machine();
    machine.ollama("registry.ollama.ai/library/m/latest", [
      ["template", "{{ .Prompt }}"],
      ["system", "Be brief."],
      ["params", '{"temperature": 0.6, "stop": ["<x>"]}'],
      ["license", "A"],
      ["license", "B"],
      ["messages", '[{"role": "user", "content": "hi"}, {"role": 1}]'],
      ["projector", "p"],
      ["adapter", "a"],
      ["something.new", "?"],
    ]);
    const model = await machine.resolve("m");
    expect(model.layers).toEqual({
      template: "{{ .Prompt }}",
      system: "Be brief.",
      params: { temperature: 0.6, stop: ["<x>"] },
      license: "A\nB",
      messages: [{ role: "user", content: "hi" }],
      adapters: [expect.stringContaining("/blobs/sha256-")],
    });
    expect(model.projector).toContain("/blobs/sha256-");
    expect(model.digest).toMatch(/^[0-9a-f]{64}$/);
    expect(modelInfo(model)).toMatchObject({ digest: model.digest, license: "A\nB", template: "{{ .Prompt }}" });
    expect(modelInfo(model).capabilities).toContain("vision");
  });

  test("OLLAMA_MODELS moves the store", async () => {
    using machine = new Machine();
    const path = machine.ollama("registry.ollama.ai/library/m/latest", [], "elsewhere");
    expect((await machine.error("m")).code).toBe("model_not_found");
    const moved = { env: { ...machine.env, OLLAMA_MODELS: machine.path("elsewhere") } };
    expect((await resolveModel("m", moved)).path).toBe(path);
  });

  test("damaged manifests are reported when asked for and left out of lists", async () => {
    using machine = new Machine();
    rmSync(machine.ollama("registry.ollama.ai/library/gone/latest"));
    const manifests = ".ollama/models/manifests/registry.ollama.ai/library";
    writeFileSync(machine.path(manifests, "broken/latest"), "{");
    writeFileSync(machine.path(manifests, "list/latest"), "[]");
    const escape = { mediaType: "application/vnd.ollama.image.model", digest: "sha256:../../../../etc/passwd" };
    writeFileSync(machine.path(manifests, "escape/latest"), JSON.stringify({ layers: [escape, 5, null, {}] }));
    expect((await machine.error("gone")).message).toContain("weights of the Ollama model gone:latest are missing");
    expect((await machine.error("broken")).message).toContain("no valid JSON");
    expect((await machine.error("list")).message).toContain("no layers");
    expect((await machine.error("escape")).message).toContain("no GGUF weights");
    expect(installedModels({ env: machine.env }).map(({ name }) => name)).toEqual(["demo"]);
  });
});

describe("the Hugging Face cache", () => {
  const files = [
    "Model-Q4_K_M.gguf",
    "Model-Q8_0.gguf",
    "Model-UD-Q5_K_XL.gguf",
    "mmproj-F16.gguf",
    "README.md",
    "BF16/Model-BF16-00001-of-00002.gguf",
    "BF16/Model-BF16-00002-of-00002.gguf",
  ];

  test("a quantization picks the file, with and without hf.co, in any case", async () => {
    using machine = new Machine();
    const snapshot = machine.repository("unsloth/Model-GGUF", files);
    const cases: [string, string, string][] = [
      ["unsloth/Model-GGUF:Q8_0", "Model-Q8_0.gguf", "Q8_0"],
      ["UNSLOTH/model-gguf:q8_0", "Model-Q8_0.gguf", "Q8_0"],
      ["hf.co/unsloth/Model-GGUF:Q8_0", "Model-Q8_0.gguf", "Q8_0"],
      ["huggingface.co/unsloth/Model-GGUF:Q8_0", "Model-Q8_0.gguf", "Q8_0"],
      ["unsloth/Model-GGUF:q5_k_xl", "Model-UD-Q5_K_XL.gguf", "UD-Q5_K_XL"],
      ["unsloth/Model-GGUF:Q5", "Model-UD-Q5_K_XL.gguf", "UD-Q5_K_XL"],
      ["unsloth/Model-GGUF:Model-Q8_0.gguf", "Model-Q8_0.gguf", "Q8_0"],
      ["unsloth/Model-GGUF:bf16", "BF16/Model-BF16-00001-of-00002.gguf", "BF16"],
      ["unsloth/Model-GGUF", "Model-Q4_K_M.gguf", "Q4_K_M"],
      ["unsloth/Model-GGUF:latest", "Model-Q4_K_M.gguf", "Q4_K_M"],
    ];
    for (const [reference, file, quant] of cases)
      expect(await machine.resolve(reference)).toMatchObject({
        name: `unsloth/Model-GGUF:${quant}`,
        path: join(snapshot, file),
        source: "huggingface",
      });
    expect((await machine.resolve("unsloth/Model-GGUF")).digest).toBe("1".repeat(64));
    expect((await machine.resolve("unsloth/Model-GGUF")).projector).toBe(join(snapshot, "mmproj-F16.gguf"));
    const ambiguous = await machine.error("unsloth/Model-GGUF:_K_");
    expect(ambiguous.code).toBe("bad_argument");
    expect(ambiguous.message).toContain("Q4_K_M, UD-Q5_K_XL");
    const missing = await machine.error("unsloth/Model-GGUF:Q6_K");
    expect(missing.code).toBe("model_not_found");
    expect(missing.hint).toContain("Q4_K_M");
  });

  test("the snapshot is the one of refs/main, else the newest", async () => {
    using machine = new Machine();
    machine.repository("o/a", ["old-Q8_0.gguf"], { commit: "aaa" });
    machine.repository("o/a", ["new-Q8_0.gguf"], { commit: "bbb" });
    expect((await machine.resolve("o/a")).path).toContain("/snapshots/bbb/");
    writeFileSync(machine.path(".cache/huggingface/hub/models--o--a/refs/main"), "../../../etc\n");
    machine.touch(machine.path(".cache/huggingface/hub/models--o--a/snapshots/bbb"));
    machine.touch(machine.path(".cache/huggingface/hub/models--o--a/snapshots/aaa"));
    expect((await machine.resolve("o/a")).path).toContain("/snapshots/aaa/");
  });

  test("safetensors resolve to the snapshot folder", async () => {
    using machine = new Machine();
    const snapshot = machine.repository("Qwen/Qwen2-tiny", []);
    cpSync(join(FIXTURES, "qwen2/tiny/hf"), snapshot, { recursive: true });
    const model = await machine.resolve("qwen/qwen2-TINY");
    expect(model).toMatchObject({ name: "Qwen/Qwen2-tiny", path: snapshot, format: "huggingface" });
    const info = modelInfo(model);
    expect(info).toMatchObject({
      architecture: "qwen2",
      format: "huggingface",
      quantization: "F32",
      contextLength: 512,
      embeddingLength: 64,
    });
    expect(info.parameters).toBe(86_592);
    expect(info.template).toContain("im_start");
    expect((await machine.error("Qwen/Qwen2-tiny:Q4_K_M")).message).toContain("safetensors");
    machine.repository("empty/repo", []);
    mkdirSync(join(machine.root, ".cache/huggingface/hub/models--empty--repo/snapshots/c0ffee"), { recursive: true });
    expect((await machine.error("empty/repo")).message).toContain("without weights");
  });

  test("HF_HUB_CACHE, HF_HOME and XDG_CACHE_HOME move the cache", async () => {
    using machine = new Machine();
    machine.repository("o/m", ["m-Q8_0.gguf"], { root: "one/hub" });
    const at = (env: Record<string, string>) => resolveModel("o/m", { env: { ...machine.env, ...env } });
    expect((await at({ HF_HUB_CACHE: join(machine.root, "one/hub") })).source).toBe("huggingface");
    expect((await at({ HF_HOME: "~/one" })).source).toBe("huggingface");
    machine.repository("o/m", ["m-Q8_0.gguf"], { root: "xdg/huggingface/hub" });
    expect((await at({ XDG_CACHE_HOME: join(machine.root, "xdg") })).source).toBe("huggingface");
  });
});

describe("our own store, paths and the demo", () => {
  test("files and folders under ~/.alloy/models by name", async () => {
    using machine = new Machine();
    const file = machine.gguf(machine.path(".alloy/models/tiny-q8_0.gguf"));
    const split = machine.gguf(machine.path(".alloy/models/big/Big-00001-of-00002.gguf"));
    cpSync(join(FIXTURES, "qwen2/tiny/hf"), machine.path(".alloy/models/org/checkpoint"), { recursive: true });
    for (const reference of ["tiny-q8_0", "TINY-Q8_0", "tiny-q8_0:latest", "tiny-q8_0.gguf", "alloy/tiny-q8_0"])
      expect(await machine.resolve(reference)).toMatchObject({ name: "tiny-q8_0", path: file, source: "alloy" });
    expect((await machine.resolve("big/big")).path).toBe(split);
    expect(await machine.resolve("org/checkpoint")).toMatchObject({ format: "huggingface", source: "alloy" });
    const moved = { env: { ...machine.env, ALLOY_MODELS: join(machine.root, ".alloy/models/big") } };
    expect((await resolveModel("Big", moved)).path).toBe(split);
  });

  test("our own store wins over Ollama's, which wins over Hugging Face's", async () => {
    using machine = new Machine();
    machine.repository("o/m", ["m-Q8_0.gguf"]);
    expect((await machine.resolve("o/m")).source).toBe("huggingface");
    machine.ollama("registry.ollama.ai/o/m/latest");
    expect((await machine.resolve("o/m")).source).toBe("ollama");
    machine.gguf(machine.path(".alloy/models/o/m.gguf"));
    expect((await machine.resolve("o/m")).source).toBe("alloy");
  });

  test("paths: files, folders, ~ and relative ones", async () => {
    using machine = new Machine();
    const file = machine.gguf(machine.path("here/m.gguf"));
    machine.gguf(machine.path("here/mmproj-F16.gguf"));
    expect(await machine.resolve(file)).toMatchObject({
      name: file,
      path: file,
      source: "path",
      projector: join(dirname(file), "mmproj-F16.gguf"),
    });
    expect((await machine.resolve("~/here/m.gguf")).path).toBe(file);
    expect((await machine.resolve(join(machine.root, "here"))).path).toBe(file);
    const relative = await machine.resolve("test/fixtures/golden/qwen2/tiny/hf");
    expect(relative).toMatchObject({ name: "test/fixtures/golden/qwen2/tiny/hf", format: "huggingface", source: "path" });
    copyFileSync(file, join(machine.root, "here/n.gguf"));
    expect((await machine.error(join(machine.root, "here"))).message).toContain("holds 2 models");
    mkdirSync(join(machine.root, "nothing"));
    expect((await machine.error(join(machine.root, "nothing"))).message).toContain("holds no model");
    expect((await machine.error("./no/such")).message).toContain("./no/such");
    expect((await machine.error("no-such.gguf")).message).toContain("no file no-such.gguf");
  });

  test("without paths a reference names installed models only", async () => {
    using machine = new Machine();
    const file = machine.gguf(machine.path("m.gguf"));
    for (const reference of [file, "~/m.gguf", `../../../../../..${file}`, "test/fixtures/golden/qwen2/tiny/hf"])
      expect((await machine.error(reference, false)).code).toBe("model_not_found");
    expect((await machine.resolve("demo", false)).source).toBe("demo");
  });

  test("names that try to leave a store find nothing", async () => {
    using machine = new Machine();
    machine.gguf(machine.path("secret.gguf"));
    machine.gguf(machine.path(".alloy/models/m.gguf"));
    for (const reference of ["x/../../../secret", "..%2f..%2fsecret", "a/b/c/d/e", "m\u0000", "", " ", ":", "/", "a:b:c"])
      expect((await machine.error(reference, false)).code).toBe("model_not_found");
  });

  test("demo", async () => {
    using machine = new Machine();
    for (const reference of ["demo", "Demo", "demo:latest"]) {
      const model = await machine.resolve(reference);
      expect(model).toMatchObject({ name: "demo", source: "demo" });
      expect(modelInfo(model)).toMatchObject({ architecture: "qwen3", quantization: "Q8_0", contextLength: 4096, parameters: 10_493_696 });
      expect(modelInfo(model).capabilities).toEqual(["completion", "tools", "thinking"]);
    }
  });

  test("absurd names are refused", async () => {
    using machine = new Machine();
    // A look at it whose time grows faster than its length would not end within the test's limit.
    const error = await machine.error("x".repeat(50_000_000), false);
    expect(error.code).toBe("model_not_found");
    expect(error.message.length).toBeLessThan(200);
    expect((await machine.error("y".repeat(4000), false)).hint).toContain("Installed: demo");
  });

  test("unknown names get a suggestion and what is installed", async () => {
    using machine = new Machine();
    machine.ollama("registry.ollama.ai/library/llama3.2/latest");
    const error = await machine.error("lama3.2");
    expect(error.code).toBe("model_not_found");
    expect(error.message).toBe('model "lama3.2" is not installed');
    expect(error.hint).toBe('Did you mean "llama3.2"? Installed: llama3.2:latest, demo. `alloy pull lama3.2` would download it.');
    expect(error.data).toEqual({ model: "lama3.2", pullable: true });
  });
});

describe("lists and information", () => {
  test("everything installed, newest first, the demo last, broken files left out", async () => {
    using machine = new Machine();
    machine.gguf(machine.path(".alloy/models/first.gguf"));
    machine.ollama("registry.ollama.ai/library/second/latest");
    machine.repository("o/third", ["third-Q8_0.gguf", "third-Q4_0.gguf"]);
    writeFileSync(machine.path(".alloy/models/broken.gguf"), "GGUF but not really");
    const infos = await listModels({ env: machine.env });
    expect(infos.map(({ name }) => name).toSorted()).toEqual(["demo", "first", "o/third:Q4_0", "o/third:Q8_0", "second:latest"]);
    const times = infos.slice(0, -1).map(({ modified }) => modified);
    expect(times).toEqual(times.toSorted().toReversed());
    expect(infos.at(-1)?.name).toBe("demo");
    expect(JSON.parse(JSON.stringify(infos))).toHaveLength(5);
  });

  test("information is kept until the file changes", async () => {
    using machine = new Machine();
    const path = machine.gguf(machine.path(".alloy/models/m.gguf"), { "general.file_type": 15 });
    const get = async () => modelInfo(await machine.resolve("m"));
    const first = await get();
    expect(first).toMatchObject({ name: "m", architecture: "llama", quantization: "Q4_K_M", contextLength: 2048, parameters: 2 });
    expect(first.digest).toMatch(/^[0-9a-f]{64}$/);
    expect(await get()).toBe(first);
    machine.gguf(path, { "general.file_type": 7, "general.license": "mit", "tokenizer.chat_template": "{{ tools }}" });
    const second = await get();
    expect(second).toMatchObject({ quantization: "Q8_0", license: "mit", capabilities: ["completion", "tools"] });
    expect(second.digest).not.toBe(first.digest);
  });

  test("embedding models and odd file types", async () => {
    using machine = new Machine();
    machine.gguf(machine.path(".alloy/models/e.gguf"), { "general.architecture": "nomic-bert" });
    machine.gguf(machine.path(".alloy/models/p.gguf"), { "llama.pooling_type": 1 });
    machine.gguf(machine.path(".alloy/models/f.gguf"), { "general.file_type": 1024 + 7, "tokenizer.ggml.fim_mid_token_id": 3 });
    machine.gguf(machine.path(".alloy/models/g.gguf"), { "general.file_type": 999 });
    const info = async (name: string) => modelInfo(await machine.resolve(name));
    expect((await info("e")).capabilities).toEqual(["embedding"]);
    expect((await info("p")).capabilities).toEqual(["embedding"]);
    expect(await info("f")).toMatchObject({ quantization: "Q8_0", capabilities: ["completion", "insert"] });
    expect((await info("g")).quantization).toBe("F32");
  });

  test("metadata can be sent as JSON", async () => {
    using machine = new Machine();
    const path = machine.path(".alloy/models/m.gguf");
    writeGguf(path, {
      metadata: {
        "general.architecture": "llama",
        "a.big": 2n ** 60n,
        "a.short": Int32Array.of(1, 2),
        "a.long": new Float32Array(1000),
        "a.words": ["x", "y"],
        "a.f32": ggufNumber("f32", 0.5),
        "tokenizer.ggml.tokens": ["a", "b"],
        "tokenizer.chat_template": "secret",
      },
      tensors: [],
    });
    const { metadata } = modelInfo(await machine.resolve("m"));
    expect(JSON.parse(JSON.stringify(metadata))).toEqual({
      "general.architecture": "llama",
      "a.big": 2 ** 60,
      "a.short": [1, 2],
      "a.long": null,
      "a.words": ["x", "y"],
      "a.f32": 0.5,
      "tokenizer.ggml.tokens": null,
    });
  });
});
