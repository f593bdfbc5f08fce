/** Builds the chat page: one HTML file, one script, one style sheet, one icon; the last three under names that carry their content's hash. */
import { join } from "node:path";
import type { BunPlugin } from "bun";

/** Path below the server's root ("" is the page itself) to text. */
export type PageFiles = Record<string, string>;

const CLIENT = join(import.meta.dir, "client");

/** What `index.html` names, and the path under which it is served. */
const PARTS = [
  { source: "main.ts", extension: "js" },
  { source: "style.css", extension: "css" },
  { source: "icon.svg", extension: "svg" },
];

/** Bundles the sources beside this file. Throws what Bun's bundler found wrong. The same sources give the same bytes. */
export async function buildPage(): Promise<PageFiles> {
  const files: PageFiles = {};
  let html = await Bun.file(join(CLIENT, "index.html")).text();
  for (const { source, extension } of PARTS) {
    const text = extension === "svg" ? await Bun.file(join(CLIENT, source)).text() : await bundle(join(CLIENT, source));
    const digest = new Bun.CryptoHasher("sha256").update(text);
    const hash = digest.digest();
    const path = `web/${source.replace(/\.\w+$/, "")}.${hash.toString("hex").slice(0, 12)}.${extension}`;
    files[path] = text;
    // Whatever changed the file on its way (a proxy, a stale cache) does not run.
    const integrity = extension === "svg" ? "" : ` integrity="sha256-${hash.toString("base64")}"`;
    html = html.replace(`"${source}"`, () => `"${path}"${integrity}`);
  }
  files[""] = html;
  return files;
}

async function bundle(entry: string): Promise<string> {
  const result = await Bun.build({ entrypoints: [entry], target: "browser", format: "esm", minify: true });
  return await result.outputs[0].text();
}

/** Puts the built page where `embedded.ts` says that there is none. */
export function embedPage(files: PageFiles): BunPlugin {
  return {
    name: "chat page",
    setup(build) {
      build.onLoad({ filter: /[\\/]src[\\/]server[\\/]web[\\/]embedded\.ts$/ }, () => ({
        loader: "js",
        contents: `export const embeddedPage = ${JSON.stringify(files)};\n`,
      }));
    },
  };
}
