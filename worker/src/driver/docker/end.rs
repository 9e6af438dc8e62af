//! How a container ended, by what its engine says of it and what happened meanwhile. Pure.

use common::span::ByteSize;

use super::engine::{Kind, State};
use crate::driver::Exit;

/// 128 and the number of KILL, or of TERM.
const KILLED: i32 = 137;
const TERMINATED: i32 = 143;

/// What happened while it ran.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meanwhile {
    pub(super) kind: Kind,
    /// The engine did not answer for a while.
    pub(super) was_away: bool,
    /// Somebody here wanted its end.
    pub(super) was_stopped: bool,
    /// The memory that it might use.
    pub(super) memory: Option<ByteSize>,
}

/// True: a second look may say that it was memory.
pub(super) fn may_tell_more(state: &State, meanwhile: Meanwhile) -> bool {
    let Meanwhile { kind, was_stopped, memory, .. } = meanwhile;
    kind == Kind::Docker && state.exit_code == KILLED && !state.oom_killed && !was_stopped && memory.is_some()
}

/// How a container ended that does not run any more.
pub(super) fn exit(state: &State, meanwhile: Meanwhile) -> Exit {
    let Meanwhile { kind, was_away, was_stopped, memory } = meanwhile;
    let code = state.exit_code;
    if state.status == "created" {
        return Exit::lost("its container engine went away as it was to start the container".to_owned());
    }
    // Docker ends what runs when it ends, and takes what went on without it for killed.
    let is_engines = was_away && !was_stopped && kind == Kind::Docker && matches!(code, KILLED | TERMINATED);
    if is_engines && !state.oom_killed {
        return Exit::lost("its container engine went away while it ran, and ended it".to_owned());
    }
    let exit = Exit::container(code);
    let limit = || memory.map_or_else(|| "the machine's".to_owned(), |memory| format!("its limit, {memory}"));
    match (state.oom_killed, code) {
        (true, 0) => {
            exit.with_note(format!("one of its processes was killed for lack of memory ({})", limit()))
        }
        (true, KILLED) => exit.with_note(format!("killed for lack of memory ({})", limit())),
        (true, _) => {
            exit.with_note(format!("one of its processes was killed for lack of memory ({})", limit()))
        }
        // Podman does not say it where cgroups are of the first version, nor Docker always.
        (false, KILLED) if !was_stopped && (kind == Kind::Podman || memory.is_some()) => {
            exit.with_note(format!("killed, perhaps for lack of memory ({})", limit()))
        }
        _ => exit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: Meanwhile = Meanwhile {
        kind: Kind::Docker,
        was_away: false,
        was_stopped: false,
        memory: Some(ByteSize(16 << 20)),
    };
    const PODMAN: Meanwhile = Meanwhile { kind: Kind::Podman, ..DOCKER };

    fn ended(code: i32, meanwhile: Meanwhile) -> Exit {
        let state = State { status: "exited".into(), exit_code: code, ..State::default() };
        exit(&state, meanwhile)
    }

    fn short_of_memory(code: i32, meanwhile: Meanwhile) -> Exit {
        let status = "exited".to_owned();
        exit(&State { status, exit_code: code, oom_killed: true, ..State::default() }, meanwhile)
    }

    #[test]
    fn what_the_engine_did_is_not_the_commands_failure() {
        let away = Meanwhile { was_away: true, ..DOCKER };
        assert!(ended(137, away).is_lost() && ended(143, away).is_lost());
        for own in [
            ended(0, away),
            ended(7, away),
            ended(137, DOCKER),
            ended(137, Meanwhile { was_stopped: true, ..away }),
            short_of_memory(137, away),
            ended(137, Meanwhile { was_away: true, ..PODMAN }),
        ] {
            assert!(!own.is_lost(), "{own:?}");
        }
        let never = State { status: "created".into(), ..State::default() };
        assert!(exit(&never, away).is_lost());
    }

    #[test]
    fn a_lack_of_memory_is_told_and_turns_no_success_into_a_failure() {
        let child = short_of_memory(0, DOCKER);
        assert!(
            child.is_success() && child.note().contains("lack of memory (its limit, 16MiB)"),
            "{child:?}"
        );
        let whole = short_of_memory(137, DOCKER);
        assert!(whole.note().starts_with("killed for lack of memory"), "{whole:?}");
        let podman = ended(137, PODMAN);
        assert!(podman.note().starts_with("killed, perhaps for lack of memory"), "{podman:?}");
        assert_eq!(ended(137, DOCKER).note(), podman.note());
        let unlimited = Meanwhile { memory: None, ..DOCKER };
        for quiet in [ended(137, Meanwhile { was_stopped: true, ..PODMAN }), ended(137, unlimited)] {
            assert_eq!(quiet.note(), "");
        }
    }
}
