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
