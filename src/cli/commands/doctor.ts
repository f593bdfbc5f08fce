/** `alloy doctor`: does this machine have what Alloy needs? */
import { accessSync, constants, mkdirSync, readFileSync, statfsSync } from "node:fs";
import { availableParallelism, cpus, freemem, totalmem } from "node:os";
import type { DeviceProperties } from "../../runtime/device.ts";
import { clientUrl, listenAddress } from "../../server/listen.ts";
import { AlloyError } from "../../support/errors.ts";
import { cacheDir } from "../../support/paths.ts";
import { COMMIT, COMPILED, VERSION } from "../../support/version.ts";
import { formatBytes } from "../../support/format.ts";
import { printJson, type Context } from "../context.ts";
import { EXIT } from "../exit.ts";
import { probe } from "../probe.ts";
import { runSelftest } from "../selftest.ts";
import { strictCommand, UsageError } from "../strict.ts";

interface Check {
  name: string;
  /** "warn": works, but slower or with less; "fail": Alloy cannot work. */
  status: "ok" | "warn" | "fail";
  detail: string;
  hint?: string;
}

export default strictCommand({
  name: "doctor",
  summary: "check that this machine has what Alloy needs",
  description: `Exit code 0 when Alloy can work here (also with warnings), 1 when something that it cannot do without is missing.
With --selftest it compares every stock kernel on the device with the interpreter instead; exit code 1 when one differs.`,
  args: {
    selftest: { type: "boolean", description: "Compare every stock kernel with the interpreter, on random inputs" },
    device: { type: "string", hint: "name", description: "Device of --selftest, cpu or metal (default: the best there is)" },
    kernel: { type: "string", hint: "text", description: "Only kernels of --selftest whose name contains this" },
    seed: { type: "integer", hint: "number", min: 0, description: "Of the random inputs of --selftest (default: 1)" },
  },
  examples: [
    ["alloy doctor --json", "attach this to a bug report"],
    ["alloy doctor --selftest", "are this GPU's results right?"],
  ],
  async run(args, context: Context) {
    const { io, json, style } = context;
    const { device: name, kernel: only, seed } = args;
    if (args.selftest) return runSelftest({ device: name, only, seed }, context);
    const given = Object.entries({ device: name, kernel: only, seed }).find(([, v]) => v !== undefined);
    if (given) throw new UsageError(`--${given[0]} belongs to --selftest`, "add --selftest, or leave it out");
    const checks = [
      program(),
      processor(),
      await deviceCheck(context),
      memory(),
      compiler(io.env),
      cache(io.env),
      await stores(context),
      await port(context),
    ];
    const failed = checks.some((c) => c.status === "fail");
    if (json) printJson(io, { ok: !failed, checks });
    else {
      const mark = { ok: style.green("ok  "), warn: style.yellow("warn"), fail: style.red("fail") };
      for (const c of checks) {
        io.out(`${mark[c.status]}  ${c.name.padEnd(9)} ${c.detail}\n`);
        if (c.hint !== undefined) io.out(`                ${style.dim(c.hint)}\n`);
      }
    }
    return failed ? EXIT.failed : EXIT.ok;
  },
});

function program(): Check {
  const build = COMPILED ? `executable, build ${COMMIT ?? "unknown"}` : "from source";
  const detail = `${VERSION} (${build}), Bun ${Bun.version}, ${process.platform}-${process.arch}`;
  const known = ["linux-x64", "linux-arm64", "darwin-arm64", "darwin-x64"].includes(`${process.platform}-${process.arch}`);
  return known ? { name: "alloy", status: "ok", detail } : { name: "alloy", status: "warn", detail, hint: "this platform is not tested" };
}

/** The instruction sets that decide which kernels run. */
function processor(): Check {
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  const features = cpuFeatures();
  const detail = `${model}, ${availableParallelism()} threads${features.length > 0 ? `, ${features.join(" ")}` : ""}`;
  if (process.arch === "x64" && features.length > 0 && !features.includes("avx2")) {
    return { name: "processor", status: "warn", detail, hint: "without AVX2 kernels run in their plain form, several times slower" };
  }
  return { name: "processor", status: "ok", detail };
}

function cpuFeatures(): string[] {
  if (process.platform !== "linux") return process.arch === "arm64" ? ["neon", "dotprod"] : [];
  const line = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? "";
  const has = new Set(line.trim().split(/\s+/));
  return ["avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm"].filter((f) =>
    has.has(f),
  );
}

/** What commands compute on when nobody says. */
async function deviceCheck({ deps, io }: Context): Promise<Check> {
  try {
    return { name: "device", status: "ok", detail: deviceText(await deps.deviceProperties()) };
  } catch (error) {
    const { message, hint } = AlloyError.from(error);
    const wanted = io.env.ALLOY_DEVICE;
    return { name: "device", status: "fail", detail: wanted ? `ALLOY_DEVICE=${wanted}: ${message}` : message, hint };
  }
}

function deviceText({ kind, name, isa, threads, memoryBytes }: DeviceProperties): string {
  if (kind === "cpu") return `CPU, ${isa} kernels, ${threads} threads`;
  const cores = threads > 0 ? `, ${threads} cores` : "";
  return `${name} by way of ${kind === "metal" ? "Metal" : "CUDA"}, ${isa}${cores}, up to ${formatBytes(memoryBytes)}`;
}

function memory(): Check {
  const free = process.platform === "linux" ? availableMemory() : freemem();
  const detail = `${formatBytes(totalmem())}, ${formatBytes(free)} free`;
  if (free < 512e6) return { name: "memory", status: "warn", detail, hint: "close other programs before loading a model" };
  return { name: "memory", status: "ok", detail };
}

function availableMemory(): number {
  const kb = /^MemAvailable:\s+(\d+)/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
  return kb === undefined ? freemem() : Number(kb) * 1024;
}

/** Stock kernels come compiled; a C compiler makes users' own kernels fast. Looks where the CPU driver looks. */
function compiler(env: Readonly<Record<string, string | undefined>>): Check {
  const wanted = env.ALLOY_CC;
  for (const name of wanted === undefined ? ["cc", "gcc", "clang"] : [wanted]) {
    const path = Bun.which(name, { PATH: env.PATH ?? "" });
    if (path === null) continue;
    const { stdout, success } = Bun.spawnSync([path, "--version"], { stderr: "ignore" });
    if (success) return { name: "compiler", status: "ok", detail: `${path}: ${stdout.toString().split("\n")[0]}` };
  }
  return {
    name: "compiler",
    status: "warn",
    detail: wanted
      ? `ALLOY_CC names "${wanted}", which is not in PATH`
      : wanted === ""
        ? "switched off by ALLOY_CC"
        : "no C compiler (cc, gcc, clang)",
    hint: "kernels of your own are compiled by Bun's built-in C compiler, which does not optimise; stock kernels are not affected",
  };
}

function cache(env: Readonly<Record<string, string | undefined>>): Check {
  const folder = cacheDir(env);
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK);
    const { bavail, bsize } = statfsSync(folder);
    const free = Number(bavail) * Number(bsize);
    const detail = `${folder}, ${formatBytes(free)} free`;
    return free < 200e6
      ? { name: "cache", status: "warn", detail, hint: "free some space, or set ALLOY_CACHE_DIR" }
      : { name: "cache", status: "ok", detail };
  } catch (error) {
    const detail = `${folder} cannot be written: ${(error as Error).message}`;
    return { name: "cache", status: "fail", detail, hint: "set ALLOY_CACHE_DIR to a folder that you may write" };
  }
}

async function stores({ deps }: Context): Promise<Check> {
  const bySource = new Map<string, number>();
  for (const model of await deps.listModels()) bySource.set(model.source, (bySource.get(model.source) ?? 0) + 1);
  const detail = [...bySource].map(([source, n]) => `${n} ${source}`).join(", ") || "none";
  return { name: "models", status: "ok", detail };
}

async function port({ io }: Context): Promise<Check> {
  const address = listenAddress(io.env);
  const found = await probe(clientUrl(address));
  const where = `${address.host}:${address.port}`;
  if (found.kind === "nobody") return { name: "port", status: "ok", detail: `${where} is free` };
  if (found.kind === "alloy") return { name: "port", status: "ok", detail: `${where}: Alloy ${found.version} is running` };
  const who = found.kind === "ollama" ? `Ollama ${found.version}` : "another program";
  return { name: "port", status: "warn", detail: `${where} is taken by ${who}`, hint: "stop it, or use `alloy serve --port 11435`" };
}
