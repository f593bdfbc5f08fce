/** Progress of downloads: a bar that is redrawn on a terminal, a line now and then elsewhere. */
import { formatBytes } from "../support/format.ts";
import type { Io, Style } from "./context.ts";

/** As the hub reports it. */
export interface ProgressEvent {
  status: string;
  digest?: string;
  total?: number;
  completed?: number;
}

/** Milliseconds that the speed is taken over. */
const WINDOW_MS = 4000;
const REDRAW_MS = 100;
/** Without a terminal: a line per file and these parts of it. */
const STEP_PERCENT = 10;
const LABEL = 24;

export class Progress {
  /** What the redrawn line is about; undefined: there is none. */
  private drawn: string | undefined;
  private drawnAt = -Infinity;
  private status = "";
  private percent = 0;
  /** When how many bytes were there, oldest first. */
  private samples: { at: number; bytes: number }[] = [];

  constructor(
    private readonly io: Io,
    private readonly style: Style,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** A terminal that can go back in its line. */
  private get live(): boolean {
    return this.io.stdoutIsTty && this.io.env.TERM !== "dumb";
  }

  update({ status, total, completed = 0 }: ProgressEvent): void {
    const fresh = status !== this.status;
    if (fresh) this.begin(status, total, completed);
    if (total === undefined) {
      if (fresh && status !== "success") this.line(status);
      return;
    }
    this.sample(completed);
    if (this.live) this.draw(total, completed);
    else this.step(total, completed, fresh);
  }

  /** Leaves what is drawn and goes to the next line. */
  end(): void {
    if (this.drawn === undefined) return;
    this.io.err("\n");
    this.drawn = undefined;
  }

  private begin(status: string, total: number | undefined, completed: number): void {
    this.end();
    this.status = status;
    this.samples = [];
    this.drawnAt = -Infinity;
    this.percent = total ? Math.floor((completed / total) * 100) : 0;
  }

  private line(text: string): void {
    this.io.err(`${this.style.dim(text)}\n`);
  }

  private sample(bytes: number): void {
    const at = this.now();
    this.samples.push({ at, bytes });
    while (this.samples.length > 2 && at - this.samples[0].at > WINDOW_MS) this.samples.shift();
  }

  /** Bytes per second of late; undefined while nothing can be said. */
  private get speed(): number | undefined {
    const [first, last] = [this.samples[0], this.samples.at(-1)!];
    const ms = last.at - first.at;
    return ms < 200 ? undefined : ((last.bytes - first.bytes) / ms) * 1000;
  }

  private draw(total: number, completed: number): void {
    const done = completed >= total;
    if (!done && this.now() - this.drawnAt < REDRAW_MS) return;
    this.drawnAt = this.now();
    const share = total === 0 ? 1 : Math.min(1, completed / total);
    const label = this.status.replace(/^pulling /, "");
    const shown = (label.length > LABEL ? `${label.slice(0, LABEL - 1)}…` : label).padEnd(12);
    const percent = `${String(Math.floor(share * 100)).padStart(3)}%`;
    const bytes = done ? formatBytes(total) : `${formatBytes(completed)} of ${formatBytes(total)}`;
    const forms = [`${percent}  ${bytes}${done ? "" : this.pace(total - completed)}`, `${percent}  ${bytes}`, percent];
    // One column is left free: some terminals wrap as soon as the last one is written.
    const width = this.io.columns - 1;
    const tail = forms.find((form) => shown.length + 1 + form.length <= width) ?? percent;
    const room = Math.min(40, width - shown.length - tail.length - 2);
    const filled = Math.round(share * Math.max(0, room));
    const bar = room < 8 ? "" : `${this.style.green("━".repeat(filled))}${this.style.dim("─".repeat(room - filled))} `;
    this.io.err(`\r\x1b[2K${shown} ${bar}${tail}`);
    this.drawn = this.status;
    if (done) this.end();
  }

  private pace(left: number): string {
    const { speed } = this;
    if (speed === undefined || speed <= 0) return "";
    return `  ${formatBytes(speed)}/s  ${duration(left / speed)}`;
  }

  private step(total: number, completed: number, fresh: boolean): void {
    const percent = total === 0 ? 100 : Math.floor((completed / total) * 100);
    if (!fresh && percent < 100 && percent - this.percent < STEP_PERCENT) return;
    if (!fresh && percent === this.percent) return;
    this.percent = percent;
    this.line(`${this.status}: ${percent}% of ${formatBytes(total)}`);
  }
}

/** "8s", "3m05s", "2h10m". */
function duration(seconds: number): string {
  const s = Math.ceil(seconds);
  const two = (n: number) => String(n).padStart(2, "0");
  if (s < 60) return `${s}s`;
  return s < 3600 ? `${Math.floor(s / 60)}m${two(s % 60)}s` : `${Math.floor(s / 3600)}h${two(Math.floor(s / 60) % 60)}m`;
}
