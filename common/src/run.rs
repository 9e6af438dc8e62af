//! A run's states and the one function that moves between them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a run is. The last seven are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Wanted, by nobody claimed yet.
    Queued,
    /// A worker has won it; its command has not been started.
    Claimed,
    /// Its command executes.
    Running,
    /// Ended with the exit that counts as success.
    Succeeded,
    /// Ended otherwise, or could not be started.
    Failed,
    /// Ended by its time limit.
    TimedOut,
    /// Ended, or kept from starting, because somebody asked for it.
    Killed,
    /// Its worker is gone; how far it came is not known.
    Lost,
    /// Not claimed before its deadline.
    Expired,
}

/// What can happen to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEvent {
    /// A worker won it.
    Claimed,
    /// Its command was started.
    Started,
    /// Its command ended with success.
    Succeeded,
    /// Its command ended without success, or could not be started.
    Failed,
    /// Its time limit passed.
    TimedOut,
    /// Somebody asked for its end, or what it stood for is gone.
    Killed,
    /// Its worker's lease ended, or its worker gave it up before that.
    LeaseLost,
    /// Its start deadline passed.
    DeadlinePassed,
}

/// An event that the state does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a run that is {state} does not allow the event {event:?}")]
pub struct IllegalTransition {
    /// The state it was in.
    pub state: RunState,
    /// What happened.
    pub event: RunEvent,
}

impl RunState {
    /// Every state, in the order of a run's life.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Claimed,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Killed,
        Self::Lost,
        Self::Expired,
    ];

    /// The state after `event`; what is not listed is an error and changes nothing.
    pub fn apply(self, event: RunEvent) -> Result<Self, IllegalTransition> {
        use {RunEvent as E, RunState as S};
        match (self, event) {
            (S::Queued, E::Claimed) => Ok(S::Claimed),
            (S::Queued, E::DeadlinePassed) => Ok(S::Expired),
            (S::Queued | S::Claimed | S::Running, E::Killed) => Ok(S::Killed),
            (S::Claimed, E::Started) => Ok(S::Running),
            (S::Claimed | S::Running, E::Failed) => Ok(S::Failed),
            (S::Running, E::Succeeded) => Ok(S::Succeeded),
            (S::Running, E::TimedOut) => Ok(S::TimedOut),
            (S::Claimed | S::Running, E::LeaseLost) => Ok(S::Lost),
            (state, event) => Err(IllegalTransition { state, event }),
        }
    }

    /// The state after `event`. One that this state does not know is a mistake in Quorate: it is logged, and the run
    /// counts as failed.
    #[must_use]
    pub fn after(self, event: RunEvent) -> Self {
        self.apply(event).unwrap_or_else(|refused| {
            tracing::error!(%refused, "a run met an event that its state does not allow; it counts as failed");
            Self::Failed
        })
    }

    /// True when nothing can happen to it any more.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Claimed | Self::Running)
    }

    /// The name that the API, the page and the run log use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Claimed => "claimed",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Killed => "killed",
            Self::Lost => "lost",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for RunState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.name() == text)
            .ok_or_else(|| UnknownState(text.chars().take(80).collect()))
    }
}

/// A text that does not name a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a state of a run; the states are queued, claimed, running, succeeded, failed, timed_out, killed, lost and expired"
)]
pub struct UnknownState(String);

/// Why a run was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A tick of its schedule.
    Schedule,
    /// Somebody asked for it.
    Manual,
    /// An earlier attempt did not succeed.
    Retry,
    /// A tick that was missed while nobody could claim.
    CatchUp,
    /// A tick that waited for the run before it.
    Queued,
    /// A worker's machine started.
    Reboot,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVENTS: [RunEvent; 8] = [
        RunEvent::Claimed,
        RunEvent::Started,
        RunEvent::Succeeded,
        RunEvent::Failed,
        RunEvent::TimedOut,
        RunEvent::Killed,
        RunEvent::LeaseLost,
        RunEvent::DeadlinePassed,
    ];

    proptest! {
        #[test]
        fn no_order_of_events_leaves_a_final_state(events in prop::collection::vec(0..EVENTS.len(), 0..12)) {
            let mut state = RunState::Queued;
            for event in events {
                let before = state;
                match state.apply(EVENTS[event]) {
                    Ok(next) => {
                        prop_assert!(!before.is_final());
                        state = next;
                    }
                    Err(error) => prop_assert_eq!(error.state, before),
                }
            }
        }
    }

    #[test]
    fn names_are_read_back() {
        for state in RunState::ALL {
            assert_eq!(state.name().parse::<RunState>().unwrap(), state);
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        assert!("done".parse::<RunState>().is_err());
    }

    #[test]
    fn the_documented_transitions_are_those_that_there_are() {
        let document = include_str!("../../docs/run-states.md");
        let table = document.split_once("| from | event | to |").unwrap().1;
        let table = table.split("\n\n").next().unwrap();
        let documented: Vec<String> = table
            .lines()
            .skip(2)
            .map(|line| line.split('|').skip(1).take(3).map(str::trim).collect::<Vec<_>>().join(" "))
            .collect();
        for state in RunState::ALL {
            assert!(document.contains(&format!("| `{state}` |")), "{state} is not in docs/run-states.md");
            for event in EVENTS {
                let row = state.apply(event).map(|to| format!("`{state}` {event:?} `{to}`"));
                let any = documented.iter().filter(|row| row.starts_with(&format!("`{state}` {event:?} ")));
                assert_eq!(any.map(String::as_str).collect::<Vec<_>>(), row.iter().collect::<Vec<_>>());
            }
        }
    }
}
