// The drivers that the form knows. Each entry is
//   kind             its name in a job: { driver: { shell: … } }
//   words            what the choice says
//   fields, more     its fields, in the form and behind "More"; of those with the same `id` there is one for all drivers
//   begin(driver)    what a job gets that had another driver, of which it gets `driver`
//   complete(driver) the same with what is required, empty where it is not given: the manager then says at the field
//                    that it is missing

import { docker } from "./driver/docker.js";
import { exec } from "./driver/exec.js";
import { http } from "./driver/http.js";
import { noop } from "./driver/noop.js";
import { shell } from "./driver/shell.js";

export const DRIVERS = [shell, exec, docker, http, noop];
