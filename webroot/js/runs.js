// The list of runs, newest first.

import { now, pages, runs } from "./api.js";
import { el, jobHref, keyed, runHref, setAttribute, setHidden, setState, setText, stateBadge, stateWords, STATE_NAMES, ticksOf, trouble } from "./dom.js";
import { absolute, between, duration, setTime, timeElement } from "./time.js";

const PAGE = 50;
const REFRESH = 2000;
// What the newest 500 runs tell changes slowly.
const LATENESS_EVERY = 10_000;

const cell = (label, ...children) => el("td", { "data-label": label }, ...children);

const CAUSES = { schedule: "", manual: "by hand", retry: "retry", catch_up: "catch-up", queued: "waited", reboot: "at boot" };

// How long the run took, or has taken so far.
export function took(run) {
  if (!run.started) return "";
  const ms = run.ended ? between(run.started, run.ended) : now() - Date.parse(run.started);
  return ms === null ? "" : duration(Math.max(0, ms));
}

// How long after its instant it started.
export function late(run) {
  const ms = between(run.planned, run.started);
  return ms === null ? "" : duration(ms);
}

export function cause(run) {
  const why = CAUSES[run.trigger] ?? run.trigger;
  return [why, run.attempt > 1 ? `attempt ${run.attempt}` : ""].filter(Boolean).join(", ");
}

function row() {
  const link = el("a", { "data-test": "run-link" });
  const planned = timeElement("planned");
  const badge = stateBadge();
  const why = el("span", { class: "small text-secondary ms-1" });
  const reason = el("div", { class: "small text-secondary clamp" });
  const [time, lateness, worker] = ["took", "late", "worker"].map((test) => el("span", { "data-test": test }));
  const job = el("a", { class: "job-name" });
  const root = el("tr", { "data-test": "run" },
    cell("Planned", link, why), cell("Job", job), cell("State", badge, reason), cell("Took", time), cell("Late", lateness), cell("Worker", worker));
  link.append(planned);
  const update = (run) => {
    setAttribute(root, "data-run", run.run);
    setAttribute(link, "href", runHref(run.run));
    const when = run.planned || run.claimed || run.started;
    setTime(planned, when, "not yet");
    if (when) setText(planned, absolute(when));
    setText(why, cause(run));
    setAttribute(job, "href", jobHref(run.job));
    setText(job, run.job);
    setState(badge, run.state);
    setText(reason, run.reason || run.err || "");
    setText(time, took(run));
    setText(lateness, late(run));
    setText(worker, run.worker);
  };
  return { root, update };
}

function filters(parameters, changed) {
  const job = el("input", { class: "form-control", type: "search", placeholder: "Any job", "aria-label": "Job", "data-test": "filter-job",
    value: parameters.get("job") || "" });
  const state = el("select", { class: "form-select", "aria-label": "State", "data-test": "filter-state" }, el("option", { value: "" }, "Any state"),
    ...STATE_NAMES.map((name) => el("option", { value: name, text: stateWords(name) })));
  state.value = parameters.get("state") || "";
  const go = (event) => {
    event?.preventDefault();
    changed({ job: job.value.trim(), state: state.value });
  };
  const root = el("form", { class: "filters", role: "search" }, job, state, el("button", { class: "btn btn-outline-secondary" }, "Show"));
  root.addEventListener("submit", go);
  state.addEventListener("change", go);
  return root;
}

// Null where it cannot be told: only the run log knows it, and the list goes without.
async function latenessOf(fields, signal) {
  try {
    return await runs.lateness(fields, signal);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return null;
  }
}

const bound = (ms) => (ms < 1000 ? `${ms} ms` : `${ms / 1000} s`);

// How late the newest runs by schedule started: one line, and a bar for each bound.
function latenessPanel() {
  const line = el("p", { class: "small text-secondary mb-1", "data-test": "lateness-line" });
  const bars = el("dl", { class: "lateness" });
  const root = el("section", { "aria-label": "How late runs start", "data-test": "lateness", hidden: true }, line, bars);
  const show = (seen) => {
    setHidden(root, !seen?.runs);
    if (!seen?.runs) return;
    const [half, most, latest] = [seen.p50_ms, seen.p99_ms, seen.most_ms].map(duration);
    setText(line, `Of the newest ${seen.runs} runs by schedule half started within ${half} of their time, 99 of 100 within ${most}, the latest after ${latest}.`);
    bars.replaceChildren(...seen.counts.map(({ to_ms: to, runs: count }, n) => {
      const name = to === null ? `over ${bound(seen.counts[n - 1].to_ms)}` : `to ${bound(to)}`;
      return el("div", {}, el("dt", { text: name }), el("dd", {}, el("meter", { min: 0, max: seen.runs, value: count, "aria-label": name }), ` ${count}`));
    }));
  };
  return { root, show };
}

export function showRuns(root, life, parameters) {
  const wanted = { job: parameters.get("job"), state: parameters.get("state"), worker: parameters.get("worker") };
  const wrong = trouble("runs-error");
  const body = el("tbody");
  const head = ["Planned", "Job", "State", "Took", "Late", "Worker"].map((text) => el("th", { scope: "col", text }));
  const table = el("table", { class: "table align-middle cards", "data-test": "runs", hidden: true }, el("thead", {}, el("tr", {}, ...head)), body);
  const none = el("div", { class: "empty", "data-test": "empty", hidden: true });
  const filtered = Object.values(wanted).some(Boolean);
  none.append(filtered ? "No run is like this." : "Nothing has run yet. A run shows up here when a job's time comes, or when somebody presses ",
    filtered ? "" : el("a", { href: "#/jobs" }, "Run now"), filtered ? "" : ".");
  const more = el("button", { class: "btn btn-outline-secondary", type: "button", "data-test": "more", hidden: true }, "More");
  const lateness = latenessPanel();
  let lateUntil = 0;
  let count = PAGE;
  const refresh = life.every(REFRESH, async (signal) => {
    try {
      const asked = { job: wanted.job, worker: wanted.worker };
      const told = Date.now() < lateUntil;
      const [{ items, next }, late] = await Promise.all([pages(runs.list, wanted, count, signal), told ? null : latenessOf(asked, signal)]);
      if (!told) lateness.show(late);
      if (late?.runs) lateUntil = Date.now() + LATENESS_EVERY;
      wrong.say("");
      keyed(body, items, (run) => run.run + "/" + run.attempt, row);
      setHidden(table, items.length === 0);
      setHidden(none, items.length > 0);
      setHidden(more, !next);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      wrong.say(error.away ? "" : error.message);
    }
  });
  more.addEventListener("click", () => {
    count += PAGE;
    refresh();
  });
  const changed = (fields) => {
    const pairs = Object.entries({ ...fields, worker: wanted.worker }).filter(([, value]) => value);
    location.hash = pairs.length ? `#/runs?${new URLSearchParams(pairs)}` : "#/runs";
  };
  root.append(el("div", { class: "heading" }, el("h1", { class: "h4 mb-0" }, "Runs"), filters(parameters, changed)));
  if (wanted.worker) root.append(el("p", { class: "small" }, `On ${wanted.worker}. `, el("a", { href: "#/runs" }, "On any worker")));
  if (wanted.job) {
    root.append(el("p", { class: "small" }, el("a", { href: ticksOf(wanted.job), "data-test": "to-ticks" }, `Ticks of ${wanted.job}`), ": also those that no run came of."));
  }
  root.append(wrong.root, lateness.root, table, none, more);
}
