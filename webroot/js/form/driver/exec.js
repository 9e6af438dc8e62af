// A program that is started with its arguments as they stand.

import { asArguments } from "../values.js";
import { keptOf, processFields } from "./process.js";

export const exec = {
  kind: "exec",
  words: "A program, without a shell",
  fields: [
    { path: "driver.exec.argv", id: "argv", label: "Program and arguments", area: 3, as: asArguments, hint: "One per line, spaces included; no shell interprets them.",
      placeholder: "/usr/bin/rsync\n-a\n/srv\n/backup", look: "mono", attributes: { spellcheck: "false" } },
  ],
  more: processFields("exec"),
  begin: (driver) => ({ exec: keptOf(driver) }),
  complete: (driver) => ({ exec: { argv: [], ...driver?.exec } }),
};
