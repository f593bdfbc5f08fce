/** The dialogs: settings of a conversation, and the key that a server may ask for. */
import { apiKey } from "./api.ts";
import { byId } from "./dom.ts";
import { parseTools } from "./messages.ts";
import { NO_SAMPLING, type Sampling, type Settings } from "./types.ts";

const SAMPLING = Object.keys(NO_SAMPLING) as (keyof Sampling)[];

const field = (name: string) => byId<HTMLInputElement>(`set-${name}`);

/** Opens the settings; `done` gets them when the dialog closes, however it is closed. */
export function editSettings(settings: Settings, done: (changed: Settings) => void): void {
  const dialog = byId<HTMLDialogElement>("settings");
  field("system").value = settings.system;
  field("effort").value = settings.effort;
  field("tools").value = settings.tools;
  field("key").value = apiKey.get();
  for (const name of SAMPLING) field(name).value = settings.sampling[name]?.toString() ?? "";
  field("tools").oninput = checkTools;
  checkTools();
  dialog.addEventListener(
    "close",
    () => {
      apiKey.set(field("key").value.trim());
      const sampling = Object.fromEntries(SAMPLING.map((name) => [name, numberOf(field(name))])) as unknown as Sampling;
      const effort = field("effort").value as Settings["effort"];
      done({ ...settings, system: field("system").value, effort, tools: field("tools").value, sampling });
    },
    { once: true },
  );
  dialog.showModal();
}

/** A field that holds no number in its range leaves the model's own value. */
function numberOf(input: HTMLInputElement): number | null {
  return input.value === "" || !input.validity.valid ? null : input.valueAsNumber;
}

function checkTools(): void {
  let problem = "";
  try {
    parseTools(field("tools").value);
  } catch (error) {
    problem = (error as Error).message;
  }
  field("tools").setCustomValidity(problem);
  byId("tools-problem").textContent = problem;
}

/** Asks for an API key; `done` is called when one was given. */
export function askForKey(done: () => void): void {
  const dialog = byId<HTMLDialogElement>("key-dialog");
  if (dialog.open) return;
  const wrong = apiKey.get() !== "";
  byId("key-message").textContent =
    `${wrong ? "The key that this browser has is not valid (any more). " : ""}It is one of those in ALLOY_API_KEY, and stays in this browser.`;
  const input = byId<HTMLInputElement>("key");
  input.value = apiKey.get();
  dialog.returnValue = "";
  dialog.addEventListener(
    "close",
    () => {
      if (dialog.returnValue !== "save") return;
      apiKey.set(input.value.trim());
      done();
    },
    { once: true },
  );
  dialog.showModal();
}
