/** The test side of the fake frameworks (objc/control.h): what they found, what is alive, and failures on request. */
import { CString, dlopen } from "bun:ffi";
import { metalHost } from "./build.ts";
import { takeFindings } from "./run.ts";

const SYMBOLS = {
  mho_findings_take: { args: ["buffer", "u64"], returns: "u64" },
  mho_live_objects: { args: ["buffer", "u64"], returns: "u64" },
  mho_settle: { args: [], returns: "void" },
  mho_inject: { args: ["buffer"], returns: "i32" },
  mho_misuse: { args: ["buffer"], returns: "i32" },
  mho_misuse_name: { args: ["u32"], returns: "ptr" },
} as const;

export interface ApiFinding {
  kind: "object" | "api";
  text: string;
}

/** Handle of the fake frameworks in this process. */
export class Frameworks {
  private readonly c: ReturnType<typeof dlopen<typeof SYMBOLS>>["symbols"];

  /** `shim`: path of liballoy_metal.so, which holds the fake frameworks. */
  constructor(shim: string) {
    this.c = dlopen(shim, SYMBOLS).symbols;
  }

  /** Wrong uses of the API since the last call. */
  findings(): ApiFinding[] {
    const out = Buffer.alloc(1 << 21);
    this.c.mho_findings_take(out, out.length);
    return JSON.parse(out.toString("utf8", 0, out.indexOf(0))) as ApiFinding[];
  }

  /** Objective-C objects that are alive once no queue executes anything, by class. */
  live(): Record<string, number> {
    this.c.mho_settle();
    const out = Buffer.alloc(4096);
    this.c.mho_live_objects(out, out.length);
    const lines = out.toString("utf8", 0, out.indexOf(0)).trim().split("\n");
    return Object.fromEntries(
      lines
        .filter(Boolean)
        .map((l) => l.split(": "))
        .map(([name, n]) => [name, Number(n)]),
    );
  }

  /** See mho_inject in objc/control.h. */
  inject(words: string): void {
    if (!this.c.mho_inject(Buffer.from(`${words}\0`))) throw new Error(`mho_inject does not understand "${words}"`);
  }

  /** Names of the wrong uses that objc/misuse.m can commit. */
  misuses(): string[] {
    const names: string[] = [];
    for (let i = 0; ; i++) {
      const name = this.c.mho_misuse_name(i);
      if (!name) return names;
      names.push(new CString(name).toString());
    }
  }

  misuse(name: string): void {
    if (!this.c.mho_misuse(Buffer.from(`${name}\0`))) throw new Error(`objc/misuse.m has no "${name}"`);
  }

  /** Texts of everything found, in the API's use and in kernels. */
  all(): string[] {
    return [...this.findings().map((f) => f.text), ...takeFindings().map((f) => `${f.kind}: ${f.text}`)];
  }
}

/** The frameworks, or why there are none here. */
export function frameworks(): { available: true; shim: string; fake: Frameworks } | { available: false; why: string } {
  const host = metalHost();
  return host.available ? { available: true, shim: host.shim, fake: new Frameworks(host.shim) } : host;
}
