/**
 * An arm64 processor as a Device, on any machine that has qemu-user and a cross compiler: kernels are compiled as for that processor, and plans
 * are walked by ./driver.c in a process under qemu, which shares the device's memory with this one.
 */
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, readSync, renameSync, rmSync } from "node:fs";
import { statSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compileFiles } from "../../src/runtime/cpu/cc.ts";
import type { Isa, IsaName } from "../../src/runtime/cpu/isa.ts";
import { isaByName } from "../../src/runtime/cpu/isa.ts";
import { runtimeSource } from "../../src/runtime/cpu/native.ts";
import type { Device, DeviceBuffer, DeviceProperties, Dispatch, Plan, Program, ProgramSource } from "../../src/runtime/device.ts";
import { checkWindow } from "../../src/runtime/host-memory.ts";
import { Encoding, isSlot } from "../../src/runtime/words.ts";
import { cacheDir } from "../../src/support/paths.ts";

const QEMU = Bun.which("qemu-aarch64");
const COMPILER = Bun.which("aarch64-linux-gnu-gcc");
/** Where the C library of the cross compiler is: qemu looks there for the loader. */
const SYSROOT = "/usr/aarch64-linux-gnu";

/** Why there is no arm64 here; undefined when there is one. */
export const WITHOUT_ARM64: string | undefined =
  process.arch === "arm64"
    ? "this processor is arm64: its own tests are those of the CPU device"
    : !QEMU
      ? "no qemu-aarch64 (Debian: qemu-user)"
      : !COMPILER || !existsSync(join(SYSROOT, "include/stdio.h"))
        ? "no aarch64-linux-gnu-gcc with a C library (Debian: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross)"
        : undefined;

/** The least processor that has what an instruction set needs: an instruction beyond it ends the process. */
export const PROCESSORS = { "neon-dotprod": "cortex-a76", baseline: "cortex-a53" } as const satisfies Partial<Record<IsaName, string>>;
export type Arm64Isa = keyof typeof PROCESSORS;

const qemu = (isa: Arm64Isa): string[] => [QEMU!, "-L", SYSROOT, "-cpu", PROCESSORS[isa]];

const compiler = (): { path: string; version: string } => {
  const s = statSync(COMPILER!);
  return { path: COMPILER!, version: `${COMPILER} ${s.size} ${s.mtimeMs}` };
};

/** The driver's executable, compiled once per machine. */
function driver(): string {
  const source = join(import.meta.dir, "driver.c");
  const text = [compiler().version, readFileSync(source, "utf8"), readFileSync(runtimeSource(), "utf8")].join("\0");
  const dir = join(cacheDir(), "kernels");
  const path = join(dir, `arm64-driver-${new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 16)}`);
  if (existsSync(path)) return path;
  mkdirSync(dir, { recursive: true });
  const made = `${path}.${process.pid}`;
  const r = Bun.spawnSync([COMPILER!, "-O2", "-w", "-pthread", source, "-o", made, "-ldl"]);
  if (r.exitCode !== 0) throw new Error(r.stderr.toString());
  renameSync(made, path);
  return path;
}

/** What alloy_cpu_features says on the processor of an instruction set. */
export function arm64Features(isa: Arm64Isa): number {
  const r = Bun.spawnSync([...qemu(isa), driver()]);
  if (r.exitCode !== 0) throw new Error(r.stderr.toString());
  return Number(r.stdout.toString());
}

/** Sparse: only what is touched is there. */
const ARENA_BYTES = 1 << 30;
/** Where the arena is in the arm64 process; nothing else is that low there. */
const BASE = 0x10_0000_0000;
const ALIGNMENT = 128;

/** Memory that the arm64 process sees at BASE. Handed out in a row, and from the start again once nothing is in use. */
class Arena {
  readonly path: string;
  private readonly bytes: Uint8Array;
  private next = 0;
  private used = 0;

  constructor(dir: string) {
    this.path = join(dir, "arena");
    writeFileSync(this.path, "");
    truncateSync(this.path, ARENA_BYTES);
    this.bytes = Bun.mmap(this.path, { shared: true });
  }

  /** Zeroed memory: its offset. */
  take(bytes: number): number {
    const at = this.next;
    if (at + bytes > ARENA_BYTES) throw new Error(`no room for ${bytes} bytes in the arm64 process's memory`);
    this.next = Math.ceil((at + bytes) / ALIGNMENT) * ALIGNMENT;
    this.used++;
    this.bytes.fill(0, at, at + bytes);
    return at;
  }

  give(): void {
    if (--this.used === 0) this.next = 0;
  }

  view(at: number, bytes: number): Uint8Array {
    return this.bytes.subarray(at, at + bytes);
  }
}

class ArenaBuffer implements DeviceBuffer {
  constructor(
    private readonly arena: Arena,
    private readonly at: number,
    readonly bytes: number,
    private owner: boolean,
  ) {}
  get address(): number {
    return BASE + this.at;
  }
  slice(offset: number, bytes: number): DeviceBuffer {
    checkWindow(offset, bytes, this.bytes);
    return new ArenaBuffer(this.arena, this.at + offset, bytes, false);
  }
  view(offset = 0, bytes = this.bytes - offset): Uint8Array {
    checkWindow(offset, bytes, this.bytes);
    return this.arena.view(this.at + offset, bytes);
  }
  free(): void {
    if (this.owner) this.arena.give();
    this.owner = false;
  }
}

/** ./driver.c under qemu, spoken to through named pipes: reads of those can be waited for, and end when the process does. */
class Arm64Process {
  private readonly child: Bun.Subprocess;
  private readonly to: number;
  private readonly from: number;
  private readonly errors: string;

  constructor(isa: Arm64Isa, dir: string, arena: string, threads: number) {
    const [input, output] = [join(dir, "in"), join(dir, "out")];
    this.errors = join(dir, "errors");
    for (const pipe of [input, output]) rmSync(pipe, { force: true });
    if (Bun.spawnSync(["mkfifo", input, output]).exitCode !== 0) throw new Error(`no pipe can be made in ${dir}`);
    const command = [...qemu(isa), driver(), arena, String(ARENA_BYTES), String(BASE), String(threads)];
    this.child = Bun.spawn([
      "sh",
      "-c",
      `i=$1 o=$2 e=$3; shift 3; exec "$@" <"$i" >"$o" 2>"$e"`,
      "sh",
      input,
      output,
      this.errors,
      ...command,
    ]);
    // Opened for both, a pipe is there at once; opened for reading, when the process has opened its end.
    this.to = openSync(input, "r+");
    this.from = openSync(output, "r");
  }

  /** The answer to a plan; undefined when the process has ended instead. */
  run(job: Uint8Array): number | undefined {
    const message = Buffer.concat([new Uint8Array(BigUint64Array.of(BigInt(job.length)).buffer), job]);
    for (let at = 0; at < message.length;) at += writeSync(this.to, message, at);
    const answer = new Uint8Array(1);
    return readSync(this.from, answer) === 1 ? answer[0] : undefined;
  }

  /** Ends it; returns what it has said on standard error. */
  end(): string {
    this.child.kill("SIGKILL");
    closeSync(this.to);
    closeSync(this.from);
    return readFileSync(this.errors, "utf8").trim();
  }
}

class Arm64Device implements Device {
  readonly properties: DeviceProperties;
  private readonly isa: Isa;
  private readonly dir = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "alloy-arm64-"));
  private readonly arena = new Arena(this.dir);
  private readonly sources = new Map<string, ProgramSource>();
  /** Library of every program that has been compiled, by symbol. */
  private readonly libraries = new Map<string, string>();
  private process: Arm64Process | undefined;

  constructor(
    private readonly target: Arm64Isa,
    private readonly flags: readonly string[],
  ) {
    this.isa = isaByName(target);
    this.properties = { name: PROCESSORS[target], kind: "cpu", isa: target, threads: 2, memoryBytes: ARENA_BYTES, hostPointers: false };
  }

  allocate(bytes: number): DeviceBuffer {
    return new ArenaBuffer(this.arena, this.arena.take(bytes), bytes, true);
  }

  wrap(): DeviceBuffer {
    throw new Error("the arm64 process cannot see this one's memory");
  }

  program(source: ProgramSource): Program {
    const known = this.sources.get(source.symbol) ?? source;
    this.sources.set(source.symbol, known);
    return known;
  }

  plan(dispatches: readonly Dispatch[], slots: number): Plan {
    if (slots > 0) throw new Error("plans of the arm64 process have no slots");
    const symbols = [...new Set(dispatches.map((d) => d.program.symbol))];
    const missing = symbols.filter((s) => !this.libraries.has(s)).map((s) => ({ symbol: s, text: this.sources.get(s)!.text(this.target) }));
    for (const [symbol, path] of compileFiles(compiler(), missing, this.isa, this.flags)) this.libraries.set(symbol, path);
    const job = this.encode(dispatches, symbols);
    const run = (): void => this.run(job);
    const none = (): never => {
      throw new Error("not of the arm64 process");
    };
    return { run, submit: async () => run(), free: () => {}, setInt: none, setFloat: none, setPointer: none, profile: none };
  }

  /** The file that ./driver.c reads. */
  private encode(dispatches: readonly Dispatch[], symbols: readonly string[]): Uint8Array {
    const words: bigint[] = [];
    for (const d of dispatches) {
      const e = new Encoding(d, 0);
      const { params } = d.program;
      words.push(BigInt(symbols.indexOf(d.program.symbol)), ...e.grid(), BigInt(params.length), d.parallel === "serial" ? 1n : 0n);
      d.args.forEach((arg, i) => {
        if (typeof arg === "object" && !isSlot(arg) && params[i] === "ptr") words.push(0n, BigInt(arg.address));
        else words.push(...e.number(i));
      });
    }
    const head = [dispatches.length, symbols.length, words.length].map(BigInt);
    const names = symbols.map((s) => `${this.libraries.get(s)}\0${s}\0`).join("");
    return Buffer.concat([new Uint8Array(BigUint64Array.from([...head, ...words]).buffer), Buffer.from(names)]);
  }

  private run(job: Uint8Array): void {
    const p = (this.process ??= new Arm64Process(this.target, this.dir, this.arena.path, this.properties.threads));
    const result = p.run(job);
    if (result === undefined) {
      this.process = undefined;
      throw new Error(`the arm64 process died: ${p.end()}`);
    }
    if (result !== 0) throw new Error("The grid has more than 2^32 - 1 programs");
  }

  close(): void {
    this.process?.end();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/**
 * An arm64 processor of the least kind that has the instruction set. `flags` are put behind those that kernels are compiled with for releases.
 * Throws where WITHOUT_ARM64 says why there is none.
 */
export function createArm64Device(isa: Arm64Isa, flags: readonly string[] = []): Device {
  if (WITHOUT_ARM64) throw new Error(WITHOUT_ARM64);
  return new Arm64Device(isa, flags);
}
