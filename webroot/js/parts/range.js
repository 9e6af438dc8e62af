// A range of time: one of some lengths up to now, or from one instant to another.

import { now } from "../clock.js";
import { el, setHidden } from "./dom.js";

const SPANS = [
  [600, "Last 10 minutes"],
  [3600, "Last hour"],
  [86_400, "Last day"],
  [604_800, "Last week"],
];
const DEFAULT_SPAN = 3600;
const OWN = "own";

// What a field of type datetime-local takes and gives: local time.
function localText(instant) {
  const date = new Date(instant);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function instantOf(text) {
  const date = new Date(text);
  return text === "" || Number.isNaN(date.getTime()) ? "" : date.toISOString();
}

// The range that an address asks for: { from, to }, or { span } in seconds.
export function rangeOf(parameters) {
  const [from, to] = ["from", "to"].map((name) => parameters.get(name) || "");
  if (from || to) return { from, to };
  const span = Number(parameters.get("span"));
  return { span: SPANS.some(([seconds]) => seconds === span) ? span : DEFAULT_SPAN };
}

// As instants, "" where it has no bound.
export const boundsOf = ({ span, from = "", to = "" }) => (span ? { from: new Date(now() - span * 1000).toISOString(), to } : { from, to });

// Elements to choose one with: changed() is called when that is done, and value() gives it.
export function rangeControls(range, changed) {
  const choice = el("select", { class: "form-select", "aria-label": "Range", "data-test": "range" },
    ...SPANS.map(([seconds, text]) => el("option", { value: String(seconds), text })), el("option", { value: OWN }, "Custom range"));
  choice.value = range.span ? String(range.span) : OWN;
  const instant = (label, test, value) => el("input", { class: "form-control", type: "datetime-local", step: "1", "aria-label": label, title: label, "data-test": test, value });
  const bounds = boundsOf(range);
  const from = instant("From", "from", bounds.from && localText(bounds.from));
  const to = instant("To", "to", localText(bounds.to || now()));
  const show = el("button", { class: "btn btn-outline-secondary" }, "Show");
  const arrange = () => [from, to, show].forEach((part) => setHidden(part, choice.value !== OWN));
  arrange();
  choice.addEventListener("change", () => {
    arrange();
    if (choice.value !== OWN) changed();
  });
  const value = () => (choice.value === OWN ? { from: instantOf(from.value), to: instantOf(to.value) } : { span: choice.value });
  return { parts: [choice, from, to, show], value };
}
