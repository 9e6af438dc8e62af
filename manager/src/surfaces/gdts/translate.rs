//! GDTS's form of a job → a native job, given what the job was before.

use common::{
    id::JobName,
    job::{FieldError, Job, JobError},
};
use serde_json::{Map, Value, json};

/// A job in GDTS's form.
pub(super) const EXAMPLE: &str = r#"{"name": "hello", "command": "echo hello", "cronExpr": "*/5 * * * *"}"#;

/// Between the expressions of a job that has several.
pub(super) const BETWEEN_EXPRESSIONS: &str = "; ";

/// The members of the posted object. The three old keys are read in any case, as its own reader did.
pub(super) fn given(value: Value) -> Result<Map<String, Value>, JobError> {
    let Value::Object(fields) = value else {
        return Err(FieldError::new("job", value, "is not a JSON object", EXAMPLE).into());
    };
    let key = |key: String| {
        let old = ["name", "command", "cronExpr"].into_iter().find(|old| key.eq_ignore_ascii_case(old));
        old.map_or(key, str::to_owned)
    };
    Ok(fields
        .into_iter()
        .filter(|(name, _)| name != "status")
        .map(|(name, value)| (key(name), value))
        .collect())
}

pub(super) fn name(given: &Map<String, Value>) -> Result<JobName, JobError> {
    let Some(name) = given.get("name") else {
        return Err(FieldError::new("name", "", "is missing", EXAMPLE).into());
    };
    let text = name.as_str().ok_or_else(|| FieldError::new("name", name, "is not text", "\"hello\""))?;
    text.parse().map_err(|error: common::id::NameError| {
        FieldError::new("name", &error.got, error.problem, error.example).into()
    })
}

/// The job that is to be saved.
pub(super) fn job(given: &Map<String, Value>, previous: Option<&Job>) -> Result<Job, JobError> {
    let mut native = match previous.map(serde_json::to_value) {
        Some(Ok(Value::Object(fields))) => fields,
        _ => Map::new(),
    };
    for (old, new) in [("command", "driver"), ("cronExpr", "trigger")] {
        match (given.get(old), given.contains_key(new)) {
            (None, false) if previous.is_none() => {
                return Err(FieldError::new(old, "", "is missing", EXAMPLE).into());
            }
            (Some(value), true) => {
                let problem = format!("stands beside {new}: give one of them");
                return Err(FieldError::new(old, value, problem, EXAMPLE).into());
            }
            _ => {}
        }
    }
    for (field, value) in given {
        match field.as_str() {
            "command" => {
                let command = text("command", value)?;
                if previous.is_none_or(|job| job.driver.shell_text() != command) {
                    native.insert("driver".to_owned(), shell(command, native.get("driver")));
                }
            }
            "cronExpr" => {
                let expression = text("cronExpr", value)?;
                let shown = |job: &Job| job.trigger.expressions().join(BETWEEN_EXPRESSIONS);
                if previous.is_none_or(|job| shown(job) != expression) {
                    let expressions: Vec<&str> = expression.split(';').map(str::trim).collect();
                    native.insert("trigger".to_owned(), json!({"cron": expressions}));
                }
            }
            _ => {
                native.insert(field.clone(), value.clone());
            }
        }
    }
    Job::from_value(Value::Object(native))
}

fn text<'a>(field: &str, value: &'a Value) -> Result<&'a str, JobError> {
    value.as_str().ok_or_else(|| FieldError::new(field, value, "is not text", EXAMPLE).into())
}

/// A shell command with the environment of what it replaces, if that was a process.
fn shell(command: &str, previous: Option<&Value>) -> Value {
    let process = ["shell", "exec"].into_iter().find_map(|driver| previous?.get(driver)?.as_object());
    let mut fields = process.cloned().unwrap_or_default();
    fields.remove("argv");
    fields.insert("command".to_owned(), Value::String(command.to_owned()));
    json!({"shell": fields})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(text: &str) -> Job {
        Job::from_json(text.as_bytes()).unwrap()
    }

    fn saved(over: Option<&Job>, text: &str) -> Result<Job, JobError> {
        job(&given(serde_json::from_str(text).unwrap())?, over)
    }

    #[test]
    fn a_new_job_is_a_shell_command_on_a_schedule() {
        let job =
            saved(None, r#"{"NAME": "a", "command": "date", "cronexpr": "* * * * *", "overlap": "allow"}"#);
        let expected = r#"{"name": "a", "trigger": {"cron": ["* * * * *"]}, "overlap": "allow",
                           "driver": {"shell": {"command": "date"}}}"#;
        assert_eq!(job.unwrap(), native(expected));
    }

    #[test]
    fn what_the_old_form_cannot_express_is_kept() {
        let before = native(
            r#"{"name": "a", "trigger": {"cron": ["0 1 * * *", "0 2 * * *"], "zone": "Europe/Berlin"},
                "timeout": "2h", "driver": {"exec": {"argv": ["/bin/echo", "a b"], "user": "nobody"}}}"#,
        );
        let shown = r#"{"name": "a", "command": "/bin/echo 'a b'", "cronExpr": "0 1 * * *; 0 2 * * *"}"#;
        assert_eq!(saved(Some(&before), shown).unwrap(), before);
        let after = saved(Some(&before), r#"{"name": "a", "command": "date", "cronExpr": "5 * * * *"}"#);
        let after = after.unwrap();
        let expected = r#"{"name": "a", "trigger": {"cron": ["5 * * * *"]}, "timeout": "2h",
                           "driver": {"shell": {"command": "date", "user": "nobody"}}}"#;
        assert_eq!(after, native(expected));
        let manual = native(
            r#"{"name": "a", "trigger": {"manual": true}, "driver": {"shell": {"command": "x", "env": {"A": "1"}}}}"#,
        );
        let after = saved(Some(&manual), r#"{"name": "a", "command": "y", "cronExpr": ""}"#).unwrap();
        assert_eq!(after.trigger, manual.trigger);
        assert_eq!(after.driver.environment(), manual.driver.environment());
    }

    #[test]
    fn a_call_is_shown_as_no_command_and_stays_one_unless_a_command_is_given() {
        let before = native(
            r#"{"name": "a", "trigger": {"cron": ["0 1 * * *"]}, "timeout": "2h",
                "driver": {"http": {"url": "https://example.org/hook", "headers": {"A": "b"}}}}"#,
        );
        let shown = r#"{"name": "a", "command": "", "cronExpr": "0 1 * * *"}"#;
        assert_eq!(saved(Some(&before), shown).unwrap(), before);
        let after = saved(Some(&before), r#"{"name": "a", "command": "date", "cronExpr": "0 1 * * *"}"#);
        let expected = r#"{"name": "a", "trigger": {"cron": ["0 1 * * *"]}, "timeout": "2h",
                           "driver": {"shell": {"command": "date"}}}"#;
        assert_eq!(after.unwrap(), native(expected));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            (r#"{"name": "a", "command": "b"}"#, "cronExpr"),
            (r#"{"name": "a", "cronExpr": "* * * * *"}"#, "command"),
            (r#"{"name": "a", "command": 1, "cronExpr": "* * * * *"}"#, "command"),
            (r#"{"name": "a", "command": "b", "cronExpr": "* * * * *", "colour": 1}"#, "colour"),
            (r#"{"name": "a", "command": "b", "driver": {}, "cronExpr": "* * * * *"}"#, "driver"),
            (r"[]", "object"),
        ] {
            let error = saved(None, text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
