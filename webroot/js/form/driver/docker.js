// A container, on Docker's engine or podman's.

import { asArguments, asLines, asPairs } from "../values.js";

const PULL = [["missing", "when the machine does not have it"], ["always", "before each run"], ["never", "not at all"]];
const MONO = { look: "mono", attributes: { spellcheck: "false" } };

export const docker = {
  kind: "docker",
  words: "A container",
  fields: [
    { path: "driver.docker.image", id: "driver.image", label: "Image", placeholder: "busybox:1.36", look: "mono", attributes: { autocomplete: "off", spellcheck: "false" } },
    { path: "driver.docker.command", id: "driver.arguments", label: "Command", area: 3, as: asArguments, placeholder: "the image's own",
      hint: "One argument per line; no shell interprets them. What is printed to the two streams may come in another order than it was printed.", ...MONO },
  ],
  more: [
    { path: "driver.docker.entrypoint", label: "Entrypoint", area: 2, as: asArguments, placeholder: "the image's own", hint: "The program and its first arguments, one per line.", ...MONO },
    { path: "driver.docker.env", id: "driver.env", label: "Environment", area: 3, as: asPairs, hint: "One NAME=value per line.", placeholder: "LEVEL=9", ...MONO },
    { path: "driver.docker.user", label: "User in the container", placeholder: "the image's", attributes: { autocomplete: "off" } },
    { path: "driver.docker.dir", label: "Directory in the container", placeholder: "the image's" },
    { path: "driver.docker.volumes", label: "Volumes", area: 2, as: asLines, hint: "One per line.", placeholder: "/srv/data:/data:ro\ncache:/var/cache", ...MONO },
    { path: "driver.docker.network", label: "Network", placeholder: "bridge", hint: "none, bridge, host, or the name of one." },
    { path: "driver.docker.ports", label: "Published ports", area: 2, as: asLines, hint: "One per line; without a port of the machine any free one.", placeholder: "80/tcp\n127.0.0.1:8080:80", ...MONO },
    { path: "driver.docker.cpu", label: "Processors", placeholder: "all", hint: "Such as 1.5 or 500m." },
    { path: "driver.docker.memory", label: "Memory", placeholder: "as much as there is", hint: "Such as 512MiB." },
    { path: "driver.docker.pull", label: "Fetch the image", options: PULL },
  ],
  begin: (driver) => ({ docker: envOf(driver) }),
  complete: (driver) => ({ docker: { image: "", ...driver?.docker } }),
};

// The rest means something else in a container.
function envOf(driver) {
  const [before] = Object.values(driver ?? {});
  return before?.env === undefined ? {} : { env: before.env };
}
