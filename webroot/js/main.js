// Routes by the part behind the hash, the life of the view that is shown, and the banner.

import { onLink, trouble } from "./api.js";
import { el, setHidden, setText } from "./dom.js";
import { showJobForm } from "./job_form.js";
import { showJobs } from "./jobs.js";
import { showRun } from "./run.js";
import { showRuns } from "./runs.js";
import { showTicks } from "./ticks.js";
import { showWorkers } from "./workers.js";

const view = document.getElementById("view");
const banner = document.getElementById("banner");

// The life of one view: ends when another is shown. `every` calls at once and then again and again, a pause after
// each answer, not while the page is hidden, until the work returns false. It returns a function that calls out of turn.
function life() {
  const ended = new AbortController();
  const every = (pause, work) => {
    let timer;
    let busy = false;
    let again = false;
    const turn = async () => {
      clearTimeout(timer);
      if (ended.signal.aborted || document.hidden) return;
      // Who asks meanwhile wants to see what holds from now on, which the answer under way may not tell.
      if (busy) return void (again = true);
      busy = true;
      let go;
      try {
        go = await work(ended.signal);
      } catch (error) {
        if (error.name !== "AbortError") console.error(error);
      }
      busy = false;
      if (ended.signal.aborted) return;
      if (again) {
        again = false;
        turn();
      } else if (go !== false) timer = setTimeout(turn, pause);
    };
    document.addEventListener("visibilitychange", turn, { signal: ended.signal });
    ended.signal.addEventListener("abort", () => clearTimeout(timer));
    turn();
    return turn;
  };
  return { signal: ended.signal, every, end: () => ended.abort() };
}

// "#/runs/17?x=y" → ["runs", "17"] still encoded, and its parameters.
function route() {
  const [path, parameters] = (location.hash.replace(/^#\/?/, "") || "jobs").split("?");
  return { parts: path.split("/").filter(Boolean), parameters: new URLSearchParams(parameters || "") };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function pick({ parts, parameters }) {
  const [kind, id, of] = parts;
  if (kind === "jobs" && of === "ticks") return [`Ticks of ${decoded(id)}`, (root, life) => showTicks(root, life, decoded(id), parameters)];
  if (kind === "jobs" && id === "new") return ["New job", (root, life) => showJobForm(root, life, null)];
  if (kind === "jobs" && id) return [decoded(id), (root, life) => showJobForm(root, life, decoded(id))];
  if (kind === "jobs") return ["Jobs", showJobs];
  if (kind === "runs" && id) return ["Run", (root, life) => showRun(root, life, decoded(id))];
  if (kind === "runs") return ["Runs", (root, life) => showRuns(root, life, parameters)];
  if (kind === "workers") return ["Workers", showWorkers];
  return ["Not found", (root) => root.append(el("p", {}, "There is no such page. ", el("a", { href: "#/jobs" }, "To the jobs")))];
}

let current = null;

function show() {
  current?.end();
  current = life();
  const where = route();
  const [title, open] = pick(where);
  document.title = `${title} · Quorate`;
  for (const tab of document.querySelectorAll("[data-tab]")) {
    if (tab.dataset.tab === where.parts[0]) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  view.replaceChildren();
  // A notice is told where it leads to, and not on every page after.
  for (const box of document.querySelectorAll(".notice")) {
    if (box.dataset.told) box.remove();
    else box.dataset.told = "true";
  }
  document.getElementById("confirm").close();
  open(view, current);
}

addEventListener("hashchange", () => {
  show();
  scrollTo(0, 0);
  view.focus({ preventScroll: true });
});

document.querySelector("[data-skip]").addEventListener("click", (event) => {
  event.preventDefault();
  view.focus();
});

let answers = true;
let lacks = "";

function showBanner() {
  const text = answers
    ? lacks && lacks
    : "The manager does not answer. What you see may be old; this page keeps trying.";
  setText(banner, text);
  setHidden(banner, text === "");
}

onLink((yes) => {
  answers = yes;
  showBanner();
});

life().every(5000, async (signal) => {
  try {
    lacks = await trouble(signal);
  } catch {
    // Not answering is told by onLink.
    lacks = "";
  }
  showBanner();
});

show();
