// The triggers that the form knows. Each entry is
//   kind              its name in a job: { trigger: { cron: … } }
//   words             what the choice says
//   fields            in the form, and `look` of what they stand in
//   begin()           what a job gets that had another trigger
//   complete(trigger) the same with what is required, empty where it is not given: the manager then says at the field
//                     that it is missing
//   preview(text)     { cron, zone }, of the text of a field by its id, to be said in words; `lists`: also its instants

import { asLines, linesOf } from "./values.js";

const zones = () => ["UTC", ...(Intl.supportedValuesOf?.("timeZone") ?? []).filter((zone) => zone !== "UTC")];

// A save without a zone keeps the one that the job has.
const keptZone = (stored) => (stored?.trigger?.zone ? `keeps ${stored.trigger.zone}` : "the manager's time zone");

const cron = {
  kind: "cron",
  words: "At set times (cron)",
  look: "grid wide-first",
  fields: [
    { path: "trigger.cron", id: "cron", label: "Schedule", area: 2, as: asLines, look: "mono", placeholder: "30 2 * * *", attributes: { spellcheck: "false" },
      hint: "Cron, one expression per line: minute, hour, day, month, weekday. With seconds, 7 fields: second first, year last (0 30 2 * * * *)." },
    { path: "trigger.zone", id: "zone", label: "Time zone", suggest: zones, placeholder: keptZone, attributes: { autocomplete: "off" } },
  ],
  begin: () => ({}),
  complete: (trigger) => ({ cron: [""], ...trigger }),
  preview: (text) => ({ cron: linesOf(text("cron")), zone: text("zone").trim() }),
  lists: true,
};

const every = {
  kind: "every",
  words: "At a fixed interval",
  fields: [{ path: "trigger.every", id: "every", label: "Interval", hint: "Counted from when the job was first saved.", placeholder: "90s" }],
  begin: () => ({}),
  complete: (trigger) => ({ every: "", ...trigger }),
  preview: (text) => ({ cron: text("every").trim() ? [`@every ${text("every").trim()}`] : [] }),
};

const at = {
  kind: "at",
  words: "Once",
  fields: [{ path: "trigger.at", id: "at", label: "Date and time", hint: "With an offset from UTC; Z is UTC.", placeholder: "2030-12-24T18:00:00Z" }],
  begin: () => ({}),
  complete: (trigger) => ({ at: "", ...trigger }),
};

const manual = {
  kind: "manual",
  words: "Only when started by hand",
  fields: [],
  begin: () => ({}),
  complete: (trigger) => ({ manual: true, ...trigger }),
};

export const TRIGGERS = [cron, every, at, manual];
