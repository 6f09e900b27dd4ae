// Own live calls, and the devices that they can go to.
import { useState } from "preact/hooks";
import { ask } from "../api";
import { wantCalls, wantsCalls } from "../lent";
import { live, me, readSoon, type State } from "../live";
import { sendTo, undo } from "../moves";
import { phone, takeHere, turnOff, turnOn } from "../phone";
import { useSecond, useStore } from "../store";
import type { Call, Device, HotDesk } from "../types";
import { clock, deviceName, failure, farParty, hasLegAt, ownLegs, reason, secondsUntil, since, sound, targets, undoable } from "../words";
import { Act, Chip, Empty, Notice } from "./parts";

const STATES: Record<Call["state"], [string, "good" | "warn" | "calm" | undefined]> = {
  ringing: ["ringing", "warn"],
  answered: ["talking", "good"],
  held: ["on hold", "calm"],
  moving: ["moving", "warn"],
  ended: ["ended", undefined],
};

export function Calls() {
  const state = useStore(live);
  const { device: here } = useStore(phone);
  const own = state.calls.filter((call) => ownLegs(call, me(state)).length > 0);
  const { devices } = state;
  const isCounting = own.length > 0 || devices.some((device) => device.hold_off_s) || state.moves.some((move) => move.hold_off_until);
  const now = useSecond(isCounting);
  return (
    <div class="columns">
      <section aria-labelledby="calls-title">
        <h1 id="calls-title">Live calls</h1>
        <p class="hidden" role="status">
          {own.map((call) => `Call with ${farParty(call, me(state))}: ${STATES[call.state][0]}, ${whereabouts(call, me(state), here)}.`).join(" ")}
        </p>
        <div>
          {own.length === 0 && <Empty>No calls. One that begins on any of your devices shows up here.</Empty>}
          {own.map((call) => (
            <CallCard key={call.id} call={call} state={state} now={now} />
          ))}
        </div>
      </section>
      <section aria-labelledby="devices-title">
        <h2 id="devices-title">My devices</h2>
        <ul class="devices">
          <ThisBrowser />
          {state.hotDesk && <HotDeskRow desk={state.hotDesk} user={me(state)} />}
          {devices
            .filter((device) => device.id !== here)
            .filter((device) => !device.lent || device.registered)
            .map((device) => (
              <DeviceRow key={device.id} device={device} state={state} now={now} />
            ))}
        </ul>
      </section>
    </div>
  );
}

/** Which of the user's devices have a call. */
function whereabouts(call: Call, user: string, here: string | null): string {
  return `on ${ownLegs(call, user).map((own) => deviceName(own.device, here)).join(" and ")}`;
}

function CallCard({ call, state, now }: { call: Call; state: State; now: number }) {
  const user = me(state);
  const { device: here, taking, line } = useStore(phone);
  const [why, setWhy] = useState<string | null>(null);
  const legs = ownLegs(call, user);
  const leg = legs[0];
  // A page that was loaded anew in mid-call has the device, but not the call any more.
  const isHere = hasLegAt(call, user, here) && line.state !== "idle";
  const who = farParty(call, user);
  const [word, kind] = STATES[call.state];
  const back = undoable(state.moves, call.id, now);
  const others = targets(call, user, state.devices, here);
  const movable = call.answered !== null && call.state !== "moving" && call.state !== "ended";
  // That no other device is connected does not matter: this browser is about to be one.
  const bar = legs.map((own) => own.immovable).find((word) => word !== null && word !== "not_registered") ?? null;
  const isBusyHere = line.state !== "idle" && !isHere;
  const canBeHere = state.session?.browsers ?? false;
  return (
    <article class="card call" aria-labelledby={`who-${call.id}`}>
      <div class="call-head">
        <div>
          <h3 id={`who-${call.id}`}>{who}</h3>
          <p class="sub">
            {leg?.role === "caller" ? "called by you" : "called you"}, on{" "}
            <strong>{legs.map((own) => deviceName(own.device, here)).join(" and ")}</strong>
          </p>
        </div>
        <div class="call-state">
          <Chip kind={kind}>{word}</Chip>
          <span class="time">{since(call.answered ?? call.started, now)}</span>
        </div>
      </div>
      <p class="facts">
        {call.codec && <span>{call.codec}</span>}
        <QualityFact call={call} state={state} />
        {call.moves > 0 && <span>moved {call.moves === 1 ? "once" : `${call.moves} times`}</span>}
      </p>
      {back && (
        <div class="undo">
          <span>
            Moved from <strong>{deviceName(back.from_device, here)}</strong>, which has to keep off for{" "}
            {secondsUntil(back.hold_off_until, now)} s.
          </span>
          <Act run={() => undo(back.id)} onFailure={setWhy}>
            Undo
          </Act>
        </div>
      )}
      {why && (
        <Notice kind="bad" onClose={() => setWhy(null)}>
          {why}
        </Notice>
      )}
      {bar && movable && <p class="hint">Cannot be moved: {reason(bar)}</p>}
      <div class="actions">
        {!isHere && canBeHere && (
          <Act
            kind="main"
            run={() => takeHere(call.id, user)}
            disabled={!movable || bar !== null || taking !== null || isBusyHere}
            label={`Take the call with ${who} here`}
          >
            {taking === call.id ? "Taking it…" : "Take it here"}
          </Act>
        )}
        {movable && bar === null && <SendTo call={call} others={others} user={user} onFailure={setWhy} />}
        <Act kind="danger" run={() => ask("DELETE", `/calls/${call.id}`)} onFailure={setWhy} label={`Hang up the call with ${who}`}>
          Hang up
        </Act>
      </div>
    </article>
  );
}

export function SendTo({ call, others, user, onFailure }: {
  call: Call;
  others: Device[];
  user: string;
  onFailure: (why: string | null) => void;
}) {
  const [going, setGoing] = useState<string | null>(null);
  const send = async (device: Device) => {
    if (going !== null || device.hold_off_s) return;
    setGoing(device.id);
    onFailure(null);
    try {
      await sendTo(call.id, device.id, user);
    } catch (error) {
      onFailure(failure(error));
    } finally {
      setGoing(null);
    }
  };
  return (
    <>
      {others.map((device) => (
        <button
          key={device.id}
          type="button"
          aria-disabled={going !== null || Boolean(device.hold_off_s)}
          aria-busy={going === device.id}
          onClick={() => void send(device)}
        >
          {going === device.id ? `Ringing ${deviceName(device.id)}…` : `Send to ${deviceName(device.id)}`}
        </button>
      ))}
    </>
  );
}

function QualityFact({ call, state }: { call: Call; state: State }) {
  const scores = state.quality[call.id]?.streams.flatMap((stream) => (stream.mos === null ? [] : [stream.mos])) ?? [];
  if (scores.length === 0) return null;
  const worst = Math.min(...scores);
  return (
    <span title="Mean opinion score of the worse direction, 1 to 5">
      {sound(worst)} quality ({worst.toFixed(1)})
    </span>
  );
}

function DeviceRow({ device, state, now }: { device: Device; state: State; now: number }) {
  const registrations = state.registrations.filter((found) => found.user === device.user && found.device === device.id);
  const isInCall = state.calls.some((call) =>
    ownLegs(call, device.user).some((leg) => leg.device === device.id && leg.state !== "ended"),
  );
  const left = device.hold_off_s === null ? 0 : Math.ceil(device.hold_off_s - (now - state.readAt) / 1000);
  return (
    <li class="device">
      <div>
        <strong>{deviceName(device.id)}</strong>
        <p class="sub">
          {registrations[0]
            ? [registrations[0].user_agent, registrations[0].transport].filter(Boolean).join(", ")
            : "not connected"}
        </p>
      </div>
      <div class="chips">
        {left > 0 && <Chip kind="warn">keeps off for {left} s</Chip>}
        {device.trust === "shared" && <Chip>shared</Chip>}
        {isInCall ? <Chip kind="good">in a call</Chip> : device.registered ? <Chip kind="calm">ready</Chip> : <Chip>offline</Chip>}
      </div>
    </li>
  );
}

/** The shared phone at whose keys the user has signed in: it rings with the user's calls until then. */
function HotDeskRow({ desk, user }: { desk: HotDesk; user: string }) {
  const [why, setWhy] = useState<string | null>(null);
  const leave = async () => {
    await ask("DELETE", `/users/${encodeURIComponent(user)}/hot-desk`);
    readSoon();
  };
  return (
    <li class="device">
      <div>
        <strong>{deviceName(desk.device)}</strong>
        <p class="sub">
          {desk.device}, signed in until {clock(desk.until)}
        </p>
        {why && <Notice kind="bad" onClose={() => setWhy(null)}>{why}</Notice>}
      </div>
      <div class="chips">
        <Chip>shared</Chip>
        <Act kind="quiet" label={`Sign out at ${desk.device}`} run={leave} onFailure={setWhy}>
          Sign out there
        </Act>
      </div>
    </li>
  );
}

/** Whether a live call comes along when its user signs in here. */
function Follow({ user, how }: { user: string; how: "offer" | "move" }) {
  const [isWanted, setWanted] = useState(() => wantsCalls(user));
  const want = (is: boolean) => {
    wantCalls(user, is);
    setWanted(is);
  };
  return (
    <label class="check">
      <input type="checkbox" checked={isWanted} onChange={(event) => want(event.currentTarget.checked)} />
      {how === "move" ? "At sign-in, bring my live call here" : "At sign-in, ring here with my live call"}
    </label>
  );
}

function ThisBrowser() {
  const { state, line, device } = useStore(phone);
  const { session } = useStore(live);
  if (session && !session.browsers) {
    return (
      <li class="device">
        <div>
          <strong>This browser</strong>
          <p class="sub">{reason("no_browsers")}</p>
        </div>
        <div class="chips">
          <Chip>cannot be a phone</Chip>
        </div>
      </li>
    );
  }
  const words = {
    off: ["offline", undefined],
    connecting: ["connecting", "warn"],
    ready: ["ready", "calm"],
    lost: ["connection lost, trying again", "bad"],
  } as const;
  const [word, kind] = line.state === "talking" ? (["in a call", "good"] as const) : words[state];
  return (
    <li class="device">
      <div>
        <strong>This browser</strong>
        <p class="sub">{state === "off" ? "becomes a phone when you take a call" : device}</p>
        {session && session.follow !== "off" && <Follow user={session.user ?? ""} how={session.follow} />}
      </div>
      <div class="chips">
        <Chip kind={kind}>{word}</Chip>
        {line.state !== "idle" ? null : state === "off" ? (
          <Act kind="quiet" run={turnOn} label="Let this browser ring">
            Let it ring
          </Act>
        ) : (
          state !== "connecting" && (
            <Act kind="quiet" run={turnOff} label="Disconnect this browser">
              Disconnect
            </Act>
          )
        )}
      </div>
    </li>
  );
}

