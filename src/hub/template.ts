/** Which chat template a model answers by: the one in its file, or the one that its store has beside it. */

/** Templates in Go's syntax, as Ollama has them, cannot be rendered here. They have no `{% %}`. */
export function isGoTemplate(template: string): boolean {
  return !template.includes("{%") && /\{\{-?\s*(?:(?:if|range|with)\b|\.[A-Z]|end\b)/.test(template);
}

/** A store's template that is rendered instead of the file's: one in Jinja. Go templates say the same as the file's in most models. */
export function overridingTemplate(template: string | undefined): string | undefined {
  return template === undefined || template.trim() === "" || isGoTemplate(template) ? undefined : template;
}
