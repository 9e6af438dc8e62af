// The list of jobs.

import { jobs, pages } from "./api.js";
import {
  confirmed, el, icon, jobHref, keyed, perform, runHref, runsOf, setAttribute, setHidden, setState, setText, stateBadge, ticksOf, trouble,
} from "./dom.js";
import { coming, setTime, timeElement } from "./time.js";

const PAGE = 100;
const REFRESH = 2000;

// What deleting a job does, for who is asked whether to.
export const DELETING = "Its definition goes, and the log of its runs stays. A run that executes goes on to its end; "
  + "kill it first if it is to stop. Runs that are queued end as killed.";

const ORDERS = [["", "By name"], ["next", "Next first"], ["-ended", "Last ended first"], ["result", "Worst result first"]];

// What stands below the words: the expressions themselves.
function triggerText(trigger) {
  if (trigger.cron) return [trigger.cron].flat().join("\n");
  return "";
}

function words(job) {
  if (job.trigger.manual) return "only by hand";
  return job.status.describe || (job.trigger.every ? `every ${job.trigger.every}` : "");
}

const button = (test, look, symbol, text, click, tucked = true) =>
  el("button", { class: `btn btn-sm btn-${look}`, type: "button", title: text, "data-test": test, on: { click } },
    icon(symbol), el("span", { class: tucked ? "tucked" : "ms-1", text }));

function actions(name, refresh) {
  const act = (kind, done) => (event) =>
    perform(event.currentTarget, () => jobs.act(name, kind), done && (() => done)).then(refresh);
  const kill = async (event) => {
    const target = event.currentTarget;
    if (!(await confirmed(`Kill the runs of ${name}?`, "What runs of it gets TERM and, after its grace, KILL.", "Kill"))) return;
    await perform(target, () => jobs.act(name, "kill"), () => `${name}: its runs are being killed.`);
    refresh();
  };
  const remove = async (event) => {
    const target = event.currentTarget;
    if (!(await confirmed(`Delete the job ${name}?`, DELETING, "Delete"))) return;
    await perform(target, () => jobs.remove(name), () => `${name} is deleted.`);
    refresh();
  };
  const parts = {
    run: button("run-now", "primary", "play-fill", "Run now", act("run", `${name}: a run is on its way.`), false),
    kill: button("kill", "outline-danger", "stop-fill", "Kill", kill),
    pause: button("pause", "outline-secondary", "pause-fill", "Pause", act("pause", `${name} is paused.`)),
    resume: button("resume", "outline-success", "play", "Resume", act("resume", `${name} is resumed.`)),
    ticks: el("a", { class: "btn btn-sm btn-outline-secondary", href: ticksOf(name), title: "Ticks", "data-test": "to-ticks" },
      icon("list-check"), el("span", { class: "tucked", text: "Ticks" })),
    edit: el("a", { class: "btn btn-sm btn-outline-secondary", href: jobHref(name), title: "Edit", "data-test": "edit" },
      icon("pencil"), el("span", { class: "tucked", text: "Edit" })),
    remove: button("delete", "outline-danger", "trash", "Delete", remove),
  };
  for (const [kind, part] of Object.entries(parts)) {
    if (kind !== "run") part.setAttribute("aria-label", `${part.title} ${name}`);
  }
  return parts;
}

const cell = (label, ...children) => el("td", { "data-label": label }, ...children);

function row(refresh) {
  return (first) => {
    const { name } = first;
    const link = el("a", { class: "job-name", href: jobHref(name), "data-test": "job-name", text: name });
    const description = el("div", { class: "text-secondary small clamp" });
    const warning = el("div", { class: "text-warning-emphasis small", "data-test": "warning" });
    const schedule = el("div", { "data-test": "schedule" });
    const expression = el("code", { class: "small expression" });
    const next = timeElement("next");
    const paused = el("span", { class: "badge text-bg-secondary", "data-test": "paused" }, "paused");
    const badge = stateBadge();
    const lastRun = el("a", { class: "text-decoration-none", "data-test": "last" }, badge);
    const ended = timeElement("last-ended");
    const running = el("a", { class: "running", "data-test": "running" },
      el("span", { class: "pulse", "aria-hidden": "true" }), el("span"));
    const act = actions(name, refresh);
    const root = el("tr", { "data-job": name, "data-test": "job" },
      cell("Job", link, description, warning),
      cell("Schedule", schedule, expression),
      cell("Next run", next, paused),
      cell("Last result", running, el("div", {}, lastRun, " ", el("span", { class: "small text-secondary" }, ended))),
      el("td", { class: "actions" },
        el("div", { class: "d-flex gap-1 justify-content-lg-end flex-wrap" }, ...Object.values(act))),
    );
    const update = (job) => {
      const { status } = job;
      setText(description, job.description || "");
      setText(warning, status.warning || "");
      setText(schedule, words(job));
      setText(expression, triggerText(job.trigger));
      setHidden(next, status.paused);
      setTime(next, coming(status.next), job.trigger.manual ? "–" : "never again");
      setHidden(paused, !status.paused);
      setState(badge, status.last?.state);
      setAttribute(lastRun, "href", status.last ? runHref(status.last.run) : runsOf(name));
      const busy = status.running.length;
      setTime(ended, status.last?.ended, busy ? "" : "not run yet");
      setHidden(running, busy === 0);
      setAttribute(running, "href", busy === 1 ? runHref(status.running[0].run) : runsOf(name));
      setText(running.lastChild, busy === 1 ? status.running[0].state : `${busy} runs`);
      setHidden(act.kill, busy === 0);
      setHidden(act.pause, status.paused || Boolean(job.trigger.manual));
      setHidden(act.resume, !status.paused);
    };
    return { root, update };
  };
}

const empty = () =>
  el("div", { class: "empty", "data-test": "empty", hidden: true },
    el("h2", { class: "h5" }, "No jobs yet"),
    el("p", {}, "A job is a command and when it runs. Make the first one here, or take over a crontab:"),
    el("p", {}, el("a", { class: "btn btn-primary", href: "#/jobs/new" }, "Make the first job")),
    el("pre", { class: "small mb-0" }, "crontab -l > crontab.txt && quorate import crontab crontab.txt"));

// Jobs in the store whose text does not parse: nothing else shows that they exist.
function brokenJobs() {
  const list = el("ul", { class: "mb-0" });
  const root = el("div", { class: "alert alert-warning", "data-test": "broken", hidden: true },
    "These jobs stand in the store, but cannot be read and never run. Save them again, or delete them:", list);
  const make = ({ name }) => {
    const problem = el("span");
    const remove = button("delete-broken", "outline-danger", "trash", "Delete", async (event) => {
      const target = event.currentTarget;
      if (!(await confirmed(`Delete the job ${name}?`, "What stands in the store for it goes.", "Delete"))) return;
      await perform(target, () => jobs.remove(name), () => `${name} is deleted.`);
    });
    return { root: el("li", {}, el("strong", { text: name }), " ", problem, " ", remove), update: (job) => setText(problem, job.problem) };
  };
  const update = (broken) => {
    setHidden(root, broken.length === 0);
    keyed(list, broken, (job) => job.name, make);
  };
  return { root, update };
}

export function showJobs(root, life) {
  const wrong = trouble("jobs-error");
  const search = el("input", {
    class: "form-control search", type: "search", placeholder: "Search jobs", "aria-label": "Search jobs", "data-test": "search",
  });
  const sort = el("select", { class: "form-select sort", "aria-label": "Order", "data-test": "sort" },
    ...ORDERS.map(([value, text]) => el("option", { value, text })));
  const body = el("tbody");
  const head = ["Job", "Schedule", "Next run", "Last result"].map((text) => el("th", { scope: "col", text }));
  const table = el("table", { class: "table align-middle cards", "data-test": "jobs", hidden: true },
    el("thead", {}, el("tr", {}, ...head, el("th", { scope: "col" }, el("span", { class: "visually-hidden" }, "Actions")))),
    body);
  const none = empty();
  const found = el("p", { class: "text-secondary small", role: "status", "data-test": "found" });
  const more = el("button", { class: "btn btn-outline-secondary", type: "button", "data-test": "more", hidden: true }, "More");
  const broken = brokenJobs();
  let count = PAGE;
  const make = row(() => refresh());
  const refresh = life.every(REFRESH, async (signal) => {
    const q = search.value.trim();
    let page;
    try {
      page = await pages(jobs.list, { q, sort: sort.value }, count, signal);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      wrong.say(error.away ? "" : error.message);
      return;
    }
    wrong.say("");
    keyed(body, page.items, (job) => job.name, make);
    broken.update(page.broken || []);
    setHidden(none, page.items.length > 0 || q !== "");
    setHidden(table, page.items.length === 0);
    setHidden(more, !page.next);
    const number = `${page.items.length}${page.next ? " and more" : ""}`;
    setText(found, q === "" ? "" : page.items.length === 0 ? `No job's name contains “${q}”.` : `${number} found.`);
  });
  let timer;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(refresh, 200);
  });
  sort.addEventListener("change", () => {
    count = PAGE;
    refresh();
  });
  more.addEventListener("click", () => {
    count += PAGE;
    refresh();
  });
  root.append(
    el("div", { class: "heading" },
      el("h1", { class: "h4 mb-0" }, "Jobs"), search, sort,
      el("a", { class: "btn btn-primary", href: "#/jobs/new", "data-test": "new-job" }, icon("plus-lg"), " New job")),
    wrong.root, broken.root, found, table, none, more,
  );
}
