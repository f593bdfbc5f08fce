/** Numbers as people read them. */

/** 11289920 -> "11.3 MB" (decimal units, as download pages use them). */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let u = 0;
  while (value >= 999.5 && u < units.length - 1) {
    value /= 1000;
    u++;
  }
  return `${u === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[u]}`;
}

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  t: 1e12,
  ki: 2 ** 10,
  mi: 2 ** 20,
  gi: 2 ** 30,
  ti: 2 ** 40,
};

/** "12GiB", "12G", "500MB" or a plain number -> bytes; undefined for anything else. */
export function parseBytes(text: string): number | undefined {
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?)\s*([kmgt]i?b?|b)?$/i.exec(text.trim()) ?? [];
  return number === undefined ? undefined : Number(number) * UNITS[unit.toLowerCase().replace(/b$/, "")];
}
