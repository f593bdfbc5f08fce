/** Folders that Alloy keeps things in. */
import { homedir } from "node:os";
import { join } from "node:path";

/**
 * Folder for what can be made again: compiled kernels, repacked weights, the unpacked demo model. ALLOY_CACHE_DIR, else
 * $XDG_CACHE_HOME/alloy, else ~/.cache/alloy (macOS: ~/Library/Caches/alloy). Not created here.
 */
export function cacheDir(env: Readonly<Record<string, string | undefined>> = process.env): string {
  if (env.ALLOY_CACHE_DIR) return env.ALLOY_CACHE_DIR;
  if (env.XDG_CACHE_HOME) return join(env.XDG_CACHE_HOME, "alloy");
  const home = env.HOME || homedir();
  return process.platform === "darwin" ? join(home, "Library", "Caches", "alloy") : join(home, ".cache", "alloy");
}
