// The buttons that do something to a job, wherever it is shown.

import { jobs } from "../api.js";
import { button } from "./button.js";
import { confirmed } from "./dialog.js";
import { perform } from "./notice.js";

const DELETING = "Its definition goes, and the log of its runs stays. A run that executes goes on to its end; "
  + "kill it first if it is to stop. Runs that are queued end as killed.";

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
  acting("Run now", { test: "run-now", symbol: "play-fill", ...look }, { act: () => jobs.act(name, "run"), done: `${name}: a run is on its way.`, after });

export const pauseButton = (name, look, after) =>
  acting("Pause", { test: "pause", symbol: "pause-fill", of: name, ...look }, { act: () => jobs.act(name, "pause"), done: `${name} is paused.`, after });

export const resumeButton = (name, look, after) =>
  acting("Resume", { test: "resume", look: "outline-success", symbol: "play", of: name, ...look },
    { act: () => jobs.act(name, "resume"), done: `${name} is resumed.`, after });

export const killButton = (name, look, after) =>
  acting("Kill", { test: "kill", look: "outline-danger", symbol: "stop-fill", of: name, ...look }, {
    ask: [`Kill the runs of ${name}?`, "What runs of it gets TERM and, after its grace, KILL.", "Kill"],
    act: () => jobs.act(name, "kill"), done: `${name}: its runs are being killed.`, after,
  });

// loss: what goes, where that is not a job and its runs.
export const deleteButton = (name, look, after, loss = DELETING) =>
  acting("Delete", { test: "delete", look: "outline-danger", symbol: "trash", of: name, ...look }, {
    ask: [`Delete the job ${name}?`, loss, "Delete"], act: () => jobs.remove(name), done: `${name} is deleted.`, after,
  });
