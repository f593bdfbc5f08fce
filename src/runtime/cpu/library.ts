/**
 * The seam for the ahead-of-time kernels library. In a checkout there is none here; `build.ts` puts a module in this one's place that
 * imports the library as an embedded file (`import path from "…" with { type: "file" }`).
 */

/** Path of the library that is part of this executable. */
export const embeddedLibrary: string | undefined = undefined;
