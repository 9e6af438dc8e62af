//! The jobs of a request that brings many: a list, or `{"jobs": [...]}`. Each becomes a job as it is read, and they
//! are counted meanwhile, so that a request that is refused for their number costs no more than one that is not.

use std::fmt;

use common::job::{FieldError, Job, JobError};
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use super::once::{MOST_VALUES, Once};
use crate::problem::ApiError;

/// More jobs in one request are refused: it has to be answered within seconds.
pub(crate) const MOST_JOBS: usize = 5_000;

const EXAMPLE: &str =
    r#"[{"name": "a", "trigger": {"every": "90s"}, "driver": {"shell": {"command": "date"}}}]"#;

/// One of many jobs, with its name where one is given.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) name: Option<String>,
    pub(crate) job: Result<Job, JobError>,
}

/// Reads them.
pub(super) fn read(text: &[u8]) -> Result<Vec<Given>, ApiError> {
    let mut wrong = Some(Wrong::new("", "is not a list of jobs"));
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = Many(&mut wrong).deserialize(&mut json).and_then(|jobs| json.end().map(|()| jobs));
    match (read, wrong) {
        (Err(error), Some(Wrong { got, problem })) if error.is_data() => {
            Err(ApiError::bad_field(FieldError::new("jobs", got, problem, EXAMPLE)))
        }
        (read, _) => read.map_err(|error| super::not_understood(&error)),
    }
}

/// What is wrong with the whole, if reading fails here.
struct Wrong {
    got: String,
    problem: String,
}

impl Wrong {
    fn new(got: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { got: got.into(), problem: problem.into() }
    }

    fn count(got: impl Into<String>) -> Self {
        Self::new(got, format!("is not 1 to {MOST_JOBS} jobs; send several requests"))
    }
}

/// The list, or the object that has it.
struct Many<'a>(&'a mut Option<Wrong>);

impl<'de> DeserializeSeed<'de> for Many<'_> {
    type Value = Vec<Given>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Given>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Many<'_> {
    type Value = Vec<Given>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of jobs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<Given>, A::Error> {
        List(self.0).visit_seq(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Vec<Given>, A::Error> {
        let mut jobs = None;
        while let Some(member) = object.next_key::<String>()? {
            if member != "jobs" || jobs.is_some() {
                let is_known = member == "jobs";
                let problem =
                    if is_known { "is given twice" } else { "is not known: \"jobs\" is the one member" };
                *self.0 = Some(Wrong::new(member.chars().take(80).collect::<String>(), problem));
                return Err(A::Error::custom("another member"));
            }
            jobs = Some(object.next_value_seed(List(self.0))?);
        }
        jobs.ok_or_else(|| A::Error::custom("no jobs"))
    }
}

struct List<'a>(&'a mut Option<Wrong>);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = Vec<Given>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Given>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = Vec<Given>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of jobs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Given>, A::Error> {
        // From here on what is wrong is wrong with one job.
        *self.0 = None;
        let mut jobs = Vec::new();
        while let Some(value) = list.next_element_seed(Once(&mut { MOST_VALUES }))? {
            if jobs.len() == MOST_JOBS {
                *self.0 = Some(Wrong::count(format!("{} or more", MOST_JOBS + 1)));
                return Err(A::Error::custom("too many jobs"));
            }
            let name = value.get("name").and_then(Value::as_str).map(str::to_owned);
            jobs.push(Given { name, job: Job::from_value(value) });
        }
        if jobs.is_empty() {
            *self.0 = Some(Wrong::count("0"));
            return Err(A::Error::custom("no job"));
        }
        Ok(jobs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().to_string()
    }

    // Once: one request of 8 MiB cost half a gigabyte and delayed ticks by seconds in `dev`; a list was parsed
    // before its jobs were counted, on a thread that answers.
    #[test]
    fn jobs_are_counted_while_they_are_read() {
        assert_eq!(read(format!("[{}7]", "7,".repeat(MOST_JOBS - 1)).as_bytes()).unwrap().len(), MOST_JOBS);
        // What comes behind one too many is not looked at: it is not even JSON.
        let more = problem(&format!("[{}7,", "7,".repeat(MOST_JOBS)));
        assert!(more.contains("is not 1 to 5000 jobs"), "{more}");
        for (text, expected) in [
            ("[]", "is not 1 to 5000 jobs"),
            (r#"{"jobs": []}"#, "is not 1 to 5000 jobs"),
            (r#"{"jobs": {}}"#, "is not a list of jobs"),
            ("7", "is not a list of jobs"),
            ("{}", "is not a list of jobs"),
            (r#"{"jobs": [1], "others": 1}"#, "is the one member"),
            (r#"{"jobs": [1], "others": 1}"#, r#"jobs: "others" is not known"#),
            (r#"{"jobs": [1], "jobs": [1]}"#, r#""jobs" is given twice"#),
            (r#"{"others": 1}"#, "is the one member"),
            (r#"[{"name": "a", "name": "b"}]"#, "is given twice"),
            ("[7] 8", "is not JSON"),
            ("[7", "is not JSON"),
        ] {
            let told = problem(text);
            assert!(told.contains(expected), "{text}: {told}");
        }
    }

    #[test]
    fn values_are_counted_while_a_job_is_read() {
        // Not JSON behind the last value that is read.
        let told = problem(&format!("[{{\"a\": [{}", "[],".repeat(MOST_VALUES)));
        assert!(told.contains("values in it, which no job has"), "{told}");
    }
}
