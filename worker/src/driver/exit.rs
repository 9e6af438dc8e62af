//! How an execution ended, or why it never began.

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
        matches!(self.ended, Ended::Code(0) | Ended::Container(0))
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
        }
    }

    /// True: it was killed outright, as by the guard.
    pub const fn was_killed(&self) -> bool {
        matches!(self.ended, Ended::Signal(KILL) | Ended::Gone(_))
            || matches!(self.ended, Ended::Container(code) if code == 128 + KILL)
    }

    /// In words: "" on success, `exit status 1`, or, as Go's `os/exec` says it, `signal: killed`.
    pub fn words(&self) -> String {
        match &self.ended {
            Ended::Code(0) | Ended::Container(0) => String::new(),
            Ended::Code(code) | Ended::Container(code) => format!("exit status {code}"),
            Ended::Signal(signal) => format!("signal: {}", signal_name(*signal)),
            Ended::Gone(why) | Ended::Lost(why) => why.clone(),
            Ended::NotStarted(error) => error.to_string(),
        }
    }

    /// Its exit code, if it has one.
    pub const fn exit_code(&self) -> Option<i32> {
        match &self.ended {
            Ended::Code(code) | Ended::Container(code) => Some(*code),
            Ended::NotStarted(error) => error.exit_code(),
            Ended::Signal(_) | Ended::Gone(_) | Ended::Lost(_) => None,
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
}
