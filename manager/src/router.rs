//! The route table and its layers, on one page.

use std::{any::Any, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use tokio::time::timeout;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{DefaultPredicate, Predicate, SizeAbove},
    },
};

use crate::{
    access::origin,
    budget::hold_answers,
    input::MAX_BODY,
    problem::ApiError,
    routes::{health, jobs, preview, runs, ticks, ui, workers},
    state::App,
    surfaces::gdts,
};

/// A request that outlasts its own limits, a slowly sent body for one, ends here.
const AT_MOST: Duration = Duration::from_millis(4900);

/// Watching a run's output may take so much longer.
const AT_MOST_WAITING: Duration = Duration::from_secs(40);

/// Scripts, styles and fonts come from here only; Bootstrap's own pictures are `data:`.
const CONTENT_POLICY: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
                              form-action 'self'; frame-ancestors 'none'";

/// A smaller answer costs more to compress than to send.
const SMALL: u16 = 4096;

const STALE: HeaderName = HeaderName::from_static("quorate-stale");

pub(crate) fn router(app: Arc<App>) -> Router {
    let native = Router::new()
        .route("/jobs", get(jobs::list).post(jobs::create))
        .route("/jobs/{job}", get(jobs::show).put(jobs::replace).delete(jobs::delete))
        .route("/jobs/{job}/run", post(jobs::run))
        .route("/jobs/{job}/kill", post(jobs::kill))
        .route("/jobs/{job}/pause", post(jobs::pause))
        .route("/jobs/{job}/resume", post(jobs::resume))
        .route("/jobs/{job}/reset-fence", post(jobs::reset_fence))
        .route("/jobs/{job}/ticks", get(ticks::list))
        .route("/save", post(jobs::save_all))
        .route("/validate", post(preview::validate))
        .route("/preview", post(preview::preview))
        .route("/runs", get(runs::list))
        .route("/runs/lateness", get(runs::lateness))
        .route("/runs/{run}", get(runs::show))
        .route("/runs/{run}/output", get(runs::output))
        .route("/runs/{run}/kill", post(runs::kill))
        .route("/workers", get(workers::list));
    let gdts = Router::new()
        .route("/job/save", any(gdts::save))
        .route("/job/delete", any(gdts::delete))
        .route("/job/kill", any(gdts::kill))
        .route("/job/list", any(gdts::list))
        .route("/job/log", any(gdts::log))
        .route("/worker/list", any(gdts::workers));
    Router::new()
        .nest("/api/v1", native)
        .merge(gdts)
        .layer(from_fn_with_state(app.clone(), hold_answers))
        .layer(from_fn_with_state(app.clone(), say_stale))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/", get(ui::index))
        .route("/assets/{*path}", get(ui::asset))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CompressionLayer::new().compress_when(DefaultPredicate::new().and(SizeAbove::new(SMALL))))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(limit_time))
        .layer(from_fn_with_state(app.clone(), origin::guard))
        .layer(from_fn(secure))
        .layer(from_fn(count))
        .with_state(app)
}

async fn no_such_path(request: Request) -> ApiError {
    ApiError::NoSuchPath(request.uri().path().chars().take(200).collect())
}

async fn wrong_method(method: Method) -> ApiError {
    ApiError::MethodNotAllowed(method.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands the panic over")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    tracing::error!(panic = text, "a request panicked");
    ApiError::Internal.into_response()
}

/// Says on every answer that may be old why it may be.
async fn say_stale(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(reason) = app.cache.stale() {
        let plain: String = reason.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
        let value = HeaderValue::from_str(&plain);
        response.headers_mut().insert(STALE, value.unwrap_or_else(|_| HeaderValue::from_static("yes")));
    }
    response
}

async fn limit_time(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let waits = path.starts_with("/api/v1/runs/") && path.ends_with("/output");
    let limit = if waits { AT_MOST_WAITING } else { AT_MOST };
    timeout(limit, next.run(request)).await.unwrap_or_else(|_| ApiError::TooSlow.into_response())
}

/// What the browser is told not to do with an answer.
async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

async fn count(request: Request, next: Next) -> Response {
    // The pattern, not the path: names would make a series each.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let response = next.run(request).await;
    let status = status_class(response.status());
    metrics::counter!("quorate_http_requests_total", "route" => route, "method" => method, "status" => status)
        .increment(1);
    response
}

const fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        0..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}
