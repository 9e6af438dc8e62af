//! The network that a container is on, and the ports of it that the machine's lead to.

use std::{fmt, net::IpAddr, str::FromStr};

use super::text::{TextError, is_name, port};
use crate::span::text_serde;

/// Which network a container is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// None: it reaches nobody and nobody reaches it.
    None,
    /// The engine's own, behind the machine's address.
    #[default]
    Bridge,
    /// The machine's, as if it were no container.
    Host,
    /// One that somebody made, by its name.
    Named(String),
}

impl Network {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for Network {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        match text {
            "none" => Ok(Self::None),
            "bridge" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            name if is_name(name) => Ok(Self::Named(name.to_owned())),
            _ => Err(TextError::new(
                text,
                "is not a network",
                "\"none\", \"bridge\", \"host\", or the name of one that was made with `docker network create`",
            )),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Named(name) => name,
        })
    }
}

/// How a port is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// By connections.
    Tcp,
    /// By datagrams.
    Udp,
    /// By messages.
    Sctp,
}

impl Protocol {
    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// A port of a container that one of the machine's leads to: `[[ADDRESS:]PORT:]PORT[/PROTOCOL]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The machine's address; none: all of them.
    pub address: Option<IpAddr>,
    /// The machine's port; none: one that is free.
    pub host: Option<u16>,
    /// The container's port.
    pub container: u16,
    /// How it is spoken to.
    pub protocol: Protocol,
}

impl Port {
    /// The container's side, as engines name it: `80/tcp`.
    pub fn inside(&self) -> String {
        format!("{}/{}", self.container, self.protocol.name())
    }

    /// True: both want the same port of the machine.
    pub(super) fn clashes(&self, other: &Self) -> bool {
        let same_address = match (self.address, other.address) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        self.host.is_some() && self.host == other.host && self.protocol == other.protocol && same_address
    }
}

impl FromStr for Port {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        read(text).ok_or_else(|| {
            let example =
                "\"80/tcp\" (any free port of the machine), \"8080:80\" or \"127.0.0.1:8080:80/tcp\"";
            TextError::new(text, "is not a port to publish", example)
        })
    }
}

fn read(text: &str) -> Option<Port> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return None,
    };
    let Some((outside, container)) = ports.rsplit_once(':') else {
        return Some(Port { address: None, host: None, container: port(ports)?, protocol });
    };
    let container = port(container)?;
    let (address, host) = match outside.rsplit_once(':') {
        None => (None, outside),
        Some((address, host)) => {
            let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
            (Some(bare.parse().ok()?), host)
        }
    };
    // "127.0.0.1::80": any free port, of this address.
    let host = if host.is_empty() && address.is_some() { None } else { Some(port(host)?) };
    Some(Port { address, host, container, protocol })
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            None => {}
        }
        if let Some(host) = self.host {
            write!(f, "{host}")?;
        }
        if self.address.is_some() || self.host.is_some() {
            f.write_str(":")?;
        }
        write!(f, "{}/{}", self.container, self.protocol.name())
    }
}

text_serde!(Network, Port);
