// Moves that were asked for, each with its timeline.
import { useEffect, useState } from "preact/hooks";
import { ask } from "../api";
import { live, me } from "../live";
import { undo } from "../moves";
import { phone } from "../phone";
import { useSecond, useStore } from "../store";
import type { Move, Page } from "../types";
import { clock, deviceName, entry, failure, MOVE_STATES, reason, secondsUntil, TRIGGERS, undoable } from "../words";
import { Act, Chip, Empty, Notice } from "./parts";

export const moveKind = (move: Move) =>
  move.state === "done" ? "good" : move.state === "refused" || move.state === "rolled_back" ? "bad" : "warn";

export function History() {
  const state = useStore(live);
  const [older, setOlder] = useState<Move[]>([]);
  const [next, setNext] = useState<string | null | undefined>(undefined);
  const [why, setWhy] = useState<string | null>(null);
  const seen = new Set(state.moves.map((move) => move.id));
  const moves = [...state.moves, ...older.filter((move) => !seen.has(move.id))];
  const now = useSecond(moves.some((move) => secondsUntil(move.hold_off_until, Date.now()) > 0));
  const last = moves.at(-1)?.id;
  const more = async () => {
    const cursor = next ?? last;
    const page = await ask<Page<Move>>("GET", `/moves?limit=25&user=${encodeURIComponent(me(state))}${cursor ? `&cursor=${cursor}` : ""}`);
    setOlder((known) => [...known, ...page.items]);
    setNext(page.next);
  };
  return (
    <section aria-labelledby="history-title">
      <h1 id="history-title">History</h1>
      {why && (
        <Notice kind="bad" onClose={() => setWhy(null)}>
          {why}
        </Notice>
      )}
      {moves.length === 0 && <Empty>Nothing has been moved yet.</Empty>}
      <ul class="moves">
        {moves.map((move) => (
          <MoveRow key={move.id} move={move} moves={state.moves} now={now} onFailure={setWhy} />
        ))}
      </ul>
      {next !== null && moves.length >= 25 && (
        <Act run={more} onFailure={setWhy}>
          Show older moves
        </Act>
      )}
    </section>
  );
}

export function MoveRow({ move, moves, now, onFailure, showUser }: {
  move: Move;
  /** Among which the last one of the call can be taken back. */
  moves: Move[];
  now: number;
  onFailure: (why: string | null) => void;
  showUser?: boolean;
}) {
  const [isOpen, setOpen] = useState(false);
  const here = phone.get().device;
  const left = secondsUntil(move.hold_off_until, now);
  const canUndo = undoable(moves, move.call, now)?.id === move.id;
  return (
    <li class="card move">
      <div class="move-head">
        <button type="button" class="expand" aria-expanded={isOpen} aria-controls={`timeline-${move.id}`} onClick={() => setOpen(!isOpen)}>
          <span aria-hidden="true" class="arrow">›</span>
          <span>
            {showUser && <strong>{move.user}: </strong>}
            {deviceName(move.from_device, here)} <span aria-label="to">→</span> {deviceName(move.to_device, here)}
          </span>
        </button>
        <Chip kind={moveKind(move)}>{MOVE_STATES[move.state]}</Chip>
      </div>
      <p class="facts">
        <span>{clock(move.requested)}</span>
        <span>{TRIGGERS[move.trigger] ?? move.trigger}</span>
        {move.gap_ms !== null && <span>{move.gap_ms.toFixed(0)} ms gap</span>}
        {move.lost !== null && move.lost > 0 && <span>{move.lost} packets lost</span>}
        {move.reason && <span>{reason(move.reason)}</span>}
      </p>
      {canUndo && (
        <div class="undo">
          <span>Hold-off for {left} s more.</span>
          <Act run={() => undo(move.id)} onFailure={onFailure}>
            Undo
          </Act>
        </div>
      )}
      {isOpen && <MoveTimeline id={move.id} />}
    </li>
  );
}

function MoveTimeline({ id }: { id: string }) {
  const [move, setMove] = useState<Move | null>(null);
  const [why, setWhy] = useState<string | null>(null);
  useEffect(() => {
    ask<Move>("GET", `/moves/${id}`).then(setMove, (error: unknown) => setWhy(failure(error)));
  }, [id]);
  if (why) return <Notice kind="bad">{why}</Notice>;
  const entries = move?.timeline?.entries;
  return (
    <ol class="timeline" id={`timeline-${id}`}>
      {!move && <li>Loading…</li>}
      {move && !entries?.length && <li>No timeline was kept.</li>}
      {entries?.map((line, at) => (
        <li key={at}>
          <time>{((line.at_us - (entries[0]?.at_us ?? 0)) / 1000).toFixed(1)} ms</time>
          {line.event === "description" && typeof line["text"] === "string" ? (
            <details>
              <summary>{entry(line)}</summary>
              <pre>{line["text"]}</pre>
            </details>
          ) : (
            <span>{entry(line)}</span>
          )}
        </li>
      ))}
    </ol>
  );
}
