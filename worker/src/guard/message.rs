//! What a worker tells its guard, one line each.

use std::{fmt, str::FromStr, time::Duration};

use common::id::RunId;
use nix::unistd::Pid;

/// A line from the worker to its guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The worker's session; the first line. Not an argument, as everybody may read those.
    Session(String),
    /// Everything said so far about groups is void; the truth follows.
    Forget,
    /// A group that dies with the worker's trust.
    Started(Pid),
    /// A group that dies only with the worker, and its run.
    Kept(Pid, RunId),
    /// A group that is gone.
    Ended(Pid),
    /// Until when after boot the worker may be trusted.
    Trust(Duration),
    /// It has begun to make containers: its engine is to be waited for.
    Containers,
}

/// A line that says nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a message to the guard; use, for example, \"started 4711\"")]
pub(super) struct MessageError(String);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(token) => write!(f, "session {token}"),
            Self::Forget => f.write_str("forget"),
            Self::Started(group) => write!(f, "started {group}"),
            Self::Kept(group, run) => write!(f, "kept {group} {run}"),
            Self::Ended(group) => write!(f, "ended {group}"),
            Self::Trust(until) => write!(f, "trust {}", until.as_nanos()),
            Self::Containers => f.write_str("containers"),
        }
    }
}

impl FromStr for Message {
    type Err = MessageError;

    fn from_str(line: &str) -> Result<Self, MessageError> {
        read(line).ok_or_else(|| MessageError(line.chars().take(80).collect()))
    }
}

fn read(line: &str) -> Option<Message> {
    let mut words = line.split(' ');
    let mut word = || words.next();
    // Groups 0 and 1 would mean the guard's own and everything.
    let group = |word: Option<&str>| word?.parse().ok().filter(|pid| *pid > 1).map(Pid::from_raw);
    let message = match word()? {
        "session" => Message::Session(word().filter(|token| !token.is_empty())?.to_owned()),
        "forget" => Message::Forget,
        "started" => Message::Started(group(word())?),
        "kept" => Message::Kept(group(word())?, word()?.parse().ok()?),
        "ended" => Message::Ended(group(word())?),
        "containers" => Message::Containers,
        "trust" => Message::Trust(Duration::from_nanos(word()?.parse().ok()?)),
        _ => return None,
    };
    word().is_none().then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let run = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap();
        let group = Pid::from_raw(4711);
        for message in [
            Message::Session("c0ffee".into()),
            Message::Forget,
            Message::Started(group),
            Message::Kept(group, run),
            Message::Ended(group),
            Message::Trust(Duration::from_nanos(1_234_567_890_123)),
            Message::Containers,
        ] {
            assert_eq!(message.to_string().parse(), Ok(message));
        }
    }

    #[test]
    fn a_line_that_would_kill_the_wrong_processes_is_refused() {
        for line in [
            "",
            "started",
            "started 0",
            "started 1",
            "started -5",
            "started x",
            "kept 5",
            "session ",
            "ended 5 6",
        ] {
            assert!(line.parse::<Message>().is_err(), "{line:?}");
        }
    }
}
