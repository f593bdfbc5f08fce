/**
 * How long a connection may keep the server waiting. Bun ends one whose first headers do not come within ten seconds by itself; all that
 * follows on it has the limits set here. They are counted from when they are set, whatever trickles in.
 */
export interface PatienceLimits {
  /** Seconds for a request's body, and more by its length; without a length, for each piece of it. */
  body: number;
  /** Seconds for a client to take what it is sent, and between two requests. */
  answer: number;
}

export const PATIENCE: PatienceLimits = { body: 60, answer: 75 };

/** A body of known length has to come at least this fast, in bytes per second. */
const SLOWEST = 256 * 1024;
/** The longest that Bun can count. */
const LONGEST = 255;

export class Patience {
  #server: Pick<Bun.Server<undefined>, "timeout"> | undefined;

  constructor(private readonly limits: PatienceLimits) {}

  attach(server: Pick<Bun.Server<undefined>, "timeout">): void {
    this.#server = server;
  }

  /** The request's body is being read; again for each piece of one without a length. */
  reading(request: Request): void {
    const length = Number(request.headers.get("content-length") ?? 0);
    this.#set(request, Math.min(LONGEST, Math.ceil(this.limits.body + length / SLOWEST)));
  }

  /** It is the server's turn. */
  working(request: Request): void {
    this.#set(request, 0);
  }

  /** The client is being answered; again whenever it has taken what was sent. */
  answering(request: Request): void {
    this.#set(request, this.limits.answer);
  }

  #set(request: Request, seconds: number): void {
    this.#server?.timeout(request, seconds);
  }
}
