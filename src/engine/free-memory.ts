/** How much memory a model may take. */
import { readFileSync } from "node:fs";
import { freemem, totalmem } from "node:os";

/** Of a Mac's memory: the system counts file pages as used that it would give up, so its own free count says little. */
const MAC_SHARE = 0.7;

/** Bytes that can be taken without swapping: what the system calls available, or what is left to this process's control group. */
export function freeMemory(): number {
  if (process.platform === "darwin") return Math.max(freemem(), totalmem() * MAC_SHARE - process.memoryUsage.rss());
  const available = Number(/^MemAvailable:\s+(\d+) kB$/m.exec(text("/proc/meminfo"))?.[1]) * 1024 || freemem();
  const limit = Number(text("/sys/fs/cgroup/memory.max"));
  if (!(limit > 0)) return available;
  const used = Number(text("/sys/fs/cgroup/memory.current"));
  // Pages of files that nobody uses at present go when memory is asked for.
  const idleFiles = Number(/^inactive_file (\d+)$/m.exec(text("/sys/fs/cgroup/memory.stat"))?.[1] ?? 0);
  return Math.min(available, Math.max(0, limit - used + idleFiles));
}

/** Empty where the system has no such file. */
function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
