// What drivers that start a process have in common.

import { asPairs } from "../values.js";

// What stays when a job gets another of these drivers; a container's user and directory are not the machine's.
const KEPT = ["env", "dir", "user", "umask", "stdin"];
const OF_ANY = ["env"];

export function keptOf(driver) {
  const [kind, before] = Object.entries(driver ?? {})[0] ?? [];
  const kept = kind === "shell" || kind === "exec" ? KEPT : OF_ANY;
  return Object.fromEntries(kept.filter((name) => before?.[name] !== undefined).map((name) => [name, before[name]]));
}

export const processFields = (kind) => [
  { path: `driver.${kind}.user`, id: "driver.user", label: "User", placeholder: "the worker's user", attributes: { autocomplete: "off" } },
  { path: `driver.${kind}.dir`, id: "driver.dir", label: "Working directory", placeholder: "the worker's directory" },
  { path: `driver.${kind}.env`, id: "driver.env", label: "Environment", area: 3, as: asPairs, hint: "One NAME=value per line.", placeholder: "LEVEL=9",
    look: "mono", attributes: { spellcheck: "false" } },
];
