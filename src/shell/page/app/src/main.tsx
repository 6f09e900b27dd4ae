// The page: whoever is signed in sees own calls and devices; everybody else a form.
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { begin, isAdmin, live, signOut } from "./live";
import { forget, phone, resume } from "./phone";
import { useStore } from "./store";
import { Calls } from "./views/calls";
import { History } from "./views/history";
import { Node } from "./views/node";
import { PhoneBar } from "./views/phone_bar";
import { SignIn } from "./views/sign_in";
import { Act, Notice } from "./views/parts";

const VIEWS = { calls: "Calls", history: "History", node: "Node" } as const;
type View = keyof typeof VIEWS;

function viewNamed(hash: string): View {
  const name = hash.replace(/^#/, "");
  return name in VIEWS ? (name as View) : "calls";
}

function App() {
  const state = useStore(live);
  const [view, show] = useState<View>(viewNamed(location.hash));
  const [why, setWhy] = useState<string | null>(null);
  const isIn = Boolean(state.session);
  useEffect(() => {
    const look = () => show(viewNamed(location.hash));
    addEventListener("hashchange", look);
    return () => removeEventListener("hashchange", look);
  }, []);
  useEffect(() => {
    if (isIn) void resume().catch(() => {});
    if (state.session === null) forget();
  }, [isIn, state.session === null]);
  if (state.session === undefined) return <p class="loading" role="status">Loading…</p>;
  if (state.session === null) return <SignIn notice={state.notice} />;
  const names = (Object.keys(VIEWS) as View[]).filter((name) => name !== "node" || isAdmin(state));
  const shown = names.includes(view) ? view : "calls";
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>
        Skip to content
      </a>
      <header class="top">
        <span class="brand">segue</span>
        <nav aria-label="Views">
          {names.map((name) => (
            <a key={name} href={`#${name}`} aria-current={name === shown ? "page" : undefined}>
              {VIEWS[name]}
            </a>
          ))}
        </nav>
        <div class="who">
          <span class={state.isLive ? "dot on" : "dot"} title={state.isLive ? "Live" : "Connecting"} aria-hidden="true" />
          <span class="name">{state.session.display ?? state.session.user}</span>
          <Act kind="quiet" run={signOut} onFailure={setWhy}>
            Sign out
          </Act>
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        {why && (
          <Notice kind="bad" onClose={() => setWhy(null)}>
            {why}
          </Notice>
        )}
        {state.failure && <Notice kind="bad">{state.failure}</Notice>}
        {!state.isLive && !state.failure && <p class="hint" role="status">Waiting for live updates…</p>}
        {shown === "calls" && <Calls />}
        {shown === "history" && <History />}
        {shown === "node" && <Node />}
      </main>
      <PhoneBar />
    </>
  );
}

document.title = "segue";
phone.watch(() => {
  const { line } = phone.get();
  document.title = line.state === "incoming" ? `☎ ${line.who} – segue` : "segue";
});
const root = document.getElementById("app");
if (root) render(<App />, root);
void begin();
