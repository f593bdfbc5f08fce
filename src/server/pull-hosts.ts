/**
 * Where clients may have models fetched from. A name may say any host: a server that others reach would ask machines of its network in
 * their stead, and tell what they answer.
 */
import { DEFAULT_HOST, isHuggingFaceHost, parseName } from "../hub/names.ts";
import { AlloyError } from "../support/errors.ts";
import type { ServerSettings } from "./context.ts";
import { isLoopback } from "./guard.ts";

/** Hosts beside the two registries, lower case; undefined: all, for a server that only this machine reaches. */
export function pullHosts(bound: string, env: Readonly<Record<string, string | undefined>>): ReadonlySet<string> | undefined {
  const listed = (env.ALLOY_PULL_HOSTS ?? "").split(",").flatMap((host) => host.trim().toLowerCase() || []);
  return listed.length === 0 && isLoopback(bound) ? undefined : new Set(listed);
}

/** Throws `forbidden` for a name whose host is none of them. */
export function checkPullHost({ pullHosts: hosts }: ServerSettings, reference: string): void {
  const host = parseName(reference)?.host.toLowerCase();
  if (hosts === undefined || host === undefined || host === DEFAULT_HOST || isHuggingFaceHost(host)) return;
  if (hosts.has(host) || hosts.has("*")) return;
  throw new AlloyError("forbidden", `models may not be fetched from ${host} through this server`, {
    hint: "Whoever runs it can list the host in ALLOY_PULL_HOSTS, or pull the model with `alloy pull`.",
    param: "model",
  });
}
