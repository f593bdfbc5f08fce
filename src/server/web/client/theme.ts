/** Light, dark, or as the system has it. */
import { announce, byId } from "./dom.ts";

const KEY = "alloy.theme";
const THEMES = ["auto", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

export function startTheme(): void {
  apply(THEMES.find((t) => t === localStorage.getItem(KEY)) ?? "auto");
  byId("theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme as Theme) + 1) % THEMES.length];
    localStorage.setItem(KEY, next);
    apply(next);
    announce(`Theme: ${next}`);
  });
}

function apply(theme: Theme): void {
  document.documentElement.dataset.theme = theme;
  const label = `Theme: ${theme}`;
  byId("theme").setAttribute("aria-label", label);
  byId("theme").title = label;
}
