//! How an execution ended by itself, before anybody asks who wanted its end.

use std::time::Duration;

use chrono::{DateTime, Utc};
use common::job::is_retryable_status;

/// How an execution ended by itself, before anybody asks who wanted its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit(Ended);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ended {
    Code(i32),
    Signal(i32),
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
    /// A process, or a container's first one, exited with this code.
    pub const fn code(code: i32) -> Self {
        Self(Ended::Code(code))
    }

    /// This signal ended it.
    pub const fn signal(signal: i32) -> Self {
        Self(Ended::Signal(signal))
    }

    /// A call was answered with this status, which in words is that, and was expected or not.
    pub const fn answered(status: u16, is_expected: bool, words: String, wait: Option<Wait>) -> Self {
        Self(Ended::Answered { status, is_expected, words, wait })
    }

    /// A call was not answered, or not to the end, for this reason.
    pub fn unanswered(why: impl Into<String>, unanswered: Unanswered) -> Self {
        Self(Ended::Unanswered(why.into(), unanswered))
    }

    /// True: it did what it should.
    pub const fn is_success(&self) -> bool {
        matches!(self.0, Ended::Code(0) | Ended::Answered { is_expected: true, .. })
    }

    /// True: another attempt may end otherwise.
    pub const fn is_retryable(&self) -> bool {
        match self.0 {
            // What a code means is for its job to say (`retry.on`).
            Ended::Code(_) | Ended::Signal(_) => true,
            Ended::Answered { status, .. } => is_retryable_status(status),
            Ended::Unanswered(_, unanswered) => !matches!(unanswered, Unanswered::ForGood),
        }
    }

    /// How long the other side wants it to wait before it is tried again.
    pub const fn wait(&self) -> Option<Wait> {
        match self.0 {
            Ended::Answered { wait, .. } => wait,
            Ended::Code(_) | Ended::Signal(_) | Ended::Unanswered(..) => None,
        }
    }

    /// True: it ended because it took too long, by a limit of its own.
    pub const fn has_timed_out(&self) -> bool {
        matches!(self.0, Ended::Unanswered(_, Unanswered::TimedOut))
    }

    /// True: it was killed outright, as by the guard.
    pub const fn was_killed(&self) -> bool {
        matches!(self.0, Ended::Signal(KILL))
    }

    /// In words: "" on success, `exit status 1`, or, as Go's `os/exec` says it, `signal: killed`; of a call
    /// `HTTP 503 Service Unavailable`, or why it was not answered.
    pub fn words(&self) -> String {
        match &self.0 {
            _ if self.is_success() => String::new(),
            Ended::Code(code) => format!("exit status {code}"),
            Ended::Signal(signal) => format!("signal: {}", signal_name(*signal)),
            Ended::Answered { words, .. } | Ended::Unanswered(words, _) => words.clone(),
        }
    }

    /// Its exit code, if it has one: of a call 0, or the status that was not expected.
    pub fn exit_code(&self) -> Option<i32> {
        match self.0 {
            Ended::Code(code) => Some(code),
            Ended::Answered { is_expected: true, .. } => Some(0),
            Ended::Answered { status, .. } => Some(status.into()),
            Ended::Signal(_) | Ended::Unanswered(..) => None,
        }
    }

    /// The signal that ended it, if one did.
    pub const fn ending_signal(&self) -> Option<i32> {
        match self.0 {
            Ended::Signal(signal) => Some(signal),
            Ended::Code(_) | Ended::Answered { .. } | Ended::Unanswered(..) => None,
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
