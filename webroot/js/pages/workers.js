// The workers that are alive.

import { pages, workers } from "../api.js";
import { now } from "../clock.js";
import { runsHref } from "../links.js";
import { button } from "../parts/button.js";
import { confirmed } from "../parts/dialog.js";
import { el, keyed, setAttribute, setHidden, setText } from "../parts/dom.js";
import { list } from "../parts/list.js";
import { perform } from "../parts/notice.js";
import { setTime, timeElement } from "../parts/time.js";

const REFRESH = 2000;
const COLUMNS = ["Worker", "Host", "State", "Runs", "Load", "Labels", "Clock", "Version", ""];

const COLOURS = { ready: "success", full: "primary" };

function readinessCell() {
  const badge = el("span", { class: "badge", "data-test": "readiness" });
  const says = el("div", { class: "small text-secondary" });
  const update = (worker) => {
    setText(badge, worker.readiness.replaceAll("_", " "));
    badge.className = `badge text-bg-${COLOURS[worker.readiness] ?? "warning"}`;
    setText(says, worker.says === worker.readiness ? "" : worker.says);
  };
  return { cell: [badge, says], update };
}

function slotsCell() {
  const slots = el("span", { "data-test": "slots" });
  const fill = el("div", { class: "bar-fill" });
  const update = (worker) => {
    setText(slots, `${worker.running} of ${worker.slots}`);
    fill.style.width = `${Math.min(100, (100 * worker.running) / Math.max(1, worker.slots))}%`;
  };
  return { cell: [slots, el("div", { class: "bar", "aria-hidden": "true" }, fill)], update };
}

function labelsCell() {
  const labels = el("div", { class: "d-flex flex-wrap gap-1" });
  const make = (text) => ({ root: el("span", { class: "badge label", text }), update() {} });
  const update = (worker) => keyed(labels, Object.entries(worker.labels || {}).map((pair) => pair.join("=")), (text) => text, make);
  return { cell: labels, update };
}

// The clock is as old as the registration: only a clock ahead says something.
function clockCell() {
  const clock = el("span", { "data-test": "clock" });
  const update = (worker) => {
    const ahead = Date.parse(worker.clock) - now();
    setText(clock, ahead > 1000 ? `${(ahead / 1000).toFixed(1)} s ahead` : "in sync");
    setAttribute(clock, "title", worker.clock);
  };
  return { cell: clock, update };
}

function hostCell() {
  const host = el("div");
  const address = el("div", { class: "small text-secondary" });
  const update = (worker) => {
    setText(host, worker.host);
    setText(address, [worker.address, worker.pid && `pid ${worker.pid}`].filter(Boolean).join(", "));
  };
  return { cell: [host, address], update };
}

// Draining asks first: a machine that takes nothing new is missed only later.
function drainCell(id) {
  const drain = button("Drain", { test: "drain", look: "outline-secondary" });
  const undrain = button("Undrain", { test: "undrain", look: "outline-success", hidden: true });
  drain.addEventListener("click", async () => {
    const text = "It takes nothing new, also after a restart, until you undrain it. What it runs goes on.";
    if (await confirmed(`Drain ${id}?`, text, "Drain")) await perform(drain, () => workers.act(id, "drain"), `${id} takes nothing new.`);
  });
  undrain.addEventListener("click", () => perform(undrain, () => workers.act(id, "undrain"), `${id} takes runs again.`));
  const update = (worker) => {
    setHidden(drain, Boolean(worker.drain));
    setHidden(undrain, !worker.drain);
  };
  return { cell: [drain, undrain], update };
}

function row({ id }) {
  const started = timeElement("started");
  const [load, version] = [el("span"), el("span")];
  const [host, readiness, slots] = [hostCell(), readinessCell(), slotsCell()];
  const [labels, clock, drain] = [labelsCell(), clockCell(), drainCell(id)];
  const name = [
    el("a", { class: "job-name", href: runsHref({ worker: id }), text: id }),
    el("div", { class: "small text-secondary" }, "started ", started),
  ];
  const update = (worker) => {
    for (const part of [host, readiness, slots, labels, clock, drain]) part.update(worker);
    setTime(started, worker.started);
    setText(load, worker.load.toFixed(2));
    setText(version, worker.version);
  };
  const cells = [name, host.cell, readiness.cell, slots.cell, load, labels.cell, clock.cell, version, drain.cell];
  return { attributes: { "data-test": "worker", "data-worker": id }, cells, update };
}

export function showWorkers(root, life) {
  list(root, life, {
    name: "workers",
    title: "Workers",
    columns: COLUMNS,
    key: (worker) => worker.id,
    row,
    refresh: REFRESH,
    page: 2000,
    load: (count, signal) => pages(workers.list, {}, count, signal),
    empty: [
      el("h2", { class: "h5" }, "No live workers"),
      el("p", { class: "mb-2" }, "Jobs wait until there is one. Start one on any machine that can reach etcd:"),
      el("pre", { class: "small mb-0" }, "quorate worker --etcd HOST:2379 --mongodb mongodb://HOST:27017"),
    ],
  });
}
