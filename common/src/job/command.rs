//! What a job runs: a shell command, a program with its arguments, a container, a call over HTTP, or nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Docker, FieldError, http::Http, noop::Noop};

/// The umask of a job that sets none.
const UMASK: u32 = 0o022;

/// What to run, and by which driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields, expecting = "an object with a driver")]
pub enum Command {
    /// A text for a shell.
    Shell(Shell),
    /// A program and its arguments, without a shell.
    Exec(Exec),
    /// A container.
    Docker(Box<Docker>),
    /// A call over HTTP.
    Http(Box<Http>),
    /// Nothing, for tests and for load.
    Noop(Noop),
}

/// A text for a shell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "read::Shell")]
pub struct Shell {
    /// The text, given to the shell with `-c`.
    pub command: String,
    /// The shell's absolute path; none: the worker's (`/bin/sh`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// What it finds around it.
    #[serde(flatten)]
    pub environment: Environment,
}

/// A program and its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "read::Exec")]
pub struct Exec {
    /// The program (an absolute path, or a name looked up in the worker's PATH) and its arguments.
    pub argv: Vec<String>,
    /// What it finds around it.
    #[serde(flatten)]
    pub environment: Environment,
}

/// What a process finds around it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// Variables beside the worker's own and the `QUORATE_…` ones.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Working directory: an absolute path, or `~` and paths below it for the home of the account that it runs as;
    /// none: the worker's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// The user to run as, by name; none: the worker's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Permissions that the files it makes do not get, in octal digits; none: 022, as under cron.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<String>,
    /// Text for its standard input; none: nothing to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
}

/// As they are read: flat, since what is flattened by the library loses the names of its fields in errors.
mod read {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::Environment;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, expecting = "an object with a command")]
    pub(super) struct Shell {
        command: String,
        shell: Option<String>,
        #[serde(default)]
        env: BTreeMap<String, String>,
        dir: Option<String>,
        user: Option<String>,
        umask: Option<String>,
        stdin: Option<String>,
    }

    impl From<Shell> for super::Shell {
        fn from(read: Shell) -> Self {
            let Shell { command, shell, env, dir, user, umask, stdin } = read;
            Self { command, shell, environment: Environment { env, dir, user, umask, stdin } }
        }
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, expecting = "an object with argv")]
    pub(super) struct Exec {
        argv: Vec<String>,
        #[serde(default)]
        env: BTreeMap<String, String>,
        dir: Option<String>,
        user: Option<String>,
        umask: Option<String>,
        stdin: Option<String>,
    }

    impl From<Exec> for super::Exec {
        fn from(read: Exec) -> Self {
            let Exec { argv, env, dir, user, umask, stdin } = read;
            Self { argv, environment: Environment { env, dir, user, umask, stdin } }
        }
    }
}

impl Command {
    /// The name of the driver that runs it.
    pub const fn driver(&self) -> &'static str {
        match self {
            Self::Shell(_) => "shell",
            Self::Exec(_) => "exec",
            Self::Docker(_) => "docker",
            Self::Http(_) => "http",
            Self::Noop(_) => "noop",
        }
    }

    /// What its process finds around it; none: it is no process of the worker's machine.
    pub const fn environment(&self) -> Option<&Environment> {
        match self {
            Self::Shell(shell) => Some(&shell.environment),
            Self::Exec(exec) => Some(&exec.environment),
            Self::Docker(_) | Self::Http(_) | Self::Noop(_) => None,
        }
    }

    /// The command in one line for people: the shell's text, the quoted arguments, these behind the image, or what is
    /// called.
    pub fn text(&self) -> String {
        match self {
            Self::Shell(shell) => shell.command.clone(),
            Self::Exec(exec) => exec.argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
            Self::Docker(docker) => docker.text(),
            Self::Http(http) => http.text(),
            Self::Noop(noop) => noop.text(),
        }
    }

    /// The command as a shell would be given it, for GDTS's `command`; "": no shell can do that.
    pub fn shell_text(&self) -> String {
        match self {
            Self::Shell(_) | Self::Exec(_) => self.text(),
            Self::Docker(_) | Self::Http(_) | Self::Noop(_) => String::new(),
        }
    }

    /// True: a run that ended with this code may end otherwise when it is tried again. What a process means by its code
    /// is for its job to say (`retry.on`).
    pub fn is_retryable(&self, code: Option<i32>) -> bool {
        match self {
            Self::Http(_) => {
                code.is_none_or(|code| u16::try_from(code).is_ok_and(super::is_retryable_status))
            }
            Self::Shell(_) | Self::Exec(_) | Self::Docker(_) | Self::Noop(_) => true,
        }
    }

    pub(super) fn check(&self, errors: &mut Vec<FieldError>) {
        let driver = self.driver();
        match self {
            Self::Http(http) => http.check(errors),
            Self::Noop(noop) => noop.check(errors),
            Self::Shell(shell) => {
                if shell.command.trim().is_empty() {
                    errors.push(FieldError::new(
                        "driver.shell.command",
                        &shell.command,
                        "is empty",
                        "\"backup --full\"",
                    ));
                }
                if let Some(path) = shell.shell.as_ref().filter(|path| !path.starts_with('/')) {
                    errors.push(FieldError::new(
                        "driver.shell.shell",
                        path,
                        "is not an absolute path",
                        "\"/bin/bash\"",
                    ));
                }
                check_nul("driver.shell.command", &shell.command, errors);
            }
            Self::Exec(exec) => {
                if exec.argv.first().is_none_or(String::is_empty) {
                    errors.push(FieldError::new(
                        "driver.exec.argv",
                        "",
                        "names no program",
                        "[\"/usr/bin/rsync\", \"-a\", \"/srv\", \"/backup\"]",
                    ));
                }
                for (n, word) in exec.argv.iter().enumerate() {
                    check_nul(&format!("driver.exec.argv[{n}]"), word, errors);
                }
            }
            Self::Docker(docker) => docker.check(errors),
        }
        if let Some(environment) = self.environment() {
            environment.check(&format!("driver.{driver}"), errors);
        }
    }
}

impl Environment {
    /// Permissions that the files it makes do not get.
    pub fn umask(&self) -> u32 {
        self.umask.as_deref().and_then(read_umask).unwrap_or(UMASK)
    }

    fn check(&self, path: &str, errors: &mut Vec<FieldError>) {
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) {
                errors.push(FieldError::new(
                    format!("{path}.env.{}", name.replace('\0', "\\0")),
                    name.replace('\0', "\\0"),
                    "is not the name of a variable",
                    "{\"LEVEL\": \"9\"}",
                ));
            }
            check_nul(&format!("{path}.env.{name}"), value, errors);
        }
        if let Some(dir) = self.dir.as_ref().filter(|dir| !is_dir(dir)) {
            errors.push(FieldError::new(
                format!("{path}.dir"),
                dir,
                "is neither an absolute path nor one below the home, ~",
                "\"/srv/backup\" or \"~/backup\"",
            ));
        }
        if let Some(user) = self.user.as_ref().filter(|user| user.is_empty() || user.contains(['\0', '/'])) {
            errors.push(FieldError::new(format!("{path}.user"), user, "is not a user name", "\"backup\""));
        }
        if let Some(umask) = self.umask.as_ref().filter(|umask| read_umask(umask).is_none()) {
            errors.push(FieldError::new(
                format!("{path}.umask"),
                umask,
                "is not a umask: one to four octal digits, at most 0777",
                "\"022\"",
            ));
        }
    }
}

fn is_dir(dir: &str) -> bool {
    (dir.starts_with('/') || dir == "~" || dir.starts_with("~/")) && !dir.contains('\0')
}

fn read_umask(text: &str) -> Option<u32> {
    let is_octal = (1..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    u32::from_str_radix(text, 8).ok().filter(|umask| is_octal && *umask <= 0o777)
}

pub(super) fn check_nul(field: &str, text: &str, errors: &mut Vec<FieldError>) {
    if text.contains('\0') {
        errors.push(FieldError::new(
            field,
            text.replace('\0', "\\0"),
            "contains a NUL byte, which no process can be given",
            "text without it",
        ));
    }
}

/// A word as a shell would have to be given it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
