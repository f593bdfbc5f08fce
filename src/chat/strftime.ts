/** Python's strftime, as far as chat templates use it (`strftime_now("%d %b %Y")`). English names, local time. */

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

const two = (n: number) => String(n).padStart(2, "0");

const CODES: Record<string, (d: Date) => string> = {
  a: (d) => DAYS[d.getDay()].slice(0, 3),
  A: (d) => DAYS[d.getDay()],
  b: (d) => MONTHS[d.getMonth()].slice(0, 3),
  B: (d) => MONTHS[d.getMonth()],
  d: (d) => two(d.getDate()),
  e: (d) => String(d.getDate()).padStart(2, " "),
  H: (d) => two(d.getHours()),
  I: (d) => two(d.getHours() % 12 || 12),
  j: (d) => String(dayOfYear(d)).padStart(3, "0"),
  m: (d) => two(d.getMonth() + 1),
  M: (d) => two(d.getMinutes()),
  p: (d) => (d.getHours() < 12 ? "AM" : "PM"),
  S: (d) => two(d.getSeconds()),
  y: (d) => two(d.getFullYear() % 100),
  Y: (d) => String(d.getFullYear()),
  F: (d) => `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`,
  T: (d) => `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`,
  "%": () => "%",
};

const dayOfYear = (d: Date) =>
  Math.round((Date.UTC(d.getFullYear(), d.getMonth(), d.getDate()) - Date.UTC(d.getFullYear(), 0, 1)) / 86_400_000) + 1;

/** Formats a date; "%-d" leaves out the leading zero. Codes that are not known stay as they are. */
export function strftime(date: Date, format: string): string {
  return format.replace(/%(-?)([A-Za-z%])/g, (all, bare: string, code: string) => {
    const text = CODES[code]?.(date);
    return text === undefined ? all : bare ? text.replace(/^[0 ]+(?=.)/, "") : text;
  });
}
