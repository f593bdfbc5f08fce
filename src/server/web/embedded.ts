/** What the executable carries: `build.ts` puts the built page in this file's place. From sources there is none, and it is built when asked for. */
import type { PageFiles } from "./bundle.ts";

export const embeddedPage: PageFiles | undefined = undefined;
