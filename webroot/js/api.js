// The native API. The only module that fetches. Answers come as parsed JSON; everything else is an ApiError that
// carries the problem document.

import { setClock } from "./clock.js";
import { query } from "./links.js";

const BASE = "/api/v1";

// What a request without an answer means.
export const AWAY = "The manager does not answer. What you see may be out of date; the page keeps trying.";

// The type of the problem that no manager could tell of.
const NO_ANSWER = "no-answer";

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `The manager answered with status ${status}.`);
    // A stable word, by which to tell problems apart; their texts are for people.
    this.type = problem.type || "";
    this.errors = problem.errors || [];
  }

  // True: nobody answered.
  get away() {
    return this.type === NO_ANSWER;
  }

  // True: there is no such job or run.
  get missing() {
    return this.type === "not-found";
  }

  // True: nobody knows whether what was asked for is done.
  get unclear() {
    return [NO_ANSWER, "in-doubt", "too-slow"].includes(this.type);
  }
}

// Tells whoever shows the banner whether the manager answers.
const link = new EventTarget();
export const onLink = (listener) => link.addEventListener("change", (event) => listener(event.detail));
const reachable = (yes) => link.dispatchEvent(new CustomEvent("change", { detail: yes }));

async function send(path, { method = "GET", body, headers = {}, signal } = {}) {
  const init = { method, headers: { accept: "application/json", ...headers }, signal, cache: "no-store" };
  if (body !== undefined) {
    init.headers["content-type"] = "application/json";
    init.body = typeof body === "string" ? body : JSON.stringify(body);
  }
  let response;
  let text;
  try {
    response = await fetch(path, init);
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    reachable(false);
    throw new ApiError(0, { type: NO_ANSWER, detail: AWAY });
  }
  reachable(true);
  setClock(response.headers.get("date"));
  return { response, text };
}

async function call(path, options) {
  const { response, text } = await send(BASE + path, options);
  let value = null;
  try {
    value = text === "" ? null : JSON.parse(text);
  } catch {
    value = { detail: text.slice(0, 500) };
  }
  if (!response.ok) throw new ApiError(response.status, value || {});
  return value;
}

const at = (kind, id, rest = "") => `/${kind}/${encodeURIComponent(id)}${rest}`;

export const jobs = {
  list: (fields, signal) => call(`/jobs${query(fields)}`, { signal }),
  get: (name, signal) => call(at("jobs", name), { signal }),
  create: (job) => call("/jobs", { method: "POST", body: job }),
  replace: (name, job, revision) =>
    call(at("jobs", name), { method: "PUT", body: job, headers: revision ? { "if-match": `"${revision}"` } : {} }),
  remove: (name) => call(at("jobs", name), { method: "DELETE" }),
  // act: run, kill, pause or resume.
  act: (name, act) => call(at("jobs", name, `/${act}`), { method: "POST" }),
  ticks: (name, fields, signal) => call(at("jobs", name, `/ticks${query(fields)}`), { signal }),
  // What a save would make of the job.
  validate: (job) => call("/validate", { method: "POST", body: job }),
  // job: the name of the one that is edited, or null.
  preview: (cron, zone, job, signal) => call("/preview", { method: "POST", body: { cron, zone, job, count: 5 }, signal }),
};

export const runs = {
  lateness: (fields, signal) => call(`/runs/lateness${query(fields)}`, { signal }),
  list: (fields, signal) => call(`/runs${query(fields)}`, { signal }),
  get: (run, signal) => call(at("runs", run), { signal }),
  // Without an attempt: of the newest one.
  output: (run, from, attempt, signal) => call(at("runs", run, `/output${query({ from, attempt })}`), { signal }),
  kill: (run) => call(at("runs", run, "/kill"), { method: "POST" }),
};

export const workers = {
  list: (fields, signal) => call(`/workers${query(fields)}`, { signal }),
  // act: drain or undrain.
  act: (id, act) => call(at("workers", id, `/${act}`), { method: "POST" }),
};

// What a lacking part means to who looks at the page.
const PARTS = {
  store: "Nothing can be changed, because the store is unavailable",
  run_log: "Past runs do not show, because the run log is unavailable",
  lists: "The lists may be out of date",
};

// "" when the manager can do everything, else what it cannot, in words.
export async function readiness(signal) {
  const { response, text } = await send("/readyz", { signal });
  try {
    const answer = JSON.parse(text);
    const parts = Object.entries(PARTS).filter(([part]) => answer[part]?.ok === false);
    if (parts.length > 0) return parts.map(([part, words]) => `${words}: ${answer[part].says}`).join(" · ");
    return response.ok ? "" : answer.detail || text;
  } catch {
    return response.ok ? "" : text.trim().slice(0, 500) || `The manager answered with status ${response.status}.`;
  }
}

// All pages of a list up to `count` items: what a refresh of a longer list asks for.
export async function pages(list, fields, count, signal) {
  const items = [];
  let first;
  let after;
  do {
    const page = await list({ ...fields, limit: Math.min(500, count - items.length), after }, signal);
    first ??= page;
    items.push(...page.items);
    after = page.next;
  } while (after && items.length < count);
  return { ...first, items, next: after };
}
