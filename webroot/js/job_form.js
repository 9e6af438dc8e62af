// The form that makes and edits a job. What it does not show is kept as it was, and the JSON tab reaches everything.

import { ApiError, jobs } from "./api.js";
import { confirmed, el, icon, jobHref, notice, perform, runHref, runsOf, setHidden, setState, setText, stateBadge, ticksOf, trouble } from "./dom.js";
import { Field, FieldProblem, MORE, SIMPLE } from "./fields.js";
import { DELETING } from "./jobs.js";
import { absolute, bothZones, coming, setTime, timeElement } from "./time.js";

const TRIGGERS = [
  ["cron", "At times (cron)"], ["every", "Every so often"], ["at", "Once"], ["manual", "Only when somebody starts it"],
];
const DRIVERS = [["shell", "A shell command"], ["exec", "A program, without a shell"]];

const blank = () => ({ name: "", trigger: { cron: [] }, driver: { shell: { command: "" } } });

const kindOf = (union, known) => known.map(([kind]) => kind).find((kind) => union?.[kind] !== undefined);

// The form's controls and what moves a job into them and out of them.
class Form {
  constructor() {
    const simple = Object.entries(SIMPLE).map(([path, more]) => [path, new Field(path, ...more)]);
    this.fields = new Map([...simple, ...MORE.map((more) => [more[0], new Field(...more)])]);
    this.trigger = new Field("trigger", "When", TRIGGERS);
    this.driver = new Field("driver", "What", DRIVERS);
    for (const [path, field] of [["trigger", this.trigger], ["driver", this.driver]]) {
      this.fields.set(path, field);
      field.control.addEventListener("change", () => this.arrange());
    }
    this.json = new Field("json", "The whole job as JSON", "area", { show: (text) => text, take: (text) => text }, "",
      { rows: 22, class: "mono", spellcheck: "false" });
  }

  get(path) {
    return this.fields.get(path);
  }

  // Shows what goes with the kinds of trigger and driver that are chosen.
  arrange() {
    const when = this.trigger.text;
    const what = this.driver.text;
    for (const path of ["cron", "zone", "every", "at"]) this.get(path).shown = when === path || (path === "zone" && when === "cron");
    this.get("command").shown = what === "shell";
    this.get("driver.shell").shown = what === "shell";
    this.get("argv").shown = what === "exec";
  }

  // A path of the form as a path in a job.
  inJob(path) {
    const driver = this.driver.text;
    if (["cron", "zone", "every", "at"].includes(path)) return `trigger.${path}`;
    if (path === "command") return "driver.shell.command";
    if (path === "argv") return "driver.exec.argv";
    if (path === "driver.shell") return "driver.shell.shell";
    if (path.startsWith("driver.")) return `driver.${driver}.${path.slice(7)}`;
    return path;
  }

  load(job) {
    this.trigger.load({ trigger: kindOf(job.trigger, TRIGGERS) }, "trigger");
    this.driver.load({ driver: kindOf(job.driver, DRIVERS) }, "driver");
    for (const [path, field] of this.fields) {
      if (path !== "trigger" && path !== "driver") field.load(job, this.inJob(path));
    }
    this.arrange();
  }

  // `job` with what the form says.
  store(job) {
    const result = structuredClone(job);
    const [when, what] = [this.trigger.text, this.driver.text];
    if (result.trigger?.[when] === undefined) result.trigger = when === "manual" ? { manual: true } : {};
    if (result.driver?.[what] === undefined) {
      const [before] = Object.values(result.driver || {});
      const kept = ["env", "dir", "user", "umask", "stdin"].filter((name) => before?.[name] !== undefined);
      result.driver = { [what]: Object.fromEntries(kept.map((name) => [name, before[name]])) };
    }
    for (const [path, field] of this.fields) {
      if (path !== "trigger" && path !== "driver" && !field.root.hidden) field.store(result, this.inJob(path));
    }
    // Empty, but there: the manager then says at the field what is missing.
    if (when === "cron" && result.trigger?.cron === undefined) result.trigger = { ...result.trigger, cron: [""] };
    if ((when === "every" || when === "at") && result.trigger?.[when] === undefined) result.trigger = { ...result.trigger, [when]: "" };
    if (what === "shell" && result.driver?.shell?.command === undefined) result.driver = { shell: { ...result.driver?.shell, command: "" } };
    if (what === "exec" && result.driver?.exec?.argv === undefined) result.driver = { exec: { ...result.driver?.exec, argv: [] } };
    if (result.name === undefined) result.name = "";
    return result;
  }

  // The field that shows the problem of a path in a job: itself, or the nearest above it.
  fieldFor(path, problem) {
    // A zone is read together with the trigger that it belongs to.
    if (path === "trigger" && /zone/i.test(problem) && this.get("zone").text) return this.get("zone");
    const cut = path.replace(/^preview\.?/, "").replace(/^(cron|zone)\b/, "trigger.$1").replace(/\[\d+\]/g, "");
    const byJobPath = [...this.fields].map(([own, field]) => [this.inJob(own), field]);
    for (let parts = cut.split("."); parts.length > 0; parts = parts.slice(0, -1)) {
      const found = byJobPath.find(([own, field]) => own === parts.join(".") && !field.root.hidden);
      if (found) return found[1];
    }
    return null;
  }

  clear() {
    for (const field of [...this.fields.values(), this.json]) field.say("");
  }

  // Shows problems at their fields; returns those that have none.
  complain(errors) {
    this.clear();
    const said = new Map();
    const rest = [];
    for (const error of errors) {
      const field = this.fieldFor(error.field, error.problem);
      if (field) said.set(field, [...(said.get(field) || []), this.words(error)]);
      else rest.push(`${error.field ? `${error.field}: ` : ""}${this.words(error)}`);
    }
    for (const [field, texts] of said) field.say(texts.join("\n"));
    const first = [...this.fields.values()].find((field) => said.has(field));
    first?.root.closest("details")?.setAttribute("open", "");
    first?.control.focus();
    return rest;
  }

  words({ field, got, problem, example }) {
    const line = /cron\[(\d+)\]$/.exec(field);
    const place = line && this.get("cron").text.trim().includes("\n") ? `Line ${Number(line[1]) + 1}: ` : "";
    return `${place}${got ? `“${got}” ` : ""}${problem}${example && !/right is/i.test(problem) ? `. Right is, for example, ${example}` : ""}`;
  }
}

// What the schedule means and its next instants, asked for while it is written. `name` is that of the job that is
// edited, whose zone and anchor a save keeps; null for a new one.
function preview(form, life, name) {
  const words = el("div", { class: "fw-semibold", "data-test": "preview-words" });
  const next = el("ol", { class: "mb-0 small", "data-test": "preview-next" });
  const root = el("div", { class: "preview", "aria-live": "polite", hidden: true }, words, next);
  let timer;
  let asked = new AbortController();
  const ask = async () => {
    const when = form.trigger.text;
    const lines = form.get("cron").text.split("\n").map((line) => line.trim()).filter(Boolean);
    const every = form.get("every").text.trim();
    const cron = { cron: lines, every: every ? [`@every ${every}`] : [] }[when] || [];
    setHidden(root, cron.length === 0);
    if (cron.length === 0) return;
    try {
      const answer = await jobs.preview(cron, when === "cron" ? form.get("zone").text.trim() : "", name, asked.signal);
      root.classList.remove("void");
      for (const path of ["cron", "zone", "every"]) form.get(path).say("");
      setText(words, when === "cron" && !answer.describe.includes(answer.zone) ? `${answer.describe} (${answer.zone})` : answer.describe);
      const shown = when === "cron" ? answer.next : [];
      next.replaceChildren(...shown.map((instant) => el("li", {}, el("time", { datetime: instant, title: bothZones(instant) }, civil(instant)))));
    } catch (error) {
      if (error.name === "AbortError") return;
      // The box keeps its size, or the fields below it would move under the pointer.
      root.classList.add("void");
      setText(words, "No schedule yet");
      for (const wrong of error.errors || []) {
        const field = when === "every" ? null : form.fieldFor(wrong.field, wrong.problem);
        (field || form.get(when)).say(form.words(wrong));
      }
      if (!error.errors?.length && !error.away) form.get(when).say(error.message);
    }
  };
  const later = () => {
    clearTimeout(timer);
    asked.abort();
    asked = new AbortController();
    timer = setTimeout(ask, 300);
  };
  for (const control of [form.get("cron"), form.get("zone"), form.get("every"), form.trigger].map((field) => field.control)) {
    control.addEventListener("input", later);
  }
  life.signal.addEventListener("abort", () => {
    clearTimeout(timer);
    asked.abort();
  });
  return { root, ask: later };
}

// "2030-12-24T02:30:00+01:00" as the clocks in its zone show it.
function civil(instant) {
  const [day, time] = instant.split("T");
  const weekday = new Date(`${day}T00:00:00Z`).toLocaleDateString(undefined, { weekday: "short", timeZone: "UTC" });
  return `${weekday} ${day} ${time.replace(/\.\d+/, "").replace(/Z$/, " UTC").replace(/([+-]\d\d:\d\d)$/, " $1")}`;
}

function zones() {
  const known = Intl.supportedValuesOf ? Intl.supportedValuesOf("timeZone") : [];
  return el("datalist", { id: "zones" }, ...["UTC", ...known.filter((zone) => zone !== "UTC")].map((value) => el("option", { value })));
}

// How the job does, above its form.
function standing(name, life) {
  const next = timeElement("next");
  const badge = stateBadge();
  const last = el("a", { "data-test": "last" }, badge);
  const ended = timeElement("last-ended");
  const running = el("span", { "data-test": "running" });
  const warning = el("div", { class: "alert alert-warning mb-3", hidden: true });
  const root = el("div", {},
    el("div", { class: "standing" },
      el("span", {}, el("span", { class: "text-secondary" }, "Next run "), next),
      el("span", {}, el("span", { class: "text-secondary" }, "Last result "), last, " ", ended),
      running,
      el("a", { href: runsOf(name), "data-test": "job-runs" }, "Its runs"),
      el("a", { href: ticksOf(name), "data-test": "to-ticks" }, "Its ticks")),
    warning);
  const poll = life.every(2000, async (signal) => {
    let status;
    try {
      ({ status } = await jobs.get(name, signal));
    } catch (error) {
      if (error.name === "AbortError") throw error;
      return error.status !== 404;
    }
    setTime(next, coming(status.next), status.paused ? "paused" : "–");
    setState(badge, status.last?.state);
    if (status.last) last.href = runHref(status.last.run);
    setTime(ended, status.last?.ended, "not run yet");
    setText(warning, status.warning || "");
    setHidden(warning, !status.warning);
    const links = status.running.map((run) => el("a", { class: "running me-2", href: runHref(run.run) },
      el("span", { class: "pulse", "aria-hidden": "true" }), `${run.state} now`));
    if (links.map((link) => link.href + link.textContent).join() !== [...running.children].map((link) => link.href + link.textContent).join()) {
      running.replaceChildren(...links);
    }
    return true;
  });
  const runNow = el("button", { class: "btn btn-outline-primary", type: "button", "data-test": "run-now" }, icon("play-fill"), " Run now");
  runNow.addEventListener("click", async () => {
    await perform(runNow, () => jobs.act(name, "run"), () => `${name}: a run is on its way.`);
    poll();
  });
  return { root, runNow };
}

function layout(form, shownPreview) {
  const field = (path) => form.get(path).root;
  const more = el("details", { class: "more", "data-test": "more-fields" },
    el("summary", { class: "btn btn-link px-0" }, "More: limits, retries, user, environment, labels …"),
    el("div", { class: "grid" }, ...MORE.map(([path]) => field(path))));
  return el("div", { "data-test": "tab-form" },
    field("name"),
    el("div", { class: "grid" }, form.driver.root, form.trigger.root),
    field("command"), field("argv"),
    el("div", { class: "grid wide-first" }, field("cron"), field("zone")), field("every"), field("at"),
    shownPreview.root, zones(), more);
}

function tabs(form, simple, state) {
  const json = el("div", { hidden: true, "data-test": "tab-json" }, form.json.root);
  const tab = (text, test) => el("button", { class: "nav-link", type: "button", "data-test": test, "aria-pressed": "false" }, text);
  const buttons = [tab("Form", "show-form"), tab("JSON", "show-json")];
  const show = (asJson) => {
    state.asJson = asJson;
    setHidden(json, !asJson);
    setHidden(simple, asJson);
    buttons.forEach((button, n) => {
      button.classList.toggle("active", asJson === (n === 1));
      button.setAttribute("aria-pressed", String(asJson === (n === 1)));
    });
  };
  buttons[0].addEventListener("click", () => {
    if (!state.asJson) return;
    try {
      state.job = parsed(form);
    } catch (error) {
      form.json.say(error.message);
      return;
    }
    form.load(state.job);
    show(false);
    state.changed();
  });
  buttons[1].addEventListener("click", () => {
    if (state.asJson) return;
    try {
      form.json.control.value = JSON.stringify(form.store(state.job), null, 2);
    } catch (error) {
      if (!(error instanceof FieldProblem)) throw error;
      form.get(error.field).say(error.message);
      return;
    }
    form.json.say("");
    show(true);
  });
  show(false);
  return { bar: el("div", { class: "nav nav-tabs mb-3" }, ...buttons), json };
}

function parsed(form) {
  let job;
  try {
    job = JSON.parse(form.json.text);
  } catch (error) {
    throw new FieldProblem("json", `This is no JSON: ${error.message}`);
  }
  if (typeof job !== "object" || job === null || Array.isArray(job)) throw new FieldProblem("json", "This is no JSON object.");
  return job;
}

// Nobody knows whether a save that got this answer happened.
const isLost = (error) => error.away || ["in-doubt", "too-slow"].includes(error.type);

// A save before it, whose answer was lost, may be what stands in this one's way.
const mayBeOurs = (state, error) => Boolean(state.lost) && error.status === (state.name === null ? 409 : 412);

// True if the job is stored as it was sent. Compared is what the manager makes of it, so that neither defaults nor
// spellings make a difference, and a member that was taken out does.
async function isSaved(name, sent) {
  try {
    const { status, ...stored } = await jobs.get(name);
    const { job } = await jobs.validate({ name, ...sent });
    // Both come from the manager, with their members in its order.
    return JSON.stringify(stored) === JSON.stringify(job);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return false;
  }
}

// Saves; shows what is wrong where it is wrong.
async function save(form, state, wrong) {
  wrong.say("");
  form.clear();
  let body;
  try {
    body = state.asJson ? parsed(form) : form.store(state.job);
  } catch (error) {
    if (!(error instanceof FieldProblem)) throw error;
    const field = error.field === "json" ? form.json : form.get(error.field);
    field.root.closest("details")?.setAttribute("open", "");
    field.say(error.message);
    field.control.focus();
    return;
  }
  const name = state.name ?? body.name;
  try {
    if (state.name === null) await jobs.create(body);
    else await jobs.replace(name, body, state.revision);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    state.lost ||= isLost(error);
    const unsure = isLost(error) || mayBeOurs(state, error);
    if (!(unsure && (await isSaved(name, body)))) {
      complain(form, state, wrong, error);
      return;
    }
  }
  notice(`${name} is saved.`);
  location.hash = "#/jobs";
}

function complain(form, state, wrong, error) {
  const words = ({ field, ...rest }) => `${field ? `${field}: ` : ""}${form.words({ field, ...rest })}`;
  const rest = state.asJson ? error.errors.map(words) : form.complain(error.errors);
  if (state.asJson) form.json.control.focus();
  if (error.status === 412) rest.push("Somebody saved this job since you opened it. Reload the page to see what it is now; your changes are not saved.");
  else if (error.errors.length === 0) rest.push(error.message);
  if (mayBeOurs(state, error)) rest.push("It may have been your own save, whose answer was lost.");
  if (isLost(error)) rest.push("It is not known whether your changes were saved. They are still here: save again.");
  wrong.say(rest.join("\n"));
  if (rest.length) wrong.root.scrollIntoView({ block: "nearest" });
}

function build(root, life, state) {
  const form = new Form();
  const shownPreview = preview(form, life, state.name);
  const simple = layout(form, shownPreview);
  state.changed = shownPreview.ask;
  // A save without a zone keeps the one that the job has.
  if (state.job.trigger.zone) form.get("zone").placeholder = `stays ${state.job.trigger.zone}`;
  form.load(state.job);
  const { bar, json } = tabs(form, simple, state);
  const wrong = trouble("form-error");
  wrong.root.classList.add("pre-line");
  const submit = el("button", { class: "btn btn-primary", type: "submit", "data-test": "save" }, "Save");
  const head = state.name === null ? null : standing(state.name, life);
  if (state.name !== null) form.get("name").control.readOnly = true;
  const page = el("form", { class: "job-form", novalidate: true, "data-test": "job-form" },
    bar, wrong.root, simple, json,
    el("div", { class: "d-flex flex-wrap gap-2 mt-3" }, submit, el("a", { class: "btn btn-outline-secondary", href: "#/jobs" }, "Cancel"),
      head?.runNow, state.name !== null && removal(state.name)));
  page.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    await save(form, state, wrong).finally(() => (submit.disabled = false));
  });
  root.append(
    el("div", { class: "heading" }, el("h1", { class: "h4 mb-0 text-break", "data-test": "title" }, state.name ?? "New job"),
      state.saved && el("span", { class: "text-secondary small" }, `saved ${absolute(state.saved)}`)));
  if (head) root.append(head.root);
  root.append(page);
  shownPreview.ask();
  if (state.name === null) form.get("name").control.focus();
}

function removal(name) {
  const button = el("button", { class: "btn btn-outline-danger ms-auto", type: "button", "data-test": "delete" }, icon("trash"), " Delete");
  button.addEventListener("click", async () => {
    if (!(await confirmed(`Delete the job ${name}?`, DELETING, "Delete"))) return;
    if (await perform(button, () => jobs.remove(name), () => `${name} is deleted.`)) location.hash = "#/jobs";
  });
  return button;
}

export async function showJobForm(root, life, name) {
  if (name === null) {
    build(root, life, { name, job: blank(), revision: null });
    return;
  }
  try {
    const { status, ...job } = await jobs.get(name, life.signal);
    if (!life.signal.aborted) build(root, life, { name, job, revision: status.revision, saved: status.saved });
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof ApiError)) throw error;
    const text = error.status === 404 ? `There is no job ${name}.` : error.message;
    root.append(el("div", { class: "alert alert-warning", role: "alert" }, text, " ", el("a", { href: error.status === 404 ? "#/jobs" : jobHref(name) }, "To the jobs")));
  }
}
