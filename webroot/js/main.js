// Shows the view that the part behind the hash names.

import { JOBS } from "./links.js";
import { life } from "./live.js";
import { showJob, showNewJob } from "./pages/job.js";
import { showJobs } from "./pages/jobs.js";
import { showRun } from "./pages/run.js";
import { showRuns } from "./pages/runs.js";
import { showTicks } from "./pages/ticks.js";
import { showWorkers } from "./pages/workers.js";
import { showBanner } from "./parts/banner.js";
import { dismiss } from "./parts/dialog.js";
import { el } from "./parts/dom.js";
import { ageNotices } from "./parts/notice.js";

// Path, title, and what shows it in `root` for a `life`: open(root, life, id, parameters). The first that fits counts.
const VIEWS = [
  ["jobs", () => "Jobs", showJobs],
  ["jobs/new", () => "New job", showNewJob],
  ["jobs/:id", (id) => id, showJob],
  ["jobs/:id/ticks", (id) => `Ticks of ${id}`, showTicks],
  ["runs", () => "Runs", showRuns],
  ["runs/:id", () => "Run", showRun],
  ["workers", () => "Workers", showWorkers],
];

const view = document.getElementById("view");

function showNothing(root) {
  root.append(el("p", {}, "There is no such page. ", el("a", { href: JOBS }, "All jobs")));
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

// "#/runs/17?x=y" → ["runs", "17"] still encoded, and its parameters.
function route() {
  const [path, parameters] = (location.hash.replace(/^#\/?/, "") || "jobs").split("?");
  return { parts: path.split("/").filter(Boolean), parameters: new URLSearchParams(parameters || "") };
}

// The view at a path and the id in it, or undefined.
function find(parts) {
  const found = VIEWS.find(([path]) => {
    const wanted = path.split("/");
    return wanted.length === parts.length && wanted.every((part, n) => part === ":id" || part === parts[n]);
  });
  return found && { title: found[1], open: found[2], id: parts[1] && decoded(parts[1]) };
}

let current = null;

function show() {
  current?.end();
  current = life();
  const { parts, parameters } = route();
  const { title, open, id } = find(parts) || { title: () => "Not found", open: showNothing };
  document.title = `${title(id)} · Quorate`;
  for (const tab of document.querySelectorAll("[data-tab]")) {
    if (tab.dataset.tab === parts[0]) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  view.replaceChildren();
  ageNotices();
  dismiss();
  open(view, current, id, parameters);
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

showBanner(life());
show();
