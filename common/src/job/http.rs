//! A call over HTTP.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use url::Url;

use super::{FieldError, error::FOR_EXAMPLE};
use crate::span::Span;

/// A call over HTTP, whose answer is the run's output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with a url")]
pub struct Http {
    /// `GET`, `POST` and the like.
    #[serde(default = "get", skip_serializing_if = "is_get")]
    pub method: String,
    /// Where to; `http` or `https`.
    pub url: String,
    /// Sent beside our own, which they replace if they have the same name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// What is sent, as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What is sent, as JSON, in place of `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// Statuses of a success; empty: 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Statuses>,
    /// How long a connection may take; none: see the driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Span>,
    /// How long the whole call may take, its answer included; none: as long as its job's run, see the driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What to do when the answer names another place.
    #[serde(default, skip_serializing_if = "Redirects::is_default")]
    pub redirects: Redirects,
    /// Certificates, in files of the worker.
    #[serde(default, skip_serializing_if = "Tls::is_empty")]
    pub tls: Tls,
}

/// What to do when the answer names another place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Redirects {
    /// Go there, at most ten times.
    #[default]
    Follow,
    /// Take it for the answer.
    None,
}

impl Redirects {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Certificates: paths of PEM files on the worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct Tls {
    /// Whom to believe, in place of the machine's own authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Who we are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// The key of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Tls {
    /// True: nothing is said.
    pub const fn is_empty(&self) -> bool {
        self.ca.is_none() && self.cert.is_none() && self.key.is_none()
    }
}

/// A status, or all between two, written `204` or `"200-299"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    first: u16,
    last: u16,
}

/// What an answer may have at all: lower ones announce it.
const STATUSES: std::ops::RangeInclusive<u16> = 200..=599;

/// Of a success, where the job does not say.
const SUCCESS: Statuses = Statuses { first: 200, last: 299 };

impl Statuses {
    /// All from the first to the last; none: there is no such status.
    pub fn of(first: u16, last: u16) -> Option<Self> {
        let is_known = STATUSES.contains(&first) && STATUSES.contains(&last);
        (is_known && first <= last).then_some(Self { first, last })
    }

    /// True: this status is one of them.
    pub const fn contains(self, status: u16) -> bool {
        self.first <= status && status <= self.last
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::of(first.trim().parse().ok()?, last.trim().parse().ok()?)
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl Serialize for Statuses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last {
            serializer.serialize_u16(self.first)
        } else {
            serializer.collect_str(self)
        }
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Value::deserialize(deserializer)?;
        let read = match &given {
            Value::Number(status) => status
                .as_u64()
                .and_then(|status| u16::try_from(status).ok())
                .and_then(|one| Self::of(one, one)),
            Value::String(text) => Self::parse(text),
            _ => None,
        };
        read.ok_or_else(|| {
            let given: String = given.to_string().chars().take(80).collect();
            let what = "is neither a status, 200 to 599, nor a range of them";
            serde::de::Error::custom(format!("{given} {what}{FOR_EXAMPLE}204 or \"200-299\""))
        })
    }
}

/// True: the next call may be answered otherwise. Too early, too many and too slow pass, and so do faults of the other
/// side; what else is refused is refused again.
pub const fn is_retryable_status(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

fn get() -> String {
    "GET".to_owned()
}

fn is_get(method: &str) -> bool {
    method == "GET"
}

/// They say where a message begins and ends, or to whom a connection belongs: the client's own business.
const OF_THE_CONNECTION: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const LONGEST_URL: usize = 8 * 1024;
const MOST_HEADERS: usize = 100;
const LONGEST_HEADER_NAME: usize = 256;
const LONGEST_METHOD: usize = 20;

impl Http {
    /// True: a call that is answered so was a success.
    pub fn expects(&self, status: u16) -> bool {
        if self.expect.is_empty() {
            return SUCCESS.contains(status);
        }
        self.expect.iter().any(|expected| expected.contains(status))
    }

    /// In one line: `POST https://example.org/hook`.
    pub(super) fn text(&self) -> String {
        format!("{} {}", self.method, self.url)
    }

    pub(super) fn check(&self, errors: &mut Vec<FieldError>) {
        let letters = |c: char| c.is_ascii_uppercase() || c == '-';
        let is_method = (1..=LONGEST_METHOD).contains(&self.method.len()) && self.method.chars().all(letters);
        if !is_method {
            errors.push(wrong("method", &self.method, "is not a method, in capitals"));
        } else if self.method == "CONNECT" {
            errors.push(wrong("method", &self.method, "opens a tunnel, which is no call"));
        }
        if let Some((given, problem)) = wrong_url(&self.url) {
            errors.push(wrong("url", given, problem));
        }
        self.check_headers(errors);
        if self.body.is_some() && self.json.is_some() {
            errors.push(wrong("json", "", "stands beside body: give one of them"));
        }
        for (field, span) in [("connect_timeout", self.connect_timeout), ("timeout", self.timeout)] {
            if let Some(span) = span.filter(|span| span.0.is_zero()) {
                errors.push(wrong(field, span, "is no time at all"));
            }
        }
        self.tls.check(errors);
    }

    fn check_headers(&self, errors: &mut Vec<FieldError>) {
        if self.headers.len() > MOST_HEADERS {
            let problem = format!("has more than {MOST_HEADERS} headers");
            errors.push(FieldError::new("driver.http.headers", "", problem, example("headers")));
        }
        let mut seen = Vec::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            let field = format!("headers.{}", name.replace('\0', "\\0"));
            let lower = name.to_ascii_lowercase();
            if let Some(problem) = wrong_name(&lower, &seen) {
                errors.push(wrong(&field, name.replace('\0', "\\0"), problem));
            }
            if value.chars().any(|c| c.is_control() && c != '\t') {
                // Not repeated: it may be a secret.
                errors.push(wrong(&field, "", "has a line break or another control character in its value"));
            }
            seen.push(lower);
        }
    }
}

/// What is wrong with a header's name, in small letters.
fn wrong_name(name: &str, seen: &[String]) -> Option<&'static str> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || name.len() > LONGEST_HEADER_NAME || !name.chars().all(is_token) {
        Some("is not the name of a header")
    } else if OF_THE_CONNECTION.contains(&name) {
        Some("is the business of the connection: it follows from the call")
    } else if name.starts_with("quorate-") {
        Some("is a name of Quorate's own, which says what run it is")
    } else if seen.iter().any(|other| other == name) {
        Some("stands there twice: capitals make no other name")
    } else {
        None
    }
}

/// What is wrong with a URL, and what of it may be shown.
fn wrong_url(text: &str) -> Option<(&str, String)> {
    if text.len() > LONGEST_URL {
        return Some((text, format!("is longer than {LONGEST_URL} bytes")));
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return Some((text, format!("is not a URL ({error})"))),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Some((text, "is neither http nor https".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let problem = "has a user or a password in it, which everybody would see who sees the job's command: put them \
                       into headers, as Authorization";
        return Some(("", problem.to_owned()));
    }
    let blank = text.chars().any(|c| c.is_control() || c.is_whitespace());
    blank.then(|| (text, "has a blank or a control character in it: write %20".to_owned()))
}

impl Tls {
    fn check(&self, errors: &mut Vec<FieldError>) {
        for (field, path) in [("tls.ca", &self.ca), ("tls.cert", &self.cert), ("tls.key", &self.key)] {
            if let Some(path) = path.as_ref().filter(|path| !path.starts_with('/') || path.contains('\0')) {
                errors.push(wrong(field, path.replace('\0', "\\0"), "is not an absolute path on the worker"));
            }
        }
        match (&self.cert, &self.key) {
            (Some(cert), None) => errors.push(wrong("tls.cert", cert, "stands without tls.key: give both")),
            (None, Some(key)) => errors.push(wrong("tls.key", key, "stands without tls.cert: give both")),
            _ => {}
        }
    }
}

fn wrong(field: &str, got: impl fmt::Display, problem: impl Into<String>) -> FieldError {
    FieldError::new(format!("driver.http.{field}"), got, problem, example(field))
}

/// A correct value of a field below `driver.http`.
pub(super) fn example(field: &str) -> &'static str {
    match field.split(['.', '[']).next().unwrap_or_default() {
        "method" => "\"POST\"",
        "headers" if field.contains('.') => "{\"Content-Type\": \"text/plain\"}",
        "headers" => "{\"Authorization\": \"Bearer 5f2b\"}",
        "body" => "\"a text\"",
        "json" => "{\"text\": \"done\"}",
        "expect" => "[204, \"300-399\"]",
        "connect_timeout" | "timeout" => "\"30s\"",
        "redirects" => "\"follow\" or \"none\"",
        "tls" if field.contains('.') => "\"/etc/ssl/own.pem\"",
        "tls" => "{\"ca\": \"/etc/ssl/own.pem\"}",
        _ => "\"https://example.org/hook\"",
    }
}

#[cfg(test)]
mod tests;
