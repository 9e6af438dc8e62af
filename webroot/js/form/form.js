// The controls of a job, and what moves a job into them and out of them.

import { Choice } from "./choice.js";
import { DRIVERS } from "./drivers.js";
import { Field } from "./field.js";
import { SETTINGS } from "./settings.js";
import { TRIGGERS } from "./triggers.js";
import { asJson, asRaw } from "./values.js";

const NAME = { path: "name", label: "Name", as: asRaw, placeholder: "nightly-backup", attributes: { required: true, autocomplete: "off", spellcheck: "false", maxlength: 200 } };
const JSON_TEXT = { path: "json", label: "The whole job as JSON", area: 22, as: asJson, look: "mono", attributes: { spellcheck: "false" } };

// A problem in words.
function wordsOf({ got, problem, example }) {
  return `${got ? `“${got}” ` : ""}${problem}${example ? `. For example: ${example}` : ""}`;
}

// The same beside the field that it is about: which of its lines, where there are several.
function wordsAt(field, error) {
  const place = /\[(\d+)\]$/.exec(error.field);
  return `${place && field.text.trim().includes("\n") ? `Line ${Number(place[1]) + 1}: ` : ""}${wordsOf(error)}`;
}

export class Form {
  // stored: the job that is edited, as it is stored.
  constructor(stored) {
    this.name = new Field(NAME);
    this.driver = new Choice("driver", "What to run", DRIVERS, stored);
    this.trigger = new Choice("trigger", "When to run it", TRIGGERS, stored);
    this.settings = SETTINGS.map(({ path, ...given }) => ({ path, field: new Field({ path, ...given }, stored) }));
    // Stands for all others.
    this.json = new Field(JSON_TEXT);
  }

  // All fields of the job as the form shows it, each with its place in a job.
  get placed() {
    return [
      { path: "name", field: this.name },
      ...[this.driver, this.trigger].flatMap((choice) => [{ path: choice.path, field: choice.select }, ...choice.placed]),
      ...this.settings,
    ];
  }

  load(job) {
    this.driver.load(job);
    this.trigger.load(job);
    for (const { path, field } of [{ path: "name", field: this.name }, ...this.settings]) field.load(job, path);
  }

  // `job` with what the form says.
  store(job) {
    const result = structuredClone(job);
    this.driver.store(result);
    this.trigger.store(result);
    for (const { path, field } of [{ path: "name", field: this.name }, ...this.settings]) field.store(result, path);
    // Empty, but there: the manager then says at the field what is missing.
    result.name ??= "";
    return result;
  }

  // The field that shows the problem of a path in a job: itself, or the nearest above it.
  fieldAt(path) {
    const { placed } = this;
    for (let parts = path.replace(/\[\d+\]/g, "").split("."); parts.length > 0; parts = parts.slice(0, -1)) {
      const found = placed.find((one) => one.path === parts.join("."));
      if (found) return found.field;
    }
    return undefined;
  }

  clear() {
    for (const { field } of this.placed) field.say("");
    this.json.say("");
  }

  // Shows each problem beside its field, as `find` tells, and gives the words of those that have none.
  complain(errors, find = (path) => this.fieldAt(path)) {
    const said = new Map();
    const rest = [];
    for (const error of errors) {
      const field = find(error.field);
      if (field) said.set(field, [...(said.get(field) ?? []), wordsAt(field, error)]);
      else rest.push(`${error.field ? `${error.field}: ` : ""}${wordsOf(error)}`);
    }
    for (const [field, texts] of said) field.say(texts.join("\n"));
    return { rest, first: this.placed.find(({ field }) => said.has(field))?.field };
  }
}
