//! A route and everything there is to know about it: who may use it, its limits, and what it takes and gives. Each
//! surface owns a table of its routes; the router, and every check that depends on a route, is derived from those
//! tables.
//!
//! A route without a role or without limits cannot be written down. This is one:
//!
//! ```
//! # use manager::route::{Limits, Role, Route, Terms, Verb};
//! async fn hello() -> &'static str { "hello" }
//!
//! let terms = Terms { role: Role::Reader, limits: Limits::USUAL, summary: "Says hello", takes: None, gives: None };
//! let route = Route::<()>::new(Verb::Get, "/hello", hello, terms);
//! ```
//!
//! Without its role it does not compile:
//!
//! ```compile_fail,E0063
//! # use manager::route::{Limits, Role, Route, Terms, Verb};
//! # async fn hello() -> &'static str { "hello" }
//! let terms = Terms { limits: Limits::USUAL, summary: "Says hello", takes: None, gives: None };
//! let route = Route::<()>::new(Verb::Get, "/hello", hello, terms);
//! ```
//!
//! Nor without its limits:
//!
//! ```compile_fail,E0063
//! # use manager::route::{Limits, Role, Route, Terms, Verb};
//! # async fn hello() -> &'static str { "hello" }
//! let terms = Terms { role: Role::Reader, summary: "Says hello", takes: None, gives: None };
//! let route = Route::<()>::new(Verb::Get, "/hello", hello, terms);
//! ```
//!
//! And there is no other way to make one:
//!
//! ```compile_fail,E0061
//! # use manager::route::{Route, Verb};
//! # async fn hello() -> &'static str { "hello" }
//! let route = Route::<()>::new(Verb::Get, "/hello", hello);
//! ```

use std::{any::type_name, collections::HashMap, fmt, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    handler::Handler,
    http::Method,
    middleware::Next,
    response::Response,
    routing::{MethodFilter, MethodRouter, any, on},
};

pub use crate::access::Role;

/// The method that a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Also HEAD.
    Get,
    /// It does something.
    Post,
    /// It puts something in its place.
    Put,
    /// It removes something.
    Delete,
    /// Any method: the route answers wrong ones in a form of its own.
    Any,
}

impl Verb {
    /// The method's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Any => "any",
        }
    }

    fn takes(self, method: &Method) -> bool {
        match self {
            Self::Get => matches!(*method, Method::GET | Method::HEAD),
            Self::Post => *method == Method::POST,
            Self::Put => *method == Method::PUT,
            Self::Delete => *method == Method::DELETE,
            Self::Any => true,
        }
    }
}

/// How large an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerSize {
    /// It is small.
    Small,
    /// It may be large: then it waits for room among all large answers, and is refused if there is none.
    Budgeted,
}

/// The limits of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A request that takes longer, because its body comes slowly for one, ends after this.
    pub time: Duration,
    /// In bytes; a larger body is refused unread.
    pub body: usize,
    /// How large its answer may be.
    pub answer: AnswerSize,
    /// True if pages of other sites may link to it. Anything else that they ask for is refused.
    pub links: bool,
}

impl Limits {
    /// The limits of most routes.
    pub const USUAL: Self =
        Self { time: Duration::from_millis(4900), body: 1 << 20, answer: AnswerSize::Budgeted, links: false };

    /// For requests that bring many jobs.
    pub const BULK: Self = Self { body: 8 << 20, ..Self::USUAL };

    /// For requests that may wait for news.
    pub const WAITING: Self = Self { time: Duration::from_secs(40), ..Self::USUAL };

    /// For what has to answer whatever else goes on.
    pub const SMALL: Self = Self { answer: AnswerSize::Small, ..Self::USUAL };

    /// For the page that people open.
    pub const PAGE: Self = Self { links: true, ..Self::SMALL };
}

/// A type of the wire, for the description of the API.
#[derive(Clone, Copy)]
pub struct Schema(fn() -> &'static str);

impl Schema {
    /// The schema of this type.
    pub const fn of<T: ?Sized>() -> Self {
        Self(type_name::<T>)
    }

    /// The type's whole name.
    pub fn name(self) -> &'static str {
        (self.0)()
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Everything about a route but its handler.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Who may use it.
    pub role: Role,
    /// What it may take.
    pub limits: Limits,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// The body that it takes, if it takes one.
    pub takes: Option<Schema>,
    /// What it answers with, if that is more than a status.
    pub gives: Option<Schema>,
}

/// A route.
#[derive(Debug)]
pub struct Route<S> {
    verb: Verb,
    path: &'static str,
    handler: MethodRouter<S>,
    terms: Terms,
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    /// The route of this path, which is spelled as axum has it: `/jobs/{job}`.
    pub fn new<H, T>(verb: Verb, path: &'static str, handler: H, terms: Terms) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let handler = match verb {
            Verb::Get => on(MethodFilter::GET, handler),
            Verb::Post => on(MethodFilter::POST, handler),
            Verb::Put => on(MethodFilter::PUT, handler),
            Verb::Delete => on(MethodFilter::DELETE, handler),
            Verb::Any => any(handler),
        };
        Self { verb, path, handler, terms }
    }
}

/// The routes of a surface.
pub(crate) struct Surface<S> {
    /// What their paths begin with.
    pub(crate) at: &'static str,
    /// True if their answers come from the lists, and may be old.
    pub(crate) from_lists: bool,
    pub(crate) routes: Vec<Route<S>>,
}

/// What is known of a route, for whoever meets a request for it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) verb: Verb,
    /// The whole path.
    #[cfg_attr(not(test), expect(dead_code, reason = "the description of the API will tell it"))]
    pub(crate) path: String,
    pub(crate) terms: Terms,
    pub(crate) from_lists: bool,
}

/// The routes of all surfaces, by their paths.
#[derive(Debug, Default)]
pub(crate) struct Table(HashMap<String, Vec<Arc<Known>>>);

impl Table {
    /// A router of these surfaces, and their table.
    pub(crate) fn build<S: Clone + Send + Sync + 'static>(surfaces: Vec<Surface<S>>) -> (Router<S>, Self) {
        let (mut router, mut table) = (Router::new(), Self::default());
        for Surface { at, from_lists, routes } in surfaces {
            for Route { verb, path, handler, terms } in routes {
                let path = format!("{at}{path}");
                let known = Known { verb, path: path.clone(), terms, from_lists };
                table.0.entry(path.clone()).or_default().push(Arc::new(known));
                router = router.route(&path, handler);
            }
        }
        (router, table)
    }

    fn find(&self, path: &str, method: &Method) -> Option<&Arc<Known>> {
        self.0.get(path)?.iter().find(|known| known.verb.takes(method))
    }

    /// Every route.
    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = &Known> {
        self.0.values().flatten().map(|known| &**known)
    }
}

/// The layer that tells those inside it which route a request is for ([`known`]).
pub(crate) async fn attach(State(table): State<Arc<Table>>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let known = path.and_then(|path| table.find(path.as_str(), request.method())).cloned();
    if let Some(known) = known {
        request.extensions_mut().insert(known);
    }
    next.run(request).await
}

/// The route that a request is for; none: there is no such route.
pub(crate) fn known(extensions: &axum::http::Extensions) -> Option<&Known> {
    extensions.get::<Arc<Known>>().map(|known| &**known)
}

/// The limits of the route that a request is for; without a route, those of most.
pub(crate) fn limits(extensions: &axum::http::Extensions) -> Limits {
    known(extensions).map_or(Limits::USUAL, |known| known.terms.limits)
}
