// Builds the page into dist: index.html, and assets whose names hold a hash of what is in them.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

rmSync("dist", { recursive: true, force: true });
mkdirSync("dist/assets", { recursive: true });

const { metafile } = await build({
  entryPoints: { page: "src/main.tsx", style: "style.css" },
  outdir: "dist/assets",
  entryNames: "[name]-[hash]",
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome111", "firefox113", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  metafile: true,
  logLevel: "error",
});

const icon = readFileSync("icon.svg");
const iconName = `icon-${createHash("sha256").update(icon).digest("hex").slice(0, 8)}.svg`;
writeFileSync(`dist/assets/${iconName}`, icon);

const built = (ending) => {
  const path = Object.keys(metafile.outputs).find((name) => name.endsWith(ending));
  if (!path) throw new Error(`nothing was built that ends in ${ending}`);
  return path.replace("dist/", "/");
};
const index = readFileSync("index.html", "utf8")
  .replace("STYLE", built(".css"))
  .replace("SCRIPT", built(".js"))
  .replace("ICON", `/assets/${iconName}`);
writeFileSync("dist/index.html", index);
