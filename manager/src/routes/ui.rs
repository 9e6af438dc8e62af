//! The page: files inside the binary, under `/` and `/assets/`.

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{problem::ApiError, state::App};

/// A file of the page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// What is in it.
    pub bytes: &'static [u8],
    /// Its type: `text/html; charset=utf-8`.
    pub content_type: &'static str,
    /// Tells its versions apart; with or without the quotes of a header.
    pub etag: &'static str,
}

pub(crate) async fn index(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, ApiError> {
    serve(&app, "index.html", &headers)
}

pub(crate) async fn asset(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path(path) =
        path.map_err(|error| ApiError::bad_request(format!("the path cannot be read: {error}")))?;
    serve(&app, &format!("assets/{path}"), &headers)
}

fn serve(app: &App, path: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    let missing = || ApiError::NoSuchPath(format!("/{}", path.chars().take(200).collect::<String>()));
    let asset = (app.assets)(path).ok_or_else(missing)?;
    let tag = format!("\"{}\"", asset.etag.trim_matches('"'));
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|given| given.to_str().ok());
    // Compression marks tags as weak; the browser sends them back so.
    let mut tags =
        given.flat_map(|given| given.split(',')).map(|given| given.trim().trim_start_matches("W/"));
    let caching = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if tags.any(|given| given == tag || given == "*") {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    Ok((caching, [(header::CONTENT_TYPE, asset.content_type)], asset.bytes).into_response())
}
