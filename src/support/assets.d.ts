/** `import path from "./model.gguf" with { type: "file" }`: the file's path, also inside the executable. */
declare module "*.gguf" {
  const path: string;
  export default path;
}
