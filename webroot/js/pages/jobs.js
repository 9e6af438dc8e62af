// The list of jobs.

import { jobs, pages } from "../api.js";
import { NEW_JOB, jobHref, runHref, runsHref, ticksHref } from "../links.js";
import { deleteButton, killButton, pauseButton, resumeButton, runButton } from "../parts/actions.js";
import { setState, stateBadge } from "../parts/badge.js";
import { button } from "../parts/button.js";
import { el, keyed, setAttribute, setHidden, setText } from "../parts/dom.js";
import { list } from "../parts/list.js";
import { stateWords } from "../parts/states.js";
import { coming, setTime, timeElement } from "../parts/time.js";

const REFRESH = 2000;
// How long somebody may pause in typing before the search begins.
const TYPING = 200;

const COLUMNS = ["Job", "Schedule", "Next run", "Last result", { name: "Actions", actions: true }];
const ORDERS = [["", "By name"], ["next", "Next run first"], ["-ended", "Latest run first"], ["result", "Worst result first"]];

function scheduleWords(job) {
  if (job.trigger.manual) return "by hand only";
  return job.status.describe || (job.trigger.every ? `every ${job.trigger.every}` : "");
}

// What stands below the words: the expressions themselves.
const expressions = (trigger) => [trigger.cron ?? []].flat().join("\n");

function actions(name, refresh) {
  const look = { small: true, tucked: true };
  return {
    run: runButton(name, { small: true, look: "primary" }, refresh),
    kill: killButton(name, look, refresh),
    pause: pauseButton(name, look, refresh),
    resume: resumeButton(name, look, refresh),
    ticks: button("Ticks", { ...look, test: "to-ticks", symbol: "list-check", href: ticksHref(name), of: name }),
    edit: button("Edit", { ...look, test: "edit", symbol: "pencil", href: jobHref(name), of: name }),
    remove: deleteButton(name, look, refresh),
  };
}

// Name, description and warning.
function nameCell(name) {
  const description = el("div", { class: "text-secondary small clamp" });
  const warning = el("div", { class: "text-warning-emphasis small", "data-test": "warning" });
  const update = (job) => {
    setText(description, job.description || "");
    setText(warning, job.status.warning || "");
  };
  return { cell: [el("a", { class: "job-name", href: jobHref(name), "data-test": "job-name", text: name }), description, warning], update };
}

function scheduleCell() {
  const words = el("div", { "data-test": "schedule" });
  const text = el("code", { class: "small expression" });
  const update = (job) => {
    setText(words, scheduleWords(job));
    setText(text, expressions(job.trigger));
  };
  return { cell: [words, text], update };
}

function nextCell() {
  const next = timeElement("next");
  const paused = el("span", { class: "badge text-bg-secondary", "data-test": "paused" }, "paused");
  const update = ({ trigger, status }) => {
    setHidden(next, status.paused);
    setTime(next, coming(status.next), trigger.manual ? "–" : "never again");
    setHidden(paused, !status.paused);
  };
  return { cell: [next, paused], update };
}

// What runs now, and how the last run ended.
function resultCell(name) {
  const badge = stateBadge();
  const last = el("a", { class: "text-decoration-none", "data-test": "last" }, badge);
  const ended = timeElement("last-ended");
  const words = el("span");
  const running = el("a", { class: "running", "data-test": "running" }, el("span", { class: "pulse", "aria-hidden": "true" }), words);
  const update = ({ status }) => {
    const busy = status.running.length;
    setState(badge, status.last?.state);
    setAttribute(last, "href", status.last ? runHref(status.last.run) : runsHref({ job: name }));
    setTime(ended, status.last?.ended, busy ? "" : "not run yet");
    setHidden(running, busy === 0);
    setAttribute(running, "href", busy === 1 ? runHref(status.running[0].run) : runsHref({ job: name }));
    setText(words, busy === 1 ? stateWords(status.running[0].state) : `${busy} runs`);
  };
  return { cell: [running, el("div", {}, last, " ", el("span", { class: "small text-secondary" }, ended))], update };
}

function row({ name }, refresh) {
  const parts = [nameCell(name), scheduleCell(), nextCell(), resultCell(name)];
  const act = actions(name, refresh);
  const buttons = el("div", { class: "d-flex gap-1 justify-content-lg-end flex-wrap" }, ...Object.values(act));
  const update = (job) => {
    parts.forEach((part) => part.update(job));
    setHidden(act.kill, job.status.running.length === 0);
    setHidden(act.pause, job.status.paused || Boolean(job.trigger.manual));
    setHidden(act.resume, !job.status.paused);
  };
  return { attributes: { "data-job": name, "data-test": "job" }, cells: [...parts.map((part) => part.cell), buttons], update };
}

const empty = () => [
  el("h2", { class: "h5" }, "No jobs yet"),
  el("p", {}, "A job is a command and when to run it. Create the first one here, or import a crontab:"),
  el("p", {}, el("a", { class: "btn btn-primary", href: NEW_JOB }, "Create the first job")),
  el("pre", { class: "small mb-0" }, "crontab -l > crontab.txt && quorate import crontab crontab.txt"),
];

// Jobs in the store whose text does not parse: nothing else shows that they exist.
function brokenJobs() {
  const names = el("ul", { class: "mb-0" });
  const root = el("div", { class: "alert alert-warning", "data-test": "broken", hidden: true },
    "These jobs are in the store but cannot be read, so they never run. Save them again or delete them:", names);
  const make = ({ name }) => {
    const problem = el("span");
    const remove = deleteButton(name, { small: true, tucked: true, test: "delete-broken" }, null, "This removes its unreadable definition from the store.");
    return { root: el("li", {}, el("strong", { text: name }), " ", problem, " ", remove), update: (job) => setText(problem, job.problem) };
  };
  const update = (broken) => {
    setHidden(root, broken.length === 0);
    keyed(names, broken, (job) => job.name, make);
  };
  return { root, update };
}

function searchBox(search) {
  const box = el("input", {
    class: "form-control search", type: "search", placeholder: "Search jobs", "aria-label": "Search jobs", "data-test": "search",
  });
  let timer;
  box.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, TYPING);
  });
  return box;
}

// How many the search has found.
function foundWords(q, { items, next }) {
  if (q === "") return "";
  if (items.length === 0) return `No job name contains “${q}”.`;
  return `Found ${items.length}${next ? " or more" : ""}.`;
}

export function showJobs(root, life) {
  const search = searchBox(() => shown.refresh());
  const sort = el("select", { class: "form-select sort", "aria-label": "Order", "data-test": "sort" },
    ...ORDERS.map(([value, text]) => el("option", { value, text })));
  sort.addEventListener("change", () => shown.restart());
  const found = el("p", { class: "text-secondary small", role: "status", "data-test": "found" });
  const broken = brokenJobs();
  const shown = list(root, life, {
    name: "jobs",
    title: "Jobs",
    controls: [search, sort, button("New job", { test: "new-job", look: "primary", symbol: "plus-lg", href: NEW_JOB })],
    above: [broken.root, found],
    columns: COLUMNS,
    key: (job) => job.name,
    row: (job) => row(job, () => shown.refresh()),
    refresh: REFRESH,
    page: 100,
    async load(count, signal) {
      const q = search.value.trim();
      return { ...(await pages(jobs.list, { q, sort: sort.value }, count, signal)), q };
    },
    loaded(page) {
      broken.update(page.broken || []);
      setText(found, foundWords(page.q, page));
    },
    empty: empty(),
    isEmpty: (page) => page.items.length === 0 && page.q === "",
  });
}
