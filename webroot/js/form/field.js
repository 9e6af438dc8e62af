// One field of the form: label, control, hint, and the place where its error shows. A field that nobody touches
// leaves the job alone, so that what the form does not know survives an edit.

import { el } from "../parts/dom.js";
import { readMember, writeMember } from "./member.js";
import { FieldProblem, asText } from "./values.js";

// A choice whose options are [value, words]; the first one is what no value means.
const asChoice = (options) => ({ show: (value) => value ?? options[0][0], take: (text) => text });

const idOf = (id) => `job-${id.replaceAll(".", "-").replaceAll("_", "-")}`;

function controlOf({ options, area, look = "" }, attributes) {
  const shared = { ...attributes, class: `${options ? "form-select" : "form-control"} ${look}` };
  if (options) return el("select", shared, ...options.map(([value, text]) => el("option", { value, text })));
  return area ? el("textarea", { rows: area, ...shared }) : el("input", { type: "text", ...shared });
}

export class Field {
  // It is given as
  //   path         where it is in a job
  //   id           what it is called, if not by its path: fields of several drivers that are the same are one
  //   label, hint
  //   options      of a choice; or `area`: how many lines to write in; or none: one line
  //   as           how text and value become each other, see values.js
  //   suggest()    texts to choose from
  //   placeholder  a text, or a function of the job as it is stored
  //   look         more classes, and `attributes` of the control
  // `stored` is the job that is edited.
  constructor(given, stored) {
    const { path, id = path, label, hint = "", options, suggest, placeholder = "", attributes } = given;
    const name = idOf(id);
    this.id = id;
    this.as = given.as ?? (options ? asChoice(options) : asText);
    this.placeholder = typeof placeholder === "function" ? placeholder(stored) : placeholder;
    this.control = controlOf(given, {
      ...attributes, id: name, "data-test": name, "aria-describedby": `${name}-error ${name}-hint`, list: suggest && `${name}-list`,
    });
    this.error = el("div", { class: "field-error", id: `${name}-error`, "data-test": `error-${id}`, hidden: true });
    this.root = el("div", { class: "field" },
      el("label", { class: "form-label", for: name, text: label }), this.control, this.error,
      el("div", { class: "form-text", id: `${name}-hint`, text: hint, hidden: hint === "" }),
      suggest && el("datalist", { id: `${name}-list` }, ...suggest().map((value) => el("option", { value }))));
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

  focus() {
    this.root.closest("details")?.setAttribute("open", "");
    this.control.focus();
  }

  // Shows a value; what this control cannot show is for the JSON tab.
  show(value) {
    const fits = this.as.fits?.(value) ?? true;
    this.control.disabled = !fits;
    this.control.value = fits ? this.as.show(value) : "";
    this.control.placeholder = fits ? this.placeholder : "does not fit here; edit it as JSON";
    // A choice that this page does not know is kept, and shown as it is.
    if (this.control.tagName === "SELECT" && this.control.value === "" && typeof value === "string") {
      this.control.append(el("option", { value, text: value }));
      this.control.value = value;
    }
  }

  take() {
    return this.as.take(this.text, this);
  }

  // Shows what `job` has at `path`.
  load(job, path) {
    const value = readMember(job, path);
    // As text, since `store` sees a copy of the job.
    this.before = JSON.stringify(value);
    this.show(value);
    this.loaded = this.text;
  }

  // Puts what the control says into `job`; an untouched control changes nothing.
  store(job, path) {
    const untouched = this.text === this.loaded && JSON.stringify(readMember(job, path)) === this.before;
    if (!this.control.disabled && !untouched) writeMember(job, path, this.take());
  }
}

// Runs `work`, which takes the texts of fields, and says beside the field what it cannot take. Undefined: it could not.
export function taking(work) {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof FieldProblem)) throw error;
    error.field.say(error.message);
    error.field.focus();
    return undefined;
  }
}
