/** How much memory a model may take. */
import { readFileSync } from "node:fs";
import { freemem, totalmem } from "node:os";

/** Of a Mac's memory: the system counts file pages as used that it would give up, so its own free count says little. */
const MAC_SHARE = 0.7;

/** Bytes that can be taken without swapping: what the system calls available, or what is left to this process's control group. */
export function freeMemory(): number {
  if (process.platform === "darwin") return Math.max(freemem(), totalmem() * MAC_SHARE - process.memoryUsage.rss());
  const available = Number(/^MemAvailable:\s+(\d+) kB$/m.exec(text("/proc/meminfo"))?.[1]) * 1024 || freemem();
  return Math.min(available, groupRoom(text));
}

/** Names of the files of a control group, in the second version and in the first. */
const V2 = { root: "/sys/fs/cgroup", limit: "memory.max", used: "memory.current", idleFiles: /^inactive_file (\d+)$/m };
const V1 = {
  root: "/sys/fs/cgroup/memory",
  limit: "memory.limit_in_bytes",
  used: "memory.usage_in_bytes",
  idleFiles: /^total_inactive_file (\d+)$/m,
};

/**
 * Bytes that are left to this process's control group and those around it; Infinity where none has a limit (cgroups(7)).
 * @param read a file's text, empty where there is none
 */
export function groupRoom(read: (path: string) => string): number {
  const groups = read("/proc/self/cgroup");
  const v1 = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m.exec(groups)?.[1];
  const files = v1 === undefined ? V2 : V1;
  let path = v1 ?? /^0::(.*)$/m.exec(groups)?.[1] ?? "/";
  let room = Infinity;
  for (;;) {
    const folder = files.root + path.replace(/\/$/, "");
    const limit = Number(read(`${folder}/${files.limit}`));
    if (limit > 0) {
      const used = Number(read(`${folder}/${files.used}`));
      // Pages of files that nobody uses at present go when memory is asked for.
      const idleFiles = Number(files.idleFiles.exec(read(`${folder}/memory.stat`))?.[1] ?? 0);
      room = Math.min(room, Math.max(0, limit - used + idleFiles));
    }
    if (path === "/" || path === "") return room;
    path = path.slice(0, path.lastIndexOf("/")) || "/";
  }
}

/** Empty where the system has no such file. */
function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
