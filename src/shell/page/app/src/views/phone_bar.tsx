// The call that this browser has, at the foot of every view.
import { useEffect, useRef, useState } from "preact/hooks";
import { live, me } from "../live";
import { undo } from "../moves";
import { answer, dial, digit, hangUp, hold, mute, phone } from "../phone";
import { useSecond, useStore } from "../store";
import { deviceName, duration, ownLegs, secondsUntil, targets, undoable } from "../words";
import { SendTo } from "./calls";
import { Act, Notice } from "./parts";

const KEYS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "0", "#"];

export function PhoneBar() {
  const { line, failure, state } = useStore(phone);
  const isIdle = line.state === "idle";
  if (isIdle && state === "off" && !failure) return null;
  return (
    <section class={`phone-bar ${isIdle ? "idle" : "busy"}`} aria-label="This browser as a phone">
      {failure && (
        <Notice kind="bad" onClose={() => phone.set({ failure: null })}>
          {failure}
        </Notice>
      )}
      {isIdle ? state === "ready" && <Dial /> : <InCall />}
    </section>
  );
}

function Dial() {
  const number = useRef<HTMLInputElement>(null);
  const call = (event: Event) => {
    event.preventDefault();
    const wanted = number.current?.value.trim();
    if (wanted) void dial(wanted);
  };
  return (
    <form class="dial" onSubmit={call}>
      <label>
        <span class="hidden">Number or name to call</span>
        <input ref={number} name="number" placeholder="Number or name" autocomplete="off" autocapitalize="none" spellcheck={false} maxLength={64} />
      </label>
      <button type="submit">Call</button>
    </form>
  );
}

function InCall() {
  const { line, device, took } = useStore(phone);
  const state = useStore(live);
  const [isKeypad, setKeypad] = useState(false);
  const [why, setWhy] = useState<string | null>(null);
  const now = useSecond(line.state === "talking");
  const first = useRef<HTMLButtonElement>(null);
  useRing(line.state === "incoming");
  // Whoever uses the keyboard is where the call is, but not before they took it: a key that was meant for something else
  // would answer, with an open microphone.
  useEffect(() => {
    if (line.state === "talking") first.current?.focus();
  }, [line.state]);
  if (line.state === "idle") return null;
  const user = me(state);
  const call = state.calls.find((found) => ownLegs(found, user).some((leg) => leg.device === device));
  const others = call ? targets(call, user, state.devices, device) : [];
  const back = call ? undoable(state.moves, call.id, now) : undefined;
  const words = { incoming: "is calling", calling: "is being called…", connecting: "connecting…", talking: "" };
  return (
    <>
      <div class="line">
        <div role="status" aria-live={line.state === "incoming" ? "assertive" : "polite"}>
          <strong class="who-name">{line.who}</strong> <span>{words[line.state]}</span>
          {line.state === "talking" && (line.isHeld ? <span>on hold</span> : line.isHeldByThem ? <span>holds the call</span> : null)}
        </div>
        {line.state === "talking" && (
          <span class="time" data-took={took === null ? undefined : Math.round(took)}>
            {duration((now - line.since) / 1000)}
          </span>
        )}
      </div>
      {why && (
        <Notice kind="bad" onClose={() => setWhy(null)}>
          {why}
        </Notice>
      )}
      <div class="actions">
        {line.state === "incoming" && (
          <button type="button" class="main" onClick={() => void answer()}>
            Answer
          </button>
        )}
        {line.state === "talking" && (
          <>
            <button type="button" ref={first} aria-pressed={line.isMuted} onClick={() => mute(!line.isMuted)}>
              {line.isMuted ? "Unmute" : "Mute"}
            </button>
            <button type="button" aria-pressed={line.isHeld} onClick={() => hold(!line.isHeld)}>
              {line.isHeld ? "Resume" : "Hold"}
            </button>
            <button type="button" aria-expanded={isKeypad} aria-controls="keypad" onClick={() => setKeypad(!isKeypad)}>
              Keypad
            </button>
            {call && back && (
              <Act run={() => undo(back.id)} onFailure={setWhy} label={`Undo the move from ${deviceName(back.from_device)}`}>
                Undo ({secondsUntil(back.hold_off_until, now)} s)
              </Act>
            )}
            {call && call.state !== "moving" && <SendTo call={call} others={others} user={user} onFailure={setWhy} />}
          </>
        )}
        <Act kind="danger" run={() => Promise.resolve(hangUp())}>
          {line.state === "incoming" ? "Decline" : "Hang up"}
        </Act>
      </div>
      {isKeypad && line.state === "talking" && (
        <div class="keypad" id="keypad" role="group" aria-label="Keypad">
          {KEYS.map((key) => (
            <button key={key} type="button" aria-label={key === "*" ? "star" : key === "#" ? "hash" : key} onClick={() => digit(key)}>
              {key}
            </button>
          ))}
        </div>
      )}
    </>
  );
}

/** Two short tones every three seconds, as long as somebody calls. */
function useRing(isOn: boolean): void {
  useEffect(() => {
    if (!isOn) return;
    const context = new AudioContext();
    const ring = () => {
      for (const at of [0, 0.35]) {
        const [tone, volume] = [context.createOscillator(), context.createGain()];
        tone.frequency.value = 660;
        volume.gain.setValueAtTime(0.12, context.currentTime + at);
        volume.gain.exponentialRampToValueAtTime(0.001, context.currentTime + at + 0.3);
        tone.connect(volume).connect(context.destination);
        tone.start(context.currentTime + at);
        tone.stop(context.currentTime + at + 0.3);
      }
    };
    ring();
    const every = setInterval(ring, 3000);
    return () => {
      clearInterval(every);
      void context.close();
    };
  }, [isOn]);
}
