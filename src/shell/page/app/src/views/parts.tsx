// Small things that several views are made of.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { failure } from "../words";

export function Notice({ kind, children, onClose }: {
  kind: "good" | "bad" | "plain";
  children: ComponentChildren;
  onClose?: () => void;
}) {
  return (
    <div class={`notice ${kind}`} role={kind === "bad" ? "alert" : "status"}>
      <span>{children}</span>
      {onClose && (
        <button type="button" class="quiet" aria-label="Dismiss" onClick={onClose}>
          ✕
        </button>
      )}
    </div>
  );
}

export function Chip({ kind, children }: { kind?: "good" | "warn" | "bad" | "calm" | undefined; children: ComponentChildren }) {
  return <span class={`chip ${kind ?? ""}`}>{children}</span>;
}

/**
 * A button whose work takes a moment: it cannot be pressed twice, and what goes wrong is told. It keeps the focus that a
 * button with `disabled` loses.
 */
export function Act({ run, children, kind, label, disabled, onFailure }: {
  run: () => Promise<unknown>;
  children: ComponentChildren;
  kind?: "main" | "danger" | "quiet";
  label?: string;
  disabled?: boolean;
  onFailure?: (why: string) => void;
}) {
  const [isBusy, setBusy] = useState(false);
  const press = async () => {
    if (isBusy || disabled) return;
    setBusy(true);
    try {
      await run();
    } catch (error) {
      onFailure?.(failure(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <button type="button" class={kind} aria-label={label} aria-busy={isBusy} aria-disabled={isBusy || disabled === true} onClick={() => void press()}>
      {children}
    </button>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}
