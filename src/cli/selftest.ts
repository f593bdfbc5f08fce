/** `alloy doctor --selftest`: every stock kernel on a device beside the interpreter, as a table that fills while it runs. */
import type { KernelReport } from "../../kernels/selftest/index.ts";
import { printJson, type Context } from "./context.ts";
import { EXIT } from "./exit.ts";

export interface SelftestChoice {
  device?: string;
  /** Of the random inputs. */
  seed?: number;
  /** Part of the kernels' names. */
  only?: string;
}

/** Failures of a kernel that are shown; `--json` has all. */
const SHOWN = 3;

/** Exit code 0 when every kernel agrees, 1 when one does not or no kernel has the name. */
export async function runSelftest(choice: SelftestChoice, { io, json, style, deps }: Context): Promise<number> {
  const { device, reports } = await deps.selftest(choice);
  if (!json) {
    io.out(`${device}, seed ${choice.seed ?? 1}\n`);
    io.out(`${style.dim("      KERNEL                          CASES     WORST   ALLOWED")}\n`);
  }
  const all: KernelReport[] = [];
  for await (const r of reports) {
    all.push(r);
    if (json) continue;
    const mark = r.failures.length ? style.red("fail") : style.green("ok  ");
    const worst = r.worst === 0 ? "exact" : r.worst.toExponential(1);
    const allowed = r.tolerance === 0 ? "exact" : r.tolerance.toExponential(1);
    io.out(`${mark}  ${r.kernel.padEnd(30)} ${String(r.cases).padStart(6)} ${worst.padStart(9)} ${allowed.padStart(9)}\n`);
    for (const f of r.failures.slice(0, SHOWN)) io.out(`      ${f}\n`);
    if (r.failures.length > SHOWN) io.out(`      and ${r.failures.length - SHOWN} more\n`);
  }
  const cases = all.reduce((n, r) => n + r.cases, 0);
  const failed = all.filter((r) => r.failures.length > 0);
  const ok = failed.length === 0 && all.length > 0;
  if (json) printJson(io, { ok, device, kernels: all.length, cases, reports: all });
  else if (all.length === 0) io.out(`no kernel's name contains "${choice.only}"; \`alloy inspect\` lists them\n`);
  else if (ok) io.out(`${all.length} kernels agree with the interpreter in ${cases} cases\n`);
  else {
    io.out(`${failed.length} of ${all.length} kernels do not agree with the interpreter: ${failed.map((r) => r.kernel).join(", ")}\n`);
    io.out(`${style.dim("attach `alloy doctor --selftest --json` to a bug report, and use --device cpu meanwhile")}\n`);
  }
  return ok ? EXIT.ok : EXIT.failed;
}
