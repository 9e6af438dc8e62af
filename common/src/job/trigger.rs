//! When a job is due.

use chrono::{DateTime, SubsecRound, Utc};
use chrono_tz::Tz;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};

use super::{FieldError, JobError};
use crate::{
    schedule::{self, Schedule, ScheduleError},
    span::Span,
};

/// When a job is due.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub enum Trigger {
    /// At the instants of any of these expressions, in a time zone.
    Cron {
        /// Five, six or seven fields, or a macro.
        expressions: Vec<String>,
        /// None only before the job is saved.
        zone: Option<Tz>,
        /// From where `@every` counts; set when the job is saved.
        anchor: Option<DateTime<Utc>>,
    },
    /// At anchor + n·period.
    Every {
        /// Whole seconds, at least one.
        period: Span,
        /// The instant of the first saving.
        anchor: Option<DateTime<Utc>>,
    },
    /// Once.
    At(DateTime<Utc>),
    /// Only when somebody asks for it.
    Manual,
}

/// The JSON form: exactly one of `cron`, `every`, `at` and `manual`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Fields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cron: Option<Expressions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manual: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<Zone>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    anchor: Option<DateTime<Utc>>,
}

/// A time zone by its name. A type of its own, so that an error names its field.
#[derive(Clone, Copy, Debug)]
struct Zone(Tz);

impl Serialize for Zone {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        schedule::parse_zone(&name).map(Self).map_err(D::Error::custom)
    }
}

/// One expression, or a list of them.
#[derive(Clone, Debug, Serialize)]
struct Expressions(Vec<String>);

impl<'de> Deserialize<'de> for Expressions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Expressions;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an expression or a list of them")
            }

            fn visit_str<E>(self, one: &str) -> Result<Expressions, E> {
                Ok(Expressions(vec![one.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Expressions, A::Error> {
                let mut many = Vec::new();
                while let Some(expression) = list.next_element()? {
                    many.push(expression);
                }
                Ok(Expressions(many))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

const FORMS: &str = "a trigger is exactly one of {\"cron\": [\"30 2 * * *\"]}, {\"every\": \"90s\"}, {\"at\": \"2026-12-24T18:00:00Z\"} \
     and {\"manual\": true}";

impl TryFrom<Fields> for Trigger {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let zone = fields.zone.map(|Zone(zone)| zone);
        let refuse = |field: &str, given: bool| {
            if given { Err(format!("{field} does not go with this trigger; {FORMS}")) } else { Ok(()) }
        };
        match (fields.cron, fields.every, fields.at, fields.manual) {
            (Some(Expressions(expressions)), None, None, None) => {
                Ok(Self::Cron { expressions, zone, anchor: fields.anchor })
            }
            (None, Some(period), None, None) => {
                refuse("zone", zone.is_some())?;
                Ok(Self::Every { period, anchor: fields.anchor })
            }
            (None, None, Some(at), None) => {
                refuse("zone", zone.is_some())?;
                refuse("anchor", fields.anchor.is_some())?;
                Ok(Self::At(at))
            }
            (None, None, None, Some(true)) => {
                refuse("zone", zone.is_some())?;
                refuse("anchor", fields.anchor.is_some())?;
                Ok(Self::Manual)
            }
            _ => Err(FORMS.to_owned()),
        }
    }
}

impl From<Trigger> for Fields {
    fn from(trigger: Trigger) -> Self {
        let none = Self::default();
        match trigger {
            Trigger::Cron { expressions, zone, anchor } => {
                Self { cron: Some(Expressions(expressions)), zone: zone.map(Zone), anchor, ..none }
            }
            Trigger::Every { period, anchor } => Self { every: Some(period), anchor, ..none },
            Trigger::At(at) => Self { at: Some(at), ..none },
            Trigger::Manual => Self { manual: Some(true), ..none },
        }
    }
}

impl Trigger {
    /// A cron trigger that has yet to get its zone and anchor.
    pub fn cron(expressions: Vec<String>) -> Self {
        Self::Cron { expressions, zone: None, anchor: None }
    }

    /// The expressions of a cron trigger, else nothing.
    pub fn expressions(&self) -> &[String] {
        match self {
            Self::Cron { expressions, .. } => expressions,
            _ => &[],
        }
    }

    pub(super) fn settle(&mut self, default_zone: Tz, now: DateTime<Utc>, previous: Option<&Self>) {
        let kept = previous.and_then(Self::anchor).unwrap_or_else(|| now.trunc_subsecs(0));
        match self {
            Self::Cron { expressions, zone, anchor } => {
                let before = previous.and_then(|trigger| match trigger {
                    Self::Cron { zone, .. } => *zone,
                    _ => None,
                });
                zone.get_or_insert(before.unwrap_or(default_zone));
                let counts_from = |text: &String| text.trim_start().starts_with("@every");
                if anchor.is_none() && expressions.iter().any(counts_from) {
                    *anchor = Some(kept);
                }
            }
            Self::Every { anchor, .. } => {
                anchor.get_or_insert(kept);
            }
            Self::At(_) | Self::Manual => {}
        }
    }

    pub(super) fn anchor(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Cron { anchor, .. } | Self::Every { anchor, .. } => *anchor,
            Self::At(_) | Self::Manual => None,
        }
    }

    /// Counts from there, if it counts from anywhere.
    pub(super) fn count_from(&mut self, from: DateTime<Utc>) {
        if let Self::Cron { anchor: Some(anchor), .. } | Self::Every { anchor: Some(anchor), .. } = self {
            *anchor = from;
        }
    }

    /// Leaves out an anchor that is the one of `other`, as of a job that was read and is sent back: it gets the one that
    /// the job has by then.
    pub fn forget_anchor_of(&mut self, other: &Self) {
        let of_other = other.anchor();
        if let Self::Cron { anchor, .. } | Self::Every { anchor, .. } = self {
            anchor.take_if(|anchor| of_other == Some(*anchor));
        }
    }

    /// The instants; `None` for a job that only people start. A trigger that was never saved by a manager (one
    /// written by hand) counts in UTC and from 1970.
    pub(super) fn schedule(&self) -> Result<Option<Schedule>, JobError> {
        match self {
            Self::Cron { expressions, zone, anchor } => {
                Schedule::cron(expressions, zone.unwrap_or(Tz::UTC), anchor.unwrap_or_default())
                    .map(Some)
                    .map_err(|error| cron_error(&error).into())
            }
            Self::Every { period, anchor } => {
                Schedule::every(period.0, anchor.unwrap_or_default()).map(Some).map_err(|error| {
                    FieldError::new("trigger.every", period, problem(&error), error.example()).into()
                })
            }
            Self::At(at) => Ok(Some(Schedule::at(*at))),
            Self::Manual => Ok(None),
        }
    }

    /// What begins, or is due, after the last instant that there is.
    fn never(&self) -> FieldError {
        let (field, given) = match self {
            Self::At(at) => ("trigger.at", Some(*at)),
            _ => ("trigger.anchor", self.anchor()),
        };
        let given = given.map(|at| at.to_rfc3339()).unwrap_or_default();
        FieldError::new(field, given, "is after the year 9999: it would never run", "2026-12-24T18:00:00Z")
    }

    pub(super) fn check(&self, now: DateTime<Utc>, errors: &mut Vec<FieldError>) {
        match self {
            Self::Cron { expressions, zone, anchor } => {
                let checked =
                    schedule::validate(expressions, zone.unwrap_or(Tz::UTC), anchor.unwrap_or(now), now);
                errors.extend(checked.err().map(|error| cron_error(&error)));
            }
            Self::At(at) if *at <= now => errors.push(FieldError::new(
                "trigger.at",
                at.to_rfc3339(),
                "is in the past: it would never run",
                "an instant to come, or {\"manual\": true} and run it now",
            )),
            _ => match self.schedule() {
                Ok(Some(schedule)) if schedule.next_after(now).is_none() => errors.push(self.never()),
                Ok(_) => {}
                Err(error) => errors.extend(error.errors),
            },
        }
    }
}

/// The problem with the field of the expression that has it, and what is allowed there.
fn problem(error: &ScheduleError) -> String {
    let place = error.field().map(|field| format!("{field}: ")).unwrap_or_default();
    format!("{place}{} ({})", error.problem(), error.allowed())
}

fn cron_error(error: &ScheduleError) -> FieldError {
    FieldError::new(format!("trigger.cron[{}]", error.index()), error.got(), problem(error), error.example())
}
