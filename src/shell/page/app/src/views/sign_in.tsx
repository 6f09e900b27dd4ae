// The form that everybody starts with.
import { useRef, useState } from "preact/hooks";
import { wantsCalls } from "../lent";
import { live, signIn } from "../live";
import { followHere } from "../phone";
import { failure } from "../words";
import { Notice } from "./parts";

export function SignIn({ notice }: { notice: string | null }) {
  const [why, setWhy] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const user = useRef<HTMLInputElement>(null);
  const password = useRef<HTMLInputElement>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setWhy(null);
    try {
      await signIn(user.current?.value.trim() ?? "", password.current?.value ?? "");
      const { session } = live.get();
      if (session?.browsers && session.follow !== "off" && wantsCalls(session.user ?? "")) void followHere(session.follow);
    } catch (error) {
      setWhy(failure(error));
      setBusy(false);
      if (password.current) {
        password.current.value = "";
        password.current.focus();
      }
    }
  };
  return (
    <main class="sign-in" id="main">
      <form class="card" onSubmit={(event) => void submit(event)} aria-labelledby="sign-in-title">
        <h1 id="sign-in-title">
          <span class="brand">segue</span>
        </h1>
        <p class="hint">Sign in to see your calls and to move them.</p>
        {why ? <Notice kind="bad">{why}</Notice> : notice && <Notice kind="plain">{notice}</Notice>}
        <label>
          User
          <input ref={user} name="user" autocomplete="username" autocapitalize="none" spellcheck={false} required maxLength={64} autofocus />
        </label>
        <label>
          Password
          <input ref={password} name="password" type="password" autocomplete="current-password" required maxLength={256} />
        </label>
        <button type="submit" class="main" disabled={isBusy} aria-busy={isBusy}>
          {isBusy ? "Signing in…" : "Sign in"}
        </button>
      </form>
    </main>
  );
}
