// A coloured word: the state of a run, the outcome of a tick.

import { el, setHidden, setText } from "./dom.js";
import { stateColour, stateWords } from "./states.js";

export const stateBadge = (state) => {
  const badge = el("span", { class: "badge", "data-test": "state" });
  if (state) setState(badge, state);
  return badge;
};

export function setState(badge, state) {
  setText(badge, state ? stateWords(state) : "");
  const look = `badge state ${stateColour(state)}`;
  if (badge.className !== look) badge.className = look;
  setHidden(badge, !state);
}
