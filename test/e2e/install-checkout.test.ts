/** install.sh inside a checkout, with a stand-in for Bun that records what it is asked: building, installing, testing, counting. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");

let work: string;
beforeAll(() => void (work = mkdtempSync(join(tmpdir(), "alloy-checkout-test-"))));
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** What the stand-in does for each of Bun's subcommands; `junit` is the report of `bun test`. */
interface Plan {
  version?: string;
  failing?: string[];
  junit?: string;
  answer?: string;
}

/** A checkout with the real install.sh and .ci/run, and a `bun` in PATH that follows a plan. */
function checkout({ version = Bun.version, failing = [], junit, answer = "Paris" }: Plan = {}) {
  const root = mkdtempSync(join(work, "checkout-"));
  const bin = join(root, "tools");
  for (const folder of [".ci", "tools", "dist"]) mkdirSync(join(root, folder));
  copyFileSync(join(ROOT, "install.sh"), join(root, "install.sh"));
  copyFileSync(join(ROOT, ".ci/run"), join(root, ".ci/run"));
  chmodSync(join(root, ".ci/run"), 0o755);
  mkdirSync(join(root, "test/tools"), { recursive: true });
  for (const file of ["build.ts", "package.json", "test/tools/package.json", "test/tools/bun.lock"]) writeFileSync(join(root, file), "");
  const log = join(root, "log");
  const program = `#!/bin/sh
case "$1" in
  --version) echo ${version}; exit 0 ;;
esac
echo "$*" | sed 's/ --reporter.*//' >> '${log}'
case "$1" in
  test) ${junit === undefined ? ":" : `printf '%s' '${junit}' > "$(echo "$*" | sed 's/.*--reporter-outfile=//')"`} ;;
  build.ts) printf '#!/bin/sh\\n[ "$1" = --version ] && echo 0.1.0 || echo ${answer}\\n' > dist/alloy; chmod 755 dist/alloy ;;
esac
case " ${failing.join(" ")} " in *" $1 "*) exit 1 ;; esac
`;
  writeFileSync(join(bin, "bun"), program);
  chmodSync(join(bin, "bun"), 0o755);
  const run = async (command: string[]) => {
    const child = Bun.spawn(command, {
      // From elsewhere: the scripts find their checkout by their own place.
      cwd: work,
      env: { PATH: `${bin}:${process.env.PATH}`, HOME: root, ALLOY_PREFIX: join(root, "prefix") },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [code, stdout, stderr] = await Promise.all([child.exited, new Response(child.stdout).text(), new Response(child.stderr).text()]);
    return { code, stdout, stderr, lastLine: stdout.trimEnd().split("\n").at(-1) };
  };
  return { root, run, asked: () => (existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : []) };
}

const report = (tests: number, failures: number, skipped: number) =>
  `<?xml version="1.0"?>\n<testsuites name="bun test" tests="${tests}" assertions="99" failures="${failures}" skipped="${skipped}" time="1">`;

describe("sh install.sh in a checkout", () => {
  test("installs from the lock file, builds, and puts alloy in place", async () => {
    const { root, run, asked } = checkout();
    const { code, stderr } = await run(["sh", join(root, "install.sh")]);
    expect(stderr).toContain(`alloy 0.1.0 is installed: ${root}/prefix/bin/alloy`);
    expect(code).toBe(0);
    expect(asked()).toEqual(["install --frozen-lockfile", "build.ts"]);
  });

  test("a Bun of another version is not used: npm brings the pinned one into the checkout", async () => {
    const { root, run, asked } = checkout({ version: "0.9.9" });
    const npm = `#!/bin/sh\necho "$*" > '${root}/npm-log'\nwhile [ "$1" != --prefix ]; do shift; done\nmkdir -p "$2/node_modules/.bin"\nsed 's/0\\.9\\.9/${Bun.version}/' '${root}/tools/bun' > "$2/node_modules/.bin/bun"\nchmod 755 "$2/node_modules/.bin/bun"\n`;
    writeFileSync(join(root, "tools/npm"), npm);
    chmodSync(join(root, "tools/npm"), 0o755);
    const first = await run(["sh", join(root, "install.sh")]);
    expect(first.stderr).toContain(`bringing Bun ${Bun.version} through npm`);
    expect(first.code).toBe(0);
    expect(readFileSync(join(root, "npm-log"), "utf8")).toContain(`--prefix ${root}/.cache/bun bun@${Bun.version}`);
    // The second time it is there already.
    expect((await run(["sh", join(root, "install.sh")])).stderr).not.toContain("through npm");
    expect(asked()).toHaveLength(4);
  });

  test("a build that fails installs nothing", async () => {
    const { root, run } = checkout({ failing: ["build.ts"] });
    const { code, stderr } = await run(["sh", join(root, "install.sh")]);
    expect(code).toBe(1);
    expect(stderr).toContain("install.sh: the build failed");
    expect(existsSync(join(root, "prefix"))).toBe(false);
  });
});

describe(".ci/run", () => {
  test("runs every check, and closes with the counts of tests and checks", async () => {
    const { root, run, asked } = checkout({ junit: report(120, 0, 3) });
    const { code, lastLine } = await run([join(root, ".ci/run")]);
    // 117 tests, and six checks: types, lint, format, build, tests, smoke.
    expect(lastLine).toBe("123 passed, 0 failed");
    expect(code).toBe(0);
    // The coding tools come beside the first checks, and before the tests.
    const tools = "install --frozen-lockfile --ignore-scripts";
    expect(asked().slice(1, -1)).toContain(tools);
    expect(asked().filter((a) => a !== tools)).toEqual([
      "install --frozen-lockfile",
      "check",
      "x oxlint",
      "fmt --check .",
      "build.ts",
      "test --timeout 120000 --parallel=2",
    ]);
  });

  test("without the coding tools the rest is tested", async () => {
    const { root, run } = checkout({ junit: report(10, 0, 4) });
    rmSync(join(root, "test/tools"), { recursive: true });
    const { code, lastLine, stderr } = await run([join(root, ".ci/run")]);
    expect(stderr).toContain("the coding tools could not be installed, and tests with them will be skipped");
    expect({ code, lastLine }).toEqual({ code: 0, lastLine: "12 passed, 0 failed" });
  });

  test.each([
    ["a failing test", { failing: ["test"], junit: report(120, 2, 0) }, "123 passed, 3 failed", "failed: tests"],
    ["a type error", { failing: ["check"], junit: report(10, 0, 0) }, "15 passed, 1 failed", "failed: types"],
    ["a test run that crashed", { failing: ["test"] }, "5 passed, 1 failed", "failed: tests"],
    ["a wrong answer", { answer: "London", junit: report(1, 0, 0) }, "6 passed, 1 failed", "failed: smoke"],
  ])("%s makes it fail", async (_, plan, counts, message) => {
    const { root, run } = checkout(plan);
    const { code, lastLine, stderr } = await run([join(root, ".ci/run")]);
    expect(lastLine).toBe(counts);
    expect(stderr).toContain(message);
    expect(code).toBe(1);
  });
});
