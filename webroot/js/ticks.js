// The ticks of a job: what its schedule has, beside what happened.

import { jobs, now } from "./api.js";
import { el, jobHref, keyed, runHref, runsOf, setAttribute, setHidden, setState, setText, stateBadge, stateWords, ticksOf, trouble } from "./dom.js";
import { absolute, bothZones, duration } from "./time.js";

const PAGE = 100;
const REFRESH = 5000;

// A page of a range with many records may be short: so many are asked for before the next press of "More".
const MOST_REQUESTS = 5;

const SPANS = [
  [600, "Last 10 minutes"],
  [3600, "Last hour"],
  [86_400, "Last day"],
  [604_800, "Last week"],
];
const DEFAULT_SPAN = 3600;

// Worst first: what somebody looks for here.
const ORDER = ["lost", "failed", "timed_out", "killed", "expired", "missed", "skipped", "no_record", "waiting", "queued", "claimed", "running", "succeeded", "upcoming"];

const cell = (label, ...children) => el("td", { "data-label": label }, ...children);

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
  const root = el("tr", { "data-test": "tick" }, cell("Tick", when, many), cell("Outcome", badge, reason, strange), cell("Late", late), cell("Runs", runs));
  const update = (tick) => {
    setAttribute(root, "data-outcome", tick.outcome);
    setText(when, tick.count > 1 ? `${absolute(tick.from)} – ${absolute(tick.tick)}` : absolute(tick.tick));
    when.title = bothZones(tick.tick);
    setText(many, tick.count > 1 ? `${tick.count.toLocaleString()} ticks` : "");
    setState(badge, tick.outcome);
    setText(reason, tick.reason);
    setText(strange, tick.expected === false ? "not of the schedule as it is now" : "");
    setText(late, tick.late_ms === null ? "" : duration(tick.late_ms));
    const links = attempts(tick.runs);
    const same = links.map((link) => link.href + link.textContent).join() === [...runs.children].map((link) => link.href + link.textContent).join();
    if (!same) runs.replaceChildren(...links);
  };
  return { root, update };
}

// How many of each outcome, as a bar and in words; a word leads to those ticks.
function summary(choose) {
  const bar = el("div", { class: "share", "aria-hidden": "true" });
  const words = el("div", { class: "d-flex flex-wrap gap-2 align-items-center", "data-test": "counts" });
  const note = el("div", { class: "small text-secondary mt-1" });
  const root = el("section", { class: "mb-3", "aria-label": "Counts", hidden: true }, bar, words, note);
  let shown = "";
  const update = (counts, since, chosen) => {
    if (!counts) return;
    const text = JSON.stringify([counts, since, chosen]);
    if (text === shown) return;
    shown = text;
    setHidden(root, false);
    const found = ORDER.filter((outcome) => counts.outcomes[outcome]);
    bar.replaceChildren(...found.map((outcome) => {
      const part = el("div");
      setState(part, outcome);
      setText(part, "");
      part.style.flexGrow = counts.outcomes[outcome];
      return part;
    }));
    const button = (outcome, label) => {
      const badge = stateBadge();
      setState(badge, outcome);
      setText(badge, label);
      return el("button", { class: `btn btn-sm count${chosen === outcome ? " active" : ""}`, type: "button", "data-test": `count-${outcome}`,
        "aria-pressed": String(chosen === outcome), on: { click: () => choose(chosen === outcome ? "" : outcome) } }, badge);
    };
    words.replaceChildren(el("span", { class: "me-2", "data-test": "expected" }, `${counts.expected.toLocaleString()} expected`),
      ...found.map((outcome) => button(outcome, `${counts.outcomes[outcome].toLocaleString()} ${stateWords(outcome)}`)));
    const notes = [];
    if (counts.partial) notes.push(`Counted from ${absolute(counts.from)} on: there are too many records before.`);
    if (since) notes.push(`What was expected is known since ${absolute(since)}, when the job was made or its schedule changed.`);
    setText(note, notes.join(" "));
  };
  return { root, update };
}

// What a field of type datetime-local takes and gives: local time.
function localText(instant) {
  const date = new Date(instant);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
const instantOf = (text) => {
  const date = new Date(text);
  return text === "" || Number.isNaN(date.getTime()) ? "" : date.toISOString();
};

function filters(asked, changed) {
  const own = Boolean(asked.from || asked.to);
  const span = el("select", { class: "form-select", "aria-label": "Range", "data-test": "range" },
    ...SPANS.map(([seconds, text]) => el("option", { value: String(seconds), text })), el("option", { value: "own" }, "From … to …"));
  span.value = own ? "own" : String(asked.span);
  if (span.value === "") span.value = String(DEFAULT_SPAN);
  const instant = (label, test, value) => el("input", { class: "form-control", type: "datetime-local", step: "1", "aria-label": label, title: label, "data-test": test, value });
  const from = instant("From", "from", localText(asked.from || now() - asked.span * 1000));
  const to = instant("To", "to", localText(asked.to || now()));
  const show = el("button", { class: "btn btn-outline-secondary" }, "Show");
  const choice = el("input", { class: "form-check-input", type: "checkbox", id: "unsuccessful", "data-test": "unsuccessful" });
  choice.checked = asked.outcome === "unsuccessful";
  const choose = () => [from, to, show].forEach((part) => setHidden(part, span.value !== "own"));
  const go = (event) => {
    event?.preventDefault();
    const outcome = choice.checked ? "unsuccessful" : "";
    if (span.value === "own") changed({ from: instantOf(from.value), to: instantOf(to.value), outcome });
    else changed({ span: span.value, outcome });
  };
  choose();
  span.addEventListener("change", () => {
    choose();
    if (span.value !== "own") go();
  });
  choice.addEventListener("change", go);
  const root = el("form", { class: "filters", role: "search" }, span, from, to, show,
    el("div", { class: "form-check unsuccessful" }, choice, el("label", { class: "form-check-label", for: "unsuccessful" }, "Only what did not succeed")));
  root.addEventListener("submit", go);
  return root;
}

// The first `count` ticks of the range, as far as a few requests go.
async function load(name, fields, count, signal) {
  let first;
  let after;
  const items = [];
  for (let request = 0; request < MOST_REQUESTS; request += 1) {
    const page = await jobs.ticks(name, { ...fields, limit: Math.min(500, count - items.length), after }, signal);
    first ??= page;
    items.push(...page.items);
    after = page.next;
    if (!after || items.length >= count) break;
  }
  const counts = first.counts && { ...first.counts, partial: Date.parse(first.counts.from) - Date.parse(first.from) >= 1000 };
  return { items, counts, next: after, since: Date.parse(first.since) > Date.parse(first.from) ? first.since : null };
}

export function showTicks(root, life, name, parameters) {
  const asked = {
    span: Number(parameters.get("span")) || DEFAULT_SPAN,
    from: parameters.get("from") || "",
    to: parameters.get("to") || "",
    outcome: parameters.get("outcome") || "",
  };
  const go = (fields) => {
    const pairs = Object.entries(fields).filter(([, value]) => value);
    location.hash = pairs.length ? `${ticksOf(name)}?${new URLSearchParams(pairs)}` : ticksOf(name);
  };
  const range = asked.from || asked.to ? { from: asked.from, to: asked.to } : { span: String(asked.span) };
  const wrong = trouble("ticks-error");
  const counts = summary((outcome) => go({ ...range, outcome }));
  const body = el("tbody");
  const head = ["Tick", "Outcome", "Late", "Runs"].map((text) => el("th", { scope: "col", text }));
  const table = el("table", { class: "table align-middle cards", "data-test": "ticks", hidden: true }, el("thead", {}, el("tr", {}, ...head)), body);
  const none = el("div", { class: "empty", "data-test": "empty", hidden: true });
  const more = el("button", { class: "btn btn-outline-secondary", type: "button", "data-test": "more", hidden: true }, "More");
  let count = PAGE;
  const refresh = life.every(REFRESH, async (signal) => {
    const from = asked.from || (asked.to ? "" : new Date(now() - asked.span * 1000).toISOString());
    let page;
    try {
      page = await load(name, { from, to: asked.to, outcome: asked.outcome, fold: "true" }, count, signal);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      wrong.say(error.away ? "" : error.status === 404 ? `There is no job ${name}, and nothing is on record of it in this time.` : error.message);
      return;
    }
    wrong.say("");
    counts.update(page.counts, page.since, asked.outcome);
    // A folded row grows at its newer end while time passes.
    keyed(body, page.items, (tick) => `${tick.from}/${tick.outcome}/${tick.runs.length > 0}`, row);
    setHidden(table, page.items.length === 0);
    setHidden(none, page.items.length > 0 || Boolean(page.next));
    setText(none, asked.outcome ? "No tick in this time is like this." : "The job has no ticks in this time.");
    setHidden(more, !page.next);
  });
  more.addEventListener("click", () => {
    count += PAGE;
    refresh();
  });
  root.append(
    el("div", { class: "heading" },
      el("h1", { class: "h4 mb-0 text-break", "data-test": "title" }, "Ticks of ", el("a", { class: "text-decoration-none", href: jobHref(name) }, name)),
      filters(asked, go)),
    el("p", { class: "small text-secondary" }, "When the job should have run, and what became of it. ", el("a", { href: runsOf(name) }, "All its runs")),
    wrong.root, counts.root, table, none, more);
}
