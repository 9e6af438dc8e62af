//! How an execution ended, or why it never began.

use std::time::Duration;

use chrono::{DateTime, Utc};
use common::job::is_retryable_status;

/// How an execution ended by itself, before anybody asks who wanted its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    ended: Ended,
    note: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ended {
    Code(i32),
    Signal(i32),
    /// As its engine says it: a signal is 128 and its number.
    Container(i32),
    /// Somebody else ended it, and nothing tells how.
    Gone(String),
    /// What it ran on ended it, or lost it.
    Lost(String),
    /// It never began.
    NotStarted(StartError),
    /// A call was answered.
    Answered {
        status: u16,
        is_expected: bool,
        words: String,
        wait: Option<Wait>,
    },
    /// A call was not answered, or not to the end.
    Unanswered(String, Unanswered),
}

/// What it means that a call was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Another one may be.
    ForNow,
    /// It took too long; another one may not.
    TimedOut,
    /// Another one would not be, either.
    ForGood,
}

/// How long to wait before the next attempt, as the other side asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// For so long.
    For(Duration),
    /// Until then, by its clock.
    Until(DateTime<Utc>),
}

/// Nobody is made to wait for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

impl Wait {
    /// Reads the value of `Retry-After`: seconds, or an instant. None: it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // More than fit into the number is longer than the longest.
            return Some(Self::For(text.parse().map_or(LONGEST_WAIT, Duration::from_secs)));
        }
        DateTime::parse_from_rfc2822(text).ok().map(|at| Self::Until(at.with_timezone(&Utc)))
    }

    /// How long that is from now: at most an hour, and no time if it is over.
    pub fn from(self, now: DateTime<Utc>) -> Duration {
        let wait = match self {
            Self::For(span) => span,
            Self::Until(at) => (at - now).to_std().unwrap_or_default(),
        };
        wait.min(LONGEST_WAIT)
    }
}

impl Exit {
    const fn of(ended: Ended) -> Self {
        Self { ended, note: String::new() }
    }

    /// A process exited with this code.
    pub const fn code(code: i32) -> Self {
        Self::of(Ended::Code(code))
    }

    /// This signal ended it.
    pub const fn signal(signal: i32) -> Self {
        Self::of(Ended::Signal(signal))
    }

    /// A container's first process exited with this code, which is 128 and a signal's number if that ended it.
    pub const fn container(code: i32) -> Self {
        Self::of(Ended::Container(code))
    }

    /// Somebody else ended it, and nothing tells how: it has failed, for this reason.
    pub const fn gone(why: String) -> Self {
        Self::of(Ended::Gone(why))
    }

    /// What it ran on ended it, or lost sight of it: it is as lost as if its worker were.
    pub const fn lost(why: String) -> Self {
        Self::of(Ended::Lost(why))
    }

    /// It turned out, after it was taken for started, that it cannot be.
    pub const fn not_started(error: StartError) -> Self {
        Self::of(Ended::NotStarted(error))
    }

    /// A call was answered with this status, which in words is that, and was expected or not.
    pub const fn answered(status: u16, is_expected: bool, words: String, wait: Option<Wait>) -> Self {
        Self::of(Ended::Answered { status, is_expected, words, wait })
    }

    /// A call was not answered, or not to the end, for this reason.
    pub fn unanswered(why: impl Into<String>, unanswered: Unanswered) -> Self {
        Self::of(Ended::Unanswered(why.into(), unanswered))
    }

    /// Adds what people should know beside it.
    #[must_use]
    pub fn with_note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// What people should know beside it; mostly "".
    pub fn note(&self) -> &str {
        &self.note
    }

    /// True: it did what it should.
    pub const fn is_success(&self) -> bool {
        matches!(self.ended, Ended::Code(0) | Ended::Container(0) | Ended::Answered { is_expected: true, .. })
    }

    /// True: nobody knows what it did, see [`Exit::lost`].
    pub const fn is_lost(&self) -> bool {
        matches!(self.ended, Ended::Lost(_))
    }

    /// True: another attempt may end otherwise.
    pub const fn is_retryable(&self) -> bool {
        match self.ended {
            // What a code means is for its job to say (`retry.on`).
            Ended::Code(_)
            | Ended::Signal(_)
            | Ended::Container(_)
            | Ended::Gone(_)
            | Ended::Lost(_)
            | Ended::NotStarted(_) => true,
            Ended::Answered { status, .. } => is_retryable_status(status),
            Ended::Unanswered(_, unanswered) => !matches!(unanswered, Unanswered::ForGood),
        }
    }

    /// How long the other side wants it to wait before it is tried again.
    pub const fn wait(&self) -> Option<Wait> {
        match self.ended {
            Ended::Answered { wait, .. } => wait,
            _ => None,
        }
    }

    /// True: it ended because it took too long, by a limit of its own.
    pub const fn has_timed_out(&self) -> bool {
        matches!(self.ended, Ended::Unanswered(_, Unanswered::TimedOut))
    }

    /// True: it was killed outright, as by the guard.
    pub const fn was_killed(&self) -> bool {
        matches!(self.ended, Ended::Signal(KILL) | Ended::Gone(_))
            || matches!(self.ended, Ended::Container(code) if code == 128 + KILL)
    }

    /// In words: "" on success, `exit status 1`, or, as Go's `os/exec` says it, `signal: killed`; of a call
    /// `HTTP 503 Service Unavailable`, or why it was not answered.
    pub fn words(&self) -> String {
        match &self.ended {
            _ if self.is_success() => String::new(),
            Ended::Code(code) | Ended::Container(code) => format!("exit status {code}"),
            Ended::Signal(signal) => format!("signal: {}", signal_name(*signal)),
            Ended::Gone(why) | Ended::Lost(why) => why.clone(),
            Ended::NotStarted(error) => error.to_string(),
            Ended::Answered { words, .. } | Ended::Unanswered(words, _) => words.clone(),
        }
    }

    /// Its exit code, if it has one: of a call 0, or the status that was not expected.
    pub fn exit_code(&self) -> Option<i32> {
        match &self.ended {
            Ended::Code(code) | Ended::Container(code) => Some(*code),
            Ended::NotStarted(error) => error.exit_code(),
            Ended::Answered { is_expected: true, .. } => Some(0),
            Ended::Answered { status, .. } => Some((*status).into()),
            Ended::Signal(_) | Ended::Gone(_) | Ended::Lost(_) | Ended::Unanswered(..) => None,
        }
    }

    /// The signal that ended it, if one did.
    pub const fn ending_signal(&self) -> Option<i32> {
        match self.ended {
            Ended::Signal(signal) => Some(signal),
            _ => None,
        }
    }

    /// Why it never began; else the exit itself.
    pub fn into_start_error(self) -> Result<StartError, Self> {
        match self.ended {
            Ended::NotStarted(error) => Ok(error),
            ended => Err(Self { ended, note: self.note }),
        }
    }
}

const KILL: i32 = nix::sys::signal::Signal::SIGKILL as i32;

/// The name that Go's `os/exec` gives a signal.
fn signal_name(signal: i32) -> String {
    match signal {
        1 => "hangup".into(),
        2 => "interrupt".into(),
        3 => "quit".into(),
        6 => "aborted".into(),
        9 => "killed".into(),
        11 => "segmentation fault".into(),
        13 => "broken pipe".into(),
        14 => "alarm clock".into(),
        15 => "terminated".into(),
        other => format!("signal {other}"),
    }
}

/// Why a run could not be started. The text is for people and stands by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    message: String,
    code: Option<i32>,
}

impl StartError {
    /// For this reason.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: None }
    }

    /// The exit code that shells give for this reason: 127 for a command that is not there.
    #[must_use]
    pub fn with_code(self, code: i32) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The exit code that shells give for this reason, if they do.
    pub const fn exit_code(&self) -> Option<i32> {
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_says_what_it_means() {
        let told = |exit: Exit| (exit.words(), exit.is_success(), exit.was_killed());
        assert_eq!(told(Exit::code(0)), (String::new(), true, false));
        assert_eq!(told(Exit::code(137)), ("exit status 137".to_owned(), false, false));
        assert_eq!(told(Exit::signal(9)), ("signal: killed".to_owned(), false, true));
        assert_eq!(told(Exit::signal(15)), ("signal: terminated".to_owned(), false, false));
        assert_eq!((Exit::code(3).exit_code(), Exit::signal(9).ending_signal()), (Some(3), Some(9)));
        assert_eq!(told(Exit::container(137)), ("exit status 137".to_owned(), false, true));
        assert_eq!(told(Exit::gone("it went".to_owned())), ("it went".to_owned(), false, true));
        let absent = StartError::new("no such command").with_code(127);
        assert_eq!(Exit::not_started(absent.clone()).exit_code(), Some(127));
        assert_eq!(Exit::not_started(absent.clone()).into_start_error(), Ok(absent));
    }

    #[test]
    fn a_call_is_a_success_as_its_job_says_and_fatal_where_the_next_is_answered_alike() {
        let answered = |status, is_expected| Exit::answered(status, is_expected, "HTTP x".to_owned(), None);
        let told = |exit: Exit| (exit.words(), exit.is_success(), exit.is_retryable(), exit.exit_code());
        assert_eq!(told(answered(404, true)), (String::new(), true, false, Some(0)));
        assert_eq!(told(answered(404, false)), ("HTTP x".to_owned(), false, false, Some(404)));
        for status in [408, 425, 429, 500, 503] {
            assert!(answered(status, false).is_retryable(), "{status}");
        }
        for (unanswered, again, late) in [
            (Unanswered::ForNow, true, false),
            (Unanswered::TimedOut, true, true),
            (Unanswered::ForGood, false, false),
        ] {
            let exit = Exit::unanswered("refused", unanswered);
            assert_eq!((exit.is_retryable(), exit.has_timed_out()), (again, late));
            assert_eq!(
                (exit.words().as_str(), exit.is_success(), exit.exit_code()),
                ("refused", false, None)
            );
        }
    }

    #[test]
    fn a_wait_is_seconds_or_an_instant_and_at_most_an_hour() {
        let now: DateTime<Utc> = "2026-11-29T12:00:00Z".parse().unwrap();
        let wait = |text: &str| Wait::parse(text).map(|wait| wait.from(now).as_secs());
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait(" 0 "), Some(0));
        assert_eq!(wait("99999999999999999999999"), Some(3600));
        assert_eq!(wait("Sun, 29 Nov 2026 12:01:30 GMT"), Some(90));
        assert_eq!(wait("Sun, 29 Nov 2026 11:00:00 GMT"), Some(0));
        assert_eq!(wait("Mon, 30 Nov 2026 12:00:00 GMT"), Some(3600));
        for neither in ["", "soon", "-1", "1.5", "Sun, 29 Nov"] {
            assert_eq!(Wait::parse(neither), None, "{neither}");
        }
    }
}
