//! How a command ends: 0 done, 1 failed, 2 wrong usage or bad input.

// A process must not panic because nobody reads what it says: see `telemetry::say`.
#![warn(clippy::print_stderr, clippy::print_stdout)]

use std::{fmt, process::ExitCode};

use crate::{config::ConfigError, telemetry};

/// A command's end, when it has said itself what there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    BadInput,
}

impl Exit {
    /// The worse of two ends: bad input tells more than failure.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::BadInput, _) | (_, Self::BadInput) => Self::BadInput,
            (Self::Failed, _) | (_, Self::Failed) => Self::Failed,
            (Self::Done, Self::Done) => Self::Done,
        }
    }
}

/// What was given is wrong: the message says what is right.
#[derive(Debug)]
pub(crate) struct BadInput(pub(crate) String);

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

/// Nobody reads our output any more, as behind `| head`: no failure.
#[derive(Debug, thiserror::Error)]
#[error("the output is closed")]
pub(crate) struct OutputClosed;

/// Says what went wrong, if it was not said yet, and gives the exit code. The last thing that a process does.
pub(crate) fn code(result: anyhow::Result<Exit>) -> ExitCode {
    let exit = match result {
        Ok(exit) => exit,
        Err(error) if error.is::<OutputClosed>() => Exit::Done,
        Err(error) => {
            let text = format!("{error:#}");
            for (n, line) in text.lines().enumerate() {
                // Causes of several lines stay readable: the first says "error", the others stand below it.
                telemetry::say(format_args!("{}{line}", if n == 0 { "error: " } else { "       " }));
            }
            if error.is::<BadInput>() || error.is::<ConfigError>() { Exit::BadInput } else { Exit::Failed }
        }
    };
    telemetry::flush();
    match exit {
        Exit::Done => ExitCode::SUCCESS,
        Exit::Failed => ExitCode::from(1),
        Exit::BadInput => ExitCode::from(2),
    }
}
