// The fields behind "More" that every job has, whatever its trigger and driver.

import { asCodes, asNumber, asPairs, asRaw, asWords } from "./values.js";

const OVERLAPS = [
  ["skip", "Skip the tick"], ["queue-one", "Queue one tick, skip the others"],
  ["allow", "Run them side by side"], ["replace", "Kill it and start the new run"],
];
const MISFIRES = [["latest", "Run the latest one"], ["all", "Run all, up to a limit"], ["skip", "Run none"]];
const DELIVERIES = [["at-most-once", "Leave it lost (at most once)"], ["at-least-once", "Run it again (at least once)"]];
const LEASE_LOSSES = [["kill", "Kill the run"], ["keep", "Keep it; two may run at once"]];
const KEEPS = [["both", "Beginning and end"], ["tail", "End"], ["head", "Beginning"]];

const digits = { inputmode: "numeric" };

export const SETTINGS = [
  { path: "description", label: "Description", area: 3, as: asRaw, placeholder: "full backup of db3" },
  { path: "labels", label: "Labels", area: 3, as: asPairs, hint: "One name=value per line.", placeholder: "team=ops", look: "mono", attributes: { spellcheck: "false" } },
  { path: "timeout", label: "Time limit", placeholder: "none, or e.g. 2h" },
  { path: "output_timeout", label: "Time limit without output", placeholder: "none, or e.g. 10m" },
  { path: "grace", label: "Grace period (TERM to KILL)", placeholder: "5s" },
  { path: "overlap", label: "If the last run is still running", options: OVERLAPS },
  { path: "misfire.policy", label: "Missed ticks", options: MISFIRES },
  { path: "misfire.deadline", label: "Oldest missed tick to run", placeholder: "1h" },
  { path: "misfire.limit", label: "Most missed ticks to run", as: asNumber, placeholder: "10", attributes: digits },
  { path: "retry.attempts", label: "Attempts per run", as: asNumber, placeholder: "1", attributes: digits },
  { path: "retry.backoff", label: "Wait between attempts", placeholder: "10s..5m" },
  { path: "retry.on", label: "Retry only on exit codes or statuses", as: asCodes, placeholder: "all but 0" },
  { path: "delivery", label: "If a run's worker is gone", options: DELIVERIES },
  { path: "on_lease_loss", label: "If a run's worker is cut off", options: LEASE_LOSSES },
  { path: "output.limit", label: "Output limit", placeholder: "1MiB" },
  { path: "output.keep", label: "Of longer output, keep", options: KEEPS },
  { path: "placement.require", label: "Required worker labels", as: asWords, placeholder: "disk=ssd, gpu" },
];
