//! Addresses that calls must not reach. A name is judged by what it resolves to, in the moment in which the connection is
//! made, so that no name, redirect or spelling of an address gets around it.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use tokio::{sync::Semaphore, task::spawn_blocking};

/// Kinds of addresses that the calls of a worker must not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden {
    loopback: bool,
    private: bool,
    link_local: bool,
}

impl Default for Forbidden {
    /// What hands credentials to whoever asks.
    fn default() -> Self {
        Self { loopback: false, private: false, link_local: true }
    }
}

/// Such a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Loopback,
    Private,
    LinkLocal,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "this machine itself",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local or metadata address",
        })
    }
}

/// Why a call does not go on; another one would not either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refusal(pub(super) String);

/// Where clouds tell a machine its credentials, beside the link-local addresses.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

impl Forbidden {
    /// Reads the kinds by their names. Link-local and metadata addresses are forbidden beside the others, unless all is
    /// allowed by `none`.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let (mut read, mut none, mut given) = (Self::default(), false, 0);
        for name in names {
            given += 1;
            match name {
                "loopback" => read.loopback = true,
                "private" => read.private = true,
                "link-local" => {}
                "none" => none = true,
                other => {
                    return Err(format!(
                        "{other:?} is no kind of address; use, for example, loopback,private,link-local, or none"
                    ));
                }
            }
        }
        match (none, given) {
            (true, 1) => Ok(Self { link_local: false, ..read }),
            (true, _) => Err("none stands beside others: give it alone, or leave it out".to_owned()),
            (false, _) => Ok(read),
        }
    }

    fn kind(self, address: IpAddr) -> Option<Kind> {
        let meant = meant(address);
        let (loopback, private, link_local) = match meant {
            IpAddr::V4(v4) => {
                let [first, second, ..] = v4.octets();
                // 0.0.0.0 connects to this machine; 100.64/10 is behind a carrier's translation.
                let shared = first == 100 && (64..128).contains(&second);
                (v4.is_loopback() || first == 0, v4.is_private() || shared, v4.is_link_local())
            }
            IpAddr::V6(v6) => {
                let site_local = v6.segments()[0] & 0xffc0 == 0xfec0;
                let local = v6.is_loopback() || v6.is_unspecified();
                (local, v6.is_unique_local() || site_local, v6.is_unicast_link_local())
            }
        };
        let link_local = link_local || METADATA.contains(&meant);
        match self {
            Self { link_local: true, .. } if link_local => Some(Kind::LinkLocal),
            Self { loopback: true, .. } if loopback => Some(Kind::Loopback),
            Self { private: true, .. } if private => Some(Kind::Private),
            _ => None,
        }
    }

    /// Refuses a URL whose host is an address: those are never resolved.
    pub(super) fn check(self, url: &Url) -> Result<(), Refusal> {
        let address = match url.host() {
            Some(url::Host::Ipv4(v4)) => IpAddr::V4(v4),
            Some(url::Host::Ipv6(v6)) => IpAddr::V6(v6),
            Some(url::Host::Domain(_)) | None => return Ok(()),
        };
        self.kind(address).map_or(Ok(()), |kind| Err(refusal(&address, kind)))
    }

    /// Those that may be reached, of what a name resolves to.
    fn allowed(self, name: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refusal> {
        let first = addresses.iter().find_map(|address| Some((address.ip(), self.kind(address.ip())?)));
        let allowed: Vec<SocketAddr> =
            addresses.into_iter().filter(|address| self.kind(address.ip()).is_none()).collect();
        match first {
            Some((address, kind)) if allowed.is_empty() => {
                Err(refusal(&format_args!("{name} is {address}, which"), kind))
            }
            _ => Ok(allowed),
        }
    }
}

fn refusal(what: &dyn fmt::Display, kind: Kind) -> Refusal {
    Refusal(format!("{what} is {kind}: this worker does not let jobs call there (its setting http_forbid)"))
}

/// The address that is reached by this one in the end: version 6 has several ways to write one of version 4.
fn meant(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b, c, d, e, f) {
        // Mapped, and translated on the way (NAT64).
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => v4(g, h),
        // Tunnelled (6to4).
        (0x2002, ..) => v4(b, c),
        // "Compatible"; :: and ::1 are their own.
        (0, 0, 0, 0, 0, 0) if g != 0 => v4(g, h),
        _ => address,
    }
}

/// Names that are looked up at a time. Each look-up takes a thread until the system gives up, and starts and the spool need
/// some as well.
const LOOK_UPS: usize = 64;

/// Resolves names as the system does, and hands out only what may be reached. Clones share the bound on look-ups.
#[derive(Clone)]
pub(super) struct Guarded {
    forbidden: Forbidden,
    look_ups: Arc<Semaphore>,
}

impl Guarded {
    pub(super) fn new(forbidden: Forbidden) -> Self {
        Self { forbidden, look_ups: Arc::new(Semaphore::new(LOOK_UPS)) }
    }

    pub(super) const fn forbidden(&self) -> Forbidden {
        self.forbidden
    }
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { forbidden, look_ups } = self.clone();
        Box::pin(async move {
            let permit = look_ups.acquire_owned().await?;
            // The thread keeps the permit also when nobody waits for it any more.
            let found = spawn_blocking(move || {
                let _permit = permit;
                let found = (name.as_str(), 0).to_socket_addrs()?.collect::<Vec<_>>();
                io::Result::Ok((name, found))
            });
            let (name, found) = found.await??;
            let allowed = forbidden.allowed(name.as_str(), found)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Forbidden = Forbidden { loopback: true, private: true, link_local: true };

    #[test]
    fn an_address_is_judged_by_what_it_reaches() {
        let kind = |address: &str| ALL.kind(address.parse().unwrap());
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "febf::1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
        ] {
            assert_eq!(kind(address), Some(Kind::LinkLocal), "{address}");
            assert!(Forbidden::default().kind(address.parse().unwrap()).is_some(), "{address}");
        }
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
        ] {
            assert_eq!(kind(address), Some(Kind::Loopback), "{address}");
        }
        for address in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.9.9",
            "192.168.1.1",
            "100.64.0.1",
            "fd12::1",
            "fec0::1",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(kind(address), Some(Kind::Private), "{address}");
            assert_eq!(Forbidden::default().kind(address.parse().unwrap()), None, "{address}");
        }
        for address in [
            "192.0.2.1",
            "172.32.0.1",
            "100.128.0.1",
            "169.253.0.1",
            "2001:db8::1",
            "::ffff:192.0.2.1",
            "fe00::1",
        ] {
            assert_eq!(kind(address), None, "{address}");
        }
    }

    #[test]
    fn an_address_in_a_url_is_judged_however_it_is_spelled() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://017700000001/",
            "http://[::1]/",
            "http://[::ffff:7f00:1]/",
            "http://127.1:8070/x",
        ] {
            let refused = ALL.check(&Url::parse(url).unwrap()).unwrap_err().to_string();
            assert!(refused.contains("this machine itself") && refused.contains("http_forbid"), "{refused}");
        }
        assert_eq!(ALL.check(&Url::parse("http://127.0.0.1.example.org/").unwrap()), Ok(()));
    }

    #[test]
    fn of_a_names_addresses_the_allowed_ones_are_left() {
        let addresses =
            |texts: &[&str]| texts.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
        let both = ALL.allowed("a", addresses(&["10.0.0.1", "192.0.2.1"])).unwrap();
        assert_eq!(both, addresses(&["192.0.2.1"]));
        let none = ALL.allowed("a.internal", addresses(&["169.254.169.254"])).unwrap_err().to_string();
        assert!(none.starts_with("a.internal is 169.254.169.254, which is a link-local"), "{none}");
    }

    #[test]
    fn kinds_are_named_and_link_local_is_one_of_them_unless_all_is_allowed() {
        let read = |text: &str| Forbidden::of(text.split(',').filter(|name| !name.is_empty()));
        assert_eq!(read("loopback,private,link-local"), Ok(ALL));
        assert_eq!(read("loopback,private"), Ok(ALL));
        assert_eq!(read(""), Ok(Forbidden::default()));
        assert_eq!(read("none").map(|none| none.kind([169, 254, 169, 254].into())), Ok(None));
        assert!(read("none,private").unwrap_err().contains("alone"));
        assert!(read("localhost").unwrap_err().contains("loopback,private,link-local"));
    }
}
