// Addresses of the page's views.

// "?a=1&b=2" of the fields that have a value.
export function query(fields) {
  const pairs = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

export const JOBS = "#/jobs";
export const NEW_JOB = "#/jobs/new";
// A job may be called "new", too.
export const jobHref = (name) => `${JOBS}/${name === "new" ? "%6Eew" : encodeURIComponent(name)}`;
export const ticksHref = (name, fields = {}) => `${jobHref(name)}/ticks${query(fields)}`;
// fields: job or task, state and worker.
export const runsHref = (fields = {}) => `#/runs${query(fields)}`;
// What a run belongs to: its job, or the tasks of its name.
export const ownerHref = (run) => (run.task ? runsHref({ task: run.job }) : jobHref(run.job));
export const runHref = (run) => `#/runs/${encodeURIComponent(run)}`;
