//! The policies of a job: overlap, misfire, retry, delivery, lease loss, placement, output.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Command, FieldError, MAX_OUTPUT, error::FOR_EXAMPLE, label::Requirement};
use crate::span::{ByteSize, Span, names_calendar_unit};

/// What to do at a tick that finds the job running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// The tick gets no run; its outcome is `skipped`.
    #[default]
    Skip,
    /// The first such tick waits for the run to end, later ones are skipped.
    QueueOne,
    /// It runs beside the others.
    Allow,
    /// The run that executes is killed, then the new one starts.
    Replace,
}

/// What to do about ticks that nobody could claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MisfirePolicy {
    /// Run the newest once.
    #[default]
    Latest,
    /// Run all of them, at most `limit`, the newest ones.
    All,
    /// Run none.
    Skip,
}

/// The misfire policy with its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Misfire {
    /// Which of the missed ticks run.
    pub policy: MisfirePolicy,
    /// With `all`: at most this many.
    #[serde(skip_serializing_if = "is_default_limit")]
    pub limit: u32,
    /// No missed tick runs that is older than this.
    pub deadline: Span,
}

const DEFAULT_MISFIRE_LIMIT: u32 = 10;

/// More entries than this in one transaction would not fit.
const MAX_MISFIRE_LIMIT: u32 = 50;

fn is_default_limit(limit: &u32) -> bool {
    *limit == DEFAULT_MISFIRE_LIMIT
}

impl Default for Misfire {
    fn default() -> Self {
        Self { policy: MisfirePolicy::Latest, limit: DEFAULT_MISFIRE_LIMIT, deadline: Span::seconds(3600) }
    }
}

impl<'de> Deserialize<'de> for Misfire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, expecting = "an object")]
        struct Fields {
            #[serde(default)]
            policy: MisfirePolicy,
            limit: Option<Limit>,
            deadline: Option<Span>,
        }
        /// A type of its own, so that an error names its field.
        struct Limit(u32);
        impl<'de> Deserialize<'de> for Limit {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let limit = u32::deserialize(deserializer)?;
                if (1..=MAX_MISFIRE_LIMIT).contains(&limit) {
                    return Ok(Self(limit));
                }
                Err(serde::de::Error::custom(format!(
                    "{limit} is not 1 to {MAX_MISFIRE_LIMIT}{FOR_EXAMPLE}10"
                )))
            }
        }
        let fields = Fields::deserialize(deserializer)?;
        let limit = fields.limit.map_or(DEFAULT_MISFIRE_LIMIT, |Limit(limit)| limit);
        Ok(Self {
            policy: fields.policy,
            limit,
            deadline: fields.deadline.unwrap_or(Self::default().deadline),
        })
    }
}

/// What to do after an attempt that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct Retry {
    /// Attempts in all, the first included.
    #[serde(default = "one")]
    pub attempts: u32,
    /// The wait between two attempts.
    #[serde(default)]
    pub backoff: Backoff,
    /// Exit codes, or statuses of a call's answer, after which another attempt is made; empty: after all but 0, and
    /// after a call where the next one may be answered otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<i32>,
}

const fn one() -> u32 {
    1
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 1, backoff: Backoff::default(), on: Vec::new() }
    }
}

impl Retry {
    pub(super) fn check(&self, driver: &Command, errors: &mut Vec<FieldError>) {
        if !(1..=100).contains(&self.attempts) {
            errors.push(FieldError::new(
                "retry.attempts",
                self.attempts,
                "is not 1 to 100 (the first attempt counts)",
                "3",
            ));
        }
        // Not when it is read: a stored job that has such a one runs.
        let (codes, problem, example) = match driver {
            Command::Http(_) => {
                (200..=599, "is not the status of an answer: those are 200 to 599", "[429, 503]")
            }
            _ => (1..=255, "is not the exit code of a failed run: those are 1 to 255", "[1, 75]"),
        };
        for (n, code) in self.on.iter().enumerate().filter(|(_, code)| !codes.contains(*code)) {
            errors.push(FieldError::new(format!("retry.on[{n}]"), code, problem, example));
        }
    }
}

/// A wait that doubles from attempt to attempt, written `10s..5m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// Never more.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(10), most: Duration::from_secs(300) }
    }
}

impl FromStr for Backoff {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            let why = if names_calendar_unit(text) {
                "names months or years, which have no fixed length (\"m\" is minutes)"
            } else {
                "is not a backoff"
            };
            format!("{text:?} {why}{FOR_EXAMPLE}\"10s..5m\" or \"30s\"")
        };
        let (first, most) = text.split_once("..").unwrap_or((text, text));
        let first = first.parse::<Span>().map_err(|_| refused())?.0;
        let most = most.parse::<Span>().map_err(|_| refused())?.0;
        if first > most { Err(refused()) } else { Ok(Self { first, most }) }
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.most {
            write!(f, "{}", Span(self.first))
        } else {
            write!(f, "{}..{}", Span(self.first), Span(self.most))
        }
    }
}

impl Serialize for Backoff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Backoff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What to do about a run whose worker is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Nothing: it may have done its work.
    #[default]
    AtMostOnce,
    /// Run it again elsewhere, as the next attempt.
    AtLeastOnce,
}

/// What a worker does with its run when its lease can no longer be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnLeaseLoss {
    /// Kill it, before anybody else may take over.
    #[default]
    Kill,
    /// Let it go on: another run of the job may then execute beside it.
    Keep,
}

/// Which worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct Placement {
    /// In which order the workers come.
    #[serde(default)]
    pub policy: PlacementPolicy,
    /// What a worker's labels must say: `disk=ssd`, `zone!=eu-1`, `zone in (eu-1, eu-2)`, `zone not in (eu-1)`, `gpu` (any
    /// value) or `!spot`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<String>,
}

impl Placement {
    /// True for a worker with these labels.
    pub fn allows(&self, labels: &BTreeMap<String, String>) -> bool {
        // One that a hand has written, and that says nothing, allows nobody.
        self.require.iter().all(|text| Requirement::read(text).is_some_and(|wanted| wanted.allows(labels)))
    }

    pub(super) fn check(&self, errors: &mut Vec<FieldError>) {
        for (n, label) in self.require.iter().enumerate() {
            if Requirement::read(label).is_none() {
                errors.push(FieldError::new(
                    format!("placement.require[{n}]"),
                    label,
                    "names no label",
                    "\"disk=ssd\", \"zone in (eu-1, eu-2)\", \"zone!=eu-1\", \"gpu\" or \"!spot\"",
                ));
            }
        }
    }
}

/// In which order the workers come for a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlacementPolicy {
    /// By a rendezvous hash of the job's name: moves the fewest jobs when workers come and go.
    #[default]
    Hash,
}

/// What becomes of a run's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub struct OutputLimit {
    /// How much of it is kept; the rest is read, counted and thrown away.
    pub limit: ByteSize,
    /// Which part of a longer one.
    pub keep: Keep,
}

/// Which part is kept of an output that is longer than its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The first one.
    Head,
    /// The last one, which ends with the error as a rule.
    Tail,
    /// The first half and the last one: how it began, and how it ended.
    #[default]
    Both,
}

impl Default for OutputLimit {
    fn default() -> Self {
        Self { limit: ByteSize(1 << 20), keep: Keep::default() }
    }
}

impl OutputLimit {
    /// So many bytes, the first and the last ones.
    pub fn of(bytes: u64) -> Self {
        Self { limit: ByteSize(bytes), keep: Keep::default() }
    }

    pub(super) fn check(self, errors: &mut Vec<FieldError>) {
        if self.limit > MAX_OUTPUT {
            errors.push(FieldError::new(
                "output.limit",
                self.limit,
                format!("is more than {MAX_OUTPUT}, which a record in the run log can hold"),
                "\"1MiB\"",
            ));
        }
    }
}
