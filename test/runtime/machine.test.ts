/** The choice of threads, over trees of /sys and /proc as machines of many kinds have them. */
import { afterEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { atOnce, readMachine, threadsFor } from "../../src/runtime/cpu/machine.ts";

type Files = Record<string, string>;
const made: string[] = [];
afterEach(() => {
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true });
});

function tree(files: Files): string {
  const root = mkdtempSync(join(tmpdir(), "alloy-machine-"));
  made.push(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), `${text}\n`);
  }
  return root;
}

const chosen = (files: Files): { threads: number; atOnce: number; quota: number } => {
  const machine = readMachine(tree(files))!;
  return { threads: threadsFor(machine), atOnce: atOnce(machine), quota: machine.quota };
};
const SYSTEM = "sys/devices/system/cpu";
const allowed = (list: string): Files => ({
  "proc/self/status": `Name:\tbun\nCpus_allowed:\tff\nCpus_allowed_list:\t${list}\nMems_allowed_list:\t0`,
});

/** `cpus` processors; processor i is thread i / cores of core i % cores, and cores are dealt to sockets in blocks. */
function machine(cpus: number, cores: number, sockets = 1, more: (cpu: number, core: number) => Files = () => ({})): Files {
  const files: Files = { [`${SYSTEM}/online`]: `0-${cpus - 1}`, ...allowed(`0-${cpus - 1}`) };
  for (let cpu = 0; cpu < cpus; cpu++) {
    const core = cpu % cores;
    const siblings = Array.from({ length: cpus / cores }, (_, i) => core + i * cores);
    Object.assign(files, {
      [`${SYSTEM}/cpu${cpu}/topology/core_cpus_list`]: siblings.join(","),
      [`${SYSTEM}/cpu${cpu}/topology/core_id`]: String(core % (cores / sockets)),
      [`${SYSTEM}/cpu${cpu}/topology/physical_package_id`]: String(Math.floor(core / (cores / sockets))),
    });
    for (const [name, text] of Object.entries(more(cpu, core))) files[`${SYSTEM}/cpu${cpu}/${name}`] = text;
  }
  return files;
}

test.each([1, 2, 4, 16, 64, 128])("%d cores", (n) => {
  expect(chosen(machine(n, n))).toEqual({ threads: n, atOnce: n, quota: Infinity });
});

test.each([
  ["4 cores, 8 threads", machine(8, 4), 4, 8],
  ["two sockets of 32 cores, 128 threads", machine(128, 64, 2), 64, 128],
  ["one core of two threads, as small virtual machines are", machine(2, 1), 2, 2],
])("hyperthreads: %s", (_, files, threads, most) => {
  expect(chosen(files)).toMatchObject({ threads, atOnce: most });
});

test("cores are told apart by package and core where the list of siblings is missing", () => {
  const files = Object.fromEntries(Object.entries(machine(16, 8, 2)).filter(([name]) => !name.endsWith("core_cpus_list")));
  expect(chosen(files).threads).toBe(8);
});

/** Intel's: the first cores fast, of two threads each, then slow ones of one. */
function intel(fast: number, slow: number): Files {
  const cpus = 2 * fast + slow;
  const files: Files = {
    [`${SYSTEM}/online`]: `0-${cpus - 1}`,
    ...allowed(`0-${cpus - 1}`),
    "sys/devices/cpu_core/cpus": `0-${2 * fast - 1}`,
    "sys/devices/cpu_atom/cpus": `${2 * fast}-${cpus - 1}`,
  };
  for (let cpu = 0; cpu < cpus; cpu++) {
    const first = cpu - (cpu % 2);
    files[`${SYSTEM}/cpu${cpu}/topology/thread_siblings_list`] = cpu < 2 * fast ? `${first}-${first + 1}` : String(cpu);
    files[`${SYSTEM}/cpu${cpu}/cpufreq/cpuinfo_max_freq`] = cpu < 2 * fast ? "5200000" : "3900000";
  }
  return files;
}

test.each([
  ["8 fast and 8 slow cores: the fast ones", intel(8, 8), 8],
  ["2 fast and 8 slow ones: all, which together outdo the two", intel(2, 8), 10],
  ["only slow ones, as in a mask", { ...intel(8, 8), ...allowed("16-23") }, 8],
  ["4 and 4 by capacity (arm64)", machine(8, 8, 1, (c) => ({ cpu_capacity: c < 4 ? "530" : "1024" })), 4],
  [
    "1, 3 and 4 by capacity: the largest and those like it",
    machine(8, 8, 1, (c) => ({ cpu_capacity: c < 4 ? "250" : c < 7 ? "870" : "1024" })),
    4,
  ],
  ["6 and 6 by frequency", machine(24, 12, 1, (_, core) => ({ "cpufreq/cpuinfo_max_freq": core < 6 ? "5100000" : "3300000" })), 6],
  [
    "boost clocks that differ a little",
    machine(16, 8, 1, (_, core) => ({ "cpufreq/cpuinfo_max_freq": String(5_000_000 + 40_000 * core) })),
    8,
  ],
  [
    "a capacity that is missing makes all equal",
    machine(4, 4, 1, (c): Files => (c > 0 ? { cpu_capacity: c < 2 ? "200" : "1024" } : {})),
    4,
  ],
])("cores of several kinds: %s", (_, files, threads) => {
  expect(chosen(files).threads).toBe(threads);
});

test("a mask of three processors, processors that are off, and both", () => {
  expect(chosen({ ...machine(64, 64), ...allowed("3,7-8") })).toMatchObject({ threads: 3, atOnce: 3 });
  expect(chosen({ ...machine(8, 8), [`${SYSTEM}/online`]: "0,2-3" })).toMatchObject({ threads: 3, atOnce: 3 });
  expect(chosen({ ...machine(8, 4), ...allowed("0-3,5"), [`${SYSTEM}/online`]: "0-1,4-7" })).toMatchObject({ threads: 2, atOnce: 3 });
});

describeQuota("version 2", (path, quota, period) => ({
  "proc/self/cgroup": `0::/service/alloy`,
  [`sys/fs/cgroup${path}/cpu.max`]: `${quota} ${period}`,
}));
describeQuota("version 1", (path, quota, period) => ({
  "proc/self/cgroup": `9:name=systemd:/\n3:cpuset:/other\n2:cpu,cpuacct:/service/alloy\n0::/`,
  [`sys/fs/cgroup/cpu,cpuacct${path}/cpu.cfs_quota_us`]: quota === "max" ? "-1" : quota,
  [`sys/fs/cgroup/cpu,cpuacct${path}/cpu.cfs_period_us`]: period,
}));

function describeQuota(name: string, limit: (path: string, quota: string, period: string) => Files): void {
  // The path of outside may lead nowhere inside a container; its own group is then what is mounted.
  test.each(["", "/service", "/service/alloy"])(`quotas, ${name}, at the group%s`, (path) => {
    const all = (quota: string, period = "100000"): Files => ({ ...machine(8, 8), ...limit(path, quota, period) });
    expect(chosen(all("150000"))).toEqual({ threads: 2, atOnce: 2, quota: 1.5 });
    expect(chosen(all("25000"))).toEqual({ threads: 1, atOnce: 1, quota: 0.25 });
    expect(chosen(all("150000", "50000"))).toEqual({ threads: 3, atOnce: 3, quota: 3 });
    expect(chosen(all("1600000"))).toEqual({ threads: 8, atOnce: 8, quota: 16 });
    expect(chosen(all("max"))).toEqual({ threads: 8, atOnce: 8, quota: Infinity });
  });

  test(`the smallest quota of a group and those around it counts, ${name}`, () => {
    const files = { ...machine(8, 8), ...limit("/service", "300000", "100000"), ...limit("/service/alloy", "500000", "100000") };
    expect(chosen(files)).toMatchObject({ threads: 3, quota: 3 });
  });
}

test("files that are missing, empty or nonsense", () => {
  expect(readMachine(tree({}))).toBeUndefined();
  expect(readMachine(tree({ "proc/self/status": "Name:\tbun", [`${SYSTEM}/online`]: "" }))).toBeUndefined();
  expect(chosen(allowed("0-5"))).toEqual({ threads: 6, atOnce: 6, quota: Infinity });
  expect(chosen({ [`${SYSTEM}/online`]: "0-3" }).threads).toBe(4);
  const nonsense = {
    "proc/self/cgroup": "nothing\n0::/../..\n::",
    "sys/fs/cgroup/cpu.max": "lots",
    [`${SYSTEM}/cpu0/cpu_capacity`]: "fast",
  };
  expect(chosen({ ...machine(2, 2), ...nonsense })).toEqual({ threads: 2, atOnce: 2, quota: Infinity });
});

test.skipIf(process.platform !== "linux")("this machine (skipped: not Linux)", () => {
  const machine = readMachine()!;
  expect(threadsFor(machine)).toBeWithin(1, availableParallelism() + 1);
  expect(atOnce(machine)).toBeLessThanOrEqual(machine.cpus.length);
});
