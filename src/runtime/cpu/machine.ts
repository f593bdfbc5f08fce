/** Which processors this process may use, as Linux tells in /sys and /proc, and how many threads suit them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface Cpu {
  id: number;
  /** The same for hyperthreads of one core. */
  core: string;
  /** Against others of the machine, in any unit. */
  speed: number;
}

export interface Machine {
  /** Those that are on and in this process's mask (taskset, cpuset). */
  cpus: readonly Cpu[];
  /** Cores' worth of time that control groups allow; Infinity without a limit. */
  quota: number;
}

/** The efficient cores of Intel's hybrids, whose speed the system does not tell: half as wide vectors at three quarters of the clock. */
const ATOM = 0.4;
/** Slower than this share of the fastest is another kind of core; boost clocks of equal cores differ by less. */
const EQUAL = 0.7;

/** Describes this machine, or the one whose /sys and /proc are below `root`; undefined where they say nothing. */
export function readMachine(root = "/"): Machine | undefined {
  const read = (...path: string[]): string => {
    try {
      return readFileSync(join(root, ...path), "utf8").trim();
    } catch {
      return "";
    }
  };
  const system = "sys/devices/system/cpu";
  const allowed = listed(/^Cpus_allowed_list:\s*(.*)$/m.exec(read("proc/self/status"))?.[1] ?? "");
  const online = listed(read(system, "online"));
  const ids = allowed.size > 0 && online.size > 0 ? [...allowed].filter((id) => online.has(id)) : [...allowed, ...online];
  if (ids.length === 0) return undefined;
  const atoms = listed(read("sys/devices/cpu_atom/cpus"));
  const cpus = ids.map((id) => {
    const of = (...path: string[]): string => read(system, `cpu${id}`, ...path);
    const siblings = of("topology/core_cpus_list") || of("topology/thread_siblings_list");
    const ids = `${of("topology/physical_package_id")}:${of("topology/core_id")}`;
    const told = Number(of("cpu_capacity") || of("cpufreq/cpuinfo_max_freq"));
    return { id, core: siblings || (ids === ":" ? `cpu${id}` : ids), told };
  });
  // Numbers are only good against each other: one that is missing makes all of them equal.
  const known = cpus.every((c) => c.told > 0);
  return {
    cpus: cpus.map(({ id, core, told }) => ({ id, core, speed: atoms.size > 0 ? (atoms.has(id) ? ATOM : 1) : known ? told : 1 })),
    quota: quota(read),
  };
}

/**
 * Threads that run programs best. One for a core, because hyperthreads share what products are bound by; but two where there are two
 * processors. Slow cores are left to the system, which has work for them too, unless together they outdo the fast ones. A quota is rounded
 * up: half a core is worth more than the pauses of a thread too many.
 */
export function threadsFor({ cpus, quota }: Machine): number {
  const cores = new Map<string, number>();
  for (const { core, speed } of cpus) cores.set(core, Math.max(speed, cores.get(core) ?? 0));
  const fastest = Math.max(...cores.values());
  const [fast, slow] = [[...cores.values()].filter((s) => s >= EQUAL * fastest), [...cores.values()].filter((s) => s < EQUAL * fastest)];
  const sum = (speeds: number[]): number => speeds.reduce((a, b) => a + b, 0);
  const best = sum(slow) > sum(fast) ? cores.size : fast.length;
  return Math.max(1, Math.min(Math.max(best, Math.min(2, cpus.length)), Math.ceil(quota)));
}

/** Threads that can run at the same moment; more than these take turns. */
export const atOnce = ({ cpus, quota }: Machine): number => Math.max(1, Math.min(cpus.length, Math.ceil(quota)));

/** A list of the kernel's, as "0-3,8,10-11". */
function listed(text: string): Set<number> {
  const ids = new Set<number>();
  for (const [, from, to = from] of text.matchAll(/(\d+)(?:-(\d+))?/g)) for (let id = Number(from); id <= Number(to); id++) ids.add(id);
  return ids;
}

/** The smallest limit of this process's control groups and those around them; version 2 (cpu.max) and 1 (cpu.cfs_quota_us). */
function quota(read: (...path: string[]) => string): number {
  const limits = [Infinity];
  const add = (quota: number, period: number): void => void (quota > 0 && period > 0 && limits.push(quota / period));
  for (const [, controllers, path] of read("proc/self/cgroup").matchAll(/^\d+:(.*?):(.*)$/gm)) {
    const second = controllers === "";
    if (!second && !controllers.split(",").includes("cpu")) continue;
    const mounts = second ? ["", "unified"] : [controllers, "cpu"];
    // In a container the path is often that of outside, and its own group is what is mounted at the top.
    const parts = path.split("/").filter((p) => p !== "" && p !== "..");
    for (const mount of mounts) {
      for (let depth = parts.length; depth >= 0; depth--) {
        const at = (file: string): string => read("sys/fs/cgroup", mount, ...parts.slice(0, depth), file);
        if (second) {
          const [quota, period] = at("cpu.max").split(" ");
          add(Number(quota), Number(period));
        } else add(Number(at("cpu.cfs_quota_us")), Number(at("cpu.cfs_period_us")));
      }
    }
  }
  return Math.min(...limits);
}
