// The list of runs, newest first.

import { pages, runs } from "../api.js";
import { JOBS, ownerHref, runHref, runsHref, ticksHref } from "../links.js";
import { setState, stateBadge } from "../parts/badge.js";
import { el, setAttribute, setHidden, setText } from "../parts/dom.js";
import { lateness } from "../parts/lateness.js";
import { list } from "../parts/list.js";
import { cause, late, took } from "../parts/run_words.js";
import { RUN_STATES, stateWords } from "../parts/states.js";
import { absolute, setTime, timeElement } from "../parts/time.js";

const REFRESH = 2000;
const COLUMNS = ["Planned", "Job", "State", "Duration", "Late", "Worker"];

function row() {
  const planned = timeElement("planned");
  const link = el("a", { "data-test": "run-link" }, planned);
  const why = el("span", { class: "small text-secondary ms-1" });
  const job = el("a", { class: "job-name" });
  const task = el("span", { class: "small text-secondary ms-1", "data-test": "is-task", text: "task" });
  const badge = stateBadge();
  const reason = el("div", { class: "small text-secondary clamp" });
  const [time, delay, worker] = ["took", "late", "worker"].map((test) => el("span", { "data-test": test }));
  const update = (run, root) => {
    setAttribute(root, "data-run", run.run);
    setAttribute(link, "href", runHref(run.run));
    const when = run.planned || run.claimed || run.started;
    setTime(planned, when, "not yet");
    if (when) setText(planned, absolute(when));
    setText(why, cause(run));
    setAttribute(job, "href", ownerHref(run));
    setText(job, run.job);
    setHidden(task, !run.task);
    setState(badge, run.state);
    setText(reason, run.reason || run.err || "");
    setText(time, took(run));
    setText(delay, late(run));
    setText(worker, run.worker);
  };
  return { attributes: { "data-test": "run" }, cells: [[link, why], [job, task], [badge, reason], time, delay, worker], update };
}

function filters(wanted, changed) {
  const job = el("input", { class: "form-control", type: "search", placeholder: "Any job", "aria-label": "Job", "data-test": "filter-job", value: wanted.job });
  const state = el("select", { class: "form-select", "aria-label": "State", "data-test": "filter-state" }, el("option", { value: "" }, "Any state"),
    ...RUN_STATES.map((name) => el("option", { value: name, text: stateWords(name) })));
  state.value = wanted.state;
  const go = (event) => {
    event.preventDefault();
    changed({ job: job.value.trim(), state: state.value });
  };
  state.addEventListener("change", go);
  return el("form", { class: "filters", role: "search", on: { submit: go } }, job, state, el("button", { class: "btn btn-outline-secondary" }, "Show"));
}

// What the list is limited to, and where else to look.
function scope({ job, task, worker }) {
  const lines = [];
  if (task) lines.push(el("p", { class: "small" }, `Only tasks called ${task}. `, el("a", { href: runsHref() }, "Show all runs")));
  if (worker) lines.push(el("p", { class: "small" }, `Only runs on ${worker}. `, el("a", { href: runsHref() }, "Show all runs")));
  if (job) {
    lines.push(el("p", { class: "small" }, el("a", { href: ticksHref(job), "data-test": "to-ticks" }, `Ticks of ${job}`), ", including those that got no run."));
  }
  return lines;
}

const nothingYet = () => ["Nothing has run yet. Runs appear here when a job's time comes, or when you press ", el("a", { href: JOBS }, "Run now"), "."];

export function showRuns(root, life, _id, parameters) {
  const [job, task, state, worker] = ["job", "task", "state", "worker"].map((name) => parameters.get(name) || "");
  const wanted = { job, task, state, worker };
  const delays = lateness({ job, worker });
  list(root, life, {
    name: "runs",
    title: "Runs",
    controls: [filters(wanted, (fields) => (location.hash = runsHref({ ...fields, task: fields.job ? "" : task, worker })))],
    above: [...scope(wanted), delays.root],
    columns: COLUMNS,
    key: (run) => `${run.run}/${run.attempt}`,
    row,
    refresh: REFRESH,
    page: 50,
    async load(count, signal) {
      const [page] = await Promise.all([pages(runs.list, wanted, count, signal), delays.refresh(signal)]);
      return page;
    },
    empty: Object.values(wanted).some(Boolean) ? "No runs match." : nothingYet(),
  });
}
