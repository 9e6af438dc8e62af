// What is said of a run, wherever it is shown.

import { now } from "../clock.js";
import { between, duration } from "./time.js";

// Why it came about; "" for what the schedule made.
const CAUSES = { schedule: "", manual: "by hand", retry: "retry", catch_up: "catch-up", queued: "waited", reboot: "at boot" };

// How long the run took, or has taken so far.
export function took(run) {
  if (!run.started) return "";
  const ms = run.ended ? between(run.started, run.ended) : now() - Date.parse(run.started);
  return ms === null ? "" : duration(Math.max(0, ms));
}

// How long after its instant it started.
export function late(run) {
  const ms = between(run.planned, run.started);
  return ms === null ? "" : duration(ms);
}

export function cause(run) {
  const why = CAUSES[run.trigger] ?? run.trigger;
  return [why, run.attempt > 1 ? `attempt ${run.attempt}` : ""].filter(Boolean).join(", ");
}
