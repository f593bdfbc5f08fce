/** Small helpers over the DOM. Text only ever becomes text nodes: nothing here parses HTML. */

type Attributes = Record<string, string | boolean | undefined | ((event: Event) => void)>;

/** An element: functions are listeners (`click`, `input` …), true is an empty attribute, false and undefined are none. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string | undefined)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((c) => c !== undefined));
  return element;
}

/** An element of `index.html`. */
export function byId<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** Strokes of 24 by 24 pictures. */
const ICONS = {
  copy: ["M9 9h11v11H9z", "M5 15H4V4h11v1"],
  check: ["M5 12.5l4.5 4.5L19 7.5"],
  retry: ["M4 12a8 8 0 1 1 2.6 5.9", "M4 18.5v-5h5"],
  edit: ["M4 20h4L19 9l-4-4L4 16z", "M13 7l4 4"],
  trash: ["M5 7h14", "M10 7V4.5h4V7", "M7 7l1 13h8l1-13"],
  tool: ["M14.5 6.5a4 4 0 0 1 5-1l-2.8 2.8 1.5 1.5 2.8-2.8a4 4 0 0 1-5.3 5L7.5 20.2 3.8 16.5 12 8.3a4 4 0 0 1 2.5-1.8z"],
  thought: ["M9.5 18h5", "M10.5 21h3", "M8.5 15a6 6 0 1 1 7 0v1h-7z"],
} as const;

export type Icon = keyof typeof ICONS;

export function icon(name: Icon): SVGSVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  for (const d of ICONS[name]) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

/** A button that is a picture; its label is its name and its tooltip. */
export function iconButton(name: Icon, label: string, click: () => void): HTMLButtonElement {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, click }, icon(name));
}

/** A button that copies, and says so for a moment. */
export function copyButton(label: string, text: () => string): HTMLButtonElement {
  const button = iconButton("copy", label, () => {
    void copyText(text()).then((copied) => {
      button.replaceChildren(icon(copied ? "check" : "copy"));
      announce(copied ? "Copied" : "The browser did not allow copying");
      setTimeout(() => button.replaceChildren(icon("copy")), 1600);
    });
  });
  return button;
}

async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain-http addresses of a network have no clipboard API.
    const area = h("textarea", { class: "visually-hidden", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}

/** Tells it to screen readers. */
export function announce(text: string): void {
  byId("status").textContent = text;
}

/** Grows a text area with its text; its style sheet limits how far. */
export function fit(area: HTMLTextAreaElement): void {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`;
}
