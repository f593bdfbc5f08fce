/** Downloading a model with its progress on the terminal; and the offer to do so where a model that is not here was asked for. */
import { AlloyError } from "../support/errors.ts";
import { printJson, type Context } from "./context.ts";
import type { PullChoice } from "./deps.ts";
import { Progress } from "./progress.ts";

/** Pulls, and returns the model's name. Ctrl-C stops it; what came is kept. With `--json` every event is a line. */
export async function pullWithProgress(reference: string, choice: PullChoice, { io, style, json, deps }: Context): Promise<string> {
  const stop = new AbortController();
  const forget = io.onInterrupt(() => stop.abort(new AlloyError("cancelled", "stopped")));
  const progress = new Progress(io, style);
  try {
    return await deps.pullModel(reference, {
      ...choice,
      signal: stop.signal,
      onEvent: (event) => (json ? printJson(io, event) : progress.update(event)),
    });
  } catch (e) {
    progress.end();
    if (stop.signal.aborted && !json) io.err(style.dim("stopped; pulling again goes on from here\n"));
    throw e;
  } finally {
    progress.end();
    forget();
  }
}

/**
 * Makes sure that a model is here. On a terminal, one that could be downloaded is offered, and downloaded after a yes.
 * Throws `model_not_found`, and what a pull throws.
 */
export async function requireModel(reference: string, context: Context): Promise<void> {
  const { deps, io, json, style } = context;
  if (await deps.isModel(reference)) return;
  try {
    await deps.resolveModel(reference);
  } catch (e) {
    const pullable = e instanceof AlloyError && e.code === "model_not_found" && e.data?.pullable === true;
    if (!pullable || json || !io.stdinIsTty || !io.stdoutIsTty) throw e;
    io.err(`${reference} is not on this machine.\n`);
    const answer = await io.readLine(`Download it? ${style.dim("[y/N]")} `, { history: false });
    if (typeof answer !== "object" || !/^\s*y(?:es)?\s*$/i.test(answer.text)) throw e;
    await pullWithProgress(reference, {}, context);
  }
}
