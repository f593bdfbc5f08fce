/** Counters, gauges and histograms, and Prometheus' text format 0.0.4 of them. */

export type Labels = Readonly<Record<string, string>>;

type Kind = "counter" | "gauge" | "histogram";

/** A family of series that differ in their labels. */
abstract class Family<S> {
  protected readonly series = new Map<string, { labels: Labels; state: S }>();

  constructor(
    readonly name: string,
    readonly kind: Kind,
    readonly help: string,
  ) {}

  protected abstract fresh(): S;
  protected abstract lines(state: S, labels: Labels): string[];

  protected at(labels: Labels): S {
    const key = JSON.stringify(labels);
    let entry = this.series.get(key);
    if (!entry) this.series.set(key, (entry = { labels, state: this.fresh() }));
    return entry.state;
  }

  /** @param common labels that every series gets */
  render(common: Labels): string {
    const head = [`# HELP ${this.name} ${this.help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}`, `# TYPE ${this.name} ${this.kind}`];
    const body = [...this.series.values()].flatMap(({ labels, state }) => this.lines(state, { ...common, ...labels }));
    return [...head, ...body, ""].join("\n");
  }
}

export class Counter extends Family<{ value: number }> {
  constructor(name: string, help: string) {
    super(name, "counter", help);
  }

  add(by = 1, labels: Labels = {}): void {
    this.at(labels).value += by;
  }

  protected fresh() {
    return { value: 0 };
  }

  protected lines({ value }: { value: number }, labels: Labels): string[] {
    return [line(this.name, labels, value)];
  }
}

export class Gauge extends Family<{ value: number }> {
  constructor(name: string, help: string) {
    super(name, "gauge", help);
  }

  set(value: number, labels: Labels = {}): void {
    this.at(labels).value = value;
  }

  /** Forgets all series: those of models that are gone must not stay. */
  clear(): void {
    this.series.clear();
  }

  protected fresh() {
    return { value: 0 };
  }

  protected lines({ value }: { value: number }, labels: Labels): string[] {
    return [line(this.name, labels, value)];
  }
}

interface Observed {
  /** Per bucket, not cumulative; the last one is for what is larger than all bounds. */
  counts: number[];
  sum: number;
}

export class Histogram extends Family<Observed> {
  /** @param bounds upper bounds, ascending */
  constructor(
    name: string,
    help: string,
    private readonly bounds: readonly number[],
  ) {
    super(name, "histogram", help);
  }

  observe(value: number, labels: Labels = {}): void {
    const state = this.at(labels);
    const bucket = this.bounds.findIndex((bound) => value <= bound);
    state.counts[bucket < 0 ? this.bounds.length : bucket]++;
    state.sum += value;
  }

  /** Takes over what is counted elsewhere: per bucket, not cumulative, the last one for what is larger than all bounds. */
  copy(counts: readonly number[], sum: number): void {
    const state = this.at({});
    state.counts = [...counts];
    state.sum = sum;
  }

  /** Makes a series appear before anything is observed. */
  init(labels: Labels = {}): this {
    this.at(labels);
    return this;
  }

  protected fresh(): Observed {
    return { counts: Array.from({ length: this.bounds.length + 1 }, () => 0), sum: 0 };
  }

  protected lines({ counts, sum }: Observed, labels: Labels): string[] {
    let total = 0;
    const buckets = counts.map((count, i) => {
      total += count;
      return line(`${this.name}_bucket`, { ...labels, le: i < this.bounds.length ? String(this.bounds[i]) : "+Inf" }, total);
    });
    return [...buckets, line(`${this.name}_sum`, labels, sum), line(`${this.name}_count`, labels, total)];
  }
}

export type Metric = Counter | Gauge | Histogram;

function line(name: string, labels: Labels, value: number): string {
  const list = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`);
  return `${name}${list.length > 0 ? `{${list.join(",")}}` : ""} ${number(value)}`;
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function number(value: number): string {
  return value === Infinity ? "+Inf" : value === -Infinity ? "-Inf" : String(value);
}
