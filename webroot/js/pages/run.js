// One run: what is known of it, its attempts, and its output.

import { ApiError, runs } from "../api.js";
import { ownerHref, ticksHref } from "../links.js";
import { setState, stateBadge } from "../parts/badge.js";
import { button } from "../parts/button.js";
import { confirmed } from "../parts/dialog.js";
import { el, setAttribute, setHidden, setText } from "../parts/dom.js";
import { notice, perform, trouble } from "../parts/notice.js";
import { followOutput } from "../parts/output.js";
import { cause, late, took } from "../parts/run_words.js";
import { isFinal, stateWords } from "../parts/states.js";
import { table, tableRow } from "../parts/table.js";
import { bothZones, precise } from "../parts/time.js";

const REFRESH = 1000;

// Name, and the text or, with true behind it, the instant; what is "" does not show.
const FACTS = [
  ["Worker", (run) => run.worker],
  ["Cause", (run) => cause(run) || "schedule"],
  ["Planned", (run) => run.planned, true],
  ["Claimed", (run) => run.claimed, true],
  ["Started", (run) => run.started, true],
  ["Ended", (run) => run.ended, true],
  ["Duration", took],
  ["Late", late],
  ["Exit code", (run) => String(run.exit_code ?? "")],
  ["Signal", (run) => String(run.signal || "")],
  ["Error", (run) => run.err],
  ["Reason", (run) => run.reason],
  ["Fence", (run) => String(run.fence || "")],
  ["Attempt", (run) => String(run.attempt)],
  ["Run", (run) => run.run],
];

const ATTEMPTS = ["Attempt", "State", "Started", "Duration", "Worker", "Reason"];

function facts() {
  const rows = FACTS.map(([name, read, isInstant]) => {
    const value = el("dd", { "data-test": `fact-${name.toLowerCase().replaceAll(" ", "-")}` });
    const root = el("div", {}, el("dt", { text: name }), value);
    const update = (run) => {
      const text = read(run) || "";
      setHidden(root, text === "");
      setText(value, isInstant && text ? precise(text) : text);
      if (isInstant) setAttribute(value, "title", text ? bothZones(text) : null);
    };
    return { root, update };
  });
  return { root: el("dl", { class: "facts" }, ...rows.map((row) => row.root)), update: (run) => rows.forEach((row) => row.update(run)) };
}

// All attempts; `choose(n)` is called when somebody wants to see the output of one.
function attempts(choose) {
  const summary = el("summary");
  const shown = table(ATTEMPTS, { look: "table-sm" });
  const root = el("details", { class: "mb-3", "data-test": "attempts", hidden: true }, summary, shown.root);
  const row = (run) => {
    const show = el("button", { class: "btn btn-sm btn-outline-secondary", type: "button", title: `Show the output of attempt ${run.attempt}`,
      on: { click: () => choose(run.attempt) } }, String(run.attempt));
    return tableRow(ATTEMPTS, {}, [show, stateBadge(run.state), run.started ? precise(run.started) : "", took(run), run.worker,
      [run.err, run.reason].filter(Boolean).join(": ")]);
  };
  const update = (list) => {
    setHidden(root, list.length < 2);
    setText(summary, `${list.length} attempts`);
    if (shown.body.childElementCount !== list.length) shown.body.replaceChildren(...list.map(row));
  };
  return { root, update };
}

function killButton(id, after) {
  const kill = button("Kill", { test: "kill-run", look: "danger", symbol: "stop-fill", hidden: true });
  kill.addEventListener("click", async () => {
    if (!(await confirmed("Kill this run?", "Its processes get TERM and, after the grace period, KILL.", "Kill"))) return;
    await perform(kill, () => runs.kill(id), "The run is being killed.");
    after();
  });
  return kill;
}

function tellEnd(run) {
  const well = run.state === "succeeded";
  notice(`The run ended: ${[stateWords(run.state), run.err].filter(Boolean).join(", ")}.`, well ? "success" : "warning");
}

// The heading: the job, the state, and what can be done.
function heading(kill) {
  const job = el("a", { class: "text-decoration-none text-break", "data-test": "run-job" });
  const task = el("span", { class: "text-secondary", "data-test": "is-task", text: "task" });
  const badge = stateBadge();
  const ticks = button("Ticks", { test: "to-ticks", symbol: "list-check", href: "" });
  const root = el("div", { class: "heading" }, el("h1", { class: "h4 mb-0" }, job), task, badge, el("span", { class: "flex-grow-1" }), ticks, kill);
  const update = (run) => {
    document.title = `${run.job} · Quorate`;
    setText(job, run.job);
    setAttribute(job, "href", ownerHref(run));
    setHidden(task, !run.task);
    setHidden(ticks, run.task);
    setAttribute(ticks, "href", ticksHref(run.job));
    setState(badge, run.state);
    setHidden(kill, isFinal(run.state));
  };
  return { root, update };
}

export function showRun(root, life, id) {
  const wrong = trouble("run-error");
  const command = el("pre", { class: "command", "data-test": "command" });
  const head = heading(killButton(id, () => refresh()));
  const known = facts();
  const output = followOutput(life, id);
  const all = attempts(output.choose);
  const page = el("div", { hidden: true }, head.root, command, known.root, all.root, output.root);
  root.append(wrong.root, page);
  let before = null;
  const show = (run) => {
    setHidden(page, false);
    setText(command, run.command || "");
    for (const part of [head, known]) part.update(run);
    all.update(run.attempts || []);
    if (before && !isFinal(before) && isFinal(run.state)) {
      tellEnd(run);
      output.reread();
    }
    before = run.state;
  };
  // A run that is over may be tried again: it is looked at now and then.
  const refresh = life.every(REFRESH, async (signal) => {
    try {
      show(await runs.get(id, signal));
      wrong.say("");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      wrong.say(error.missing ? `There is no run ${id}. A run that was just queued may take a moment to appear.` : error.away ? "" : error.message);
    }
  });
}
