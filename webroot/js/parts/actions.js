// The buttons that do something to a job, wherever it is shown.

import { jobs } from "../api.js";
import { button } from "./button.js";
import { confirmed } from "./dialog.js";
import { perform } from "./notice.js";

const DELETING = "This deletes the job's definition and keeps the log of its runs. A run in progress continues to its end; "
  + "kill it first if it should stop. Queued runs end as killed.";

// Each takes the job's name, the look of its button, and what to do after: after(wentWell).

function acting(text, look, { act, ask, done, after }) {
  const click = async (event) => {
    const target = event.currentTarget;
    if (ask && !(await confirmed(...ask))) return;
    after?.(await perform(target, act, done));
  };
  return button(text, { ...look, click });
}

export const runButton = (name, look, after) =>
  acting("Run now", { test: "run-now", symbol: "play-fill", ...look }, { act: () => jobs.act(name, "run"), done: `A run of ${name} is queued.`, after });

export const pauseButton = (name, look, after) =>
  acting("Pause", { test: "pause", symbol: "pause-fill", of: name, ...look }, { act: () => jobs.act(name, "pause"), done: `${name} is paused.`, after });

export const resumeButton = (name, look, after) =>
  acting("Resume", { test: "resume", look: "outline-success", symbol: "play", of: name, ...look },
    { act: () => jobs.act(name, "resume"), done: `${name} runs on schedule again.`, after });

export const killButton = (name, look, after) =>
  acting("Kill", { test: "kill", look: "outline-danger", symbol: "stop-fill", of: name, ...look }, {
    ask: [`Kill the runs of ${name}?`, "Their processes get TERM and, after the grace period, KILL.", "Kill"],
    act: () => jobs.act(name, "kill"), done: `The runs of ${name} are being killed.`, after,
  });

// loss: what goes, where that is not a job and its runs.
export const deleteButton = (name, look, after, loss = DELETING) =>
  acting("Delete", { test: "delete", look: "outline-danger", symbol: "trash", of: name, ...look }, {
    ask: [`Delete the job ${name}?`, loss, "Delete"], act: () => jobs.remove(name), done: `${name} is deleted.`, after,
  });
