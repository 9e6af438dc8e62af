// The ticks of a job: what its schedule has, beside what happened.

import { jobs } from "../api.js";
import { jobHref, runHref, runsHref, ticksHref } from "../links.js";
import { setState, stateBadge } from "../parts/badge.js";
import { el, setAttribute, setLinks, setText } from "../parts/dom.js";
import { list } from "../parts/list.js";
import { outcomes } from "../parts/outcomes.js";
import { boundsOf, rangeControls, rangeOf } from "../parts/range.js";
import { stateWords } from "../parts/states.js";
import { absolute, bothZones, duration } from "../parts/time.js";

const REFRESH = 5000;
// The most that the manager gives at a time.
const LIMIT = 500;
// A page of a range with many records may be short: so many are asked for before the next press of "More".
const MOST_REQUESTS = 5;

const COLUMNS = ["Tick", "Outcome", "Late", "Runs"];

function attempts(runs) {
  return runs.map((run) => {
    const worker = run.worker ? ` on ${run.worker}` : "";
    return el("a", { class: "me-2 text-break", href: runHref(run.run), title: `${stateWords(run.state)}${worker}`, "data-test": "run-link" },
      runs.length > 1 ? `attempt ${run.attempt}` : "run", worker);
  });
}

function row() {
  const when = el("span", { class: "nowrap", "data-test": "when" });
  const many = el("div", { class: "small text-secondary" });
  const badge = stateBadge();
  const reason = el("div", { class: "small text-secondary clamp" });
  const strange = el("div", { class: "small text-secondary" });
  const late = el("span", { "data-test": "late" });
  const runs = el("div");
  const update = (tick, root) => {
    setAttribute(root, "data-outcome", tick.outcome);
    setText(when, tick.count > 1 ? `${absolute(tick.from)} – ${absolute(tick.tick)}` : absolute(tick.tick));
    setAttribute(when, "title", bothZones(tick.tick));
    setText(many, tick.count > 1 ? `${tick.count.toLocaleString()} ticks` : "");
    setState(badge, tick.outcome);
    setText(reason, tick.reason);
    setText(strange, tick.expected === false ? "not in the current schedule" : "");
    setText(late, tick.late_ms === null ? "" : duration(tick.late_ms));
    setLinks(runs, attempts(tick.runs));
  };
  return { attributes: { "data-test": "tick" }, cells: [[when, many], [badge, reason, strange], late, runs], update };
}

function filters(range, outcome, changed) {
  const box = el("input", { class: "form-check-input", type: "checkbox", id: "unsuccessful", "data-test": "unsuccessful" });
  box.checked = outcome === "unsuccessful";
  const go = (event) => {
    event?.preventDefault();
    changed({ ...controls.value(), outcome: box.checked ? "unsuccessful" : "" });
  };
  const controls = rangeControls(range, go);
  box.addEventListener("change", go);
  return el("form", { class: "filters", role: "search", on: { submit: go } }, ...controls.parts,
    el("div", { class: "form-check unsuccessful" }, box, el("label", { class: "form-check-label", for: "unsuccessful" }, "Unsuccessful only")));
}

// The first `count` ticks of the range, as far as a few requests go.
async function load(name, fields, count, signal) {
  let first;
  let after;
  const items = [];
  for (let request = 0; request < MOST_REQUESTS; request += 1) {
    const page = await jobs.ticks(name, { ...fields, limit: Math.min(LIMIT, count - items.length), after }, signal);
    first ??= page;
    items.push(...page.items);
    after = page.next;
    if (!after || items.length >= count) break;
  }
  const counts = first.counts && { ...first.counts, partial: Date.parse(first.counts.from) - Date.parse(first.from) >= 1000 };
  return { items, counts, next: after, since: Date.parse(first.since) > Date.parse(first.from) ? first.since : null };
}

export function showTicks(root, life, name, parameters) {
  const range = rangeOf(parameters);
  const outcome = parameters.get("outcome") || "";
  const go = (fields) => (location.hash = ticksHref(name, fields));
  const counts = outcomes((chosen) => go({ ...range, outcome: chosen }));
  list(root, life, {
    name: "ticks",
    title: ["Ticks of ", el("a", { class: "text-decoration-none", href: jobHref(name) }, name)],
    controls: [filters(range, outcome, go)],
    above: [
      el("p", { class: "small text-secondary" }, "When the job was due, and what happened. ", el("a", { href: runsHref({ job: name }) }, "All runs")),
      counts.root,
    ],
    columns: COLUMNS,
    // A folded row grows at its newer end while time passes.
    key: (tick) => `${tick.from}/${tick.outcome}/${tick.runs.length > 0}`,
    row,
    refresh: REFRESH,
    page: 100,
    load: (count, signal) => load(name, { ...boundsOf(range), outcome, fold: "true" }, count, signal),
    loaded: (page) => counts.update(page.counts, page.since, outcome),
    failed: (error) => (error.missing ? `There is no job ${name}, and no record of one in this range.` : error.message),
    empty: outcome ? "No ticks in this range match." : "No ticks in this range.",
  });
}
