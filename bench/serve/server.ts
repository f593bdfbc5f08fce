/** A server in a process of its own, and what it takes from the machine. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface Serving {
  url: string;
  pid: number;
  /** Ends it as a user would, and waits. */
  stop(): Promise<void>;
}

/** Starts `command` (`alloy serve ...`) with `--json`, and waits until it listens. */
export async function serve(
  args: string[],
  alloy = [process.execPath, join(import.meta.dir, "../../src/cli/main.ts")],
  env: Record<string, string | undefined> = process.env,
): Promise<Serving> {
  const child = Bun.spawn([...alloy, "serve", "--json", "--port", "0", "--log-level", "error", ...args], {
    env,
    stdout: "pipe",
    stderr: "inherit",
  });
  let text = "";
  for await (const chunk of child.stdout) {
    text += new TextDecoder().decode(chunk);
    if (text.includes("}")) break;
  }
  const { url } = JSON.parse(text) as { url: string };
  return {
    url,
    pid: child.pid,
    async stop() {
      child.kill("SIGTERM");
      await child.exited;
    },
  };
}

export interface Usage {
  /** Resident bytes of the process and those that it started. */
  rss: number;
  /** Processor seconds so far: of the server itself, and of the processes that it started. */
  cpu: number;
  childCpu: number;
}

/** Linux only: zeros elsewhere. */
export function usageOf(pid: number): Usage {
  if (process.platform !== "linux") return { rss: 0, cpu: 0, childCpu: 0 };
  const stats = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        // Behind the name in brackets, which may hold blanks.
        const text = readFileSync(`/proc/${name}/stat`, "utf8");
        const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
        return [
          {
            pid: Number(name),
            parent: Number(fields[1]),
            cpu: (Number(fields[11]) + Number(fields[12])) / 100,
            rss: Number(fields[21]) * 4096,
          },
        ];
      } catch {
        // It has ended meanwhile.
        return [];
      }
    });
  const below = (id: number): typeof stats => stats.filter((s) => s.parent === id).flatMap((s) => [s, ...below(s.pid)]);
  const own = stats.find((s) => s.pid === pid);
  const children = below(pid);
  return {
    rss: children.reduce((sum, s) => sum + s.rss, own?.rss ?? 0),
    cpu: own?.cpu ?? 0,
    childCpu: children.reduce((sum, s) => sum + s.cpu, 0),
  };
}

/** The value below which a part `p` of the numbers lies; NaN of none. */
export function quantile(sorted: Float64Array | number[], p: number): number {
  return sorted.length === 0 ? NaN : sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))];
}
