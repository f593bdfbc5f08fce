/** `alloy service`: what systemd and launchd are given, judged by their own checkers where those are, and what is done with it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse as parsePlist } from "plist";
import { launchd, plist } from "../../src/cli/service/launchd.ts";
import { MARK, type ServiceDescription } from "../../src/cli/service/description.ts";
import { systemd, unit } from "../../src/cli/service/systemd.ts";
import { start } from "../server/harness.ts";
import { alloy } from "./fakes.ts";

const seed = Number(process.env.ALLOY_FUZZ_SEED ?? Date.now() % 2 ** 31);
let work: string;
beforeAll(() => void (work = mkdtempSync(join(tmpdir(), "alloy-service-"))));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const service = (change: Partial<ServiceDescription> = {}): ServiceDescription => ({
  command: [process.execPath, "serve"],
  env: {},
  scope: "user",
  graceSeconds: 30,
  ...change,
});

/** Printable text of all kinds, with what the formats treat specially. */
const words = fc.string({ unit: fc.constantFrom(..."ab/ \"'\\$%`&<>;#{}=é漢😀-:@!|*?~") });
const value = (text: string, key: string) => new RegExp(`^${key}=(.*)$`, "m").exec(text)?.[1];

describe("systemd", () => {
  /** Words of a command line as systemd.syntax(7) reads them; all of ours are quoted. */
  function unquoted(line: string): string[] {
    const found = [...line.matchAll(/"((?:[^"\\]|\\.)*)"/gs)].map((m) => m[1].replace(/\\(.)/gs, "$1").replaceAll("%%", "%"));
    expect(line.replace(/"((?:[^"\\]|\\.)*)"/gs, "").trim()).toBe("");
    return found;
  }

  test(`a command line comes out as it went in (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.array(words), (args) => {
        const line = value(unit(service({ command: ["/bin/alloy", ...args] }), "/x"), "ExecStart")!;
        expect(line[0]).toBe(":");
        // A percent sign alone would be a specifier.
        expect(line.replaceAll("%%", "")).not.toContain("%");
        expect(unquoted(line.slice(1))).toEqual(["/bin/alloy", ...args]);
      }),
      { seed },
    );
  });

  test(`settings come out as they went in, read by a shell (seed ${seed})`, () => {
    fc.assert(
      fc.property(words, (text) => {
        const [, { text: file }] = systemd.files(service({ env: { ALLOY_X: text } }), { HOME: "/home/x" });
        const path = join(work, "env");
        writeFileSync(path, `${file}printf %s "$ALLOY_X"`);
        expect(Bun.spawnSync(["sh", path]).stdout.toString()).toBe(text);
      }),
      { seed, numRuns: 30 },
    );
  });

  test("systemd-analyze has nothing to say, not even of odd paths", () => {
    if (Bun.which("systemd-analyze") === null) return console.log("skipped: systemd-analyze is not installed");
    const odd = join(work, "o d%d$HOME;é");
    mkdirSync(odd, { recursive: true });
    const program = join(odd, "alloy");
    writeFileSync(program, "#!/bin/sh\n");
    chmodSync(program, 0o755);
    const verify = (scope: "user" | "system", text: string) => {
      const folder = mkdtempSync(join(work, "unit-"));
      writeFileSync(join(folder, "alloy.service"), text);
      const command = ["systemd-analyze", ...(scope === "user" ? ["--user"] : []), "verify", "--man=no", join(folder, "alloy.service")];
      const { stdout, stderr } = Bun.spawnSync(command, { env: { ...process.env, XDG_RUNTIME_DIR: folder } });
      // Of other units of this machine nothing is asked.
      return (stdout.toString() + stderr.toString()).split("\n").filter((line) => line.includes("alloy"));
    };
    for (const scope of ["user", "system"] as const) {
      for (const account of scope === "system" ? [undefined, "root"] : [undefined]) {
        const text = unit(service({ command: [program, "serve", "-m", "a b%"], scope, account }), `${odd}/env`);
        expect([scope, verify(scope, text)]).toEqual([scope, []]);
        // It does see what is wrong.
        expect(verify(scope, text.replace("Restart=on-failure", "Restart=sometimes"))).not.toEqual([]);
        expect(verify(scope, text.replace("/alloy", "/absent"))).not.toEqual([]);
        // This is why such paths are refused.
        expect(verify(scope, text.replace("o d", "o'd"))).not.toEqual([]);
        expect(() => unit(service({ command: ["/o'd/alloy"] }), "/x")).toThrow("quote or a backslash");
      }
    }
  });

  test("a stop lasts as long as requests may take to finish, and some", () => {
    expect(value(unit(service({ graceSeconds: 90.5 }), "/x"), "TimeoutStopSec")).toBe("106");
    expect(value(unit(service(), "/x"), "KillSignal")).toBe("SIGTERM");
    expect(value(unit(service(), "/x"), "KillMode")).toBe("mixed");
  });

  test("the machine's unit is well confined", () => {
    const { stdout } = Bun.which("systemd-analyze")
      ? Bun.spawnSync([
          "systemd-analyze",
          "security",
          "--offline=yes",
          "--threshold=25",
          "--no-pager",
          unitFile(unit(service({ scope: "system" }), "/x")),
        ])
      : { stdout: Buffer.from("skipped") };
    const score = /exposure level for alloy.service: ([\d.]+)/.exec(stdout.toString())?.[1];
    if (score === undefined) return console.log("skipped: this systemd-analyze judges no files");
    expect(Number(score)).toBeLessThan(2.5);
  });

  function unitFile(text: string): string {
    const path = join(mkdtempSync(join(work, "unit-")), "alloy.service");
    writeFileSync(path, text);
    return path;
  }

  test("its state is read", () => {
    expect(systemd.parseState("MainPID=42\nNRestarts=2\nActiveState=active\nSubState=running\n")).toEqual({
      running: true,
      words: "active (running), started again 2 times",
      pid: 42,
    });
    expect(systemd.parseState("Failed to connect to bus")).toEqual({ running: false, words: "systemd does not say" });
    expect(systemd.parseState("MainPID=0\nNRestarts=0\nActiveState=failed\nSubState=failed\n")).toEqual({
      running: false,
      words: "failed (failed)",
    });
  });
});

describe("launchd", () => {
  test(`everything comes out as it went in (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.array(words), words, words, (args, setting, log) => {
        const read = parsePlist(plist(service({ command: ["/bin/alloy", ...args], env: { ALLOY_X: setting } }), log)) as Record<
          string,
          unknown
        >;
        // The reader drops blanks around texts; the system's own does not.
        const trimmed = (text: unknown) => String(text).trim();
        expect((read.ProgramArguments as string[]).map(trimmed)).toEqual(["/bin/alloy", ...args].map(trimmed));
        expect(trimmed((read.EnvironmentVariables as Record<string, string>).ALLOY_X)).toBe(setting.trim());
        expect(trimmed(read.StandardErrorPath)).toBe(log.trim());
      }),
      { seed },
    );
  });

  test("keys and their types are launchd's", () => {
    const read = parsePlist(plist(service({ scope: "system", account: "ann", graceSeconds: 5 }), "/l"));
    expect(read).toEqual({
      Label: "io.github.alloy-project.alloy",
      ProgramArguments: [process.execPath, "serve"],
      EnvironmentVariables: {},
      UserName: "ann",
      RunAtLoad: true,
      KeepAlive: { SuccessfulExit: false },
      ThrottleInterval: 10,
      ExitTimeOut: 20,
      ProcessType: "Interactive",
      StandardOutPath: "/l",
      StandardErrorPath: "/l",
      Umask: 63,
      SoftResourceLimits: { NumberOfFiles: 65_536 },
    });
  });

  test("its state is read", () => {
    expect(launchd.parseState("io.github = {\n\tactive count = 1\n\tstate = running\n\tpid = 77\n}")).toEqual({
      running: true,
      words: "running",
      pid: 77,
    });
    expect(launchd.parseState("Could not find service")).toEqual({ running: false, words: "not loaded" });
  });
});

describe("the command", () => {
  /** A stand-in for systemctl or launchctl that writes down what it is asked. */
  function machine(program: "systemctl" | "launchctl", script = "") {
    const home = mkdtempSync(join(work, "home-"));
    const bin = join(home, "bin");
    mkdirSync(bin);
    writeFileSync(join(bin, program), `#!/bin/sh\necho "$*" >> "${home}/asked"\n${script}\n`, { mode: 0o755 });
    const asked = () => (existsSync(`${home}/asked`) ? readFileSync(`${home}/asked`, "utf8").trim().split("\n") : []);
    const env = { HOME: home, PATH: `${bin}:/usr/bin:/bin` };
    const manager = program === "systemctl" ? "systemd" : "launchd";
    return {
      home,
      asked,
      env,
      run: (...argv: string[]) => alloy(["service", argv[0], "--manager", manager, ...argv.slice(1)], {}, { env }),
    };
  }

  test("systemd: install, install again, status, change, uninstall", async () => {
    await using server = await start();
    const state = 'case "$*" in *show*) printf "ActiveState=active\\nSubState=running\\nMainPID=5\\nNRestarts=0\\n";; esac';
    const m = machine("systemctl", state);
    const path = join(m.home, ".config/systemd/user/alloy.service");
    const secret = join(m.home, ".config/alloy/service.env");
    expect((await m.run("status")).code).toBe(1);
    const install = (...more: string[]) =>
      m.run("install", "--env", "ALLOY_API_KEY=k e$y", ...more, "--", "--port", String(server.server.port));
    const first = await install();
    expect(first).toMatchObject({ code: 0, stderr: "" });
    expect(first.stdout).toContain(`It answers at ${server.url}`);
    expect(first.stdout).toContain("journalctl --user -u alloy");
    expect(first.stdout).toContain("enable-linger");
    expect(m.asked()).toEqual(["--user daemon-reload", "--user enable alloy.service", "--user restart alloy.service"]);
    expect(readFileSync(path, "utf8")).toContain(`"serve" "--port" "${server.server.port}"`);
    expect(readFileSync(path, "utf8")).not.toContain("k e");
    expect(readFileSync(secret, "utf8")).toContain('ALLOY_API_KEY="k e\\$y"\n');
    expect(statSync(secret).mode & 0o777).toBe(0o600);
    expect((await install()).stdout).toContain("Nothing to change");
    const status = await m.run("status");
    expect(status).toMatchObject({ code: 0, stdout: expect.stringContaining("running: active (running), process 5") });
    expect(JSON.parse((await m.run("status", "--json")).stdout)).toMatchObject({ installed: true, running: true, pid: 5, path });
    expect(JSON.parse((await install("--json", "--env", "B=c")).stdout)).toEqual({
      installed: true,
      changed: [secret],
      url: server.url,
      answers: true,
    });
    const removed = await m.run("uninstall");
    expect(removed).toMatchObject({ code: 0, stdout: `Removed: ${path}, ${secret}\n` });
    expect([existsSync(path), existsSync(secret)]).toEqual([false, false]);
    expect(m.asked().slice(-2)).toEqual(["--user disable --now alloy.service", "--user daemon-reload"]);
    expect(await m.run("uninstall")).toMatchObject({ code: 0, stdout: "No service is installed for this user (--system?)\n" });
  });

  test("launchd: the same", async () => {
    await using server = await start();
    const m = machine("launchctl", 'case "$1" in bootout) exit 3;; esac');
    const path = join(m.home, "Library/LaunchAgents/io.github.alloy-project.alloy.plist");
    const domain = `gui/${process.getuid!()}`;
    const first = await m.run("install", "--env", "ALLOY_API_KEY=k", "--", "--port", String(server.server.port));
    expect(first).toMatchObject({ code: 0, stderr: "" });
    expect(m.asked()).toEqual([
      `bootout ${domain}/io.github.alloy-project.alloy`,
      `bootstrap ${domain} ${path}`,
      `kickstart ${domain}/io.github.alloy-project.alloy`,
    ]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(existsSync(join(m.home, "Library/Logs/Alloy"))).toBe(true);
    expect((await m.run("status")).code).toBe(1);
    expect(await m.run("uninstall")).toMatchObject({ code: 0 });
    expect(existsSync(path)).toBe(false);
  });

  test("what somebody else wrote is neither replaced nor removed", async () => {
    const m = machine("systemctl");
    const path = join(m.home, ".config/systemd/user/alloy.service");
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, "[Service]\nExecStart=/opt/other\n");
    for (const action of ["install", "uninstall"]) {
      expect(await m.run(action)).toMatchObject({
        code: 1,
        stderr: expect.stringContaining(`${path} is there already and was not made by`),
      });
    }
    expect(readFileSync(path, "utf8")).toContain("/opt/other");
    expect(m.asked()).toEqual([]);
  });

  test("systemd that cannot be reached: what is written stays, and what to do is said", async () => {
    const m = machine("systemctl", 'echo "Failed to connect to bus: No medium found" >&2; exit 1');
    expect(await m.run("install")).toMatchObject({
      code: 1,
      stderr:
        "alloy: `systemctl --user daemon-reload` failed: Failed to connect to bus: No medium found\nhint: The service is written, but not started. " +
        "Then: systemctl --user daemon-reload && systemctl --user enable alloy.service && systemctl --user restart alloy.service\n",
    });
    expect(readFileSync(join(m.home, ".config/systemd/user/alloy.service"), "utf8")).toContain(MARK);
    expect(await alloy(["service", "install", "--manager", "systemd"], {}, { env: { HOME: m.home, PATH: "" } })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('"systemctl" is not in PATH'),
    });
  });

  test("--print writes nothing", async () => {
    const m = machine("systemctl");
    const { stdout, code } = await m.run("install", "--print", "--system", "--env", "A=b", "--", "--grace", "5");
    expect(code).toBe(0);
    expect(stdout).toStartWith("# /etc/systemd/system/alloy.service\n");
    expect(stdout).toContain("DynamicUser=yes");
    expect(stdout).toContain("TimeoutStopSec=20");
    expect(stdout).toContain("# /etc/alloy/service.env\n");
    expect(m.asked()).toEqual([]);
    expect(existsSync(join(m.home, ".config"))).toBe(false);
    const json = JSON.parse((await m.run("install", "--print", "--json")).stdout);
    expect(json.files[0].path).toEndWith("alloy.service");
    expect(json.commands).toContain("systemctl --user daemon-reload");
  });

  test("a file given by a path that depends on the folder is given by its whole path", async () => {
    const m = machine("systemctl");
    const { stdout } = await m.run("install", "--print", "--", "-m", "./package.json", "--model=test/../package.json", "-m", "org/name");
    expect(stdout).toContain(`"-m" "${process.cwd()}/package.json" "--model=${process.cwd()}/package.json" "-m" "org/name"`);
  });

  test("mistakes are told before anything is written", async () => {
    const m = machine("systemctl");
    for (const [argv, message] of [
      [["instal"], "did you mean install?"],
      [["install", "--", "--prot", "3"], "did you mean --port?"],
      [["install", "--", "--port", "x"], "--port must be a whole number"],
      [["install", "--env", "1x=3"], "names no variable"],
      [["install", "--env", "ALLOY_ABSENT"], "ALLOY_ABSENT is not set"],
      [["install", "--env", "A=b\nc"], "A holds a control character"],
      [["install", "--account", "ann"], "--account belongs to --system"],
      [["status", "--print"], "--print belongs to install"],
      [[], "ACTION is missing"],
    ] as const) {
      const { code, stderr } = await alloy(["service", ...argv], {}, { env: m.env });
      expect([argv, code, stderr]).toEqual([argv, expect.any(Number), expect.stringContaining(message)]);
      expect(code).not.toBe(0);
    }
    const open = await m.run("install", "--print", "--", "--host", "0.0.0.0");
    expect(open.stderr).toContain("without asking for a key");
    expect((await m.run("install", "--print", "--env", "ALLOY_API_KEY=x", "--", "--host", "0.0.0.0")).stderr).toBe("");
    expect(m.asked()).toEqual([]);
  });
});
