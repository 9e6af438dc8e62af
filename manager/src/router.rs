//! The router: the routes of all surfaces, and the layers around them. Whatever depends on a single route is in its
//! terms ([`crate::route`]).

use std::{any::Any, sync::Arc};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
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
    problem::ApiError,
    route::{self, Limits, Surface, Table},
    routes,
    state::App,
    surfaces::gdts,
};

/// Scripts, styles and fonts come from here only; Bootstrap's own pictures are `data:`.
const CONTENT_POLICY: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
                              form-action 'self'; frame-ancestors 'none'";

/// A smaller answer costs more to compress than to send.
const SMALL: u16 = 4096;

const STALE: HeaderName = HeaderName::from_static(common::api::STALE);

/// Every surface.
fn surfaces() -> Vec<Surface<Arc<App>>> {
    vec![routes::api(), gdts::surface(), routes::health(), routes::page()]
}

pub(crate) fn router(app: Arc<App>) -> Router {
    let (router, table) = Table::build(surfaces());
    router
        .layer(from_fn_with_state(app.clone(), hold_answers))
        .layer(from_fn_with_state(app.clone(), say_stale))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(Limits::USUAL.body))
        .layer(CompressionLayer::new().compress_when(DefaultPredicate::new().and(SizeAbove::new(SMALL))))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(limit_time))
        .layer(from_fn_with_state(app.clone(), origin::guard))
        .layer(from_fn_with_state(Arc::new(table), route::attach))
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
    let from_lists = route::known(request.extensions()).is_some_and(|known| known.from_lists);
    let mut response = next.run(request).await;
    if let Some(reason) = app.cache.stale().filter(|_| from_lists) {
        let plain: String = reason.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
        let value = HeaderValue::from_str(&plain);
        response.headers_mut().insert(STALE, value.unwrap_or_else(|_| HeaderValue::from_static("yes")));
    }
    response
}

async fn limit_time(request: Request, next: Next) -> Response {
    let limit = route::limits(request.extensions()).time;
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::{
        route::{AnswerSize, Known, Limits, Role, Table, Verb},
        router::surfaces,
    };

    fn all() -> Vec<Known> {
        let (_, table) = Table::build(surfaces());
        let mut all: Vec<Known> = table.all().cloned().collect();
        all.sort_by(|a, b| (&a.path, a.verb.name()).cmp(&(&b.path, b.verb.name())));
        all
    }

    fn named(known: &Known) -> String {
        format!("{} {}", known.verb.name(), known.path)
    }

    #[test]
    fn who_may_change_something_may_more_than_look() {
        // They say what something would come to, and change nothing.
        let harmless = ["POST /api/v1/validate", "POST /api/v1/preview"];
        for known in all() {
            let changes = match known.verb {
                Verb::Get => false,
                Verb::Post | Verb::Put | Verb::Delete => !harmless.contains(&named(&known).as_str()),
                Verb::Any => known.terms.takes.is_some(),
            };
            assert_eq!(known.terms.role >= Role::Operator, changes, "{known:?}");
        }
    }

    #[test]
    fn what_anybody_may_ask_is_the_page_and_the_probes() {
        let public: Vec<String> =
            all().iter().filter(|known| known.terms.role == Role::Public).map(named).collect();
        assert_eq!(public, ["GET /", "GET /assets/{*path}", "GET /healthz", "GET /readyz"]);
    }

    #[test]
    fn few_routes_have_limits_of_their_own() {
        let usual = |known: &&Known| known.terms.limits != Limits::USUAL;
        let own: Vec<(String, Limits)> =
            all().iter().filter(usual).map(|known| (named(known), known.terms.limits)).collect();
        let own: Vec<(&str, Limits)> = own.iter().map(|(name, limits)| (name.as_str(), *limits)).collect();
        assert_eq!(
            own,
            [
                ("GET /", Limits::PAGE),
                ("GET /api/v1/runs/{run}/output", Limits::WAITING),
                ("POST /api/v1/save", Limits::BULK),
                ("GET /assets/{*path}", Limits::SMALL),
                ("GET /healthz", Limits::SMALL),
                ("GET /metrics", Limits::SMALL),
                ("GET /readyz", Limits::SMALL),
            ]
        );
        for known in all().iter().filter(|known| known.from_lists) {
            assert_eq!(known.terms.limits.answer, AnswerSize::Budgeted, "{known:?}");
        }
    }

    #[test]
    fn every_route_is_told_of_in_the_documents() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md")).unwrap();
        let all = all();
        for known in all.iter().filter(|known| known.from_lists || known.path.ends_with('z')) {
            // Two routes may share a line: "`POST /api/v1/jobs/{job}/pause`, `/resume`".
            let last = known.path.rsplit_once('/').unwrap().1;
            let whole = text.contains(&format!(" {}`", known.path));
            assert!(whole || text.contains(&format!("`/{last}`")), "{}", named(known));
        }
        let summaries: HashSet<&str> = all.iter().map(|known| known.terms.summary).collect();
        assert_eq!(summaries.len(), all.len());
    }
}
