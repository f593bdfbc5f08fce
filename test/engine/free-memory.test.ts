/** Limits of control groups, from files as Linux shows them. */
import { expect, test } from "bun:test";
import { freeMemory, groupRoom } from "../../src/engine/free-memory.ts";

const GiB = 2 ** 30;
const room = (files: Record<string, string>): number => groupRoom((path) => files[path] ?? "");

test("without a limit there is none", () => {
  expect(room({})).toBe(Infinity);
  expect(room({ "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "max\n" })).toBe(Infinity);
});

test("a container sees its group as the root", () => {
  const files = {
    "/proc/self/cgroup": "0::/\n",
    "/sys/fs/cgroup/memory.max": `${4 * GiB}\n`,
    "/sys/fs/cgroup/memory.current": `${3 * GiB}\n`,
    "/sys/fs/cgroup/memory.stat": `anon 1\ninactive_file ${GiB}\nactive_file 2\n`,
  };
  expect(room(files)).toBe(2 * GiB);
});

test("of nested groups the one with the least room counts", () => {
  const group = (path: string, limit: string, used: number) => ({
    [`/sys/fs/cgroup${path}/memory.max`]: limit,
    [`/sys/fs/cgroup${path}/memory.current`]: String(used),
  });
  const files = {
    "/proc/self/cgroup": "0::/system.slice/alloy.service\n",
    ...group("/system.slice/alloy.service", String(8 * GiB), GiB),
    ...group("/system.slice", String(6 * GiB), 5 * GiB),
    ...group("", "max", 0),
  };
  expect(room(files)).toBe(GiB);
});

test("the first version of control groups, where no limit is a huge one", () => {
  const files = {
    "/proc/self/cgroup": "4:cpu,cpuacct:/x\n9:memory:/docker/abc\n0::/\n",
    "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": String(2 * GiB),
    "/sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": String(3 * GiB),
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    "/sys/fs/cgroup/memory/memory.usage_in_bytes": "0",
  };
  expect(room(files)).toBe(0);
});

test("this machine has some", () => {
  expect(freeMemory()).toBeGreaterThan(0);
});
