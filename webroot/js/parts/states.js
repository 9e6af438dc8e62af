// The states of runs and the outcomes of ticks: their words, their colours, their order.

// By name: words, and the colour of the badge.
const STATES = {
  queued: ["queued", "secondary"],
  claimed: ["claimed", "info"],
  running: ["running", "primary"],
  succeeded: ["succeeded", "success"],
  failed: ["failed", "danger"],
  timed_out: ["timed out", "danger"],
  killed: ["killed", "warning"],
  lost: ["lost", "dark"],
  expired: ["expired", "secondary"],
  skipped: ["skipped", "secondary"],
  missed: ["missed", "warning"],
  no_record: ["no record", "dark"],
  waiting: ["waiting", "info"],
  upcoming: ["upcoming", "light"],
};

export const RUN_STATES = ["running", "queued", "claimed", "succeeded", "failed", "timed_out", "killed", "lost", "expired"];

// Worst first: what somebody looks for among ticks.
export const OUTCOMES = [
  "lost", "failed", "timed_out", "killed", "expired", "missed", "skipped", "no_record", "waiting", "queued", "claimed", "running",
  "succeeded", "upcoming",
];

export const stateWords = (state) => STATES[state]?.[0] ?? String(state);

export const stateColour = (state) => `text-bg-${STATES[state]?.[1] ?? "secondary"}`;

export const isFinal = (state) => !["queued", "claimed", "running"].includes(state);
