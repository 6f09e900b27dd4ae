// Runs the tests of what the page computes: bundled, then by Node's own runner.
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const out = mkdtempSync(join(tmpdir(), "segue-page-"));
await build({
  entryPoints: ["test/words.test.ts"],
  outdir: out,
  outExtension: { ".js": ".mjs" },
  bundle: true,
  platform: "node",
  format: "esm",
  logLevel: "error",
});
const { status } = spawnSync(process.execPath, ["--test", join(out, "words.test.mjs")], { stdio: "inherit" });
rmSync(out, { recursive: true });
process.exit(status ?? 1);
