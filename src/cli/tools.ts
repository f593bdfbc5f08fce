/** Coding tools that `alloy launch` can start. To add one: an entry here. */

/** What a tool is pointed at. */
export interface Endpoint {
  /** `http://127.0.0.1:11434`, without `/v1` and without a trailing slash. */
  url: string;
  model: string;
  /** Context window of the loaded model in tokens. */
  context: number;
  /** Sent as the API key; a server without ALLOY_API_KEY accepts any. */
  key: string;
}

export interface Tool {
  /** Program looked up in PATH. */
  program: string;
  summary: string;
  install: string;
  /** Context below which the tool's own prompt hardly fits, in tokens. */
  needsContext: number;
  env(endpoint: Endpoint): Record<string, string>;
  /** Arguments that go before the user's own. */
  args(endpoint: Endpoint, user: readonly string[]): string[];
}

export const TOOLS: Readonly<Record<string, Tool>> = Object.assign(Object.create(null), {
  claude: {
    program: "claude",
    summary: "Claude Code (Anthropic API)",
    install: "npm install -g @anthropic-ai/claude-code",
    needsContext: 32_768,
    // Every tier is named, or subagents and titles would ask for models that are not here; the true window, or it never compacts.
    env: ({ url, model, context, key }) => ({
      ANTHROPIC_BASE_URL: url,
      ANTHROPIC_AUTH_TOKEN: key,
      ANTHROPIC_API_KEY: "",
      ANTHROPIC_MODEL: model,
      ANTHROPIC_DEFAULT_OPUS_MODEL: model,
      ANTHROPIC_DEFAULT_SONNET_MODEL: model,
      ANTHROPIC_DEFAULT_HAIKU_MODEL: model,
      ANTHROPIC_DEFAULT_FABLE_MODEL: model,
      CLAUDE_CODE_SUBAGENT_MODEL: model,
      CLAUDE_CODE_MAX_CONTEXT_TOKENS: String(context),
      CLAUDE_CODE_ATTRIBUTION_HEADER: "0",
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
      CLAUDE_CODE_TOTAL_TOKENS_REMINDER: "off",
      DISABLE_AUTOUPDATER: "1",
      API_TIMEOUT_MS: "3600000",
    }),
    args: (_, user) => [...user],
  },
  codex: {
    program: "codex",
    summary: "Codex CLI (OpenAI Responses API)",
    install: "npm install -g @openai/codex",
    needsContext: 16_384,
    env: ({ key }) => ({ ALLOY_LAUNCH_KEY: key }),
    // Codex reads its configuration as TOML values; a provider of our own leaves the user's file alone.
    args: ({ url, model, context }, user) => {
      const settings: [string, string | number | boolean][] = [
        ["model_provider", "alloy"],
        ["model_providers.alloy.name", "Alloy"],
        ["model_providers.alloy.base_url", `${url}/v1`],
        ["model_providers.alloy.wire_api", "responses"],
        ["model_providers.alloy.env_key", "ALLOY_LAUNCH_KEY"],
        ["model_providers.alloy.stream_idle_timeout_ms", 3_600_000],
        ["model_context_window", context],
        ["analytics.enabled", false],
      ];
      return [...settings.flatMap(([name, value]) => ["-c", `${name}=${JSON.stringify(value)}`]), "-m", model, ...user];
    },
  },
  opencode: {
    program: "opencode",
    summary: "opencode (OpenAI API)",
    install: "npm install -g opencode-ai",
    needsContext: 16_384,
    env: ({ url, model, context, key }) => ({
      OPENCODE_CONFIG_CONTENT: JSON.stringify({
        provider: {
          alloy: {
            npm: "@ai-sdk/openai-compatible",
            name: "Alloy",
            options: { baseURL: `${url}/v1`, apiKey: key },
            models: { [model]: { name: model, limit: { context, output: Math.max(256, Math.floor(context / 4)) } } },
          },
        },
        model: `alloy/${model}`,
      }),
      OPENCODE_DISABLE_MODELS_FETCH: "1",
    }),
    args: (_, user) => [...user],
  },
  aider: {
    program: "aider",
    summary: "aider (OpenAI API)",
    install: "python3 -m pip install aider-install && aider-install",
    needsContext: 4096,
    env: ({ url, key }) => ({ OPENAI_API_BASE: `${url}/v1`, OPENAI_API_KEY: key }),
    args: ({ model }, user) => ["--model", `openai/${model}`, "--no-show-model-warnings", ...user],
  },
  goose: {
    program: "goose",
    summary: "goose (OpenAI API)",
    install: "see https://goose-docs.ai for the installer",
    needsContext: 16_384,
    env: ({ url, model, context, key }) => ({
      GOOSE_PROVIDER: "openai",
      GOOSE_MODEL: model,
      GOOSE_CONTEXT_LIMIT: String(context),
      OPENAI_HOST: url,
      OPENAI_BASE_PATH: "v1/chat/completions",
      OPENAI_API_KEY: key,
    }),
    args: (_, user) => (user.length === 0 ? ["session"] : [...user]),
  },
  qwen: {
    program: "qwen",
    summary: "Qwen Code (OpenAI API)",
    install: "npm install -g @qwen-code/qwen-code",
    needsContext: 16_384,
    env: ({ url, model, key }) => ({ OPENAI_BASE_URL: `${url}/v1`, OPENAI_API_KEY: key, OPENAI_MODEL: model }),
    args: (_, user) => [...user],
  },
} satisfies Record<string, Tool>);

/** `alloy launch exec -- program args`: any program, with the variables that the usual client libraries read. */
export const GENERIC_TOOL: Omit<Tool, "program" | "install"> = {
  summary: "any other program, with the client libraries' variables set",
  needsContext: 0,
  env: ({ url, model, key }) => ({
    OPENAI_BASE_URL: `${url}/v1`,
    OPENAI_API_BASE: `${url}/v1`,
    OPENAI_API_KEY: key,
    ANTHROPIC_BASE_URL: url,
    ANTHROPIC_AUTH_TOKEN: key,
    ANTHROPIC_API_KEY: "",
    OLLAMA_HOST: url,
    ALLOY_MODEL: model,
  }),
  args: (_, user) => [...user],
};
