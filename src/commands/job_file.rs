//! A file of jobs → values to send: one job, a list, or one after the other; JSON or YAML.

use std::{collections::HashSet, io::Read as _, path::Path};

use serde::Deserialize as _;
use serde_json::Value;

use crate::exit::BadInput;

/// Reads a file, or standard input for `-`.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text)?;
        return Ok(text);
    }
    std::fs::read(path)
        .map_err(|error| BadInput(format!("{} cannot be read: {error}", path.display())).into())
}

/// The jobs in a text, each with its name.
pub(super) fn jobs(path: &Path, text: &[u8]) -> Result<Vec<(String, Value)>, BadInput> {
    let (shown, values) = values(path, text)?;
    let mut names = HashSet::new();
    let mut jobs = Vec::new();
    for (n, value) in values.into_iter().enumerate() {
        let Some(name) = value.get("name").and_then(Value::as_str) else {
            return Err(BadInput(format!(
                "{shown}: job {} has no name; use, for example, {{\"name\": \"hello\", \"trigger\": {{\"cron\": [\"* * * * *\"]}}, \
                 \"driver\": {{\"shell\": {{\"command\": \"date\"}}}}}}",
                n + 1
            )));
        };
        // The name is part of the address: an empty one would address the list.
        name.parse::<common::id::JobName>()
            .map_err(|error| BadInput(format!("{shown}: job {}: name: {error}", n + 1)))?;
        if !names.insert(name.to_owned()) {
            return Err(BadInput(format!("{shown}: {name:?} is there twice: only one of them can be saved")));
        }
        jobs.push((name.to_owned(), value));
    }
    if jobs.is_empty() {
        return Err(BadInput(format!("{shown}: there is no job in it")));
    }
    Ok(jobs)
}

/// The tasks in a text.
pub(super) fn tasks(path: &Path, text: &[u8]) -> Result<Vec<Value>, BadInput> {
    let (shown, tasks) = values(path, text)?;
    if tasks.is_empty() {
        return Err(BadInput(format!(
            "{shown}: there is no task in it; use, for example, {{\"driver\": {{\"shell\": {{\"command\": \"date\"}}}}}}"
        )));
    }
    Ok(tasks)
}

/// The values in a text, and what to call it in messages.
fn values(path: &Path, text: &[u8]) -> Result<(String, Vec<Value>), BadInput> {
    let shown = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    let looks_like_json =
        text.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| b"{[".contains(byte));
    let values = if looks_like_json && !is_yaml { json(text) } else { yaml(text) };
    let values = values.map_err(|problem| BadInput(format!("{shown}: {problem}")))?;
    Ok((shown, values))
}

fn json(text: &[u8]) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_slice(text).into_iter() {
        flatten(value.map_err(|error| format!("is not JSON: {error}"))?, &mut values);
    }
    Ok(values)
}

fn yaml(text: &[u8]) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    for document in serde_norway::Deserializer::from_slice(text) {
        match Value::deserialize(document).map_err(|error| format!("is not YAML: {error}"))? {
            Value::Null => {}
            value => flatten(value, &mut values),
        }
    }
    Ok(values)
}

fn flatten(value: Value, values: &mut Vec<Value>) {
    match value {
        Value::Array(items) => values.extend(items),
        value => values.push(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(file: &str, text: &str) -> Result<Vec<String>, String> {
        let jobs = jobs(Path::new(file), text.as_bytes()).map_err(|error| error.0)?;
        Ok(jobs.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn one_job_a_list_and_lines_are_read() {
        for (file, text, count) in [
            ("a.json", r#"{"name": "a"}"#, 1),
            ("a.json", r#"[{"name": "a"}, {"name": "b"}]"#, 2),
            ("-", "{\"name\": \"a\"}\n{\"name\": \"b\"}\n", 2),
            ("-", "name: a\ntrigger:\n  cron: ['* * * * *']\n", 1),
            ("a.yaml", "- {name: a}\n- {name: b}\n", 2),
            ("a.yaml", "name: a\n---\nname: b\n---\n", 2),
        ] {
            assert_eq!(names(file, text).unwrap().len(), count, "{text}");
        }
    }

    #[test]
    fn what_is_no_job_is_refused_with_its_place() {
        for (text, word) in [
            ("", "no job"),
            ("[]", "no job"),
            ("{", "JSON"),
            ("a: [", "YAML"),
            (r#"[{"name": "a"}, {}]"#, "job 2 has no name"),
            (r#"[{"name": "a"}, {"name": "a"}]"#, "twice"),
            (r#"{"name": ""}"#, "empty"),
            (r#"{"name": "a/b"}"#, "'/'"),
            ("7", "no name"),
        ] {
            let problem = names("jobs", text).unwrap_err();
            assert!(problem.contains(word), "{text}: {problem}");
        }
    }
}
