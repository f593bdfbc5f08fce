/** Coding tools that `alloy launch` can start. To add one: an entry here. */
import { codexModels } from "./codex-models.ts";

/** What a tool is pointed at. */
export interface Endpoint {
  /** `http://127.0.0.1:11434`, without `/v1` and without a trailing slash. */
  url: string;
  model: string;
  /** Context window of the loaded model in tokens. */
  context: number;
  /** Sent as the API key; a server without ALLOY_API_KEY accepts any. */
  key: string;
  vision: boolean;
  thinking: boolean;
}

type Variables = Record<string, string>;

export interface Tool {
  /** Program looked up in PATH. */
  program: string;
  summary: string;
  install: string;
  /** Context below which the tool's own prompt and one round of work hardly fit, in tokens. */
  needsContext: number;
  /** Variables that point the tool at the model. They replace the user's. */
  env(endpoint: Endpoint): Variables;
  /** Variables that suit a local model. The user's own stay. */
  defaults?(endpoint: Endpoint): Variables;
  /** Text of a file that `args` names to the tool. */
  file?(endpoint: Endpoint): string;
  /** Arguments that go before the user's own. `file` is the path of the tool's file. */
  args(endpoint: Endpoint, user: readonly string[], file: string): string[];
}

/** Room for an answer and its thinking, in tokens: tools keep that much of the window free. In a small one work comes first. */
const outputTokens = (context: number) => Math.min(32_000, Math.max(256, Math.floor(context / (context < 65_536 ? 8 : 4))));

/** Every tier is named, or subagents and titles would ask for models that are not here; the true window, or it never compacts. */
const claudeVariables = ({ url, model, context, key }: Endpoint): Variables => ({
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
});

export const TOOLS: Readonly<Record<string, Tool>> = Object.assign(Object.create(null), {
  claude: {
    program: "claude",
    summary: "Claude Code (Anthropic API)",
    install: "npm install -g @anthropic-ai/claude-code",
    needsContext: 32_768,
    env: claudeVariables,
    defaults: ({ context }) => ({
      // It keeps an answer's length (20,000 tokens at most) and 13,000 more free: with its default a window of 32k is always full.
      CLAUDE_CODE_MAX_OUTPUT_TOKENS: String(outputTokens(context)),
      CLAUDE_CODE_ATTRIBUTION_HEADER: "0",
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
      CLAUDE_CODE_TOTAL_TOKENS_REMINDER: "off",
      DISABLE_AUTOUPDATER: "1",
      API_TIMEOUT_MS: "3600000",
    }),
    // Variables in the user's or a project's settings go before the environment's, and settings on the command line before those.
    // Its auto mode wants a check that runs at Anthropic: without it, it asks before each command, as it always did.
    file: (endpoint) => JSON.stringify({ env: claudeVariables(endpoint), permissions: { disableAutoMode: "disable" } }),
    args: (_, user, file) => (user.some((word) => /^--settings(=|$)/.test(word)) ? [...user] : ["--settings", file, ...user]),
  },
  codex: {
    program: "codex",
    summary: "Codex CLI (OpenAI Responses API)",
    install: "npm install -g @openai/codex",
    needsContext: 16_384,
    env: ({ key }) => ({ ALLOY_LAUNCH_KEY: key }),
    file: codexModels,
    // Codex reads its configuration as TOML values; a provider of our own leaves the user's file alone.
    args: ({ url, model }, user, file) => {
      const settings: [string, string | number | boolean][] = [
        ["model_provider", "alloy"],
        ["model_providers.alloy.name", "Alloy"],
        ["model_providers.alloy.base_url", `${url}/v1`],
        ["model_providers.alloy.wire_api", "responses"],
        ["model_providers.alloy.env_key", "ALLOY_LAUNCH_KEY"],
        ["model_providers.alloy.stream_idle_timeout_ms", 3_600_000],
        ["model_catalog_json", file],
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
    env: ({ url, model, context, key, vision, thinking }) => {
      const limit = { context, output: outputTokens(context) };
      const modalities = { input: vision ? ["text", "image"] : ["text"], output: ["text"] };
      const options = { baseURL: `${url}/v1`, apiKey: key };
      const models = { [model]: { name: model, limit, tool_call: true, reasoning: thinking, attachment: vision, modalities } };
      const alloy = { npm: "@ai-sdk/openai-compatible", name: "Alloy", options, models };
      return { OPENCODE_CONFIG_CONTENT: JSON.stringify({ provider: { alloy }, model: `alloy/${model}`, small_model: `alloy/${model}` }) };
    },
    defaults: () => ({ OPENCODE_DISABLE_MODELS_FETCH: "1", OPENCODE_DISABLE_AUTOUPDATE: "1" }),
    args: (_, user) => [...user],
  },
  aider: {
    program: "aider",
    summary: "aider (OpenAI API)",
    install: "python3 -m pip install aider-install && aider-install",
    needsContext: 4096,
    env: ({ url, key }) => ({ OPENAI_API_BASE: `${url}/v1`, OPENAI_API_KEY: key }),
    // Fields as litellm's table of models has them: aider sizes its summaries by the window.
    file: ({ model, context }) => {
      const limits = {
        max_tokens: outputTokens(context),
        max_input_tokens: context,
        max_output_tokens: outputTokens(context),
      };
      const costs = { input_cost_per_token: 0, output_cost_per_token: 0 };
      return JSON.stringify({ [`openai/${model}`]: { ...limits, ...costs, litellm_provider: "openai", mode: "chat" } });
    },
    args: ({ model }, user, file) => ["--model", `openai/${model}`, "--model-metadata-file", file, "--no-show-model-warnings", ...user],
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
    defaults: ({ context }) => ({ QWEN_CODE_MAX_OUTPUT_TOKENS: String(outputTokens(context)) }),
    // The arguments go before what the user's settings say.
    args: ({ model }, user) => ["--auth-type", "openai", "--model", model, ...user],
  },
  copilot: {
    program: "copilot",
    summary: "GitHub Copilot CLI (OpenAI Responses API)",
    install: "npm install -g @github/copilot",
    needsContext: 16_384,
    env: ({ url, model, context, key }) => ({
      COPILOT_PROVIDER_TYPE: "openai",
      COPILOT_PROVIDER_BASE_URL: `${url}/v1`,
      COPILOT_PROVIDER_API_KEY: key,
      COPILOT_PROVIDER_WIRE_API: "responses",
      COPILOT_MODEL: model,
      COPILOT_PROVIDER_MAX_PROMPT_TOKENS: String(context - outputTokens(context)),
      COPILOT_PROVIDER_MAX_OUTPUT_TOKENS: String(outputTokens(context)),
    }),
    // No sign-in at GitHub, no tools of GitHub's.
    defaults: () => ({ COPILOT_OFFLINE: "true" }),
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
