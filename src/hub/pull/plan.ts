/** What a pull is about to do, whatever protocol found it out. */
import { AlloyError } from "../../support/errors.ts";
import type { FileSource } from "../download/file.ts";
import type { Net } from "../download/net.ts";
import type { ModelName } from "../names.ts";

/** One line of a pull's progress, as Ollama's API words it. */
export interface PullEvent {
  status: string;
  /** `sha256:HEX` of the blob that the numbers are about. */
  digest?: string;
  /** Bytes. */
  total?: number;
  completed?: number;
}

/** A file to bring. */
export interface PlannedFile {
  source: FileSource;
  /** What is said while it comes: `pulling <label>`. */
  label: string;
  /** Files of other stores that may be the same. */
  copies: string[];
}

export interface PullPlan {
  name: ModelName;
  files: PlannedFile[];
  /** The manifest's bytes, once the digests of all files are known; may add small blobs of its own. @param digests hex, in the order of `files` */
  manifest(digests: readonly string[]): Uint8Array;
  /** Says of a refused download what only the protocol knows; anything else comes back as it is. */
  explain?(error: unknown): unknown;
}

/** What the protocols need to find out. */
export interface Surroundings {
  root: string;
  env: Readonly<Record<string, string | undefined>>;
  net: Net;
  signal?: AbortSignal;
  emit(event: PullEvent): void;
}

/** A name that a server does not have: another may. */
export class NotThere extends Error {
  constructor(
    readonly host: string,
    message: string,
    readonly hint: string,
  ) {
    super(message);
  }
}

/** JSON of a server's answer. Throws `download_failed`. */
export function parseAnswer(bytes: Uint8Array, host: string): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (e) {
    throw new AlloyError("download_failed", `${host} answers with something else than JSON`, {
      hint: "Is there a proxy or a login page in between?",
      cause: e,
    });
  }
}
