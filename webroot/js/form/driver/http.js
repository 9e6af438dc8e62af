// A call over HTTP.

import { asHeaders, asJsonValue, asRaw, asStatuses } from "../values.js";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"].map((method) => [method, method]);
const REDIRECTS = [["follow", "Follow, at most ten"], ["none", "Take it for the answer"]];

const text = { look: "mono", attributes: { spellcheck: "false" } };
const file = (name, label, placeholder) => ({ path: `driver.http.tls.${name}`, label, placeholder, ...text });

export const http = {
  kind: "http",
  words: "A call over HTTP",
  fields: [
    { path: "driver.http.method", label: "Method", options: METHODS },
    { path: "driver.http.url", label: "URL", placeholder: "https://example.org/hook", ...text },
    { path: "driver.http.headers", label: "Headers", area: 3, as: asHeaders, hint: "One Name: value per line.", placeholder: "Authorization: Bearer 5f2b", ...text },
    { path: "driver.http.json", label: "Body as JSON", area: 4, as: asJsonValue, placeholder: "{\"text\": \"done\"}", ...text },
    { path: "driver.http.body", label: "Body as text", area: 3, as: asRaw, hint: "In place of JSON.", ...text },
  ],
  more: [
    { path: "driver.http.expect", label: "Statuses of a success", as: asStatuses, placeholder: "200-299" },
    { path: "driver.http.timeout", label: "Time limit of the call", placeholder: "the run's, or 5m" },
    { path: "driver.http.connect_timeout", label: "Time limit of the connection", placeholder: "10s" },
    { path: "driver.http.redirects", label: "Redirects", options: REDIRECTS },
    file("ca", "Authority to believe (file on the worker)", "the machine's own"),
    file("cert", "Certificate to show (file on the worker)", "none"),
    file("key", "Key of that certificate (file on the worker)", "none"),
  ],
  begin: () => ({ http: {} }),
  complete: (driver) => ({ http: { url: "", ...driver?.http } }),
};
