/** A strict reader of Prometheus' text format 0.0.4, for tests. Throws on what a scraper could refuse or misread. */

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export interface MetricFamily {
  type: string;
  help: string;
  samples: Sample[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

export function parsePrometheus(text: string): Map<string, MetricFamily> {
  if (!text.endsWith("\n")) throw new Error("the last line does not end");
  const families = new Map<string, MetricFamily>();
  const seen = new Set<string>();
  let current: [string, MetricFamily] | undefined;
  for (const line of text.slice(0, -1).split("\n")) {
    const head = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line);
    if (head) {
      const [, kind, name, rest] = head;
      if (!NAME.test(name)) throw new Error(`bad name: ${line}`);
      if (kind === "HELP") {
        if (families.has(name)) throw new Error(`a second family ${name}`);
        current = [name, { type: "", help: rest, samples: [] }];
        families.set(...current);
      } else {
        if (current?.[0] !== name || current[1].type !== "") throw new Error(`a TYPE in the wrong place: ${line}`);
        if (!["counter", "gauge", "histogram"].includes(rest)) throw new Error(`no type: ${line}`);
        current[1].type = rest;
      }
      continue;
    }
    const sample = parseSample(line);
    if (!current || !belongs(sample, ...current)) throw new Error(`a sample outside of its family: ${line}`);
    const key = `${sample.name}${JSON.stringify(Object.entries(sample.labels).toSorted())}`;
    if (seen.has(key)) throw new Error(`twice: ${line}`);
    seen.add(key);
    current[1].samples.push(sample);
  }
  for (const [name, family] of families) if (family.type === "histogram") checkHistogram(name, family);
  return families;
}

function parseSample(line: string): Sample {
  const match = /^([^\s{]+)(?:\{(.*)\})? (\S+)$/.exec(line);
  if (!match || !NAME.test(match[1])) throw new Error(`no sample: ${JSON.stringify(line)}`);
  const labels: Record<string, string> = {};
  let rest = match[2] ?? "";
  while (rest !== "") {
    const label = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)/.exec(rest);
    if (!label || label[1] in labels) throw new Error(`bad labels: ${line}`);
    labels[label[1]] = label[2].replace(/\\(.)/g, (_, c: string) => (c === "n" ? "\n" : c));
    rest = rest.slice(label[0].length);
  }
  const value = match[3] === "+Inf" ? Infinity : Number(match[3]);
  if (Number.isNaN(value)) throw new Error(`no number: ${line}`);
  return { name: match[1], labels, value };
}

function belongs({ name }: Sample, family: string, { type }: MetricFamily): boolean {
  return type === "histogram" ? ["_bucket", "_sum", "_count"].some((end) => name === family + end) : name === family && type !== "";
}

/** Buckets of each series rise to the count, and the last one is +Inf. */
function checkHistogram(name: string, { samples }: MetricFamily): void {
  const series = Map.groupBy(samples, ({ labels }) => JSON.stringify({ ...labels, le: "" }));
  for (const [labels, list] of series) {
    const buckets = list.filter((s) => s.name === `${name}_bucket`);
    const bounds = buckets.map((s) => (s.labels.le === "+Inf" ? Infinity : Number(s.labels.le)));
    const rising = (values: number[]) => values.every((v, i) => i === 0 || v >= values[i - 1]);
    const count = list.find((s) => s.name === `${name}_count`)?.value;
    const ok = rising(bounds) && bounds.at(-1) === Infinity && rising(buckets.map((s) => s.value)) && buckets.at(-1)!.value === count;
    if (!ok || !list.some((s) => s.name === `${name}_sum`)) throw new Error(`broken histogram ${name}${labels}`);
  }
}

/** Units that are not Prometheus' base units, as parts of names. */
const UNITS = [
  "milliseconds",
  "microseconds",
  "nanoseconds",
  "minutes",
  "hours",
  "ms",
  "us",
  "ns",
  "kilobytes",
  "megabytes",
  "bits",
  "percent",
  "celsius",
];

/** What `promtool check metrics` says of names and types, line by line (client_golang's promlint). */
export function lint(families: Map<string, MetricFamily>): string[] {
  const found: string[] = [];
  for (const [name, { type, help, samples }] of families) {
    if (samples.length === 0) continue;
    const say = (what: string) => found.push(`${name} ${what}`);
    const parts = name.split(/[_:]/);
    if (help.trim() === "") say("no help text");
    if (name.includes(":")) say("metric names should not contain ':'");
    if (type === "counter" && !name.endsWith("_total")) say('counter metrics should have "_total" suffix');
    if (type !== "counter" && name.endsWith("_total")) say('non-counter metrics should not have "_total" suffix');
    if (type !== "histogram" && name.endsWith("_bucket")) say('non-histogram metrics should not have "_bucket" suffix');
    if (type !== "histogram" && /_(count|sum)$/.test(name))
      say('non-histogram and non-summary metrics should not have "_count" or "_sum" suffix');
    if (type !== "histogram" && samples.some((s) => "le" in s.labels)) say('non-histogram metrics should not have "le" label');
    for (const word of parts) {
      if (["counter", "gauge", "histogram", "summary"].includes(word)) say(`metric name should not include type '${word}'`);
      if (UNITS.includes(word)) say(`use a base unit instead of "${word}"`);
    }
    if (/[a-z][A-Z]/.test(name)) say("metric names should be written in 'snake_case' not 'camelCase'");
    if (samples.some((s) => Object.keys(s.labels).some((l) => /[a-z][A-Z]/.test(l))))
      say("label names should be written in 'snake_case' not 'camelCase'");
  }
  return found.toSorted();
}

/** Series of counters and histograms that fell between two scrapes. */
export function fallen(before: Map<string, MetricFamily>, after: Map<string, MetricFamily>): string[] {
  // The whole process's families are named after whichever model is loaded.
  const key = ({ name, labels }: Sample) => `${name}${JSON.stringify(Object.entries({ ...labels, model_name: "" }).toSorted())}`;
  return [...before].flatMap(([name, family]) => {
    if (family.type === "gauge") return [];
    const now = new Map(after.get(name)?.samples.map((s) => [key(s), s.value]));
    return family.samples.filter((s) => !(now.get(key(s))! >= s.value)).map(key);
  });
}
