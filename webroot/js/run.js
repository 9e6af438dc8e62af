// One run: what is known of it, and its output, followed while it executes.

import { runs } from "./api.js";
import { confirmed, el, icon, isFinal, jobHref, notice, perform, setHidden, setState, setText, stateBadge, ticksOf, trouble } from "./dom.js";
import { cause, late, took } from "./runs.js";
import { bothZones, precise } from "./time.js";

const FOLLOW = 500;
const REFRESH = 1000;

const FACTS = [
  ["Worker", (run) => run.worker],
  ["Why", (run) => cause(run) || "its schedule"],
  ["Planned", (run) => run.planned, true],
  ["Claimed", (run) => run.claimed, true],
  ["Started", (run) => run.started, true],
  ["Ended", (run) => run.ended, true],
  ["Took", took],
  ["Started late by", late],
  ["Exit code", (run) => (run.exit_code === null || run.exit_code === undefined ? "" : String(run.exit_code))],
  ["Signal", (run) => (run.signal ? String(run.signal) : "")],
  ["Error", (run) => run.err],
  ["Reason", (run) => run.reason],
  ["Fence", (run) => (run.fence ? String(run.fence) : "")],
  ["Attempt", (run) => String(run.attempt)],
  ["Run", (run) => run.run],
];

function facts() {
  const rows = FACTS.map(([name, read, isInstant]) => {
    const value = el("dd", { "data-test": `fact-${name.toLowerCase().replaceAll(" ", "-")}` });
    const root = el("div", {}, el("dt", { text: name }), value);
    const update = (run) => {
      const text = read(run) || "";
      setHidden(root, text === "");
      setText(value, isInstant && text ? precise(text) : text);
      if (isInstant && text) value.title = bothZones(text);
    };
    return { root, update };
  });
  return { root: el("dl", { class: "facts" }, ...rows.map((row) => row.root)), update: (run) => rows.forEach((row) => row.update(run)) };
}

// The output as text, standard error marked. Pieces count bytes of UTF-8 and may end inside a character, so each
// stream has a decoder of its own that waits for the rest.
class Output {
  constructor() {
    this.pre = el("pre", { class: "output", tabindex: "0", "aria-label": "Output", "data-test": "output" });
    this.note = el("p", { class: "small text-secondary mb-0", "data-test": "output-note" });
    this.root = el("section", { "aria-label": "Output" }, el("h2", { class: "h6" }, "Output ",
      el("span", { class: "badge stderr-key" }, "standard error")), this.pre, this.note);
    // Which attempt; none: the newest.
    this.wanted = undefined;
    this.reset();
  }

  reset() {
    this.from = 0;
    this.attempt = 0;
    this.last = null;
    this.decoders = { out: new TextDecoder(), err: new TextDecoder() };
    this.pre.replaceChildren();
  }

  add({ output, pieces, next, attempt, truncated, gap, complete }) {
    const bottom = this.pre.scrollHeight - this.pre.scrollTop - this.pre.clientHeight < 24;
    const bytes = new TextEncoder().encode(output);
    let done = 0;
    for (const [, stream, length] of pieces) {
      // What is missing ends where a piece does.
      if (gap && done === gap.at) this.missing(gap.bytes);
      this.write(stream, bytes.subarray(done, done + length));
      done += length;
    }
    if (done < bytes.length) this.write("out", bytes.subarray(done));
    this.from = next;
    this.attempt = attempt;
    if (bottom) this.pre.scrollTop = this.pre.scrollHeight;
    const said = this.wanted ? [`Of attempt ${attempt}.`] : [];
    if (truncated > 0) said.push(`${truncated.toLocaleString()} bytes beyond the job's limit are left out.`);
    if (!complete) said.push("Followed while it executes.");
    else if (this.pre.childElementCount === 0) said.push("It printed nothing.");
    setText(this.note, said.join(" "));
  }

  missing(bytes) {
    this.last = null;
    this.decoders = { out: new TextDecoder(), err: new TextDecoder() };
    this.pre.append(el("span", { class: "gap", "data-test": "output-gap", text: `${bytes.toLocaleString()} bytes are left out here` }));
  }

  write(stream, bytes) {
    const text = (this.decoders[stream] || this.decoders.out).decode(bytes, { stream: true });
    if (text === "") return;
    if (this.last?.dataset.stream !== stream) {
      this.last = el("span", { "data-stream": stream, class: stream === "err" ? "stderr" : "" });
      this.pre.append(this.last);
    }
    this.last.append(text);
  }
}

// Reads on until the manager says that nothing will follow.
function follow(id, life, output) {
  return life.every(FOLLOW, async (signal) => {
    let part;
    try {
      const wanted = output.wanted;
      part = await runs.output(id, output.from, wanted, signal);
      if (wanted !== output.wanted || (output.attempt && part.attempt !== output.attempt)) {
        output.reset();
        part = await runs.output(id, 0, output.wanted, signal);
      }
    } catch (error) {
      if (error.name === "AbortError") throw error;
      setText(output.note, error.away ? "" : error.message);
      return true;
    }
    output.add(part);
    return !part.complete;
  });
}

// All attempts; `show(n)` is called when somebody wants to see the output of one.
function attempts(show) {
  const body = el("tbody");
  const head = ["Attempt", "State", "Started", "Took", "Worker", "Result"].map((text) => el("th", { scope: "col", text }));
  const root = el("details", { class: "mb-3", "data-test": "attempts", hidden: true }, el("summary"),
    el("table", { class: "table table-sm cards" }, el("thead", {}, el("tr", {}, ...head)), body));
  const choose = (attempt) => el("button", { class: "btn btn-sm btn-outline-secondary", type: "button", title: `Show the output of attempt ${attempt}`,
    on: { click: () => show(attempt) } }, String(attempt));
  const update = (list) => {
    setHidden(root, list.length < 2);
    setText(root.firstChild, `All ${list.length} attempts`);
    if (body.childElementCount === list.length) return;
    body.replaceChildren(...list.map((run) => {
      const badge = stateBadge();
      setState(badge, run.state);
      const cells = [["Attempt", choose(run.attempt)], ["State", badge], ["Started", run.started ? precise(run.started) : ""], ["Took", took(run)],
        ["Worker", run.worker], ["Result", [run.err, run.reason].filter(Boolean).join(": ")]];
      return el("tr", {}, ...cells.map(([label, content]) => el("td", { "data-label": label }, content)));
    }));
  };
  return { root, update };
}

function killButton(id, after) {
  const button = el("button", { class: "btn btn-danger", type: "button", "data-test": "kill-run", hidden: true }, icon("stop-fill"), " Kill");
  button.addEventListener("click", async () => {
    if (!(await confirmed("Kill this run?", "Its processes get TERM and, after the job's grace, KILL.", "Kill"))) return;
    await perform(button, () => runs.kill(id), () => "The run is being killed.");
    after();
  });
  return button;
}

export function showRun(root, life, id) {
  const wrong = trouble("run-error");
  const title = el("a", { class: "text-decoration-none text-break", "data-test": "run-job" });
  const badge = stateBadge();
  const ticks = el("a", { class: "btn btn-outline-secondary", "data-test": "to-ticks" }, icon("list-check"), " Ticks");
  const command = el("pre", { class: "command", "data-test": "command" });
  const known = facts();
  const output = new Output();
  const all = attempts((attempt) => {
    output.wanted = attempt;
    output.reset();
    reread();
  });
  let state = null;
  let reread = () => {};
  const kill = killButton(id, () => refresh());
  const refresh = life.every(REFRESH, async (signal) => {
    let run;
    try {
      run = await runs.get(id, signal);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      wrong.say(error.status === 404 ? `There is no run ${id}. A run that was just asked for may take a moment.` : error.away ? "" : error.message);
      return true;
    }
    wrong.say("");
    setHidden(page, false);
    document.title = `${run.job} · Quorate`;
    title.href = jobHref(run.job);
    ticks.href = ticksOf(run.job);
    setText(title, run.job);
    setState(badge, run.state);
    setText(command, run.command || "");
    known.update(run);
    all.update(run.attempts || []);
    setHidden(kill, isFinal(run.state));
    if (state && !isFinal(state) && isFinal(run.state)) {
      notice(`The run ${run.state === "succeeded" ? "succeeded" : `ended: ${run.err || run.state}`}.`, run.state === "succeeded" ? "success" : "warning");
      reread();
    }
    state = run.state;
    // A run that is over may be tried again: look now and then.
    return true;
  });
  const page = el("div", { hidden: true },
    el("div", { class: "heading" }, el("h1", { class: "h4 mb-0" }, title), badge, el("span", { class: "flex-grow-1" }), ticks, kill),
    command, known.root, all.root, output.root);
  root.append(wrong.root, page);
  reread = follow(id, life, output);
}
