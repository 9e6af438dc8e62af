//! Why a call was not answered, in words.

use std::{error::Error, io, iter};

use common::span::Span;
use reqwest::Url;

use super::address::Refusal;
use crate::driver::Unanswered;

/// Why no answer came, and what that means for another attempt.
pub(super) fn unanswered(error: &reqwest::Error, connect_timeout: Span) -> (String, Unanswered) {
    if let Some(Refusal(why)) = causes(error).find_map(|cause| cause.downcast_ref()) {
        return (why.clone(), Unanswered::ForGood);
    }
    let place = error.url().map_or_else(|| "the other side".to_owned(), place);
    let cause = innermost(error);
    if error.is_builder() {
        return (format!("this cannot be called: {cause}"), Unanswered::ForGood);
    }
    let is_tls = causes(error).any(|cause| cause.is::<rustls::Error>());
    let words = if error.is_connect() && error.is_timeout() {
        return (format!("no connection to {place} within {connect_timeout}"), Unanswered::TimedOut);
    } else if is_tls {
        format!("TLS with {place} failed: {cause}")
    } else if error.is_dns() {
        format!("the name of {place} cannot be resolved: {cause}")
    } else if error.is_connect() {
        format!("no connection to {place}: {cause}")
    } else {
        format!("{place} broke off before it answered: {cause}")
    };
    (words, Unanswered::ForNow)
}

/// Host and port: paths and queries may hold what nobody else should see.
fn place(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// What is at the bottom of it: "Connection refused".
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// The error and what it came from, also where that is wrapped as one of the system's.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}
