//! What a request says about the job that it changes: `If-Match` and `If-None-Match` (RFC 9110, section 13.1), by the
//! job's revision. It is judged on what was read from the store, and what is written then compares that.
//!
//! A route that cannot honour them refuses them ([`NoPrecondition`]): ignoring them would let through the very change
//! that the client means to exclude.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use common::{id::JobName, job::FieldError, store::Revision};

use crate::problem::ApiError;

const EXAMPLE: &str = "\"17\", the ETag of the job as you read it";

/// Which revisions of a job a client takes. Without headers: any, and none at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Precondition {
    matching: Option<Tags>,
    none_matching: Option<Tags>,
}

/// The tags of one header.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tags {
    /// As it was sent, for messages.
    text: String,
    of: Of,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    /// `*`: whatever there is.
    Any,
    /// One of these. A tag that no job can have stands for none.
    These(Vec<Revision>),
}

impl Tags {
    fn hold(&self, now: Revision) -> bool {
        now > Revision::NONE
            && match &self.of {
                Of::Any => true,
                Of::These(revisions) => revisions.contains(&now),
            }
    }
}

impl Precondition {
    /// An error unless the job may be changed as it is now; 0: there is none.
    pub(crate) fn check(&self, name: &JobName, now: Revision) -> Result<(), ApiError> {
        if let Some(tags) = self.matching.as_ref().filter(|tags| !tags.hold(now)) {
            return Err(ApiError::Changed { name: name.clone(), given: tags.text.clone(), now });
        }
        match self.none_matching.as_ref().filter(|tags| tags.hold(now)) {
            Some(tags) => Err(ApiError::Exists { name: name.clone(), given: tags.text.clone(), now }),
            None => Ok(()),
        }
    }

    /// True: the job's revision decides.
    pub(crate) const fn is_some(&self) -> bool {
        self.matching.is_some() || self.none_matching.is_some()
    }

    fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        Ok(Self {
            // Only a strong tag matches one (13.1.1).
            matching: tags(headers, &header::IF_MATCH, Weak::MatchesNothing)?,
            none_matching: tags(headers, &header::IF_NONE_MATCH, Weak::MatchesTheSame)?,
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Precondition {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Self::read(&parts.headers)
    }
}

/// Refuses preconditions, where there is no one job that has a revision.
pub(crate) struct NoPrecondition;

impl<S: Send + Sync> FromRequestParts<S> for NoPrecondition {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
            if let Some(given) = parts.headers.get(&name) {
                let given = String::from_utf8_lossy(given.as_bytes());
                let problem = "is of no use here: this changes no single job, and nothing was done";
                let right = "no such header; PUT /api/v1/jobs/{job} takes it";
                return Err(ApiError::bad_field(FieldError::new(shown(&name), given, problem, right)));
            }
        }
        Ok(Self)
    }
}

/// What a weak tag, `W/"17"`, stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weak {
    MatchesNothing,
    MatchesTheSame,
}

fn shown(name: &HeaderName) -> &'static str {
    // Header names compare without case; these are how people write them.
    if *name == header::IF_MATCH { "If-Match" } else { "If-None-Match" }
}

/// The tags of all headers of this name, which count as one list.
fn tags(headers: &HeaderMap, name: &HeaderName, weak: Weak) -> Result<Option<Tags>, ApiError> {
    let lines: Vec<_> =
        headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let text = lines.join(", ");
    let of = parse(&text, weak).ok_or_else(|| {
        ApiError::bad_field(FieldError::new(shown(name), &text, "is not a list of tags", EXAMPLE))
    })?;
    Ok(Some(Tags { text, of }))
}

/// A star, or tags with commas between; none: neither. A bare number counts as the tag that it stands in.
fn parse(text: &str, weak: Weak) -> Option<Of> {
    let mut rest = text.trim();
    if rest == "*" {
        return Some(Of::Any);
    }
    let mut revisions = Vec::new();
    let mut count = 0;
    while !rest.is_empty() {
        // Empty items of a list are not items (5.6.1).
        if let Some(behind) = rest.strip_prefix(',') {
            rest = behind.trim_start();
            continue;
        }
        let (is_weak, tag) = rest.strip_prefix("W/").map_or((false, rest), |tag| (true, tag));
        let (tag, behind) = match tag.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None if is_weak => return None,
            None => {
                let (bare, behind) = tag.split_at(tag.find(',').unwrap_or(tag.len()));
                bare.trim().parse::<Revision>().ok()?;
                (bare.trim(), behind)
            }
        };
        count += 1;
        revisions.extend(tag.parse::<Revision>().ok().filter(|_| !is_weak || weak == Weak::MatchesTheSame));
        rest = behind.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
    (count > 0).then_some(Of::These(revisions))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a job at this revision may be changed; none: the headers cannot be read.
    fn holds(headers: &[(HeaderName, &str)], now: Revision) -> Option<bool> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().unwrap());
        }
        let name = "a".parse().unwrap();
        Precondition::read(&map).ok().map(|precondition| precondition.check(&name, now).is_ok())
    }

    #[test]
    fn a_revision_has_to_be_among_those_that_match() {
        let of = |text| holds(&[(header::IF_MATCH, text)], Revision::new(17));
        for text in
            ["\"17\"", "17", "*", "\"1\", \"17\"", "\"1\",\"17\"", ", \"17\" ,,", "\"a,b\", \"17\"", "1, 17"]
        {
            assert_eq!(of(text), Some(true), "{text}");
        }
        for text in ["\"1\"", "16", "W/\"17\"", "\"1\", \"2\"", "\"seventeen\"", "\"\"", "\"1717\""] {
            assert_eq!(of(text), Some(false), "{text}");
        }
        for text in
            ["", ",", "seventeen", "\"17", "17\"", "\"1\" \"17\"", "*, \"17\"", "W/17", "1 17", "\"17\" x"]
        {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(holds(&[(header::IF_MATCH, "*")], Revision::NONE), Some(false));
        assert_eq!(holds(&[(header::IF_MATCH, "\"0\"")], Revision::NONE), Some(false));
        assert_eq!(
            holds(&[(header::IF_MATCH, "\"1\""), (header::IF_MATCH, "\"17\"")], Revision::new(17)),
            Some(true)
        );
        assert_eq!(holds(&[], Revision::new(17)), Some(true));
    }

    #[test]
    fn a_revision_must_not_be_among_those_that_none_may_match() {
        let of = |text, now| holds(&[(header::IF_NONE_MATCH, text)], now);
        assert_eq!([of("*", Revision::new(17)), of("*", Revision::NONE)], [Some(false), Some(true)]);
        assert_eq!(
            [
                of("\"17\"", Revision::new(17)),
                of("W/\"17\"", Revision::new(17)),
                of("\"16\"", Revision::new(17))
            ],
            [Some(false), Some(false), Some(true)]
        );
        assert_eq!(of("rubbish", Revision::new(17)), None);
    }
}
