/**
 * The manifests in deploy/kubernetes: judged by the schemas and types of Kubernetes and of its extensions, and compared with what the server
 * has. Who judges what: docs/scaling.md.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import Ajv, { type ValidateFunction } from "ajv";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Gateway, HTTPRoute } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1";
import { PrometheusRule, ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import { Deployment } from "kubernetes-models/apps/v1";
import { HorizontalPodAutoscaler } from "kubernetes-models/autoscaling/v2";
import { Job } from "kubernetes-models/batch/v1";
import { NetworkPolicy } from "kubernetes-models/networking.k8s.io/v1";
import { PodDisruptionBudget } from "kubernetes-models/policy/v1";
import { Role, RoleBinding } from "kubernetes-models/rbac.authorization.k8s.io/v1";
import { ConfigMap, PersistentVolumeClaim, Service, ServiceAccount } from "kubernetes-models/v1";
import { parse, parseAllDocuments } from "yaml";
import serve from "../../src/cli/commands/serve.ts";
import pull from "../../src/cli/commands/pull.ts";
import { checkArgs } from "../../src/cli/strict.ts";
import { DEFAULT_PORT } from "../../src/server/listen.ts";
import { ROUTES } from "../../src/server/routes.ts";
import { read, repositoryFiles, ROOT } from "../repo/files.ts";
import { start } from "../server/harness.ts";
import { scriptedModel } from "../server/scripted-engine.ts";

interface Manifest {
  file: string;
  apiVersion: string;
  kind: string;
  metadata: { name: string; labels?: Record<string, string> };
  // oxlint-disable-next-line no-explicit-any -- whatever YAML holds, until a schema has judged it
  [key: string]: any;
}

const FOLDER = "deploy/kubernetes";

/** By kind: the class that judges values, and where its types are. */
const MODELS = {
  ...from("kubernetes-models/v1", { ConfigMap, PersistentVolumeClaim, Service, ServiceAccount }),
  ...from("kubernetes-models/apps/v1", { Deployment }),
  ...from("kubernetes-models/autoscaling/v2", { HorizontalPodAutoscaler }),
  ...from("kubernetes-models/batch/v1", { Job }),
  ...from("kubernetes-models/networking.k8s.io/v1", { NetworkPolicy }),
  ...from("kubernetes-models/policy/v1", { PodDisruptionBudget }),
  ...from("kubernetes-models/rbac.authorization.k8s.io/v1", { Role, RoleBinding }),
  ...from("@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1", { Gateway, HTTPRoute }),
  ...from("@kubernetes-models/keda/keda.sh/v1alpha1", { ScaledObject }),
  ...from("@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1", { PrometheusRule, ServiceMonitor }),
};

type Model = { new (data: never): { validate(): void }; apiVersion: string };

function from(module: string, classes: Record<string, unknown>): Record<string, { module: string; model: Model }> {
  return Object.fromEntries(Object.entries(classes).map(([kind, model]) => [kind, { module, model: model as Model }]));
}

/** Of extensions without a package: the schema of the project's own definition. Unknown fields are refused. */
const CRDS: Record<string, { apiVersion: string; judge: ValidateFunction }> = Object.fromEntries(
  readdirSync(join(ROOT, "test/fixtures/crds")).map((file) => {
    const { group, version, kind, schema } = JSON.parse(read(`test/fixtures/crds/${file}`));
    const ajv = new Ajv({ strict: false, validateFormats: false });
    return [kind, { apiVersion: `${group}/${version}`, judge: ajv.compile(closed(schema)) }];
  }),
);

function closed(schema: Record<string, unknown>, name = ""): Record<string, unknown> {
  const deeper = Object.entries(schema).map(([key, value]): [string, unknown] =>
    value && typeof value === "object" && !Array.isArray(value) ? [key, closed(value as Record<string, unknown>, key)] : [key, value],
  );
  const open = name === "properties" || !("properties" in schema) || "additionalProperties" in schema;
  return { ...Object.fromEntries(deeper), ...(open ? {} : { additionalProperties: false }) };
}

const manifests: Manifest[] = readdirSync(join(ROOT, FOLDER)).flatMap((file) =>
  parseAllDocuments(read(`${FOLDER}/${file}`), { uniqueKeys: true }).map((document) => {
    if (document.errors.length > 0) throw document.errors[0];
    return { file, ...(document.toJS() as object) } as Manifest;
  }),
);
const bare = ({ file: _file, ...rest }: Manifest) => rest;
const find = (kind: string, name = "alloy") => manifests.find((m) => m.kind === kind && m.metadata.name === name)!;
const container = () => find("Deployment").spec.template.spec.containers[0];

let work: string;
let names: Set<string>;
beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), "alloy-manifests-"));
  symlinkSync(join(ROOT, "node_modules"), join(work, "node_modules"));
  await using h = await start({ models: [scriptedModel("demo")] });
  await (await h.post("/v1/chat/completions", { model: "demo", messages: [{ role: "user", content: "x" }] })).text();
  names = new Set([...(await (await fetch(`${h.url}/metrics`)).text()).matchAll(/^([\w:]+)[{ ]/gm)].map((m) => m[1]));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe("schemas", () => {
  test("every manifest is of a kind that something judges, and in the version that it judges", () => {
    for (const { file, kind, apiVersion } of manifests) {
      const known = kind in MODELS ? MODELS[kind].model.apiVersion : CRDS[kind]?.apiVersion;
      expect([file, kind, apiVersion]).toEqual([file, kind, known]);
    }
    expect(manifests.length).toBeGreaterThan(15);
  });

  test("values: types, formats, required fields", () => {
    for (const manifest of manifests) {
      const value = bare(manifest);
      if (manifest.kind in MODELS) new MODELS[manifest.kind].model(value as never).validate();
      else expect([manifest.kind, CRDS[manifest.kind].judge(value), CRDS[manifest.kind].judge.errors]).toEqual([manifest.kind, true, null]);
    }
    const broken = structuredClone(bare(find("Deployment")));
    broken.spec.template.spec.containers[0].ports[0].containerPort = "http";
    expect(() => new Deployment(broken as never).validate()).toThrow("containerPort");
    const pool = structuredClone(bare(find("InferencePool")));
    pool.spec.targetPort = 5;
    expect(CRDS.InferencePool.judge(pool)).toBe(false);
  });

  /** A literal of a type may hold no field that the type lacks, which the schemas of the packages let pass. */
  function typed(values: { kind: string }[]): string {
    const modules = Map.groupBy(values, ({ kind }) => MODELS[kind].module);
    const imports = [...modules].map(
      ([module, list]) => `import type { ${[...new Set(list.map((v) => `I${v.kind}`))].join(", ")} } from "${module}";`,
    );
    const literals = values.map((value, i) => `export const m${i}: I${value.kind} = ${JSON.stringify(value, null, 1)};`);
    const name = join(work, `m${Bun.hash(JSON.stringify(values))}.ts`);
    writeFileSync(name, [...imports, ...literals].join("\n"));
    const options = ["--strict", "--skipLibCheck", "--noEmit", "--module=Preserve", "--moduleResolution=bundler", "--target=ESNext"];
    const { stdout, stderr } = Bun.spawnSync([process.execPath, "check", "--no-pretty", ...options, name], { cwd: work });
    return stdout.toString() + stderr.toString();
  }

  test("fields: none that Kubernetes does not know", () => {
    const known = manifests.filter((m) => m.kind in MODELS).map(bare);
    expect(typed(known as { kind: string }[])).not.toContain("error TS");
    const broken = structuredClone(bare(find("Deployment")));
    broken.spec.template.spec.containers[0].readinesProbe = {};
    expect(typed([broken as unknown as { kind: string }])).toContain("readinesProbe");
  }, 120_000);
});

describe("against the server", () => {
  test("the container's command is one that alloy takes, with variables that it reads", () => {
    const source = repositoryFiles(".ts")
      .filter((f) => f.startsWith("src/"))
      .map(read)
      .join("\n");
    for (const [{ args, env }, spec] of [
      [container(), serve.spec],
      [find("Job", "alloy-pull").spec.template.spec.containers[0], pull.spec],
    ] as const) {
      expect(args[0]).toBe(spec.name);
      checkArgs(args.slice(1), spec.args, spec.name);
      for (const { name } of env as { name: string }[]) expect([name, source.includes(name)]).toEqual([name, true]);
    }
    // What is pulled is what is served.
    expect(container().args).toContain(find("Job", "alloy-pull").spec.template.spec.containers[0].args[1]);
    expect(container().env).toContainEqual({
      name: "ALLOY_DEFAULT_MODEL",
      value: find("Job", "alloy-pull").spec.template.spec.containers[0].args[1],
    });
  });

  test("ports are the same everywhere", () => {
    const { given } = checkArgs(container().args.slice(1), serve.spec.args, "serve");
    expect(Number(given.get("port")![0])).toBe(DEFAULT_PORT);
    expect(container().ports).toEqual([{ name: "http", containerPort: DEFAULT_PORT }]);
    expect(find("InferencePool").spec.targetPorts).toEqual([{ number: DEFAULT_PORT }]);
    const ports = new Map<string, number>();
    for (const { spec } of manifests.filter((m) => m.kind === "Deployment"))
      for (const c of spec.template.spec.containers) for (const p of c.ports) ports.set(p.name, p.containerPort);
    for (const { spec } of manifests.filter((m) => m.kind === "Service"))
      for (const p of spec.ports) expect([p.targetPort, ports.has(p.targetPort)]).toEqual([p.targetPort, true]);
    const epp = find("Service", "alloy-epp").spec.ports[0];
    expect(find("InferencePool").spec.endpointPickerRef.port.number).toBe(epp.port);
    expect(find("ServiceMonitor").spec.endpoints[0].port).toBe(find("Service").spec.ports[0].name);
  });

  test("probed and scraped paths are routes; probes need no key", () => {
    const route = (path: string) => ROUTES.find((r) => r.method === "GET" && r.path === path);
    for (const probe of ["startupProbe", "readinessProbe", "livenessProbe"])
      expect([probe, route(container()[probe].httpGet.path)?.open]).toEqual([probe, true]);
    expect(container().livenessProbe.httpGet.path).toBe("/livez");
    expect(container().readinessProbe.httpGet.path).toBe("/readyz");
    for (const { path } of find("ServiceMonitor").spec.endpoints) expect(route(path)).toBeDefined();
    const picker = parse(find("ConfigMap", "alloy-epp").data["plugins.yaml"]);
    expect(route(picker.plugins.find((p: { type: string }) => p.type === "metrics-data-source").parameters.path)).toBeDefined();
    for (const { matches } of find("HTTPRoute").spec.rules)
      for (const { path } of matches) expect(ROUTES.some((r) => r.path.startsWith(`${path.value}/`))).toBe(true);
    const referred = picker.schedulingProfiles[0].plugins.map((p: { pluginRef: string }) => p.pluginRef);
    expect(picker.plugins.map((p: { type: string }) => p.type)).toEqual(expect.arrayContaining(referred));
  });

  test("a pod lives until its last request is done", () => {
    const { terminationGracePeriodSeconds } = find("Deployment").spec.template.spec;
    const { given } = checkArgs(container().args.slice(1), serve.spec.args, "serve");
    expect(terminationGracePeriodSeconds).toBeGreaterThanOrEqual(
      container().lifecycle.preStop.sleep.seconds + Number(given.get("grace")![0]) + 15,
    );
  });

  test("selectors and references find what they name", () => {
    const pods = manifests
      .filter((m) => m.kind === "Deployment" || m.kind === "Job")
      .map((m) => m.spec.template.metadata.labels as Record<string, string>);
    const selects = (labels: Record<string, string>) => pods.some((p) => Object.entries(labels).every(([k, v]) => p[k] === v));
    for (const m of manifests) {
      const { selector, podSelector } = m.spec ?? {};
      const labels = m.kind === "ServiceMonitor" ? undefined : (podSelector?.matchLabels ?? selector?.matchLabels ?? selector);
      if (labels) expect([m.kind, m.metadata.name, selects(labels)]).toEqual([m.kind, m.metadata.name, true]);
    }
    for (const [k, v] of Object.entries(find("ServiceMonitor").spec.selector.matchLabels))
      expect(find("Service").metadata.labels![k]).toBe(v as string);
    for (const kind of ["HorizontalPodAutoscaler", "ScaledObject"])
      expect(find("Deployment", find(kind).spec.scaleTargetRef.name)).toBeDefined();
    const references = JSON.stringify(manifests.map(bare));
    for (const [, name] of references.matchAll(/"claimName":"([^"]+)"/g)) expect(find("PersistentVolumeClaim", name)).toBeDefined();
    for (const [, name] of references.matchAll(/"configMap":\{"name":"([^"]+)"/g)) expect(find("ConfigMap", name)).toBeDefined();
    for (const [, name] of references.matchAll(/"serviceAccountName":"([^"]+)"/g)) expect(find("ServiceAccount", name)).toBeDefined();
  });

  test("metrics in manifests and documents are ones that the server has", () => {
    const texts = [...readdirSync(join(ROOT, FOLDER)).map((f) => `${FOLDER}/${f}`), "docs/operations.md", "docs/scaling.md"];
    let count = 0;
    for (const file of texts) {
      for (const [, name] of read(file).matchAll(/(?<![\w/.])((?:vllm:|alloy_|llamacpp:)[a-z]\w+)/g)) {
        const known = names.has(name) || names.has(`${name}_count`) || ["alloy_client"].includes(name);
        // An engine in a process of its own, which this one is not, and a load that took time.
        const elsewhere = ["alloy_engine_resident_memory_bytes", "alloy_model_load_seconds", "alloy_client_disconnects_total"].includes(
          name,
        );
        expect([file, name, known || elsewhere]).toEqual([file, name, true]);
        count++;
      }
    }
    expect(count).toBeGreaterThan(20);
    const reasons = /reason=~"([^"]+)"/.exec(readFileSync(join(ROOT, FOLDER, "monitoring.yaml"), "utf8"))![1].split("|");
    for (const reason of reasons) expect(read("src/server/metrics/own.ts")).toContain(`"${reason}"`);
  });
});
