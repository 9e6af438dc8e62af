// A member of a job that is one of several kinds, each with fields of its own: its trigger, its driver.

import { el } from "../parts/dom.js";
import { Field } from "./field.js";

export class Choice {
  // entries: see drivers.js and triggers.js; stored: the job that is edited.
  constructor(path, label, entries, stored) {
    this.path = path;
    this.entries = entries;
    this.select = new Field({ path, label, options: entries.map(({ kind, words }) => [kind, words]) });
    this.fields = new Map();
    this.root = el("div", {}, ...entries.map(({ fields, look = "" }) => el("div", { class: look }, ...this.make(fields, stored))));
    this.more = entries.flatMap(({ more = [] }) => this.make(more, stored));
    this.select.control.addEventListener("change", () => this.arrange());
  }

  // The elements of those fields that are not there yet.
  make(specs, stored) {
    const fresh = specs.filter(({ path, id = path }) => !this.fields.has(id)).map((spec) => new Field(spec, stored));
    for (const field of fresh) this.fields.set(field.id, field);
    return fresh.map((field) => field.root);
  }

  // Undefined: a kind that this page does not know.
  get entry() {
    return this.entries.find(({ kind }) => kind === this.select.text);
  }

  // The fields of the chosen kind, each with its place in a job.
  get placed() {
    const { fields = [], more = [] } = this.entry ?? {};
    return [...fields, ...more].map(({ path, id = path }) => ({ path, field: this.fields.get(id) }));
  }

  // The text of a field.
  text(id) {
    return this.fields.get(id).text;
  }

  // Shows what goes with the kind that is chosen.
  arrange() {
    const shown = new Set(this.placed.map(({ field }) => field));
    for (const field of this.fields.values()) field.shown = shown.has(field);
  }

  load(job) {
    const kinds = Object.keys(job[this.path] ?? {});
    const known = this.entries.find(({ kind }) => kinds.includes(kind));
    this.select.show(known?.kind ?? kinds[0]);
    for (const field of this.fields.values()) field.load({}, field.id);
    for (const { path, field } of this.placed) field.load(job, path);
    this.arrange();
  }

  store(job) {
    const { entry, path } = this;
    if (!entry) return;
    if (job[path]?.[entry.kind] === undefined) job[path] = entry.begin(job[path]);
    for (const placed of this.placed) placed.field.store(job, placed.path);
    job[path] = entry.complete(job[path]);
  }
}
