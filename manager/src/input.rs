//! Reads requests: query parameters, JSON bodies, names in paths. Everything that is wrong is reported at once, by
//! field.

use std::{str::FromStr, sync::Arc, time::Duration};

use axum::{
    body::HttpBody,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{header, request::Parts},
};
use chrono::{DateTime, Utc};
use common::{job::FieldError, span::Span};
use futures::StreamExt;
use serde::de::DeserializeSeed;
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::{budget::Share, problem::ApiError, route, state::App};

pub(crate) mod many;
mod once;

use many::Given;
use once::{MOST_VALUES, Once};

/// A page's length when none is asked for, and at most.
const PAGE: (usize, usize) = (100, 500);

/// A request's query parameters, taken one by one; [`Params::done`] tells what was wrong.
pub(crate) struct Params {
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Params {
    /// The parameter as text; empty counts as absent.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let at = self.given.iter().position(|(given, _)| given == name)?;
        let value = self.given.swap_remove(at).1;
        if self.given.iter().any(|(given, _)| given == name) {
            self.errors.push(FieldError::new(name, &value, "is given twice", "one of them"));
            self.given.retain(|(given, _)| given != name);
        }
        Some(value).filter(|value| !value.is_empty())
    }

    /// The parameter, parsed.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &'static str, what: &str, example: &str) -> Option<T> {
        let text = self.text(name)?;
        let parsed = text.parse();
        if parsed.is_err() {
            self.errors.push(FieldError::new(name, text, format!("is not {what}"), example));
        }
        parsed.ok()
    }

    /// The parameter as an RFC 3339 instant.
    pub(crate) fn instant(&mut self, name: &'static str) -> Option<DateTime<Utc>> {
        let text = self.text(name)?;
        // An unescaped plus comes as a blank.
        let parsed = DateTime::parse_from_rfc3339(&text.replace(' ', "+"));
        if parsed.is_err() {
            self.errors.push(FieldError::new(name, text, "is not an instant", "2026-11-22T01:02:03Z"));
        }
        parsed.ok().map(|instant| instant.to_utc())
    }

    /// The parameter as a duration: `2s`, or a bare number of seconds.
    pub(crate) fn span(&mut self, name: &'static str) -> Option<Duration> {
        let text = self.text(name)?;
        let parsed = text.parse::<Span>().map(Duration::from);
        let parsed = parsed.or_else(|_| text.parse().map(Duration::from_secs));
        if parsed.is_err() {
            self.errors.push(FieldError::new(name, text, "is not a duration", "10s"));
        }
        parsed.ok()
    }

    /// The length of the page that is asked for.
    pub(crate) fn limit(&mut self) -> usize {
        let (default, most) = PAGE;
        let Some(text) = self.text("limit") else { return default };
        let limit = text.parse().ok().filter(|limit| (1..=most).contains(limit));
        limit.unwrap_or_else(|| {
            self.errors.push(FieldError::new(
                "limit",
                text,
                format!("is not a number from 1 to {most}"),
                "100",
            ));
            default
        })
    }

    /// Refuses what was wrong, what was left over included.
    pub(crate) fn done(mut self) -> Result<(), ApiError> {
        let known = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
        for (name, _) in self.given {
            let problem = format!("is not a parameter of this path; it has: {known}");
            self.errors.push(FieldError::new(name, "", problem, ""));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::bad_fields(self.errors)) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let given = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| ApiError::bad_request(format!("the query cannot be read: {error}")))?;
        Ok(Self { given: given.0, known: Vec::new(), errors: Vec::new() })
    }
}

/// Refuses any query parameter, on paths that have none.
pub(crate) struct NoParams;

impl<S: Send + Sync> FromRequestParts<S> for NoParams {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Params::from_request_parts(parts, state).await?.done().map(|()| Self)
    }
}

/// The one name in the path, parsed.
pub(crate) struct Named<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for Named<T>
where
    S: Send + Sync,
    T: FromStr,
    ApiError: From<T::Err>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::bad_request(format!("the path cannot be read: {error}")))?;
        Ok(Self(name.parse()?))
    }
}

/// A JSON body, and the memory that it may have.
pub(crate) struct Body(pub(crate) Value, pub(crate) Share);

/// What is read of a body takes at most this many times its size, if it is large.
const BODY_TAKES: usize = 4;

/// A body that is larger is read on a thread that answers no requests.
const LARGE: usize = 64 << 10;

impl FromRequest<Arc<App>> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let (text, share) = json(request, app).await?;
        let (value, share) = elsewhere(text, share, one).await?;
        Ok(Self(value, share))
    }
}

/// The one value of a text.
fn one(text: &[u8]) -> Result<Value, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = Once(&mut { MOST_VALUES }).deserialize(&mut json);
    value.and_then(|value| json.end().map(|()| value)).map_err(|error| not_understood(&error))
}

/// The jobs of a request that brings many, and the memory that they may have.
pub(crate) struct BulkBody(pub(crate) Vec<Given>, pub(crate) Share);

impl FromRequest<Arc<App>> for BulkBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let (text, share) = json(request, app).await?;
        let (given, share) = elsewhere(text, share, many::read).await?;
        Ok(Self(given, share))
    }
}

/// What `parse` makes of a text; of a large one on a thread that answers no requests. The share stays with it, also when
/// nobody waits for it any more.
async fn elsewhere<T: Send + 'static>(
    text: Vec<u8>,
    share: Share,
    parse: impl FnOnce(&[u8]) -> Result<T, ApiError> + Send + 'static,
) -> Result<(T, Share), ApiError> {
    if text.len() <= LARGE {
        return Ok((parse(&text)?, share));
    }
    let parsed = spawn_blocking(move || Ok((parse(&text)?, share))).await;
    parsed.unwrap_or_else(|error| {
        tracing::error!(%error, "failed to read a body");
        Err(ApiError::Internal)
    })
}

/// Why a body cannot be used.
fn not_understood(error: &serde_json::Error) -> ApiError {
    if error.is_data() {
        return ApiError::bad_request(format!("the body: {error}"));
    }
    ApiError::bad_request(format!("the body is not JSON: {error}"))
}

/// The text of a JSON body. The memory for it, and for what is made of it, is asked for as it comes.
async fn json(request: Request, app: &App) -> Result<(Vec<u8>, Share), ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence != "application/json" && !essence.ends_with("+json") {
        return Err(ApiError::ContentType(kind.chars().take(80).collect()));
    }
    read_body(request, app).await
}

/// A body of at most as many bytes as the route takes.
pub(crate) async fn read_body(request: Request, app: &App) -> Result<(Vec<u8>, Share), ApiError> {
    let limit = route::limits(request.extensions()).body;
    let said = request.body().size_hint().lower();
    if said > limit as u64 {
        return Err(ApiError::TooLarge { limit });
    }
    let (mut text, mut share) = (Vec::new(), app.budget.share());
    let mut chunks = request.into_body().into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| ApiError::bad_request(format!("the body broke off: {error}")))?;
        let size = text.len() + chunk.len();
        if size > limit {
            return Err(ApiError::TooLarge { limit });
        }
        share.hold(size * BODY_TAKES).await?;
        text.extend_from_slice(&chunk);
    }
    Ok((text, share))
}
