//! Why a text of a container's definition is refused.

/// What was given, what is wrong with it, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} {problem}; use, for example, {example}")]
pub struct TextError {
    got: String,
    problem: &'static str,
    example: &'static str,
}

impl TextError {
    pub(super) fn new(got: &str, problem: &'static str, example: &'static str) -> Self {
        Self { got: got.chars().take(80).collect(), problem, example }
    }
}

/// A port, without a sign and not 0.
pub(super) fn port(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?.filter(|port| *port > 0)
}

/// What Docker and podman take for the name of a volume or network.
pub(super) fn is_name(text: &str) -> bool {
    text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}
