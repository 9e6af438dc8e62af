//! A job's command at the time of the claim, in few bytes: a lock is small, and a command may be a long script.

use serde::{Deserialize, Serialize};

use crate::placement::{FNV_OFFSET, fnv};

/// More bytes of a command, as they are stored, are not kept.
const MOST_BYTES: usize = 160;

/// The text of a command, or how it begins and a hash of all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedCommand {
    text: String,
    /// Absent when the text is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<u64>,
}

impl ClaimedCommand {
    /// What is kept of a command.
    pub fn of(command: &str) -> Self {
        let mut room = MOST_BYTES;
        let fits = command.char_indices().find(|(_, char)| {
            let stored = stored_bytes(*char);
            let is_too_much = stored > room;
            room = room.saturating_sub(stored);
            is_too_much
        });
        match fits {
            None => Self { text: command.to_owned(), hash: None },
            Some((end, _)) => Self { text: command[..end].to_owned(), hash: Some(hash(command)) },
        }
    }

    /// The command, in full if it is short or still is its job's, which is `now`; else how it begins.
    pub fn shown(&self, now: &str) -> String {
        match self.hash {
            None => self.text.clone(),
            Some(whole) if whole == hash(now) => now.to_owned(),
            Some(_) => format!("{}…", self.text),
        }
    }
}

fn hash(command: &str) -> u64 {
    fnv(FNV_OFFSET, command.as_bytes())
}

/// How many bytes of JSON a character takes.
const fn stored_bytes(char: char) -> usize {
    match char {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_command_is_kept_whole_and_a_long_one_known_again() {
        let short = ClaimedCommand::of("backup --full");
        assert_eq!((short.shown("date"), short.shown("")), ("backup --full".into(), "backup --full".into()));
        let script = "echo \"ü\"\n\u{1}".repeat(100);
        let long = ClaimedCommand::of(&script);
        assert_eq!(long.shown(&script), script, "nobody has changed it");
        let other = long.shown(&format!("{script}date"));
        assert!(other.ends_with('…') && script.starts_with(other.trim_end_matches('…')), "{other}");
        for command in [script.as_str(), &"\u{1}".repeat(500), &"😀".repeat(500), &"x".repeat(160)] {
            let stored = serde_json::to_string(&ClaimedCommand::of(command)).unwrap();
            let around = r#"{"text":"","hash":18446744073709551615}"#.len();
            assert!(stored.len() <= MOST_BYTES + around, "{} bytes", stored.len());
        }
        assert_eq!(ClaimedCommand::of(&"x".repeat(160)).hash, None);
        assert!(ClaimedCommand::of(&"x".repeat(161)).hash.is_some());
    }
}
