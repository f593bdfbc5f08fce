/** Which chat template a model answers by: the one in its file, or the one that its store has beside it. */

/** Whether a template is in Go's language, as Ollama has them. Those have no `{% %}`. */
export function isGoTemplate(template: string): boolean {
  return (
    !template.includes("{%") && /\{\{-?\s*(?:(?:if|range|with|define|block)\b|\.[A-Z]|\$\w|end\b)|\{\{[^}"']*[\s(]\.[A-Z]/.test(template)
  );
}

/**
 * A store's template that is rendered instead of the file's: one in Jinja, and one in Go's language if somebody made a model with it
 * (`chosen`). Those that models are published with say the same as the file's own, which is what the makers wrote.
 */
export function overridingTemplate(template: string | undefined, chosen = false): string | undefined {
  return template === undefined || template.trim() === "" || (isGoTemplate(template) && !chosen) ? undefined : template;
}
