/** install.sh as people run it, against a server of our own. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const SCRIPT = readFileSync(join(ROOT, "install.sh"), "utf8");
const PLATFORM = `${process.platform}-${process.arch}`;
const HAS_WGET = Bun.which("wget") !== null;

let work: string;
let server: ReturnType<typeof Bun.serve>;
/** What the server gives for a path. */
const files = new Map<string, Uint8Array<ArrayBuffer> | string>();
const asked: string[] = [];

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), "alloy-install-test-"));
  server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request) {
      const path = new URL(request.url).pathname;
      asked.push(path);
      const file = files.get(path);
      if (file === undefined) return new Response("no such file", { status: 404 });
      return new Response(file);
    },
  });
  for (const version of ["1.0.0", "1.1.0"]) await publish(version);
  files.set("/latest/download/VERSION", "1.1.0\n");
});

afterAll(() => {
  server.stop(true);
  rmSync(work, { recursive: true, force: true });
});

/** A release whose "executable" is a shell script that says its version, padded so that a transfer can be cut in its middle. */
async function publish(version: string): Promise<void> {
  const name = `alloy-${version}-${PLATFORM}`;
  const stage = join(work, "stage", name);
  mkdirSync(stage, { recursive: true });
  writeFileSync(join(stage, "alloy"), `#!/bin/sh\necho ${version}\n`);
  writeFileSync(join(stage, "padding"), crypto.getRandomValues(new Uint8Array(60_000)));
  chmodSync(join(stage, "alloy"), 0o755);
  const { stdout } = Bun.spawnSync(["tar", "-czf", "-", "-C", join(work, "stage"), name]);
  const bytes = new Uint8Array(stdout);
  const hash = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
  files.set(`/download/v${version}/${name}.tar.gz`, bytes);
  files.set(`/download/v${version}/${name}.tar.gz.sha256`, `${hash}  ${name}.tar.gz\n`);
}

interface Run {
  env?: Record<string, string>;
  args?: string[];
  /** Feed the script through standard input, as `curl | sh` does. */
  piped?: boolean;
  base?: string;
}

async function install(prefix: string, { env = {}, args = [], piped = true, base = server.url.href }: Run = {}) {
  const folder = mkdtempSync(join(work, "run-"));
  const script = join(folder, "install.sh");
  if (!piped) writeFileSync(script, SCRIPT);
  // The repository as working folder: a piped script must not take it for the checkout it belongs to.
  const child = Bun.spawn(piped ? ["sh", "-s", "--", ...args] : ["sh", script, ...args], {
    cwd: piped ? ROOT : folder,
    env: { PATH: process.env.PATH, HOME: join(folder, "home"), TMPDIR: folder, ALLOY_PREFIX: prefix, ALLOY_BASE_URL: base, ...env },
    stdin: piped ? new Blob([SCRIPT]) : "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [code, stderr] = await Promise.all([child.exited, new Response(child.stderr).text()]);
  const leftovers = readdirSync(folder).filter((f) => f.startsWith("alloy-install"));
  return { code, stderr, leftovers };
}

function newPrefix(): string {
  return mkdtempSync(join(work, "prefix-"));
}

/** What the installed alloy says, and all files beside it. */
function installed(prefix: string): { version: string | undefined; files: string[] } {
  const bin = join(prefix, "bin");
  if (!existsSync(join(bin, "alloy"))) return { version: undefined, files: existsSync(bin) ? readdirSync(bin) : [] };
  return {
    version: Bun.spawnSync([join(bin, "alloy")])
      .stdout.toString()
      .trim(),
    files: readdirSync(bin),
  };
}

const archive = (version: string) => `/download/v${version}/alloy-${version}-${PLATFORM}.tar.gz`;

/** Changes what the server gives while `body` runs. */
async function withFile(path: string, value: Uint8Array<ArrayBuffer> | string | undefined, body: () => Promise<void>): Promise<void> {
  const before = files.get(path)!;
  if (value === undefined) files.delete(path);
  else files.set(path, value);
  try {
    await body();
  } finally {
    files.set(path, before);
  }
}

describe("a good download", () => {
  test("the newest release, with a hint about PATH", async () => {
    const prefix = newPrefix();
    const { code, stderr, leftovers } = await install(prefix);
    expect(stderr).toContain(`alloy 1.1.0 is installed: ${prefix}/bin/alloy`);
    expect(stderr).toContain(`export PATH="${prefix}/bin:$PATH"`);
    expect(code).toBe(0);
    expect(installed(prefix)).toEqual({ version: "1.1.0", files: ["alloy"] });
    expect(leftovers).toEqual([]);
  });

  test("no hint when PATH has the folder", async () => {
    const prefix = newPrefix();
    const { stderr } = await install(prefix, { env: { PATH: `${process.env.PATH}:${prefix}/bin` } });
    expect(stderr).not.toContain("export PATH");
    expect(stderr).toContain('alloy run "What is the capital of France?"');
  });

  test("a chosen version, with and without v", async () => {
    for (const ALLOY_VERSION of ["1.0.0", "v1.0.0"]) {
      const prefix = newPrefix();
      expect((await install(prefix, { env: { ALLOY_VERSION } })).code).toBe(0);
      expect(installed(prefix).version).toBe("1.0.0");
    }
  });

  test("again, over an older one and over itself", async () => {
    const prefix = newPrefix();
    await install(prefix, { env: { ALLOY_VERSION: "1.0.0" } });
    for (let i = 0; i < 2; i++) {
      expect((await install(prefix)).code).toBe(0);
      expect(installed(prefix)).toEqual({ version: "1.1.0", files: ["alloy"] });
    }
  });

  test("from a file outside a checkout, and with a base address that ends in slashes", async () => {
    const prefix = newPrefix();
    expect((await install(prefix, { piped: false, base: server.url.href })).code).toBe(0);
    expect(installed(prefix).version).toBe("1.1.0");
  });

  test("into a folder with spaces and quotes in its name", async () => {
    const prefix = join(newPrefix(), "it's a folder");
    expect((await install(prefix)).code).toBe(0);
    expect(installed(prefix).version).toBe("1.1.0");
  });

  test.skipIf(!HAS_WGET)("with wget, where there is no curl (skipped: no wget here)", async () => {
    const tools = mkdtempSync(join(work, "tools-"));
    const needed = "sh wget tar gzip sha256sum cut tr sed grep mktemp uname dirname mkdir cp mv rm chmod cat ldd id bash".split(" ");
    for (const name of needed) {
      const path = Bun.which(name);
      if (path !== null) symlinkSync(path, join(tools, name));
    }
    const prefix = newPrefix();
    const { code, stderr } = await install(prefix, { env: { PATH: tools } });
    expect(stderr).toContain("alloy 1.1.0 is installed");
    expect(code).toBe(0);
    expect(installed(prefix).version).toBe("1.1.0");
  });

  test("without a prefix and without the right to write /usr/local: ~/.local", async () => {
    const home = mkdtempSync(join(work, "home-"));
    // Stands in for a user who may not write: `[ -w` is true for root everywhere, so the script gets another place to look at.
    const script = SCRIPT.replaceAll("/usr/local/bin", "/etc/passwd/bin");
    const child = Bun.spawn(["sh"], {
      env: { PATH: process.env.PATH, HOME: home, ALLOY_BASE_URL: server.url.href },
      stdin: new Blob([script]),
      stderr: "pipe",
    });
    const [code, stderr] = await Promise.all([child.exited, new Response(child.stderr).text()]);
    expect(stderr).toContain(`${home}/.local/bin is not in your PATH`);
    expect(code).toBe(0);
    expect(installed(join(home, ".local")).version).toBe("1.1.0");
  });
});

describe("a bad download leaves everything as it was", () => {
  async function refuses(message: RegExp, run: Run = {}): Promise<void> {
    const prefix = newPrefix();
    await install(prefix, { env: { ALLOY_VERSION: "1.0.0" } });
    const broken = await install(prefix, run);
    expect(broken.stderr).toMatch(message);
    expect(broken.code).toBe(1);
    expect(installed(prefix)).toEqual({ version: "1.0.0", files: ["alloy"] });
    expect(broken.leftovers).toEqual([]);
    const fresh = newPrefix();
    await install(fresh, run);
    expect(installed(fresh)).toEqual({ version: undefined, files: [] });
  }

  test("corrupted", async () => {
    const bytes = (files.get(archive("1.1.0")) as Uint8Array<ArrayBuffer>).slice();
    bytes[bytes.length >> 1] ^= 1;
    await withFile(archive("1.1.0"), bytes, () => refuses(/the download is damaged: SHA-256 is [0-9a-f]{64}, not [0-9a-f]{64}/));
  });

  test("cut in its middle", async () => {
    // A raw socket: the header promises all bytes, the connection ends after half of them.
    const whole = files.get(archive("1.1.0")) as Uint8Array;
    const cutting = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data(socket) {
          socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${whole.length}\r\nConnection: close\r\n\r\n`);
          socket.write(whole.subarray(0, whole.length >> 1));
          socket.end();
        },
      },
    });
    try {
      await refuses(/the download failed: .*\n(.*\n)*hint: .*If the connection was cut, run this again/, {
        base: `http://127.0.0.1:${cutting.port}`,
        env: { ALLOY_VERSION: "1.1.0" },
      });
    } finally {
      cutting.stop(true);
    }
  });

  test("a version that is not there", async () => {
    await refuses(/the download failed: .*alloy-9\.9\.9-.*\nhint: does version 9\.9\.9 exist/, { env: { ALLOY_VERSION: "9.9.9" } });
  });

  test("no checksum", async () => {
    await withFile(`${archive("1.1.0")}.sha256`, undefined, () => refuses(/there is no checksum for alloy-1\.1\.0/));
  });

  test("a checksum that is none", async () => {
    await withFile(`${archive("1.1.0")}.sha256`, "<html>Not found</html>", () => refuses(/the checksum at .* is malformed/));
  });

  test("nobody answers", async () => {
    const gone = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
    const base = gone.url.href;
    await gone.stop(true);
    await refuses(/the newest version cannot be found at http:.*\nhint: check the connection/, { base });
  });

  test("a version that is a path", async () => {
    const before = asked.length;
    await refuses(/"\.\.\/\.\.\/evil" is no version/, { env: { ALLOY_VERSION: "../../evil" } });
    expect(asked.slice(before).filter((p) => p.includes("evil"))).toEqual([]);
  });

  test("an executable that does not run here", async () => {
    const name = `alloy-1.1.0-${PLATFORM}`;
    const stage = join(work, "broken", name);
    mkdirSync(stage, { recursive: true });
    writeFileSync(join(stage, "alloy"), "#!/bin/sh\necho wrong libc >&2\nexit 1\n");
    const bytes = new Uint8Array(Bun.spawnSync(["tar", "-czf", "-", "-C", join(work, "broken"), name]).stdout);
    const hash = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
    await withFile(archive("1.1.0"), bytes, () =>
      withFile(`${archive("1.1.0")}.sha256`, `${hash}\n`, () => refuses(/does not run on this machine: wrong libc/)),
    );
  });
});

describe("other ways", () => {
  test("uninstall removes the executable and says so; twice is no error", async () => {
    const prefix = newPrefix();
    await install(prefix);
    const first = await install(prefix, { args: ["--uninstall"] });
    expect(first.code).toBe(0);
    expect(first.stderr).toContain(`removed ${prefix}/bin/alloy`);
    expect(installed(prefix).files).toEqual([]);
    const second = await install(prefix, { args: ["--uninstall"] });
    expect(second.code).toBe(0);
    expect(second.stderr).toContain(`alloy is not installed in ${prefix}`);
  });

  test("unknown options and --test outside a checkout are errors", async () => {
    const unknown = await install(newPrefix(), { args: ["--tset"] });
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toContain("unknown option --tset");
    const outside = await install(newPrefix(), { args: ["--test"] });
    expect(outside.code).toBe(1);
    expect(outside.stderr).toContain("--test needs a checkout");
  });

  test("a script that was itself cut off does nothing", async () => {
    for (const share of [0.3, 0.6, 0.9, 0.99]) {
      const prefix = newPrefix();
      const child = Bun.spawn(["sh"], {
        env: { PATH: process.env.PATH, HOME: prefix, ALLOY_PREFIX: prefix, ALLOY_BASE_URL: server.url.href },
        stdin: new Blob([SCRIPT.slice(0, Math.floor(SCRIPT.length * share))]),
        stderr: "ignore",
      });
      await child.exited;
      expect(installed(prefix)).toEqual({ version: undefined, files: [] });
    }
  });
});
