// How late the newest runs by schedule started: one line, and a bar for each bound.

import { ApiError, runs } from "../api.js";
import { el, setHidden, setText } from "./dom.js";
import { duration } from "./time.js";

// What the newest 500 runs tell changes slowly.
const REFRESH = 10_000;

const bound = (ms) => (ms < 1000 ? `${ms} ms` : `${ms / 1000} s`);

function bar(count, name, most) {
  return el("div", {}, el("dt", { text: name }), el("dd", {}, el("meter", { min: 0, max: most, value: count, "aria-label": name }), ` ${count}`));
}

// fields: of which job or worker. `refresh` asks only when what is shown has become old.
export function lateness(fields) {
  const line = el("p", { class: "small text-secondary mb-1", "data-test": "lateness-line" });
  const bars = el("dl", { class: "lateness" });
  const root = el("section", { "aria-label": "How late runs start", "data-test": "lateness", hidden: true }, line, bars);
  let until = 0;
  const show = (seen) => {
    setHidden(root, !seen?.runs);
    if (!seen?.runs) return;
    const [half, most, latest] = [seen.p50_ms, seen.p99_ms, seen.most_ms].map(duration);
    setText(line, `Of the last ${seen.runs} scheduled runs, half started within ${half} of their time, 99% within ${most}, and the latest after ${latest}.`);
    bars.replaceChildren(...seen.counts.map(({ to_ms: to, runs: count }, n) =>
      bar(count, to === null ? `> ${bound(seen.counts[n - 1].to_ms)}` : `≤ ${bound(to)}`, seen.runs)));
  };
  const refresh = async (signal) => {
    if (Date.now() < until) return;
    try {
      const seen = await runs.lateness(fields, signal);
      show(seen);
      if (seen.runs) until = Date.now() + REFRESH;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      // Only the run log knows it: the list goes without.
      show(null);
    }
  };
  return { root, refresh };
}
