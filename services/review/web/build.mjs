// Builds the client into ../static: the same sources give the same bytes, so that a check can compare them.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "static");
const LARGEST = 60 * 1024;

const result = await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx" },
  bundle: true,
  format: "esm",
  target: ["chrome109", "firefox115", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  minify: true,
  legalComments: "none",
  charset: "utf8",
  outdir: "out",
  write: false,
  logLevel: "warning",
});

mkdirSync(out, { recursive: true });
for (const name of readdirSync(out)) rmSync(join(out, name), { recursive: true });
let page = readFileSync(join(here, "page", "index.html"), "utf8");
let packed = 0;
for (const file of result.outputFiles) {
  const kind = file.path.endsWith(".css") ? "css" : "js";
  const digest = createHash("sha256").update(file.contents).digest("hex").slice(0, 12);
  const name = `app.${digest}.${kind}`;
  writeFileSync(join(out, name), file.contents);
  page = page.replaceAll(`{{${kind}}}`, name);
  packed += gzipSync(file.contents, { level: 9 }).length;
  console.log(`${name}  ${file.contents.length} bytes`);
}
writeFileSync(join(out, "index.html"), page);
writeFileSync(join(out, "icon.svg"), readFileSync(join(here, "page", "icon.svg")));
console.log(`gzipped ${packed} bytes of ${LARGEST} allowed`);
if (packed > LARGEST) {
  console.error("The bundle is larger than it may be; make it smaller.");
  process.exit(1);
}
