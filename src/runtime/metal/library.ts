/**
 * The seam for the Metal shim (objc-shim/). In a checkout there is none here; `build.ts` puts a module in this one's place that imports the
 * dylib as an embedded file (`import path from "…" with { type: "file" }`).
 */

/** Path of the shim that is part of this executable. */
export const embeddedShim: string | undefined = undefined;
