/**
 * Draws what bench/compare.ts has measured: `bun bench/chart.ts compare.json [more.json] > docs/performance.svg`. A bar is how many times
 * llama.cpp's rate Alloy's is (median of the rounds), its line how far the rounds lie apart.
 */
import type { Row } from "./compare.ts";

interface Report {
  cpu: string;
  rounds: number;
  rows: Row[];
}

const COLOURS = ["#2a78d6", "#eb6834", "#1baa78", "#9b6bd6", "#c2912d", "#4aa3b5"];
const [LEFT, WIDTH, BAR, GAP, TOP] = [190, 560, 12, 14, 64];

const reports = await Promise.all(process.argv.slice(2).map(async (path) => (await Bun.file(path).json()) as Report));
if (reports.length === 0) throw new Error("usage: bun bench/chart.ts compare.json [more.json] > chart.svg");
const rows = reports.flatMap((r) => r.rows);
const series = [...new Set(rows.map((r) => seriesOf(r)))];
const tests = [...new Set(rows.map((r) => r.test))];
const most = Math.ceil(Math.max(...rows.map((r) => r.ratio[2])));
const x = (ratio: number): number => LEFT + (ratio / most) * WIDTH;

function seriesOf(r: Row): string {
  return `${r.model}, ${r.threads} thread${r.threads === 1 ? "" : "s"}`;
}
const escaped = (text: string): string => text.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`);

const out: string[] = [];
let y = TOP + 18 * Math.ceil(series.length / 2);
const begin = y;
for (const test of tests) {
  const own = rows.filter((r) => r.test === test);
  out.push(`<text class="ink" x="${LEFT - 10}" y="${y + (own.length * BAR) / 2 + 4}" text-anchor="end">${escaped(test)}</text>`);
  for (const r of own) {
    const [middle, low, high] = r.ratio;
    const colour = COLOURS[series.indexOf(seriesOf(r)) % COLOURS.length];
    const at = y + BAR / 2 - 1;
    out.push(
      `<rect x="${LEFT}" y="${y}" width="${(x(middle) - LEFT).toFixed(1)}" height="${BAR - 2}" fill="${colour}"><title>${escaped(seriesOf(r))}: ${middle.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})</title></rect>`,
      `<path class="spread" d="M${x(low).toFixed(1)} ${at}H${x(high).toFixed(1)}"/>`,
      `<text class="ink small" x="${(x(high) + 5).toFixed(1)}" y="${y + BAR - 3}">${middle.toFixed(2)}</text>`,
    );
    y += BAR;
  }
  y += GAP;
}
const grid = Array.from({ length: most + 1 }, (_, i) => {
  const line = `<path class="${i === 1 ? "one" : "grid"}" d="M${x(i)} ${begin - 8}V${y - GAP + 4}"/>`;
  return `${line}<text class="ink small" x="${x(i)}" y="${y + 6}" text-anchor="middle">${i}</text>`;
});
const legend = series.map((name, i) => {
  const [lx, ly] = [LEFT + (i % 2) * 280, TOP - 14 + 18 * Math.floor(i / 2)];
  return `<rect x="${lx}" y="${ly}" width="10" height="10" fill="${COLOURS[i % COLOURS.length]}"/><text class="ink small" x="${lx + 16}" y="${ly + 9}">${escaped(name)}</text>`;
});
const [width, height] = [LEFT + WIDTH + 60, y + 20];
const title = `Alloy's rate over llama.cpp's (higher is better)`;
const machine = `${[...new Set(reports.map((r) => r.cpu))].join(", ")}; medians of ${reports[0].rounds} alternating rounds`;
console.log(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(title)}">
<style>
text { font: 13px system-ui, sans-serif; } .small { font-size: 11px; } .title { font-size: 15px; font-weight: 600; }
.ink { fill: #1f2328; } .grid { stroke: #d0d7de; } .one { stroke: #59636e; stroke-width: 1.5; } .spread { stroke: #1f2328; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) { .ink { fill: #f0f6fc; } .grid { stroke: #3d444d; } .one { stroke: #9198a1; } .spread { stroke: #f0f6fc; } }
</style>
<text class="ink title" x="${LEFT}" y="20">${escaped(title)}</text>
<text class="ink small" x="${LEFT}" y="38">${escaped(machine)}</text>
${[...legend, ...grid, ...out].join("\n")}
</svg>`);
