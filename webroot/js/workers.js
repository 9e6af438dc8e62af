// The workers that are alive.

import { now, pages, workers } from "./api.js";
import { el, keyed, setAttribute, setHidden, setText, trouble } from "./dom.js";
import { setTime, timeElement } from "./time.js";

const cell = (label, ...children) => el("td", { "data-label": label }, ...children);

function row(first) {
  const badge = el("span", { class: "badge", "data-test": "readiness" });
  const says = el("div", { class: "small text-secondary" });
  const host = el("div");
  const address = el("div", { class: "small text-secondary" });
  const bar = el("div", { class: "bar-fill" });
  const slots = el("span", { "data-test": "slots" });
  const load = el("span");
  const labels = el("div", { class: "d-flex flex-wrap gap-1" });
  const version = el("span");
  const started = timeElement("started");
  const clock = el("span", { "data-test": "clock" });
  const link = el("a", { class: "job-name", href: `#/runs?worker=${encodeURIComponent(first.id)}`, text: first.id });
  const root = el("tr", { "data-test": "worker", "data-worker": first.id },
    cell("Worker", link, el("div", { class: "small text-secondary" }, "started ", started)), cell("Host", host, address), cell("State", badge, says),
    cell("Runs", slots, el("div", { class: "bar", "aria-hidden": "true" }, bar)), cell("Load", load), cell("Labels", labels),
    cell("Clock", clock), cell("Version", version));
  const update = (worker) => {
    setText(badge, worker.readiness.replaceAll("_", " "));
    badge.className = `badge text-bg-${worker.readiness === "ready" ? "success" : worker.readiness === "full" ? "primary" : "warning"}`;
    setText(says, worker.says === worker.readiness ? "" : worker.says);
    setText(host, worker.host);
    setText(address, [worker.address, worker.pid && `pid ${worker.pid}`].filter(Boolean).join(", "));
    setText(slots, `${worker.running} of ${worker.slots}`);
    bar.style.width = `${Math.min(100, (100 * worker.running) / Math.max(1, worker.slots))}%`;
    setText(load, worker.load.toFixed(2));
    const texts = Object.entries(worker.labels || {}).map((pair) => pair.join("="));
    keyed(labels, texts, (text) => text, (text) => ({ root: el("span", { class: "badge label", text }), update() {} }));
    setTime(started, worker.started);
    // The clock is as old as the registration: only a clock ahead says something.
    const ahead = Date.parse(worker.clock) - now();
    setText(clock, ahead > 1000 ? `${(ahead / 1000).toFixed(1)} s ahead` : "in step");
    setAttribute(clock, "title", worker.clock);
    setText(version, worker.version);
  };
  return { root, update };
}

export function showWorkers(root, life) {
  const wrong = trouble("workers-error");
  const body = el("tbody");
  const head = ["Worker", "Host", "State", "Runs", "Load", "Labels", "Clock", "Version"].map((text) => el("th", { scope: "col", text }));
  const table = el("table", { class: "table align-middle cards", "data-test": "workers", hidden: true }, el("thead", {}, el("tr", {}, ...head)), body);
  const none = el("div", { class: "empty", "data-test": "empty", hidden: true },
    el("h2", { class: "h5" }, "No worker is alive"),
    el("p", { class: "mb-2" }, "Jobs wait until one is. Start one on any machine that reaches etcd:"),
    el("pre", { class: "small mb-0" }, "quorate worker --etcd HOST:2379 --mongodb mongodb://HOST:27017"));
  life.every(2000, async (signal) => {
    try {
      const { items } = await pages(workers.list, {}, 2000, signal);
      wrong.say("");
      keyed(body, items, (worker) => worker.id, row);
      setHidden(table, items.length === 0);
      setHidden(none, items.length > 0);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      wrong.say(error.away ? "" : error.message);
    }
  });
  root.append(el("div", { class: "heading" }, el("h1", { class: "h4 mb-0" }, "Workers")), wrong.root, table, none);
}
