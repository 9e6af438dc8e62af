// The fields behind "More" that every job has, whatever its trigger and driver.

import { asCodes, asNumber, asPairs, asRaw, asWords } from "./values.js";

const OVERLAPS = [
  ["skip", "Skip: that time gets no run"], ["queue-one", "Queue one: the next waits, later ones are skipped"],
  ["allow", "Allow: runs go side by side"], ["replace", "Replace: kill the old run, start the new one"],
];
const MISFIRES = [["latest", "Run the newest once"], ["all", "Run all of them"], ["skip", "Run none"]];
const DELIVERIES = [["at-most-once", "At most once: leave it"], ["at-least-once", "At least once: run it again elsewhere"]];
const LEASE_LOSSES = [["kill", "Kill it before another may start"], ["keep", "Keep it: two may run side by side"]];
const KEEPS = [["both", "Its beginning and its end"], ["tail", "Its end"], ["head", "Its beginning"]];

const digits = { inputmode: "numeric" };

export const SETTINGS = [
  { path: "description", label: "Description", area: 3, as: asRaw, placeholder: "full backup of db3" },
  { path: "labels", label: "Labels", area: 3, as: asPairs, hint: "One name=value a line.", placeholder: "team=ops", look: "mono", attributes: { spellcheck: "false" } },
  { path: "timeout", label: "Time limit of a run", placeholder: "none; for example 2h" },
  { path: "output_timeout", label: "Time limit without output", placeholder: "none; for example 10m" },
  { path: "grace", label: "From TERM to KILL", placeholder: "5s" },
  { path: "overlap", label: "When a run is due and the last one still executes", options: OVERLAPS },
  { path: "misfire.policy", label: "Times missed while nothing could run", options: MISFIRES },
  { path: "misfire.deadline", label: "None older than", placeholder: "1h" },
  { path: "misfire.limit", label: "With all: at most", as: asNumber, placeholder: "10", attributes: digits },
  { path: "retry.attempts", label: "Attempts in all", as: asNumber, placeholder: "1", attributes: digits },
  { path: "retry.backoff", label: "Wait between attempts", placeholder: "10s..5m" },
  { path: "retry.on", label: "Only after these exit codes", as: asCodes, placeholder: "all but 0" },
  { path: "delivery", label: "A run whose worker is gone", options: DELIVERIES },
  { path: "on_lease_loss", label: "A worker that is cut off, with its run", options: LEASE_LOSSES },
  { path: "output.limit", label: "Keep of the output at most", placeholder: "1MiB" },
  { path: "output.keep", label: "Of a longer output", options: KEEPS },
  { path: "placement.require", label: "Only on workers with the labels", as: asWords, placeholder: "disk=ssd, gpu" },
];
