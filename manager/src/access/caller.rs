//! Who asks for something.

use std::{
    convert::Infallible,
    fmt,
    net::{IpAddr, SocketAddr},
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
};

/// By what way somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Through {
    /// The page, in a browser.
    Page,
    /// A client of one of the APIs.
    Api,
    /// A command that works on the store itself.
    CommandLine,
}

impl Through {
    const fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Api => "api",
            Self::CommandLine => "command line",
        }
    }
}

/// Who asks, as far as a request tells. In text, for people: `page 127.0.0.1`, `api 10.0.0.7`. No proof of anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    through: Through,
    address: Option<IpAddr>,
}

impl Caller {
    /// Who gives a command that works on the store itself.
    pub(crate) const fn of_the_command_line() -> Self {
        Self { through: Through::CommandLine, address: None }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.through.name())?;
        self.address.map_or(Ok(()), |address| write!(f, " {address}"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        // Browsers say it of themselves; what passed the guard with it is our own page.
        let is_page = parts.headers.contains_key("sec-fetch-site");
        let through = if is_page { Through::Page } else { Through::Api };
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self { through, address: peer.map(|peer| peer.0.ip()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_caller_is_named_by_way_and_address() {
        let told = async |header: Option<&str>, peer: Option<&str>| {
            let mut request = axum::http::Request::new(());
            if let Some(value) = header {
                request.headers_mut().insert("sec-fetch-site", value.parse().unwrap());
            }
            if let Some(peer) = peer {
                request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer.parse().unwrap()));
            }
            let mut parts = request.into_parts().0;
            Caller::from_request_parts(&mut parts, &()).await.unwrap().to_string()
        };
        assert_eq!(told(None, Some("10.0.0.7:1234")).await, "api 10.0.0.7");
        assert_eq!(told(Some("same-origin"), Some("[::1]:1234")).await, "page ::1");
        assert_eq!(told(None, None).await, "api");
    }
}
