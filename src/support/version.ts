/** Which Alloy this is. */
import manifest from "../../package.json" with { type: "json" };

/** Semantic version, from package.json. */
export const VERSION: string = manifest.version;

declare const ALLOY_COMMIT: string | undefined;
declare const ALLOY_COMPILED: boolean | undefined;

/** Commit that a release was built from; undefined when run from source. `build.ts` defines it. */
export const COMMIT: string | undefined = typeof ALLOY_COMMIT === "string" ? ALLOY_COMMIT : undefined;

/** Whether this is the single executable that `build.ts` makes, rather than the sources under Bun. */
export const COMPILED: boolean = typeof ALLOY_COMPILED === "boolean" && ALLOY_COMPILED;
