// The fields of the job form: what each shows, and how it goes from a job and back into one. A field that a job does
// not use leaves the job alone, so that what the form does not know survives an edit.

import { el } from "./dom.js";

// A text that a field cannot take, found here and not by the manager.
export class FieldProblem extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

// Reads and writes a member by its path, "retry.attempts".
function read(job, path) {
  return path.split(".").reduce((value, name) => value?.[name], job);
}

// Writes `value`; undefined takes the member away, and what it stood in if that is empty then.
function write(job, path, value) {
  const names = path.split(".");
  const last = names.pop();
  const chain = [job];
  for (const name of names) {
    const inside = chain.at(-1);
    if (typeof inside[name] !== "object" || inside[name] === null) {
      if (value === undefined) return;
      inside[name] = {};
    }
    chain.push(inside[name]);
  }
  if (value !== undefined) chain.at(-1)[last] = value;
  else delete chain.at(-1)[last];
  for (let depth = names.length; value === undefined && depth > 0; depth -= 1) {
    if (Object.keys(chain[depth]).length > 0) break;
    delete chain[depth - 1][names[depth - 1]];
  }
}

const asText = {
  show: (value) => value ?? "",
  take: (text) => (text.trim() === "" ? undefined : text.trim()),
};
const asRaw = { show: (value) => value ?? "", take: (text) => (text === "" ? undefined : text) };
const asNumber = {
  show: (value) => (value === undefined ? "" : String(value)),
  take(text, path) {
    if (text.trim() === "") return undefined;
    if (!/^\d+$/.test(text.trim())) throw new FieldProblem(path, `"${text.trim()}" is no whole number; right is, for example, 3`);
    return Number(text.trim());
  },
};
const asLines = {
  show: (value) => [value ?? []].flat().join("\n"),
  take: (text) => (lines(text).length ? lines(text) : undefined),
};
// A program's arguments. Blanks belong to them, but a line of nothing else is none, and a line break ends the line.
const isArgument = (line) => /\S/.test(line) && !/[\r\n]/.test(line);
const asArguments = {
  show: asLines.show,
  take(text) {
    const given = text.split("\n").filter(isArgument);
    return given.length ? given : undefined;
  },
  fits: (value) => [value ?? []].flat().every(isArgument),
};
const asWords = {
  show: (value) => [value ?? []].flat().join(", "),
  take(text) {
    const words = text.split(/[\s,]+/).filter(Boolean);
    return words.length ? words : undefined;
  },
  fits: (value) => [value ?? []].flat().every((word) => /^[^\s,]+$/.test(word)),
};
const asCodes = {
  show: asWords.show,
  take: (text, path) => asWords.take(text)?.map((word) => {
    if (!/^-?\d+$/.test(word)) throw new FieldProblem(path, `"${word}" is no exit code; right is, for example, 1, 75`);
    return Number(word);
  }),
};
const asPairs = {
  show: (value) => Object.entries(value ?? {}).map((pair) => pair.join("=")).join("\n"),
  take(text, path) {
    const pairs = lines(text).map((line) => {
      const cut = line.indexOf("=");
      if (cut < 1) throw new FieldProblem(path, `"${line}" is no pair; right is, for example, LEVEL=9`);
      return [line.slice(0, cut), line.slice(cut + 1)];
    });
    return pairs.length ? Object.fromEntries(pairs) : undefined;
  },
  // A value with a line break, or blanks at its ends, cannot stand in one line.
  fits: (value) => Object.entries(value ?? {}).every(([name, text]) => `${name}=${text}` === `${name}=${text}`.trim() && !/[\r\n]/.test(text)),
};

// path, label, kind of control, form of the value, hint, and more attributes of the control.
export const SIMPLE = {
  name: ["Name", "input", asRaw, "", { required: true, autocomplete: "off", spellcheck: "false", maxlength: 200, placeholder: "nightly-backup" }],
  cron: ["Schedule", "area", asLines, "Cron, one expression a line: minute, hour, day, month, weekday. With seconds it takes 7 fields, the second first and the year last: 0 30 2 * * * *",
    { rows: 2, placeholder: "30 2 * * *", spellcheck: "false", class: "mono" }],
  zone: ["Time zone", "input", asText, "", { list: "zones", placeholder: "the manager's", autocomplete: "off" }],
  every: ["Every", "input", asText, "Counted from the first saving.", { placeholder: "90s" }],
  at: ["At", "input", asText, "With its offset from UTC.", { placeholder: "2030-12-24T18:00:00Z" }],
  command: ["Command", "area", asRaw, "", { rows: 3, placeholder: "backup --full", spellcheck: "false", class: "mono" }],
  argv: ["Program and arguments", "area", asArguments, "One a line, with its blanks; no shell reads them.",
    { rows: 3, placeholder: "/usr/bin/rsync\n-a\n/srv\n/backup", spellcheck: "false", class: "mono" }],
};

const overlap = [
  ["skip", "Skip: that time gets no run"], ["queue-one", "Queue one: the next waits, later ones are skipped"],
  ["allow", "Allow: runs go side by side"], ["replace", "Replace: kill the old run, start the new one"],
];
const misfire = [["latest", "Run the newest once"], ["all", "Run all of them"], ["skip", "Run none"]];
const delivery = [["at-most-once", "At most once: leave it"], ["at-least-once", "At least once: run it again elsewhere"]];
const leaseLoss = [["kill", "Kill it before another may start"], ["keep", "Keep it: two may run side by side"]];

const keep = [["both", "Its beginning and its end"], ["tail", "Its end"], ["head", "Its beginning"]];

export const MORE = [
  ["description", "Description", "area", asRaw, "", { rows: 2, placeholder: "full backup of db3" }],
  ["timeout", "Time limit of a run", "input", asText, "", { placeholder: "none; for example 2h" }],
  ["output_timeout", "Time limit without output", "input", asText, "", { placeholder: "none; for example 10m" }],
  ["grace", "From TERM to KILL", "input", asText, "", { placeholder: "5s" }],
  ["overlap", "When a run is due and the last one still executes", overlap],
  ["misfire.policy", "Times missed while nothing could run", misfire],
  ["misfire.deadline", "None older than", "input", asText, "", { placeholder: "1h" }],
  ["misfire.limit", "With all: at most", "input", asNumber, "", { inputmode: "numeric", placeholder: "10" }],
  ["retry.attempts", "Attempts in all", "input", asNumber, "", { inputmode: "numeric", placeholder: "1" }],
  ["retry.backoff", "Wait between attempts", "input", asText, "", { placeholder: "10s..5m" }],
  ["retry.on", "Only after these exit codes", "input", asCodes, "", { placeholder: "all but 0" }],
  ["delivery", "A run whose worker is gone", delivery],
  ["on_lease_loss", "A worker that is cut off, with its run", leaseLoss],
  ["driver.user", "Run as user", "input", asText, "", { placeholder: "the worker's", autocomplete: "off" }],
  ["driver.dir", "Working directory", "input", asText, "", { placeholder: "the worker's; for example /srv/backup" }],
  ["driver.shell", "Shell", "input", asText, "", { placeholder: "/bin/sh" }],
  ["output.limit", "Keep of the output at most", "input", asText, "", { placeholder: "1MiB" }],
  ["output.keep", "Of a longer output", keep],
  ["placement.require", "Only on workers with the labels", "input", asWords, "", { placeholder: "disk=ssd, gpu" }],
  ["driver.env", "Environment", "area", asPairs, "One NAME=value a line.", { rows: 3, placeholder: "LEVEL=9", class: "mono", spellcheck: "false" }],
  ["labels", "Labels", "area", asPairs, "One name=value a line.", { rows: 3, placeholder: "team=ops", class: "mono", spellcheck: "false" }],
];

const idOf = (path) => `job-${path.replaceAll(".", "-").replaceAll("_", "-")}`;

// One field: label, control, hint, and the place where its error shows.
export class Field {
  constructor(path, label, kind, form, hint = "", attributes = {}) {
    const id = idOf(path);
    const choice = Array.isArray(kind);
    this.path = path;
    this.placeholder = attributes.placeholder ?? "";
    this.form = form || { show: (value) => value ?? kind[0][0], take: (text) => text };
    const look = choice ? "form-select" : "form-control";
    const base = { ...attributes, id, class: `${look} ${attributes.class || ""}`, "data-test": id, "aria-describedby": `${id}-error ${id}-hint` };
    if (choice) this.control = el("select", base, ...kind.map(([value, text]) => el("option", { value, text })));
    else this.control = el(kind === "area" ? "textarea" : "input", kind === "area" ? base : { type: "text", ...base });
    this.error = el("div", { class: "field-error", id: `${id}-error`, "data-test": `error-${path}`, hidden: true });
    this.hint = el("div", { class: "form-text", id: `${id}-hint`, text: hint, hidden: hint === "" });
    this.root = el("div", { class: "field" }, el("label", { class: "form-label", for: id, text: label }), this.control, this.error, this.hint);
    this.control.addEventListener("input", () => this.say(""));
  }

  get text() {
    return this.control.value;
  }

  set shown(yes) {
    this.root.hidden = !yes;
  }

  say(text) {
    this.error.textContent = text;
    this.error.hidden = text === "";
    this.control.classList.toggle("is-invalid", text !== "");
    if (text) this.control.setAttribute("aria-invalid", "true");
    else this.control.removeAttribute("aria-invalid");
  }

  // Shows the value at `path` of `job`; what cannot be shown in this control is for the JSON tab.
  load(job, path) {
    const value = path && read(job, path);
    // As text, since `store` sees a copy of the job.
    this.before = JSON.stringify(value);
    const fits = !this.form.fits || this.form.fits(value);
    this.control.disabled = !fits;
    this.control.value = fits ? this.form.show(value) : "";
    this.control.placeholder = fits ? this.placeholder : "has values that do not fit here: edit it as JSON";
    // A choice that this page does not know is kept, and shown as it is.
    if (this.control.tagName === "SELECT" && this.control.value === "" && typeof value === "string") {
      this.control.append(el("option", { value, text: value }));
      this.control.value = value;
    }
    this.loaded = this.control.value;
  }

  // Puts what the control says into `job`; an untouched control changes nothing.
  store(job, path) {
    if (this.control.disabled || (this.control.value === this.loaded && JSON.stringify(read(job, path)) === this.before)) return;
    write(job, path, this.form.take(this.control.value, this.path));
  }
}
