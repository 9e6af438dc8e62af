// How many ticks had which outcome, as a bar and in words; a word leads to those ticks.

import { stateBadge } from "./badge.js";
import { el, setHidden, setText } from "./dom.js";
import { OUTCOMES, stateColour, stateWords } from "./states.js";
import { absolute } from "./time.js";

function notes(counts, since) {
  const said = [];
  if (counts.partial) said.push(`Counted since ${absolute(counts.from)}: there are too many records before that.`);
  if (since) said.push(`Expected ticks are known only since ${absolute(since)}, when the job was created or its schedule changed.`);
  return said.join(" ");
}

function share(outcome, count) {
  const part = el("div", { class: `badge ${stateColour(outcome)}` });
  part.style.flexGrow = count;
  return part;
}

// choose(outcome) is called with the one that is pressed, or "" to have all again.
export function outcomes(choose) {
  const bar = el("div", { class: "share", "aria-hidden": "true" });
  const words = el("div", { class: "d-flex flex-wrap gap-2 align-items-center", "data-test": "counts" });
  const note = el("div", { class: "small text-secondary mt-1" });
  const root = el("section", { class: "mb-3", "aria-label": "Counts", hidden: true }, bar, words, note);
  const choice = (outcome, count, isChosen) => {
    const badge = stateBadge(outcome);
    setText(badge, `${count.toLocaleString()} ${stateWords(outcome)}`);
    return el("button", { class: `btn btn-sm count${isChosen ? " active" : ""}`, type: "button", "data-test": `count-${outcome}`,
      "aria-pressed": String(isChosen), on: { click: () => choose(isChosen ? "" : outcome) } }, badge);
  };
  let shown = "";
  const update = (counts, since, chosen) => {
    if (!counts) return;
    const text = JSON.stringify([counts, since, chosen]);
    if (text === shown) return;
    shown = text;
    setHidden(root, false);
    const found = OUTCOMES.filter((outcome) => counts.outcomes[outcome]);
    bar.replaceChildren(...found.map((outcome) => share(outcome, counts.outcomes[outcome])));
    words.replaceChildren(el("span", { class: "me-2", "data-test": "expected" }, `${counts.expected.toLocaleString()} expected`),
      ...found.map((outcome) => choice(outcome, counts.outcomes[outcome], chosen === outcome)));
    setText(note, notes(counts, since));
  };
  return { root, update };
}
