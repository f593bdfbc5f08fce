/** Exit codes: the same for every command (`launch` passes on its tool's own). */
export const EXIT = {
  ok: 0,
  /** It did not work: no such model, a broken file, a port in use. */
  failed: 1,
  /** The command line was wrong. */
  usage: 2,
  /** Stopped with Ctrl-C, as shells report it. */
  interrupted: 130,
} as const;
