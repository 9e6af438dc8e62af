// Instants and durations for people.

import { now } from "../clock.js";
import { el, setAttribute, setText } from "./dom.js";

const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
];

// "2 d 3 h", "4 min 5 s", "1.25 s", "12 ms": two units at most.
export function duration(ms) {
  const sign = ms < 0 ? "−" : "";
  const size = Math.abs(ms);
  if (size < 1000) return `${sign}${Math.round(size)} ms`;
  if (size < 60_000) return `${sign}${Number((size / 1000).toFixed(size < 10_000 ? 2 : 1))} s`;
  const first = UNITS.findIndex(([, unit]) => size >= unit);
  const [name, unit] = UNITS[first];
  const [small, smallUnit] = UNITS[first + 1] || ["", 1];
  const rest = small ? Math.floor((size % unit) / smallUnit) : 0;
  return `${sign}${Math.floor(size / unit)} ${name}${rest ? ` ${rest} ${small}` : ""}`;
}

// The first instant that is still to come; the last one where all have just passed.
export const coming = (instants) => instants.find((instant) => Date.parse(instant) > now()) ?? instants.at(-1);

// "in 3 min", "12 s ago".
function relative(instant) {
  const distance = Date.parse(instant) - now();
  const size = Math.abs(distance);
  if (size < 1000) return "now";
  const [name, unit] = UNITS.find(([, ms]) => size >= ms);
  const count = Math.floor(size / unit);
  const text = `${count} ${name}`;
  return distance > 0 ? `in ${text}` : `${text} ago`;
}

const LOCAL = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});

export const absolute = (instant) => LOCAL.format(new Date(instant));

// With milliseconds, in this browser's zone.
export function precise(instant) {
  const ms = new Date(instant).getMilliseconds();
  return `${absolute(instant)}.${String(ms).padStart(3, "0")}`;
}

// An instant in this browser's zone, and in UTC for the tooltip.
export const bothZones = (instant) => `${absolute(instant)} here; ${instant}`;

// An element for an instant: relative text, absolute tooltip.
export const timeElement = (test) => el("time", { "data-test": test });

export function setTime(element, instant, none = "") {
  setText(element, instant ? relative(instant) : none);
  setAttribute(element, "datetime", instant || null);
  setAttribute(element, "title", instant ? bothZones(instant) : null);
}

// From one instant to another in ms, or null where one is unknown.
export const between = (from, to) => (from && to ? Date.parse(to) - Date.parse(from) : null);
