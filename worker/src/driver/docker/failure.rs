//! What an engine's refusal means. Docker and podman give different codes and words for the same thing: here is the one
//! place that tells.

use bollard::errors::Error;

/// What a refusal means for whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The engine did not answer: it is away, or stalls. What was asked may have been done.
    Away,
    /// It has no such image.
    NoImage,
    /// It has no such container.
    NoContainer,
    /// Another container has the name.
    NameTaken,
    /// Somebody else has the port of the machine.
    PortTaken,
    /// The image has no such command.
    NoCommand,
    /// The command is no program.
    NotExecutable,
    /// The container does not run.
    NotRunning,
    /// All the others: its words tell.
    Other,
}

/// An engine's refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct EngineError {
    pub(crate) class: Class,
    pub(crate) message: String,
}

impl EngineError {
    pub(crate) fn away(message: impl Into<String>) -> Self {
        Self { class: Class::Away, message: message.into() }
    }
}

impl From<Error> for EngineError {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => Self::said(status_code, &message),
            // In the middle of an answer that began well.
            Error::DockerStreamError { error } => Self::said(200, &error),
            Error::RequestTimeoutError => Self::away("it did not answer in time"),
            Error::SocketNotFoundError(path) => Self::away(format!("there is no socket {path}")),
            error @ (Error::IOError { .. }
            | Error::HyperResponseError { .. }
            | Error::HyperLegacyError { .. }) => Self::away(cause(&error)),
            error => Self { class: Class::Other, message: cause(&error) },
        }
    }
}

impl EngineError {
    pub(crate) fn said(status: u16, message: &str) -> Self {
        let message = message.trim();
        let message = if message.is_empty() { format!("it answered {status}") } else { message.to_owned() };
        Self { class: classify(status, &message), message }
    }
}

/// The innermost reason: those around it only say that a connection failed.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(error) = inner.source() {
        inner = error;
    }
    inner.to_string()
}

fn classify(status: u16, message: &str) -> Class {
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["no such image", "image not known"]) {
        Class::NoImage
    } else if says(&["no such container", "no container with name or id"]) {
        Class::NoContainer
    } else if says(&["is already in use by", "name is already in use"]) {
        Class::NameTaken
    } else if says(&["port is already allocated", "address already in use", "proxy already running"]) {
        Class::PortTaken
    } else if says(&["is not running", "can only kill running containers", "cannot kill container"])
        || (status == 409 && says(&["not running"]))
    {
        Class::NotRunning
    } else if says(&["executable file not found", "command that was not found"])
        || (says(&["exec"])
            && says(&["no such file or directory"])
            && says(&["unable to start container process"]))
    {
        Class::NoCommand
    } else if says(&["unable to start container process"]) && says(&["permission denied", "is a directory"]) {
        Class::NotExecutable
    } else if status == 404 && says(&["container"]) && !says(&["network", "volume"]) {
        Class::NoContainer
    } else {
        Class::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Docker 20.10.24 and podman 4.3.1 said it.
    #[test]
    fn both_engines_mean_the_same_by_different_words() {
        let runc = "runc create failed: unable to start container process: exec:";
        for (class, docker, podman) in [
            (
                Class::NoImage,
                (404, "No such image: absent:1".to_owned()),
                (404, "no such image: docker.io/library/absent:1: image not known".to_owned()),
            ),
            (
                Class::NoContainer,
                (404, "No such container: x1".to_owned()),
                (404, "no container with name or ID \"x1\" found: no such container".to_owned()),
            ),
            (
                Class::NameTaken,
                (409, "Conflict. The container name \"/x1\" is already in use by container \"ab\". You have to remove (or rename) that container to be able to reuse that name.".to_owned()),
                (500, "creating container storage: the container name \"x1\" is already in use by ab. You have to remove that container to be able to reuse that name: that name is already in use".to_owned()),
            ),
            (
                Class::PortTaken,
                (500, "driver failed programming external connectivity on endpoint x1 (ab): Bind for 0.0.0.0:8080 failed: port is already allocated".to_owned()),
                (500, "cannot listen on the TCP port: listen tcp4 :8080: bind: address already in use".to_owned()),
            ),
            (
                Class::PortTaken,
                (500, "driver failed programming external connectivity on endpoint x1 (ab): Error starting userland proxy: listen tcp4 0.0.0.0:8080: bind: address already in use".to_owned()),
                (500, "cannot listen on the UDP port: listen udp4 :8080: bind: address already in use".to_owned()),
            ),
            (
                Class::NoCommand,
                (400, format!("failed to create shim task: OCI runtime create failed: {runc} \"nope\": executable file not found in $PATH: unknown")),
                (500, format!("runc: {runc} \"nope\": executable file not found in $PATH: OCI runtime attempted to invoke a command that was not found")),
            ),
            (
                Class::NotExecutable,
                (400, format!("failed to create shim task: OCI runtime create failed: {runc} \"/etc/passwd\": permission denied: unknown")),
                (500, format!("runc: {runc} \"/etc/passwd\": permission denied: OCI permission denied")),
            ),
            (
                Class::NotRunning,
                (409, "Cannot kill container: x1: Container ab is not running".to_owned()),
                (500, "can only kill running containers. ab is in state exited: container state improper".to_owned()),
            ),
            (
                Class::Other,
                (500, "unable to find user ghost: no matching entries in passwd file".to_owned()),
                (500, "unable to find user ghost: no matching entries in passwd file".to_owned()),
            ),
        ] {
            for (status_code, message) in [docker, podman] {
                let error = EngineError::from(Error::DockerResponseServerError { status_code, message });
                assert_eq!(error.class, class, "{status_code}: {error}");
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_none() {
        assert_eq!(EngineError::from(Error::RequestTimeoutError).class, Class::Away);
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(EngineError::from(Error::IOError { err: broken }).class, Class::Away);
        let empty = Error::DockerResponseServerError { status_code: 500, message: String::new() };
        assert_eq!(EngineError::from(empty).to_string(), "it answered 500");
    }
}
