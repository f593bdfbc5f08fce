/** Locks between programs: flock(2) on a file. The system lets go of them when a program dies, however it dies. */
import { dlopen } from "bun:ffi";
import { closeSync, fstatSync, mkdirSync, openSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { AlloyError } from "./errors.ts";
import { LIBC_NAMES } from "./libc.ts";

// The values are the same on Linux and macOS.
const LOCK_EX = 2;
const LOCK_NB = 4;

/** Milliseconds between two tries for a lock that somebody else holds. */
const RETRY_MS = 50;

let flock: ((fd: number, operation: number) => number) | undefined;

function openFlock(): NonNullable<typeof flock> {
  let failure: unknown;
  for (const name of LIBC_NAMES) {
    try {
      return (flock = dlopen(name, { flock: { args: ["i32", "i32"], returns: "i32" } }).symbols.flock);
    } catch (e) {
      failure = e;
    }
  }
  throw new AlloyError("device_error", `cannot open the C library (tried ${LIBC_NAMES.join(", ")})`, { cause: failure });
}

/** A held lock. */
export interface Lock {
  /** Lets go, and takes the file away. May be called twice. */
  release(): void;
}

/** The lock on `path`, made if it is not there, or undefined while somebody else holds it (also another part of this program). */
export function tryLock(path: string): Lock | undefined {
  mkdirSync(dirname(path), { recursive: true });
  for (;;) {
    const fd = openSync(path, "a");
    if ((flock ?? openFlock())(fd, LOCK_EX | LOCK_NB) !== 0) {
      closeSync(fd);
      return undefined;
    }
    // Whoever held it before may have taken the file away between opening and locking: then this locks nothing that others see.
    if (statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) return held(path, fd);
    closeSync(fd);
  }
}

/** Waits for the lock on `path`. `waiting` is called before each further try. Throws the signal's reason when it is aborted. */
export async function lock(path: string, options: { signal?: AbortSignal; waiting?: () => void } = {}): Promise<Lock> {
  for (;;) {
    options.signal?.throwIfAborted();
    const got = tryLock(path);
    if (got) return got;
    options.waiting?.();
    await Bun.sleep(RETRY_MS);
  }
}

function held(path: string, fd: number): Lock {
  let released = false;
  return {
    release() {
      if (released) return;
      released = true;
      rmSync(path, { force: true });
      closeSync(fd);
    },
  };
}
