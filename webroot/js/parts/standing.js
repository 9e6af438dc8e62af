// How a job does: its next run, its last result, what runs now.

import { ApiError, jobs } from "../api.js";
import { runHref, runsHref, ticksHref } from "../links.js";
import { setState, stateBadge } from "./badge.js";
import { el, setAttribute, setHidden, setLinks, setText } from "./dom.js";
import { stateWords } from "./states.js";
import { coming, setTime, timeElement } from "./time.js";

const REFRESH = 2000;

// status: as it is known already, so that nothing below moves when it is read again.
export function standing(name, life, status) {
  const [next, ended] = [timeElement("next"), timeElement("last-ended")];
  const badge = stateBadge();
  const last = el("a", { "data-test": "last" }, badge);
  const running = el("span", { "data-test": "running" });
  const warning = el("div", { class: "alert alert-warning mb-3", hidden: true });
  const label = (text) => el("span", { class: "text-secondary" }, text);
  const root = el("div", {},
    el("div", { class: "standing" },
      el("span", {}, label("Next run "), next), el("span", {}, label("Last result "), last, " ", ended), running,
      el("a", { href: runsHref({ job: name }), "data-test": "job-runs" }, "Runs"),
      el("a", { href: ticksHref(name), "data-test": "to-ticks" }, "Ticks")),
    warning);
  const show = (status) => {
    setTime(next, coming(status.next), status.paused ? "paused" : "–");
    setState(badge, status.last?.state);
    setAttribute(last, "href", status.last && runHref(status.last.run));
    setTime(ended, status.last?.ended, "not run yet");
    setText(warning, status.warning || "");
    setHidden(warning, !status.warning);
    setLinks(running, status.running.map((run) => el("a", { class: "running me-2", href: runHref(run.run) },
      el("span", { class: "pulse", "aria-hidden": "true" }), stateWords(run.state))));
  };
  show(status);
  const refresh = life.every(REFRESH, async (signal) => {
    try {
      show((await jobs.get(name, signal)).status);
      return true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      // A job that is gone does not come back.
      return !error.missing;
    }
  });
  return { root, refresh };
}
