/** What the repository tests look at. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export const ROOT = join(import.meta.dir, "../..");

/** Paths, relative to the root, of all files under version control that exist, and of new ones that are not ignored. */
export function repositoryFiles(...extensions: string[]): string[] {
  const git = Bun.spawnSync(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
  if (!git.success) {
    // An unpacked archive has no history; everything but what is fetched or built belongs to it.
    const all = [...new Bun.Glob("**/*").scanSync({ cwd: ROOT, dot: true })];
    return all.filter((f) => !/^(node_modules|dist|\.cache|\.git)\//.test(f) && matches(f, extensions));
  }
  const listed = new Set(git.stdout.toString().split("\0").filter(Boolean));
  return [...listed].filter((f) => matches(f, extensions) && Bun.file(join(ROOT, f)).size > 0).sort();
}

function matches(file: string, extensions: string[]): boolean {
  return extensions.length === 0 || extensions.some((e) => file.endsWith(e));
}

export function read(file: string): string {
  return readFileSync(join(ROOT, file), "utf8");
}
