/** Chat templates in requests: Jinja, or Go's language as Ollama's own models have it. */
import { compileGoTemplate } from "../../../chat/go/template.ts";
import { compileTemplate, PROBE_LIMITS, REQUEST_LIMITS } from "../../../chat/jinja.ts";
import { isGoTemplate } from "../../../hub/template.ts";

/** Throws `template_error` for a template that does not parse, or in Go's language asks for what is not known. */
export function checkTemplate(template: string | null | undefined): void {
  if (!template) return;
  if (isGoTemplate(template))
    compileGoTemplate(template, REQUEST_LIMITS).render({ messages: [{ role: "user", content: "hi" }] }, PROBE_LIMITS);
  else compileTemplate(template, REQUEST_LIMITS);
}
