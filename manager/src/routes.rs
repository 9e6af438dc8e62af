//! The native API and the page: one resource each; they read the request, call, and map the answer.

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
};

pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod preview;
pub(crate) mod runs;
pub(crate) mod ticks;
pub(crate) mod ui;
pub(crate) mod workers;

/// Who asks, for people: `page 127.0.0.1`, `api 10.0.0.7`. No proof of anything.
pub(crate) struct By(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        // Browsers say it of themselves; what passed the guard with it is our own page.
        let surface = if parts.headers.contains_key("sec-fetch-site") { "page" } else { "api" };
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(peer.map_or_else(|| surface.to_owned(), |peer| format!("{surface} {}", peer.0.ip()))))
    }
}
