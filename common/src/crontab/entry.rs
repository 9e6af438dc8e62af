//! One line's columns: a setting's name and value; an entry's times, user, command and standard input.

use super::Format;

/// What stands where cron looks for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// One macro, or five fields.
    pub(super) times: Vec<String>,
    pub(super) user: Option<String>,
    pub(super) command: String,
    pub(super) stdin: Option<String>,
}

/// `NAME = value`, either of them in quotes or not. Anything else is not a setting.
pub(super) fn setting(line: &str) -> Option<(String, String)> {
    let (name, rest) = match line.chars().next()? {
        quote @ ('"' | '\'') => line[1..].split_once(quote)?,
        _ => line.split_at(line.find(['=', ' ', '\t'])?),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let value = rest.trim_start_matches([' ', '\t']).strip_prefix('=').filter(|_| is_name)?;
    let value = value.trim_matches([' ', '\t']);
    let unquoted = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(value);
    Some((name.to_owned(), unquoted.to_owned()))
}

/// Names that a machine's accounts have.
pub(super) fn is_user(name: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || "_-.$@\\".contains(c);
    !name.is_empty() && !name.starts_with('-') && name.chars().all(inner)
}

impl Entry {
    /// Reads a line that is neither blank nor a comment nor a setting.
    pub(super) fn read(line: &str, format: Format, notes: &mut Vec<String>) -> Result<Self, String> {
        let mut rest = line;
        if let Some(stripped) = rest.strip_prefix('-').filter(|rest| rest.starts_with(|c| c != '-')) {
            rest = stripped;
            notes.push(
                "begins with '-', which keeps cron from logging it: here every run is logged".to_owned(),
            );
        }
        let wanted = if rest.starts_with('@') { 1 } else { 5 };
        let mut times = Vec::with_capacity(wanted);
        for _ in 0..wanted {
            let (word, behind) = word(rest);
            if word.is_empty() {
                return Err(too_few(format));
            }
            times.push(word.to_owned());
            rest = behind;
        }
        let mut user = None;
        if format == Format::System {
            let (name, behind) = word(rest);
            if name.is_empty() {
                return Err(too_few(format));
            }
            if !is_user(name) {
                return Err(format!(
                    "{name:?} stands where a user name should be; for a table without that column, say --user"
                ));
            }
            user = Some(name.to_owned());
            rest = behind;
        }
        let rest = options(rest, notes);
        let (command, stdin) = input(rest);
        if command.trim().is_empty() {
            return Err("has no command after its times".to_owned() + hint(format));
        }
        if format == Format::User && command.starts_with("root ") {
            notes.push("the command begins with \"root\": if that is a user column, say --system".to_owned());
        }
        Ok(Self { times, user, command, stdin })
    }
}

/// Lines of files that look like crontabs and mean something else.
pub(super) fn refuse_other_formats(line: &str, file: &str) -> Result<(), String> {
    if line.starts_with('[') {
        return Err("begins a section, as in a systemd unit, and is not a line of a crontab".to_owned());
    }
    let (period, rest) = word(line);
    let (delay, rest) = word(rest);
    let (name, command) = word(rest);
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let is_period = period.starts_with('@') || is_number(period);
    // In a crontab, the third word of a line that begins with two numbers is a day, and a macro is followed by no number.
    let is_day = name.chars().all(|c| c.is_ascii_digit() || "*,-/~?LW".contains(c));
    let is_anacron = file.rsplit('/').next() == Some("anacrontab")
        || is_period && is_number(delay) && !command.is_empty() && (period.starts_with('@') || !is_day);
    if !is_anacron {
        return Ok(());
    }
    let period = match period {
        "1" => "@daily",
        "7" => "@weekly",
        macro_ if macro_.starts_with('@') => macro_,
        _ => "@monthly",
    };
    let command = if command.is_empty() { "run-parts /etc/cron.daily" } else { command };
    Err(format!(
        "is a line of an anacrontab (period in days, delay in minutes, name, command), which is not read; a crontab has it \
         as {:?}, and a tick that was missed is made up for",
        format!("{period} {command}")
    ))
}

fn too_few(format: Format) -> String {
    let columns = match format {
        Format::User => "five fields and a command, such as 30 2 * * * backup --full",
        Format::System => "five fields, a user and a command, such as 30 2 * * * root backup --full",
    };
    format!("is neither a setting nor {columns}{}", hint(format))
}

const fn hint(format: Format) -> &'static str {
    match format {
        Format::User => "",
        Format::System => " (without the user's column, say --user)",
    }
}

/// The next word, and what follows it without the blanks between.
fn word(text: &str) -> (&str, &str) {
    let blank = [' ', '\t'];
    let text = text.trim_start_matches(blank);
    let (word, rest) = text.split_at(text.find(blank).unwrap_or(text.len()));
    (word, rest.trim_start_matches(blank))
}

/// The BSDs' options before a command, left out with a note: `-n`, `-q` and `-s`.
fn options<'a>(command: &'a str, notes: &mut Vec<String>) -> &'a str {
    let (first, rest) = word(command);
    let is_option = first.len() > 1
        && first.strip_prefix('-').is_some_and(|letters| letters.chars().all(|c| "nqs".contains(c)));
    if !is_option || rest.is_empty() {
        return command;
    }
    notes.push(format!(
        "{first} left out: it is an option of the BSDs' cron (n: no mail on success, q: no log, s: one run at a time, which is \
         the default here)"
    ));
    rest
}

/// Splits at the first `%`: what follows is the standard input, a line for every further `%`. `\%` is a `%`.
fn input(text: &str) -> (String, Option<String>) {
    let (mut command, mut stdin) = (String::new(), None::<String>);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = c == '\\' && chars.next_if_eq(&'%').is_some();
        match (&mut stdin, c) {
            (None, '%') if !escaped => stdin = Some(String::new()),
            (part, c) => {
                let part = part.as_mut().unwrap_or(&mut command);
                part.push(if escaped {
                    '%'
                } else if c == '%' {
                    '\n'
                } else {
                    c
                });
            }
        }
    }
    let stdin = stdin.filter(|text| !text.is_empty()).map(|mut text| {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text
    });
    (command, stdin)
}
