// What the schedule means and its next instants, asked for while it is written.

import { ApiError, jobs } from "../api.js";
import { el, setHidden, setText } from "../parts/dom.js";
import { bothZones } from "../parts/time.js";

// How long somebody may pause in typing before it is asked for.
const TYPING = 300;

// "2030-12-24T02:30:00+01:00" as the clocks in its zone show it.
function civil(instant) {
  const [day, time] = instant.split("T");
  const weekday = new Date(`${day}T00:00:00Z`).toLocaleDateString(undefined, { weekday: "short", timeZone: "UTC" });
  return `${weekday} ${day} ${time.replace(/\.\d+/, "").replace(/Z$/, " UTC").replace(/([+-]\d\d:\d\d)$/, " $1")}`;
}

// Where it stands. It has its size before it is filled, and keeps it, or the fields below would move under the pointer.
function box() {
  const words = el("div", { class: "fw-semibold", "data-test": "preview-words" });
  const next = el("ol", { class: "mb-0 small", "data-test": "preview-next" });
  const root = el("div", { class: "preview", "aria-live": "polite", hidden: true }, words, next);
  const arrange = (isShown, lists) => {
    setHidden(root, !isShown);
    root.classList.toggle("lists", Boolean(lists));
  };
  // zone: to be named, where the words do not.
  const show = (describe, zone, instants) => {
    root.classList.remove("void");
    setText(words, zone === undefined || describe.includes(zone) ? describe : `${describe} (${zone})`);
    next.replaceChildren(...instants.map((instant) => el("li", {}, el("time", { datetime: instant, title: bothZones(instant) }, civil(instant)))));
  };
  const clear = () => {
    root.classList.add("void");
    setText(words, "No schedule yet");
  };
  return { root, arrange, show, clear };
}

// Beside the fields of the trigger. It was asked for as cron, whatever the trigger.
function complain(form, error) {
  const { placed } = form.trigger;
  const find = (path) => placed.find((one) => one.path === `trigger.${path.replace(/\[\d+\]/g, "")}`)?.field ?? placed[0].field;
  if (error.errors.length > 0) form.complain(error.errors, find);
  else placed[0].field.say(error.message);
}

// Calls `work(signal)` once nobody has asked for it for a moment; of what is under way the answer is not waited for.
function debounced(life, work) {
  let timer;
  let asking = new AbortController();
  const stop = () => {
    clearTimeout(timer);
    asking.abort();
  };
  life.signal.addEventListener("abort", stop);
  return () => {
    stop();
    asking = new AbortController();
    timer = setTimeout(() => work(asking.signal), TYPING);
  };
}

// name: of the job that is edited, whose zone and anchor a save keeps; null for a new one. Gives `ask()`, for after
// the form was filled.
export function preview(form, life, name) {
  const { trigger } = form;
  const shown = box();
  const written = () => ({ cron: [], ...trigger.entry?.preview?.((id) => trigger.text(id)), lists: trigger.entry?.lists });
  const later = debounced(life, async (signal) => {
    const { cron, zone, lists } = written();
    if (cron.length === 0) return;
    try {
      const answer = await jobs.preview(cron, zone ?? "", name, signal);
      shown.show(answer.describe, zone === undefined ? undefined : answer.zone, lists ? answer.next : []);
      for (const { field } of trigger.placed) field.say("");
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof ApiError)) throw error;
      shown.clear();
      if (!error.away) complain(form, error);
    }
  });
  const ask = () => {
    const { cron, lists } = written();
    shown.arrange(cron.length > 0, lists);
    later();
  };
  for (const field of [trigger.select, ...trigger.fields.values()]) field.control.addEventListener("input", ask);
  return { root: shown.root, ask };
}
