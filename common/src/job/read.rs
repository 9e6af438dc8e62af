//! Reading jobs: the native form, GDTS's three fields, and stored values.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use serde_path_to_error::{Path, Segment};

use super::{FieldError, Job, JobError, MAX_JOB_BYTES, StoredJob, error::FOR_EXAMPLE};
use crate::span::{Span, names_calendar_unit};

const EXAMPLE: &str =
    r#"{"name": "hello", "trigger": {"cron": ["* * * * *"]}, "driver": {"shell": {"command": "date"}}}"#;

impl Job {
    /// Reads a job from JSON text: the native form, or GDTS's `{"name","command","cronExpr"}` with native fields
    /// beside them. A `status` member, as the API's answers carry, is ignored.
    pub fn from_json(text: &[u8]) -> Result<Self, JobError> {
        if text.len() > MAX_JOB_BYTES {
            return Err(
                FieldError::new("", "", format!("a job is at most {MAX_JOB_BYTES} bytes"), EXAMPLE).into()
            );
        }
        let value: Value = serde_json::from_slice(text)
            .map_err(|error| FieldError::new("", "", format!("is not JSON: {error}"), EXAMPLE))?;
        Self::from_value(value)
    }

    /// As [`Job::from_json`], from a value that is parsed already.
    pub fn from_value(value: Value) -> Result<Self, JobError> {
        let Value::Object(mut fields) = value else {
            return Err(FieldError::new("", value, "is not a JSON object", EXAMPLE).into());
        };
        fields.remove("status");
        translate_gdts(&mut fields)?;
        read_fields(&Value::Object(fields))
    }
}

/// Reads the fields of something that is made of a job's parts; an error names the field, and what would be right.
pub fn read_fields<T: DeserializeOwned>(value: &Value) -> Result<T, JobError> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| refused(error.path(), value, &error.inner().to_string()).into())
}

/// Our own types say in their text what they were given, and what would be right: each is told once.
fn refused(path: &Path, job: &Value, text: &str) -> FieldError {
    let field = Some(path.to_string()).filter(|path| path != ".").unwrap_or_default();
    let (problem, example) = text.rsplit_once(FOR_EXAMPLE).unwrap_or((text, example(&field)));
    let given = path.iter().try_fold(job, |value, segment| match segment {
        Segment::Map { key } => value.get(key),
        Segment::Seq { index } => value.get(index),
        Segment::Enum { variant } => value.get(variant),
        Segment::Unknown => None,
    });
    let given: Option<String> = given.and_then(Value::as_str).map(|text| text.chars().take(80).collect());
    let apart = given.and_then(|given| Some((problem.split_once(&format!("{given:?} "))?.1, given)));
    let (problem, given) = apart.unwrap_or((problem, String::new()));
    FieldError::new(field, given, problem, example)
}

/// A correct value of a field: of this one, else by the first part of its path.
fn example(field: &str) -> &'static str {
    let (path, last) = field.rsplit_once('.').unwrap_or(("", field));
    match (path, last) {
        ("trigger", "zone") => return "\"Europe/Berlin\"",
        ("trigger", "every") | ("misfire", "deadline") => return "\"90s\"",
        ("trigger", "at" | "anchor") => return "\"2026-12-24T18:00:00Z\"",
        ("trigger", "manual") => return "true",
        ("driver.shell", "command") => return "\"backup --full\"",
        ("driver.shell", "shell") => return "\"/bin/bash\"",
        ("driver.shell" | "driver.exec", "env") => return "{\"LEVEL\": \"9\"}",
        ("driver.shell.env" | "driver.exec.env", _) => return "\"9\"",
        ("driver.shell" | "driver.exec", "dir") => return "\"/srv/backup\"",
        ("driver.shell" | "driver.exec", "user") => return "\"backup\"",
        ("driver.shell" | "driver.exec", "umask") => return "\"022\"",
        ("driver.shell" | "driver.exec", "stdin") => return "\"a line\\n\"",
        ("driver.exec", "argv") => return "[\"/bin/true\"]",
        ("driver.docker" | "driver.docker.env" | "driver.docker.labels" | "driver.docker.ulimits", field) => {
            return docker_example(path, field);
        }
        ("driver.http", field) => return super::http::example(field),
        ("driver.http.headers", _) => return "\"application/json\"",
        ("driver.http.tls", _) => return "\"/etc/ssl/own.pem\"",
        ("driver.noop", "exit") => return "1",
        ("driver.noop", _) => return "\"90s\"",
        ("misfire", "limit") => return "10",
        ("output", "limit") => return "\"1MiB\"",
        ("output", "keep") => return "\"head\", \"tail\" or \"both\"",
        ("retry", "attempts") => return "3",
        ("retry", "backoff") => return "\"10s..5m\"",
        ("retry", on) if on.starts_with("on") => return "[1, 75]",
        _ => {}
    }
    if let Some(field) = field.strip_prefix("driver.http.") {
        return super::http::example(field);
    }
    match field.split(['.', '[']).next().unwrap_or_default() {
        "name" => "\"nightly-backup\"",
        "labels" => "{\"team\": \"ops\"}",
        "trigger" => "{\"cron\": [\"30 2 * * *\"], \"zone\": \"Europe/Berlin\"}",
        "driver" => {
            "{\"shell\": {\"command\": \"backup --full\"}}, {\"exec\": {\"argv\": [\"/bin/true\"]}}, \
             {\"docker\": {\"image\": \"busybox\"}} or {\"http\": {\"url\": \"https://example.org/hook\"}}"
        }
        "overlap" => "\"skip\", \"queue-one\", \"allow\" or \"replace\"",
        "misfire" => "{\"policy\": \"latest\", \"deadline\": \"1h\"}",
        "timeout" | "output_timeout" | "grace" => "\"2h\" or \"90s\"",
        "retry" => "{\"attempts\": 3, \"backoff\": \"10s..5m\"}",
        "delivery" => "\"at-most-once\" or \"at-least-once\"",
        "on_lease_loss" => "\"kill\" or \"keep\"",
        "placement" => "{\"policy\": \"hash\", \"require\": [\"disk=ssd\"]}",
        "output" => "{\"limit\": \"1MiB\"}",
        _ => EXAMPLE,
    }
}

/// The same of a container's.
fn docker_example(path: &str, field: &str) -> &'static str {
    match (path, field.split('[').next().unwrap_or_default()) {
        ("driver.docker.env" | "driver.docker.labels", _) => "\"9\"",
        ("driver.docker.ulimits", _) => "1024 or \"1024:4096\"",
        (_, "image") => "\"busybox:1.36\"",
        (_, "command" | "entrypoint") => "[\"/bin/sh\", \"-c\", \"date\"]",
        (_, "env") => "{\"LEVEL\": \"9\"}",
        (_, "dir") => "\"/work\"",
        (_, "user") => "\"nobody\" or \"1000:1000\"",
        (_, "volumes") => "[\"/srv/data:/data:ro\", \"cache:/var/cache\"]",
        (_, "network") => "\"none\", \"bridge\" or \"host\"",
        (_, "ports") => "[\"80/tcp\", \"127.0.0.1:8080:80\"]",
        (_, "cpu") => "\"1.5\" or \"500m\"",
        (_, "memory") => "\"512MiB\"",
        (_, "pids") => "100",
        (_, "ulimits") => "{\"nofile\": \"1024:4096\"}",
        (_, "pull") => "\"missing\", \"always\" or \"never\"",
        (_, "init") => "true",
        (_, "labels") => "{\"team\": \"ops\"}",
        (_, "stop_signal") => "\"SIGINT\"",
        _ => "{\"image\": \"busybox:1.36\", \"command\": [\"date\"]}",
    }
}

/// GDTS's `command` and `cronExpr` in place of `driver` and `trigger`.
fn translate_gdts(fields: &mut Map<String, Value>) -> Result<(), JobError> {
    for (theirs, ours) in [("command", "driver"), ("cronExpr", "trigger")] {
        let Some(value) = fields.remove(theirs) else { continue };
        if fields.contains_key(ours) {
            return Err(FieldError::new(
                theirs,
                value,
                format!("stands beside {ours}: give one of them"),
                EXAMPLE,
            )
            .into());
        }
        if !value.is_string() {
            return Err(FieldError::new(theirs, value, "is not text", "\"echo hello\"").into());
        }
        let native = match theirs {
            "command" => json!({"shell": {"command": value}}),
            _ => json!({"cron": [value]}),
        };
        fields.insert(ours.to_owned(), native);
    }
    Ok(())
}

/// Earlier versions took and wrote spans with months and years: a stored one is as long as it was then.
fn fix_spans(job: &mut Value) {
    const FIELDS: [&str; 6] =
        ["/timeout", "/output_timeout", "/grace", "/misfire/deadline", "/trigger/every", "/retry/backoff"];
    let fixed = |text: &str| Some(Span::of_any_unit(text)?.to_string());
    for field in FIELDS {
        let Some(Value::String(text)) = job.pointer_mut(field) else { continue };
        if names_calendar_unit(text) {
            let parts: Option<Vec<String>> = text.split("..").map(fixed).collect();
            *text = parts.map_or_else(|| text.clone(), |parts| parts.join(".."));
        }
    }
    let expressions = match job.pointer_mut("/trigger/cron") {
        Some(Value::Array(many)) => many.iter_mut().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    };
    for expression in expressions {
        let Value::String(text) = expression else { continue };
        let span = text.trim_start().strip_prefix("@every").filter(|span| names_calendar_unit(span));
        if let Some(span) = span.and_then(fixed) {
            *text = format!("@every {span}");
        }
    }
}

pub(super) fn stored(name: &str, bytes: &[u8]) -> Result<StoredJob, JobError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        FieldError::new("", String::from_utf8_lossy(bytes), format!("is not JSON: {error}"), EXAMPLE)
    })?;
    let stored = match value {
        Value::Object(mut fields) if fields.contains_key("v") => {
            if fields.get("v") != Some(&json!(1)) {
                let version = fields.remove("v").unwrap_or_default();
                return Err(FieldError::new(
                    "v",
                    version,
                    "is a version of the stored form that this release does not know",
                    "1, or use the release that wrote it",
                )
                .into());
            }
            let Some(mut job) = fields.remove("job").filter(Value::is_object) else {
                return Err(FieldError::new("job", "", "is not there, or not a JSON object", EXAMPLE).into());
            };
            fix_spans(&mut job);
            let job = Job::from_value(job)?;
            // What is wrong with them is no reason not to run the job.
            let pauses = fields.remove("pauses").and_then(|pauses| serde_json::from_value(pauses).ok());
            let instant =
                |field: &str| fields.get(field).cloned().and_then(|value| serde_json::from_value(value).ok());
            StoredJob {
                v: 1,
                job,
                paused: fields.get("paused") == Some(&Value::Bool(true)),
                created: instant("created"),
                saved: instant("saved"),
                since: instant("since"),
                pauses: pauses.unwrap_or_default(),
            }
        }
        mut bare => StoredJob {
            v: 1,
            job: Job::from_value({
                fix_spans(&mut bare);
                bare
            })?,
            paused: false,
            created: None,
            saved: None,
            since: None,
            pauses: Vec::new(),
        },
    };
    if stored.job.name.as_str() != name {
        return Err(FieldError::new(
            "name",
            &stored.job.name,
            format!("is not the name in its key, {name:?}"),
            format!("{name:?}"),
        )
        .into());
    }
    Ok(stored)
}
