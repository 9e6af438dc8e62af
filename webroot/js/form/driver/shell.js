// A command that a shell reads.

import { asRaw } from "../values.js";
import { keptOf, processFields } from "./process.js";

export const shell = {
  kind: "shell",
  words: "A shell command",
  fields: [
    { path: "driver.shell.command", id: "command", label: "Command", area: 3, as: asRaw, placeholder: "backup --full", look: "mono", attributes: { spellcheck: "false" } },
  ],
  more: [{ path: "driver.shell.shell", id: "driver.shell", label: "Shell", placeholder: "/bin/sh" }, ...processFields("shell")],
  begin: (driver) => ({ shell: keptOf(driver) }),
  complete: (driver) => ({ shell: { command: "", ...driver?.shell } }),
};
