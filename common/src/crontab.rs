//! Crontab text → jobs, and what could not be carried over.
//!
//! Reads what Vixie's cron, Debian's and cronie's read, in the user's format and in the system's (with a user
//! column). Every line of the text comes back, in order, as exactly one [`Line`]: what became of it, and notes on
//! what is different here. What would run at other instants than under cron, or as another command, is reported as a
//! problem and becomes no job. Pure: the current instant is an argument, used only to tell schedules that never fire.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use crate::{
    job::{Command, Environment, Job, Shell, Trigger},
    schedule,
};

mod again;
mod entry;
mod name;
#[cfg(test)]
mod tests;
mod time;

use self::{entry::Entry, name::Names};

pub use again::{Again, Change, IMPRINT_LABEL, SOURCE_LABEL, again, imprint, is_edited};

/// Texts in descriptions are cut here: the line itself stays in the crontab.
const DESCRIBED_CHARS: usize = 1000;

/// What cron sets where the table does not.
const CRON_SHELL: &str = "/bin/sh";
const CRON_PATH: &str = "/usr/bin:/bin";

/// The columns of a crontab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Five fields and a command, as `crontab -l` prints.
    User,
    /// Five fields, a user and a command, as in `/etc/crontab` and `/etc/cron.d`.
    System,
}

impl Format {
    /// The format that cron itself would read a file of this path in.
    pub fn of_path(path: &str) -> Self {
        let mut parts = path.rsplit('/');
        let name = parts.next();
        if path == "/etc/crontab" || name.is_some() && parts.next() == Some("cron.d") {
            Self::System
        } else {
            Self::User
        }
    }
}

/// Whose table a file is, by its path: cron keeps one a user, named after the user.
pub fn owner_by_path(path: &str) -> Option<&str> {
    let name =
        path.strip_prefix("/var/spool/cron/crontabs/").or_else(|| path.strip_prefix("/var/spool/cron/"))?;
    entry::is_user(name).then_some(name)
}

/// What to know of a crontab beside its text.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its columns.
    pub format: Format,
    /// Its path, for names and descriptions.
    pub file: String,
    /// The text of the label [`SOURCE_LABEL`] that tells where a job came from; empty: none.
    pub source: String,
    /// Put before every job's name.
    pub name_prefix: String,
    /// The zone of the machine it comes from, for lines without `CRON_TZ`.
    pub zone: Tz,
    /// Who runs the jobs of a user's table; none: the worker's user.
    pub user: Option<String>,
    /// Labels that a worker must have to run the jobs, such as `disk=ssd`.
    pub require: Vec<String>,
    /// When this is.
    pub now: DateTime<Utc>,
}

/// A crontab, line by line.
#[derive(Clone, Debug, Serialize)]
pub struct Crontab {
    /// What there is to say about the file as a whole.
    pub notes: Vec<String>,
    /// Every line of it.
    pub lines: Vec<Line>,
}

/// One line and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Its number, from 1.
    pub number: usize,
    /// Its text; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What is different here from cron.
    pub notes: Vec<String>,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Outcome {
    /// A job.
    Job {
        /// As the API takes it.
        job: Box<Job>,
    },
    /// A variable or an option, for the lines below it.
    Setting {
        /// Its name.
        name: String,
        /// Its value without quotes.
        value: String,
    },
    /// A comment.
    Comment,
    /// Nothing.
    Blank,
    /// Something that could not be carried over.
    Problem {
        /// Why, and what to do.
        reason: String,
    },
}

/// How many lines became what. The sum is the number of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// All lines.
    pub lines: usize,
    /// Jobs.
    pub jobs: usize,
    /// Settings.
    pub settings: usize,
    /// Comments.
    pub comments: usize,
    /// Blank lines.
    pub blank: usize,
    /// Lines that could not be carried over.
    pub problems: usize,
}

impl Crontab {
    /// How many lines became what.
    pub fn count(&self) -> Count {
        let mut count = Count { lines: self.lines.len(), ..Count::default() };
        for line in &self.lines {
            *match line.outcome {
                Outcome::Job { .. } => &mut count.jobs,
                Outcome::Setting { .. } => &mut count.settings,
                Outcome::Comment => &mut count.comments,
                Outcome::Blank => &mut count.blank,
                Outcome::Problem { .. } => &mut count.problems,
            } += 1;
        }
        count
    }

    /// Puts another job in the place of a line's.
    pub fn set_job(&mut self, number: usize, job: Job) {
        if let Some(Line { outcome: Outcome::Job { job: place }, .. }) =
            self.lines.iter_mut().find(|line| line.number == number)
        {
            **place = job;
        }
    }

    /// The jobs, with the numbers of their lines.
    pub fn jobs(&self) -> impl Iterator<Item = (usize, &Job)> {
        self.lines.iter().filter_map(|line| match &line.outcome {
            Outcome::Job { job } => Some((line.number, &**job)),
            _ => None,
        })
    }
}

/// Reads a crontab. Takes any bytes, and gives as many lines as they have.
pub fn parse(text: &[u8], options: &Options) -> Crontab {
    let mut notes = Vec::new();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut rows: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    match rows.last() {
        // What follows the last newline is not a line.
        Some([]) => {
            rows.pop();
        }
        _ => notes.push(
            "the last line has no newline at its end: some crons ignore the whole file for it, here it counts".to_owned(),
        ),
    }
    let mut reader = Reader::new(options);
    let lines = rows.iter().enumerate().map(|(index, row)| reader.line(index + 1, row)).collect();
    Crontab { notes, lines }
}

/// What the lines above say about those below.
struct Reader<'a> {
    options: &'a Options,
    env: BTreeMap<String, String>,
    shell: Option<String>,
    /// Where commands start, as the table has it; none: at home.
    home: Option<String>,
    /// The zone, or the line that names one that does not exist.
    zone: Result<Tz, usize>,
    names: Names,
}

impl<'a> Reader<'a> {
    fn new(options: &'a Options) -> Self {
        let zone = Ok(options.zone);
        Self { options, env: BTreeMap::new(), shell: None, home: None, zone, names: Names::default() }
    }

    fn line(&mut self, number: usize, row: &[u8]) -> Line {
        let mut notes = Vec::new();
        let row = match row {
            [start @ .., b'\r'] => {
                notes.push("ends with a carriage return, which cron would keep; left out".to_owned());
                start
            }
            row => row,
        };
        let text = String::from_utf8_lossy(row).into_owned();
        let trimmed = text.trim_start_matches([' ', '\t']);
        let outcome = if trimmed.is_empty() {
            notes.clear();
            Outcome::Blank
        } else if trimmed.starts_with('#') {
            notes.clear();
            Outcome::Comment
        } else if std::str::from_utf8(row).is_err() {
            problem(
                "is not UTF-8, so that its command could not be kept as it is: convert the file, for example with iconv -f latin1 -t utf8",
            )
        } else if let Some((name, value)) = entry::setting(trimmed) {
            self.setting(number, name, value, &mut notes)
        } else {
            self.entry(&text, trimmed, &mut notes).unwrap_or_else(problem)
        };
        Line { number, text, outcome, notes }
    }

    fn setting(&mut self, number: usize, name: String, value: String, notes: &mut Vec<String>) -> Outcome {
        let mut note = |text: &str| notes.push(text.to_owned());
        match name.as_str() {
            "MAILTO" | "MAILFROM" | "CONTENT_TYPE" | "CONTENT_TRANSFER_ENCODING" => {
                note("Quorate sends no mail: the output of every run is in its log");
            }
            "RANDOM_DELAY" => note("there are no random delays: the jobs below run at their instants"),
            "LOGNAME" => note("not carried over: cron does not let a table set it either"),
            "SHELL" if value.starts_with('/') => self.shell = Some(value.clone()),
            "SHELL" => {
                return problem(format!(
                    "the shell {value:?} is not an absolute path; use, for example, /bin/bash"
                ));
            }
            "CRON_TZ" => {
                self.zone = if value.is_empty() {
                    Ok(self.options.zone)
                } else {
                    match schedule::parse_zone(&value) {
                        Ok(zone) => Ok(zone),
                        Err(error) => {
                            self.zone = Err(number);
                            return problem(error.to_string());
                        }
                    }
                };
                note("the zone of the lines below, as cronie has it (Debian's cron would ignore it)");
            }
            _ => {
                if name == "HOME" {
                    // cron starts commands there.
                    self.home = Some(value.clone()).filter(|home| home.starts_with('/'));
                }
                if name == "TZ" {
                    note(
                        "for the commands below, as in cron; their schedules stay in the zone of the table (CRON_TZ sets it)",
                    );
                }
                if value.contains('$') {
                    note("the $ is taken as it stands, as cron does: nothing is expanded here");
                }
                self.env.insert(name.clone(), value.clone());
            }
        }
        Outcome::Setting { name, value }
    }

    fn entry(&mut self, text: &str, trimmed: &str, notes: &mut Vec<String>) -> Result<Outcome, String> {
        entry::refuse_other_formats(trimmed, &self.options.file)?;
        let entry = Entry::read(trimmed, self.options.format, notes)?;
        let zone = self.zone.map_err(|line| format!("its time zone, in line {line}, is not known"))?;
        let expression = time::expression(&entry.times, notes)?;
        let name = self.names.give(&self.options.name_prefix, &self.options.file, &entry.command)?;
        let shell = Shell {
            command: entry.command,
            shell: self.shell.clone(),
            environment: Environment {
                env: self.variables(),
                dir: Some(self.home.clone().unwrap_or_else(|| "~".to_owned())),
                user: entry.user.or_else(|| self.options.user.clone()),
                umask: None,
                stdin: entry.stdin,
            },
        };
        let trigger = Trigger::Cron { expressions: vec![expression], zone: Some(zone), anchor: None };
        let mut job = Job::new(name, trigger, Command::Shell(shell));
        job.description = self.description(text);
        job.placement.require = self.options.require.clone();
        if !self.options.source.is_empty() {
            job.labels.insert(SOURCE_LABEL.to_owned(), self.options.source.clone());
            job.labels.insert(IMPRINT_LABEL.to_owned(), imprint(&job));
        }
        job.check(self.options.now).map_err(|error| error.to_string())?;
        Ok(Outcome::Job { job: Box::new(job) })
    }

    /// The table's, and what cron gives beside: HOME and LOGNAME are the account's here as well.
    fn variables(&self) -> BTreeMap<String, String> {
        let mut env = self.env.clone();
        let shell = self.shell.as_deref().unwrap_or(CRON_SHELL);
        for (name, value) in [("SHELL", shell), ("PATH", CRON_PATH)] {
            env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        env
    }

    /// Without the line's number: a comment above it would change the job.
    fn description(&self, text: &str) -> String {
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        let mut shown: String = text.trim().chars().take(DESCRIBED_CHARS).map(visible).collect();
        if shown.len() < text.trim().len() {
            shown.push('…');
        }
        format!("imported from {}: {shown}", self.options.file)
    }
}

fn problem(reason: impl Into<String>) -> Outcome {
    Outcome::Problem { reason: reason.into() }
}
