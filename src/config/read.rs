//! Texts → typed values. Whatever is wrong is noted and reading goes on, so that all problems come together.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use chrono_tz::Tz;
use common::{span::Span, store::key::Keys};

use super::{ConfigError, Values, settings::AuthMode};

/// Reads one role's values.
pub(super) struct Reader<'a> {
    values: &'a Values,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(values: &'a Values) -> Self {
        Self { values, problems: values.problems.clone() }
    }

    /// The settings, unless something was wrong.
    pub(super) fn finish<T>(self, settings: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() { Ok(settings) } else { Err(ConfigError { problems: self.problems }) }
    }

    /// Notes what is wrong with a setting, and where it was given.
    pub(super) fn refuse(&mut self, key: &str, problem: impl std::fmt::Display) {
        let origin = self.values.get(key).map_or("default", |given| &given.origin);
        self.problems.push(format!("{key} ({origin}): {problem}"));
    }

    pub(super) fn asked(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|given| given.asked)
    }

    pub(super) fn many(&self, key: &str) -> &'a [String] {
        self.values.get(key).map_or(&[], |given| &given.texts)
    }

    /// A setting's one text; none when it was not given, or given empty.
    pub(super) fn text(&mut self, key: &str) -> Option<&'a str> {
        match self.many(key) {
            [] => None,
            [one] => Some(one.trim()).filter(|text| !text.is_empty()),
            several => {
                self.refuse(key, format!("{} values where one belongs", several.len()));
                None
            }
        }
    }

    /// A setting's value, or what stands in for it while the problems are collected.
    pub(super) fn parse<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        stand_in: T,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> T {
        let Some(text) = self.text(key) else { return stand_in };
        match parse(text) {
            Ok(value) => value,
            Err(problem) => {
                self.refuse(key, problem);
                stand_in
            }
        }
    }

    /// A value that may be left out.
    pub(super) fn optional<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.parse(key, None, |text| parse(text).map(Some))
    }

    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    pub(super) fn zone(&mut self) -> Tz {
        self.parse("zone", Tz::UTC, common::schedule::parse_zone)
    }

    pub(super) fn span(&mut self, key: &str, shortest: Duration, longest: Duration) -> Duration {
        self.span_or(key, shortest, longest, "")
    }

    /// A span; `or` is what else is allowed, for the message.
    fn span_or(&mut self, key: &str, shortest: Duration, longest: Duration, or: &str) -> Duration {
        self.parse(key, shortest, |text| {
            let Span(span) = text.parse().map_err(|error: common::span::SpanError| format!("{error}{or}"))?;
            if (shortest..=longest).contains(&span) {
                Ok(span)
            } else {
                Err(format!("{text:?} is not between {} and {}{or}", Span(shortest), Span(longest)))
            }
        })
    }

    /// A span, or `all`.
    pub(super) fn span_or_all(
        &mut self,
        key: &str,
        shortest: Duration,
        longest: Duration,
    ) -> Option<Duration> {
        if self.text(key) == Some("all") {
            None
        } else {
            Some(self.span_or(key, shortest, longest, ", or all"))
        }
    }

    /// Where to listen. Without authentication nobody is served beyond this machine, unless that was asked for.
    pub(super) fn listen(&mut self) -> (SocketAddr, AuthMode) {
        let auth = self.auth();
        let stand_in = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listen = self.parse("listen", stand_in, address);
        if auth == AuthMode::On && !listen.ip().to_canonical().is_loopback() {
            self.refuse(
                "listen",
                format!(
                    "{listen} is not loopback, and authentication is not in this release: give --auth off to serve without it, \
                     behind a network you trust, or listen on loopback, such as 127.0.0.1:{}",
                    listen.port()
                ),
            );
        }
        (listen, auth)
    }

    fn auth(&mut self) -> AuthMode {
        let asked = self.asked("auth");
        self.parse("auth", AuthMode::On, |text| match text {
            "off" => Ok(AuthMode::Off),
            "on" if asked => Err(
                "authentication is not in this release: leave this out to serve loopback only, or give off to serve \
                 without it, behind a network you trust"
                    .to_owned(),
            ),
            "on" => Ok(AuthMode::On),
            other => Err(format!("{other:?} is neither on nor off")),
        })
    }

    pub(super) fn labels(&mut self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for text in self.many("label") {
            match text.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some((key, value)) if !key.is_empty() && !text.chars().any(char::is_control) => {
                    labels.insert(key.to_owned(), value.to_owned());
                }
                _ => self.refuse("label", format!("{text:?} is not a label; use, for example, disk=ssd")),
            }
        }
        labels
    }

    pub(super) fn allowed_hosts(&mut self) -> Vec<String> {
        let mut hosts = Vec::new();
        for text in self.many("allowed_host") {
            let inner = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
            if text.is_empty() || !text.chars().all(inner) {
                self.refuse(
                    "allowed_host",
                    format!("{text:?} is not a host; use, for example, jobs.example.org"),
                );
            } else {
                hosts.push(text.to_ascii_lowercase());
            }
        }
        hosts
    }

    pub(super) fn prefix(&mut self) -> String {
        self.parse("prefix", "/".to_owned(), |text| Keys::new(text).map(|_| text.to_owned()))
    }

    pub(super) fn mongodb(&mut self) -> String {
        let uri = self.text("mongodb").unwrap_or_default();
        if uri.is_empty() {
            self.refuse("mongodb", "has to be given: --mongodb mongodb://HOST:27017");
        } else if !uri.starts_with("mongodb://") && !uri.starts_with("mongodb+srv://") {
            // Not repeated: it may hold a password.
            self.refuse("mongodb", "is not a MongoDB URI; use, for example, mongodb://db1:27017/quorate");
        }
        uri.to_owned()
    }
}

/// An address to listen on.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    Err(format!(
        "{text:?} is not an address with a port; use, for example, 127.0.0.1:8070 or [::1]:8070, and 0.0.0.0:8070 for \
         every interface"
    ))
}

/// An address by which others reach this process.
pub(super) fn advertised(text: &str) -> Result<String, String> {
    let refuse = |problem: &str| {
        Err(format!("{text:?} {problem}; use, for example, web1:5556, 10.0.0.1:5556 or [2001:db8::1]:5556"))
    };
    let Some((host, port)) = text.rsplit_once(':') else { return refuse("names no port") };
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return refuse("names no port");
    }
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let ip = match bracketed {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    match ip {
        Some(ip) if ip.to_canonical().is_unspecified() => refuse("is not an address that others can reach"),
        None if bracketed.is_some() || host.is_empty() || !host.chars().all(is_name) => {
            refuse("names no host")
        }
        _ => Ok(text.to_owned()),
    }
}

/// An endpoint of etcd with its scheme.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let refuse =
        || format!("{text:?} is not an endpoint; use, for example, etcd1:2379 or https://etcd1:2379");
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some(_) => return Err(refuse()),
        None => ("http", text),
    };
    let rest = rest.trim_end_matches('/');
    let (host, port) = rest.rsplit_once(':').ok_or_else(refuse)?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if host.is_empty() || !host.chars().all(is_host) || port.parse::<u16>().is_err() {
        return Err(refuse());
    }
    Ok(format!("{scheme}://{rest}"))
}
