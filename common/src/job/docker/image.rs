//! The name of an image: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, or the id of one.

use std::{fmt, str::FromStr};

use super::text::TextError;
use crate::span::text_serde;

/// No registry has longer ones.
const LONGEST: usize = 512;

/// The name of an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Image(String);

impl Image {
    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The registry that it comes from; none: Docker's own.
    pub fn registry(&self) -> Option<&str> {
        let (host, _) = self.0.split_once('/')?;
        is_host(host).then_some(host)
    }

    /// The name alone, and the digest or tag to ask a registry for.
    pub fn parts(&self) -> (&str, &str) {
        let (name, digest) = match self.0.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (&*self.0, None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (name, "latest"),
        };
        (name, digest.unwrap_or(tag))
    }
}

/// The first part of a path is a host if it looks like one, as Docker has it.
fn is_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':'])
}

impl FromStr for Image {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let refused = |problem| {
            TextError::new(text, problem, "\"busybox:1.36\" or \"registry.example:5000/team/tool:2\"")
        };
        if text.is_empty() || text.len() > LONGEST {
            return Err(refused("is empty or longer than 512 bytes"));
        }
        if is_name(text) {
            Ok(Self(text.to_owned()))
        } else if text.chars().any(|c| c.is_ascii_uppercase()) && is_name(&text.to_ascii_lowercase()) {
            Err(refused("is not the name of an image: it has to be in lower case, but for its tag"))
        } else {
            Err(refused("is not the name of an image"))
        }
    }
}

fn is_name(text: &str) -> bool {
    let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    let (host, path) = match path.split_once('/') {
        Some((host, path)) if is_host(host) => (Some(host), path),
        _ => (None, path),
    };
    host.is_none_or(is_address)
        && path.split('/').all(is_part)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
}

fn is_address(host: &str) -> bool {
    let (host, port) = host.rsplit_once(':').map_or((host, None), |(host, port)| (host, Some(port)));
    !host.is_empty()
        && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
        && port.is_none_or(|port| super::text::port(port).is_some())
}

fn is_part(part: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(is_plain)
        && part.ends_with(is_plain)
        && part.chars().all(|c| is_plain(c) || "._-".contains(c))
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(kind, hex)| {
        !kind.is_empty()
            && kind.chars().all(|c| c.is_ascii_alphanumeric() || "+._-".contains(c))
            && hex.len() >= 32
            && hex.chars().all(|c| c.is_ascii_hexdigit())
    })
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_serde!(Image);
