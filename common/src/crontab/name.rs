//! Names for jobs that had none: the file's name, then words of the command. The same line of the same file gets the
//! same name at every import; lines with equal commands are numbered in their order.

use std::{collections::HashMap, path::Path};

use crate::id::{JobName, MAX_NAME_BYTES, NameError};

/// Long enough for words to tell jobs apart, short enough for a table's column.
const SLUG_BYTES: usize = 80;

/// The names that were given out, each with how often it was wanted.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, u32>);

impl Names {
    /// A name of its own for a command.
    pub(super) fn give(&mut self, prefix: &str, file: &str, command: &str) -> Result<JobName, String> {
        let stem = Path::new(file).file_stem().map(|stem| slug(&stem.to_string_lossy())).unwrap_or_default();
        let stem = if stem.is_empty() { "crontab" } else { &stem };
        let mut name = format!("{prefix}{stem}");
        let command = slug_of_command(command);
        if !command.is_empty() {
            name = format!("{name}-{command}");
        }
        let name = cut(&name, MAX_NAME_BYTES - 12).to_owned();
        self.unique(name).parse().map_err(|error: NameError| error.to_string())
    }

    fn unique(&mut self, name: String) -> String {
        let mut unique = name.clone();
        // Ends: every round counts `name` up, and there are finitely many names.
        while self.0.contains_key(&unique) {
            let times = self.0.entry(name.clone()).or_insert(1);
            *times += 1;
            unique = format!("{name}-{times}");
        }
        self.0.insert(unique.clone(), 1);
        unique
    }
}

/// Its words, paths by their last part, without redirections to nowhere.
fn slug_of_command(command: &str) -> String {
    let mut words = Vec::new();
    for word in command.split_whitespace() {
        if word.contains("/dev/null") || word.contains(">&") || word.starts_with("&>") {
            continue;
        }
        let last = word.trim_matches(|c: char| !c.is_alphanumeric()).rsplit('/').next().unwrap_or_default();
        let word = slug(last);
        if !word.is_empty() {
            words.push(word);
        }
        if words.len() > SLUG_BYTES {
            break;
        }
    }
    cut(&words.join("-"), SLUG_BYTES).to_owned()
}

/// Letters and digits in lower case, everything else as single dashes between them.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars().take(MAX_NAME_BYTES) {
        if c.is_alphanumeric() || c == '_' {
            slug.extend(c.to_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// The longest start of at most this many bytes that ends neither within a letter nor with a dash.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].trim_end_matches('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_named_after_its_file_and_words() {
        for (file, command, name) in [
            (
                "/etc/crontab",
                "cd / && run-parts --report /etc/cron.hourly",
                "crontab-cd-run-parts-report-cron-hourly",
            ),
            ("-", "/usr/bin/backup --full >/dev/null 2>&1", "crontab-backup-full"),
            ("/etc/cron.d/e2scrub_all", "[ -x /sbin/e2scrub ] || :", "e2scrub_all-x-e2scrub"),
            ("a.cron", "%%%", "a"),
            ("a", "データ", "a-データ"),
        ] {
            assert_eq!(Names::default().give("", file, command).unwrap().as_str(), name);
        }
    }

    #[test]
    fn equal_commands_are_numbered_in_order() {
        let mut names = Names::default();
        let mut next = || names.give("x ", "f", "date").unwrap().to_string();
        assert_eq!([next(), next(), next()], ["x f-date", "x f-date-2", "x f-date-3"]);
    }
}
