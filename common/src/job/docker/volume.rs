//! What a container sees of the machine's files, and its volumes: `SOURCE:TARGET[:ro]`.

use std::{fmt, str::FromStr};

use super::text::{TextError, is_name};
use crate::span::text_serde;

/// Where what is mounted comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A path of the machine.
    Path(String),
    /// A volume of the engine, which makes it when there is none of this name.
    Volume(String),
}

/// Something of the machine in a place of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    source: Source,
    target: String,
    read_only: bool,
}

impl Volume {
    /// Where it comes from.
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Where it is in the container, an absolute path.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// True: the container cannot change it.
    pub const fn is_read_only(&self) -> bool {
        self.read_only
    }
}

impl FromStr for Volume {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let refused = |problem| {
            TextError::new(
                text,
                problem,
                "\"/srv/data:/data:ro\", or \"cache:/var/cache\" for a volume by name",
            )
        };
        if text.contains('\0') {
            return Err(refused("contains a NUL byte, which no path has"));
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, read_only) = match parts[..] {
            [source, target] | [source, target, "rw"] => (source, target, false),
            [source, target, "ro"] => (source, target, true),
            [_, _, _] => return Err(refused("ends with an option that is neither \"ro\" nor \"rw\"")),
            _ => return Err(refused("is not SOURCE:TARGET or SOURCE:TARGET:ro")),
        };
        if !target.starts_with('/') || target.trim_end_matches('/').is_empty() {
            return Err(refused("names no absolute path below the container's root"));
        }
        let source = if source.starts_with('/') {
            Source::Path(source.to_owned())
        } else if is_name(source) {
            Source::Volume(source.to_owned())
        } else {
            return Err(refused(
                "begins with neither an absolute path of the machine nor the name of a volume",
            ));
        };
        Ok(Self { source, target: target.to_owned(), read_only })
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Source::Path(source) | Source::Volume(source)) = &self.source;
        write!(f, "{source}:{}{}", self.target, if self.read_only { ":ro" } else { "" })
    }
}

text_serde!(Volume);
