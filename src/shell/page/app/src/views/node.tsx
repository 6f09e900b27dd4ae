// The administrator's view: everything that the node has to do with, now.
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ask } from "../api";
import { live, readSoon, showNode } from "../live";
import { useSecond, useStore } from "../store";
import type { Call } from "../types";
import { deviceName, duration, since } from "../words";
import { MoveRow } from "./history";
import { Act, Chip, Empty, Notice } from "./parts";

export function Node() {
  const state = useStore(live);
  const [filter, setFilter] = useState("");
  const [why, setWhy] = useState<string | null>(null);
  const now = useSecond(true);
  useEffect(() => {
    showNode(true);
    return () => showNode(false);
  }, []);
  const has = (...texts: (string | null | undefined)[]) =>
    filter === "" || texts.some((text) => text?.toLowerCase().includes(filter.toLowerCase()));
  const { node } = state;
  if (!node) {
    return (
      <>
        <h1>Node</h1>
        <p class="loading" role="status">Loading…</p>
      </>
    );
  }
  const calls = node.calls.filter((call) => has(call.from, call.to, call.id, ...call.legs.map((leg) => leg.user)));
  const registrations = node.registrations.filter((found) => has(found.user, found.device, found.address, found.user_agent));
  const moves = node.moves.filter((move) => has(move.user, move.from_device, move.to_device, move.id));
  const held = node.devices.filter((device) => device.hold_off_s && has(device.user, device.id));
  const done = async (work: Promise<unknown>) => {
    await work;
    readSoon();
  };
  return (
    <>
      <h1>Node</h1>
      <dl class="figures">
        <Figure name="calls" value={node.status.calls_answered} more={node.status.calls_ringing ? `${node.status.calls_ringing} ringing` : null} />
        <Figure name="moves under way" value={node.status.moves} />
        <Figure name="registrations" value={node.status.registrations} />
        <Figure name="users" value={node.status.users} />
        <Figure name="media ports used" value={node.status.ports_used} more={`${node.status.ports_free} free`} />
        <Figure name={`up, version ${node.status.version}`} value={duration(node.status.uptime_s + (now - state.readAt) / 1000)} />
      </dl>
      {node.status.draining && <Notice kind="bad">The node is draining: it takes no new calls.</Notice>}
      {node.status.store !== "ok" && <Notice kind="bad">Store: {node.status.store}</Notice>}
      {why && (
        <Notice kind="bad" onClose={() => setWhy(null)}>
          {why}
        </Notice>
      )}
      <label class="filter">
        Show only
        <input type="search" value={filter} placeholder="user, device, address" onInput={(event) => setFilter(event.currentTarget.value)} />
      </label>

      <section aria-labelledby="node-calls">
        <h2 id="node-calls">Calls</h2>
        {calls.length === 0 ? (
          <Empty>None.</Empty>
        ) : (
          <Table of="node-calls" columns={["From", "To", "State", "Time", "Devices", "Codec"]}>
            {calls.map((call) => (
              <tr key={call.id}>
                <td>{call.from}</td>
                <td>{call.to}</td>
                <td>{call.state}</td>
                <td class="time">{since(call.answered ?? call.started, now)}</td>
                <td>{parties(call)}</td>
                <td>{call.codec}</td>
                <td>
                  <Act kind="quiet" run={() => done(ask("DELETE", `/calls/${call.id}`))} onFailure={setWhy} label={`Hang up ${call.from} and ${call.to}`}>
                    Hang up
                  </Act>
                </td>
              </tr>
            ))}
          </Table>
        )}
      </section>

      <section aria-labelledby="node-holds">
        <h2 id="node-holds">Hold-offs</h2>
        {held.length === 0 ? (
          <Empty>No device has to keep off a call.</Empty>
        ) : (
          <ul class="devices">
            {held.map((device) => (
              <li class="device" key={device.address}>
                <strong>{device.address}</strong>
                <Chip kind="warn">{Math.max(0, Math.ceil((device.hold_off_s ?? 0) - (now - state.readAt) / 1000))} s left</Chip>
              </li>
            ))}
          </ul>
        )}
      </section>

      <section aria-labelledby="node-moves">
        <h2 id="node-moves">Moves</h2>
        {moves.length === 0 && <Empty>None.</Empty>}
        <ul class="moves">
          {moves.map((move) => (
            <MoveRow key={move.id} move={move} moves={node.moves} now={now} onFailure={setWhy} showUser />
          ))}
        </ul>
      </section>

      <section aria-labelledby="node-registrations">
        <h2 id="node-registrations">Registrations</h2>
        {registrations.length === 0 ? (
          <Empty>None.</Empty>
        ) : (
          <Table of="node-registrations" columns={["Device", "Address", "Transport", "Software", "Ends in"]}>
            {registrations.map((found) => (
              <tr key={`${found.user}*${found.device} ${found.contact}`}>
                <td>{found.user}*{found.device}</td>
                <td>{found.address}</td>
                <td>{found.transport}</td>
                <td>{found.user_agent}</td>
                <td class="time">{duration(found.expires_s - (now - state.readAt) / 1000)}</td>
                <td>
                  <Act
                    kind="quiet"
                    run={() => done(ask("DELETE", `/registrations/${encodeURIComponent(found.user)}/${encodeURIComponent(found.device)}`))}
                    onFailure={setWhy}
                    label={`Remove the registration of ${found.user} ${found.device}`}
                  >
                    Remove
                  </Act>
                </td>
              </tr>
            ))}
          </Table>
        )}
      </section>
    </>
  );
}

function parties(call: Call): string {
  return call.legs
    .filter((leg) => leg.role !== "released")
    .map((leg) => (leg.trunk ? `trunk ${leg.trunk}` : `${leg.user ?? "?"}: ${deviceName(leg.device)}`))
    .join(", ");
}

/** A table that scrolls by itself where it does not fit; the last column is what can be done. */
function Table({ of, columns, children }: { of: string; columns: string[]; children: ComponentChildren }) {
  return (
    <div class="table" role="region" aria-labelledby={of} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {columns.map((column) => (
              <th scope="col" key={column}>{column}</th>
            ))}
            <th scope="col"><span class="hidden">Actions</span></th>
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

function Figure({ name, value, more }: { name: string; value: number | string; more?: string | null }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        {value}
        {more && <small> {more}</small>}
      </dd>
    </div>
  );
}
