// The two ways to write a job: as fields, or as JSON, which reaches everything.

import { el, setHidden } from "../parts/dom.js";
import { taking } from "./field.js";

function layout(form, schedule) {
  return el("div", { "data-test": "tab-form" },
    form.name.root,
    el("div", { class: "grid" }, form.driver.select.root, form.trigger.select.root),
    form.driver.root, form.trigger.root, schedule,
    el("details", { class: "more", "data-test": "more-fields" },
      el("summary", { class: "btn btn-link px-0" }, "More settings: limits, retries, user, environment, labels"),
      el("div", { class: "grid" }, ...form.settings.map(({ field }) => field.root), ...form.driver.more)));
}

// schedule: what the form says of it; draft.job goes with what is written; refilled() when the fields have new values.
export function tabs(form, draft, schedule, refilled) {
  const fields = layout(form, schedule);
  const json = el("div", { hidden: true, "data-test": "tab-json" }, form.json.root);
  const tab = (text, test) => el("button", { class: "nav-link", type: "button", "data-test": test }, text);
  const [asFields, asJson] = [tab("Form", "show-form"), tab("JSON", "show-json")];
  const show = (wanted) => {
    setHidden(fields, wanted !== asFields);
    setHidden(json, wanted !== asJson);
    for (const button of [asFields, asJson]) {
      button.classList.toggle("active", button === wanted);
      button.setAttribute("aria-pressed", String(button === wanted));
    }
  };
  asFields.addEventListener("click", () => {
    const job = json.hidden ? undefined : taking(() => form.json.take());
    if (job === undefined) return;
    draft.job = job;
    form.load(job);
    show(asFields);
    refilled();
  });
  asJson.addEventListener("click", () => {
    const job = fields.hidden ? undefined : taking(() => form.store(draft.job));
    if (job === undefined) return;
    form.json.say("");
    form.json.show(job);
    show(asJson);
  });
  show(asFields);
  return { parts: [el("div", { class: "nav nav-tabs mb-3" }, asFields, asJson)], body: [fields, json], isJson: () => !json.hidden };
}
