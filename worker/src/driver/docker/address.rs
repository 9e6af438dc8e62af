//! Where a container engine listens.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Where a container engine listens: a socket of this machine. An engine elsewhere would run what this worker's guard
/// cannot end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineAddress(PathBuf);

/// Why a text is no engine's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a socket of this machine; use, for example, unix:///var/run/docker.sock")]
pub struct EngineAddressError(String);

impl EngineAddress {
    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for EngineAddress {
    /// Docker's usual one.
    fn default() -> Self {
        Self(PathBuf::from("/var/run/docker.sock"))
    }
}

impl FromStr for EngineAddress {
    type Err = EngineAddressError;

    fn from_str(text: &str) -> Result<Self, EngineAddressError> {
        let path = text.strip_prefix("unix://").unwrap_or(text);
        // A blank or a line's end would break the guard's line.
        let is_path = path.starts_with('/')
            && path.len() > 1
            && !path.contains(char::is_whitespace)
            && !path.contains('\0');
        is_path.then(|| Self(path.into())).ok_or_else(|| EngineAddressError(text.chars().take(80).collect()))
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.0.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_of_this_machine_are_addresses() {
        for text in ["unix:///run/podman/podman.sock", "/run/podman/podman.sock"] {
            let address: EngineAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), "unix:///run/podman/podman.sock");
        }
        for bad in ["", "/", "unix://", "docker.sock", "tcp://127.0.0.1:2375", "ssh://host", "/a b", "/a\nb"]
        {
            assert!(bad.parse::<EngineAddress>().is_err(), "{bad}");
        }
    }
}
