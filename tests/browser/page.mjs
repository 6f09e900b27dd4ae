// Hands and eyes for tests/browser/main.rs: one command a line on standard input, one answer a line on standard output.
// {"step": "sign_in", "user": "alice"} → {"ok": {…}} or {"failed": "why"}.
import { chromium } from "playwright-core";
import { createInterface } from "node:readline";
import { mkdirSync } from "node:fs";

const [base, shots] = [process.env.SEGUE_URL, process.env.SEGUE_SHOTS];
const browser = await chromium.launch({
  executablePath: process.env.SEGUE_CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    // The tests' certificates are signed by nobody.
    "--ignore-certificate-errors",
  ],
});
const context = await browser.newContext({ viewport: { width: 1180, height: 860 }, permissions: ["microphone"] });
context.setDefaultTimeout(8000);
let page;
/** What a page of ours must never do. */
const faults = [];
/** What the pages asked the API for: `GET /v1/calls?user=alice&limit=500`. */
const asked = [];
/** Lets go of the answers that are held back. */
let letGo = () => {};

async function open() {
  page = await context.newPage();
  page.on("console", (message) => {
    if (message.type() === "error" && !/status of (4\d\d|503)/.test(message.text())) faults.push(message.text());
  });
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("request", (request) => {
    const { host } = new URL(request.url());
    if (host && host !== new URL(base).host) faults.push(`asked ${request.url()}`);
    const path = request.url().slice(new URL(base).origin.length);
    if (path.startsWith("/v1/")) asked.push(`${request.method()} ${path}`);
  });
  await page.addInitScript((hz) => {
    // What the page's calls are made of, to be looked at.
    globalThis.connections = [];
    globalThis.RTCPeerConnection = class extends RTCPeerConnection {
      constructor(...given) {
        super(...given);
        globalThis.connections.push(this);
      }
    };
    // Somebody whistles into the microphone: a tone is known again at the other side.
    const microphone = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
      const silent = await microphone(wanted);
      silent.getTracks().forEach((track) => track.stop());
      const audio = new AudioContext();
      const [whistle, gain, out] = [audio.createOscillator(), audio.createGain(), audio.createMediaStreamDestination()];
      whistle.frequency.value = hz;
      gain.gain.value = 0.3;
      whistle.connect(gain).connect(out);
      whistle.start();
      return out.stream;
    };
    addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  }, Number(process.env.SEGUE_HZ));
  await page.goto(base);
}

const card = (who) => page.getByRole("article", { name: who });
const bar = () => page.getByRole("region", { name: "This browser as a phone" });

const steps = {
  /** Another tab of the same browser, signed in as that is. */
  async new_tab() {
    await open();
    await page.getByRole("heading", { name: "Live calls" }).waitFor();
    return {};
  },
  /** A copy of the tab, with all that it remembers: it finds out that it is another. */
  async duplicate_tab() {
    const [copy] = await Promise.all([page.waitForEvent("popup"), page.evaluate(() => void open(location.href))]);
    await copy.waitForFunction(() => sessionStorage.getItem("segue.phone") === null);
    await copy.getByText("becomes a phone when you take a call").waitFor();
    await copy.close();
    return {};
  },
  async asked() {
    return { asked: asked.splice(0) };
  },
  /** Requests of a method and path go out only with `let_go`, or are answered with a status. */
  async hold_back({ method, path, status }) {
    const held = new Promise((resolve) => (letGo = resolve));
    await page.route(`**${path}`, async (route) => {
      if (route.request().method() !== method) return route.fallback();
      if (status) return route.fulfill({ status, body: "{}" });
      await held;
      return route.continue();
    });
    return {};
  },
  async let_go({ path }) {
    letGo();
    if (path) await page.unroute(`**${path}`);
    return {};
  },
  async focus_link({ name }) {
    await page.getByRole("link", { name }).focus();
    return {};
  },
  async focused() {
    return { text: await page.evaluate(() => document.activeElement?.textContent) };
  },
  /** Somebody looks at another tab for a while, and comes back. */
  async look({ away }) {
    await page.evaluate((state) => {
      Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, away ? "hidden" : "visible");
    const waiting = page.getByText("Waiting for live updates…");
    await waiting.waitFor({ state: away ? "visible" : "detached" });
    return {};
  },
  async microphone_is_blocked() {
    await page.evaluate(() => {
      navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
    });
    return {};
  },
  /** Presses without waiting for what becomes of it. */
  async begin_taking({ also }) {
    await page.evaluate((also) => {
      const press = (label) => document.querySelector(`button[aria-label^="${label}"]`).click();
      if (also) press(also);
      press("Take the call");
    }, also);
    return {};
  },
  async is_in_call() {
    await bar().locator(".time").waitFor();
    return { shows: await bar().innerText() };
  },
  async open() {
    await open();
    await page.getByRole("button", { name: "Sign in" }).waitFor();
    return { title: await page.title() };
  },
  async sign_in({ user, password, fails }) {
    await page.getByLabel("User").fill(user);
    await page.getByLabel("Password").fill(password);
    await page.keyboard.press("Enter");
    if (fails) return { said: await page.getByRole("alert").innerText() };
    await page.getByRole("heading", { name: "Live calls" }).waitFor();
    return { cookies: (await context.cookies()).map(({ name, httpOnly, sameSite }) => ({ name, httpOnly, sameSite })) };
  },
  /** By the keyboard. */
  async tick({ name }) {
    const box = page.getByRole("checkbox", { name });
    await box.focus();
    await page.keyboard.press("Space");
    if (!(await box.isChecked())) throw new Error("it is not ticked");
    return {};
  },
  async buttons() {
    const names = await page.getByRole("button").evaluateAll((all) => all.map((one) => one.getAttribute("aria-label") ?? one.textContent));
    return { names };
  },
  /** Waits until a text stands in the card of a call. */
  async sees({ who, text }) {
    await card(who).getByText(text).first().waitFor();
    return { card: await card(who).innerText() };
  },
  async sees_text({ text }) {
    await page.getByText(text).first().waitFor();
    return {};
  },
  /** Waits until a text stands nowhere any more. */
  async gone({ text }) {
    await page.getByText(text).first().waitFor({ state: "hidden" });
    return {};
  },
  async no_calls() {
    await page.getByText("No calls.").waitFor();
    return {};
  },
  async press({ name, who }) {
    await (who ? card(who) : page).getByRole("button", { name, exact: true }).first().click();
    return {};
  },
  /** Waits until a button is no longer held off, and presses it. */
  async send_to({ name, who }) {
    const button = card(who).getByRole("button", { name });
    await button.and(page.locator(':not([aria-disabled="true"])')).first().click();
    return {};
  },
  /** The whole of it, as somebody who never touches a mouse. */
  async take_here({ who }) {
    const begun = Date.now();
    await card(who).getByRole("button", { name: /^Take the call/ }).focus();
    await page.keyboard.press("Enter");
    const took = bar().locator(".time[data-took]");
    await took.waitFor();
    return { took: Number(await took.getAttribute("data-took")), waited: Date.now() - begun, shows: await bar().innerText() };
  },
  async take_here_fails({ who }) {
    await card(who).getByRole("button", { name: /^Take the call/ }).click();
    return { said: await bar().getByRole("alert").innerText() };
  },
  async in_bar({ name, wait }) {
    const button = bar().getByRole("button", { name, exact: true });
    await (wait ? button.waitFor() : button.click());
    return {};
  },
  async bar_gone() {
    await page.locator(".phone-bar.busy").waitFor({ state: "detached" });
    return {};
  },
  async view({ name }) {
    await page.getByRole("navigation").getByRole("link", { name }).click();
    await page.getByRole("heading", { level: 1, name }).waitFor();
    await page.locator(".loading").waitFor({ state: "detached" });
    return { text: await page.getByRole("main").innerText() };
  },
  async timeline() {
    await page.locator(".move .expand").first().click();
    await page.locator(".timeline li time").first().waitFor();
    return { lines: await page.locator(".timeline li").allInnerTexts() };
  },
  /** The strongest frequency of what the browser plays, Hz. */
  async hears() {
    return {
      hz: await page.evaluate(async () => {
        let stream = null;
        for (let tries = 0; tries < 50 && !stream; tries += 1) {
          stream = document.querySelector("audio")?.srcObject;
          if (!stream) await new Promise((resolve) => setTimeout(resolve, 100));
        }
        if (!stream) return null;
        const audio = new AudioContext();
        const analyser = audio.createAnalyser();
        analyser.fftSize = 8192;
        audio.createMediaStreamSource(stream).connect(analyser);
        const bins = new Uint8Array(analyser.frequencyBinCount);
        for (let tries = 0; tries < 10 && !bins.some((level) => level > 0); tries += 1) {
          await new Promise((resolve) => setTimeout(resolve, 400));
          analyser.getByteFrequencyData(bins);
        }
        const best = bins.reduce((best, level, at) => (level > bins[best] ? at : best), 0);
        await audio.close();
        return bins[best] === 0 ? null : (best * audio.sampleRate) / analyser.fftSize;
      }),
    };
  },
  /** Where the newest call's media is met, and as what. */
  async transport() {
    return page.evaluate(() => {
      const found = globalThis.connections.at(-1);
      const said = found.currentRemoteDescription.sdp;
      const value = (name) => said.match(new RegExp(`^a=${name}:(.*)$`, "m"))?.[1].trim();
      const port = Number(said.match(/^m=audio (\d+)/m)[1]);
      return { port, fingerprint: value("fingerprint"), ufrag: value("ice-ufrag"), state: found.connectionState };
    });
  },
  async sign_out() {
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByText("You are signed out.").waitFor();
    return { cookies: (await context.cookies()).length };
  },
  async reload() {
    await page.reload();
    return {};
  },
  async close_tab() {
    await page.close();
    return {};
  },
  /** Runs in the page: to try what our page would not. */
  async shot({ name }) {
    if (!shots) return {};
    mkdirSync(shots, { recursive: true });
    for (const scheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.screenshot({ path: `${shots}/${name}-${scheme}.png` });
    }
    await page.setViewportSize({ width: 360, height: 740 });
    await page.screenshot({ path: `${shots}/${name}-360.png` });
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    await page.setViewportSize({ width: 1180, height: 860 });
    await page.emulateMedia({ colorScheme: "light" });
    if (over > 0) throw new Error(`${name}: ${over} pixels too wide at 360`);
    return {};
  },
  async faults() {
    return { faults };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { step, ...wanted } = JSON.parse(line);
  try {
    if (!steps[step]) throw new Error(`no step ${step}`);
    console.log(JSON.stringify({ ok: await steps[step](wanted) }));
  } catch (error) {
    const shown = page && !page.isClosed() ? await page.locator("body").innerText().catch(() => "") : "";
    console.log(JSON.stringify({ failed: `${error.message}\n--- the page shows\n${shown}\n--- faults\n${faults.join("\n")}` }));
  }
}
await browser.close();
