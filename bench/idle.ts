/**
 * Processor time that a server with a loaded model uses while nobody asks anything (Linux).
 *
 *   bun bench/idle.ts --seconds 10
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "10" },
    /** Before they are counted: Bun's collector looks every second for half a minute after the last work. */
    settle: { type: "string", default: "40" },
    threads: { type: "string", default: "2" },
    /** What to run Alloy with: the built executable, or "bun src/cli/main.ts". */
    alloy: { type: "string", default: join(import.meta.dir, "../dist/alloy") },
  },
});

/** A process and all below it. */
function tree(root: number): number[] {
  const parents = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid): [number, number][] => {
      const fields = stat(Number(pid));
      return fields ? [[Number(pid), Number(fields[1])]] : [];
    });
  const all = [root];
  for (const pid of all) all.push(...parents.filter(([, parent]) => parent === pid).map(([child]) => child));
  return all;
}

/** What /proc tells of a process behind its name: state, parent, … */
function stat(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}

/** Milliseconds on a processor so far, user and system, of threads that have ended too; the system counts hundredths of a second. */
function used(pid: number): number {
  const fields = stat(pid);
  return fields ? (Number(fields[11]) + Number(fields[12])) * 10 : 0;
}

const port = 20000 + (process.pid % 20000);
const url = `http://127.0.0.1:${port}`;
const command = [...values.alloy.split(" "), "serve", "-m", "demo", "--port", String(port), "--threads", values.threads];
const server = Bun.spawn(command, { cwd: join(import.meta.dir, ".."), stdout: "ignore", stderr: "ignore" });
try {
  while (
    !(await fetch(`${url}/readyz`).then(
      (r) => r.ok,
      () => false,
    ))
  )
    await Bun.sleep(50);
  // One answer, so that everything has been at work.
  const body = JSON.stringify({ model: "demo", messages: [{ role: "user", content: "Tell me a story." }] });
  await (await fetch(`${url}/v1/chat/completions`, { method: "POST", body })).text();
  await Bun.sleep(Number(values.settle) * 1000);
  const pids = tree(server.pid);
  const before = pids.map(used);
  await Bun.sleep(Number(values.seconds) * 1000);
  pids.map(used).forEach((ms, i) => {
    const threads = readdirSync(`/proc/${pids[i]}/task`).length;
    console.log(`process ${i + 1} of ${pids.length}, ${threads} threads: ${ms - before[i]} ms in ${values.seconds} s`);
  });
} finally {
  server.kill();
  await server.exited;
}
