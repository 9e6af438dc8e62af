//! Keeps web pages from running commands through somebody's browser: the server listens on loopback, and a browser on
//! the same machine can reach it on behalf of any page.
//!
//! Two checks on every surface. `Host` has to be one of this server's: a page that made its own name point here (DNS
//! rebinding) still says its own name. And a request must not come from another site's page: browsers say so in
//! `Sec-Fetch-Site` (to loopback and over HTTPS) and, when it changes something, in `Origin`, which pages cannot
//! forge. Reads are refused too: the page could not see the answer, but could have a large one made again and again.
//! Clients such as curl send neither and pass.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, Uri, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{problem::ApiError, route, state::App};

/// The layer: refuses with 421 or 403, or passes the request on.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let hosts = Hosts { listen: app.config.listen, allowed: &app.config.allowed_hosts };
    let may_link = route::limits(request.extensions()).links;
    match hosts.check(request.method(), request.uri(), request.headers(), may_link) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            tracing::warn!(method = %request.method(), path = request.uri().path(), %error, "refused a request");
            error.into_response()
        }
    }
}

/// The names under which this server may be asked.
struct Hosts<'a> {
    listen: SocketAddr,
    allowed: &'a [String],
}

impl Hosts<'_> {
    /// `may_link`: other sites' pages may link to what is asked for.
    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap, may_link: bool) -> Result<(), ApiError> {
        let mut given = headers.get_all(header::HOST).iter();
        let host = match (given.next(), given.next()) {
            (Some(host), None) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
            // HTTP/2 says it in the authority, and need not repeat it.
            (None, _) => match uri.authority() {
                Some(authority) => authority.as_str().to_owned(),
                None => return Err(ApiError::Misdirected(String::new())),
            },
            (Some(_), Some(_)) => return Err(ApiError::Misdirected("two Host headers".to_owned())),
        };
        // A request line may carry an authority of its own, which then counts beside the header.
        for name in uri.authority().map(Authority::as_str).into_iter().chain([host.as_str()]) {
            if !self.is_ours(name) {
                return Err(ApiError::Misdirected(name.chars().take(200).collect()));
            }
        }
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if reads && may_link && opens_page(headers) {
            return Ok(());
        }
        check_site(headers)?;
        if reads { Ok(()) } else { self.check_origin(&host, headers) }
    }

    fn is_ours(&self, authority: &str) -> bool {
        let Some((name, port)) = split(authority) else { return false };
        if name == "localhost" || self.allows(&name, port) {
            return true;
        }
        // A literal address cannot be made to point elsewhere, so where any address of this machine will do,
        // any literal does.
        let literal = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        literal
            .is_ok_and(|ip| ip.is_loopback() || ip == self.listen.ip() || self.listen.ip().is_unspecified())
    }

    fn allows(&self, name: &str, port: Option<u16>) -> bool {
        self.allowed.iter().filter_map(|allowed| split(allowed)).any(|(allowed, allowed_port)| {
            allowed == name && (allowed_port.is_none() || allowed_port == port)
        })
    }

    fn check_origin(&self, host: &str, headers: &HeaderMap) -> Result<(), ApiError> {
        for origin in headers.get_all(header::ORIGIN) {
            let origin = String::from_utf8_lossy(origin.as_bytes());
            if !self.is_own_origin(&origin, host) {
                let origin: String = origin.chars().take(200).collect();
                return Err(ApiError::CrossSite(format!(
                    "a page of {origin:?} sent this request, which is not this server ({host:?}); \
                     start it with --allowed-host if it is reached by that name"
                )));
            }
        }
        Ok(())
    }

    /// The page's own host and port, or a name that was allowed.
    fn is_own_origin(&self, origin: &str, host: &str) -> bool {
        let (default_port, authority) = match origin.split_once("://") {
            Some(("http", authority)) => (80, authority),
            Some(("https", authority)) => (443, authority),
            _ => return false,
        };
        let (Some((name, port)), Some((own, own_port))) = (split(authority), split(host)) else {
            return false;
        };
        let port = port.unwrap_or(default_port);
        (name == own && port == own_port.unwrap_or(default_port)) || self.allows(&name, Some(port))
    }
}

/// Somebody follows a link to the page. It may stand anywhere; what the page then asks for is its own.
fn opens_page(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-mode").is_some_and(|mode| mode.as_bytes() == b"navigate")
}

fn check_site(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(ApiError::CrossSite(
            "a page of another site sent this request; it may link to this server's page, at /, and nothing else"
                .to_owned(),
        )),
    }
}

/// A host in lower case and without a final dot, and its port. `None` for what is not an authority.
fn split(authority: &str) -> Option<(String, Option<u16>)> {
    let parsed: Authority = authority.parse().ok()?;
    if authority.contains('@') {
        return None;
    }
    let port = match parsed.port() {
        Some(port) => Some(port.as_str().parse().ok()?),
        None => None,
    };
    let name = parsed.host().to_ascii_lowercase();
    Some((name.strip_suffix('.').map(str::to_owned).unwrap_or(name), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listen: &str, allowed: &[&str], method: Method, headers: &[(&'static str, &str)]) -> u16 {
        check_at("/x", listen, allowed, method, headers)
    }

    fn check_at(
        path: &str,
        listen: &str,
        allowed: &[&str],
        method: Method,
        headers: &[(&'static str, &str)],
    ) -> u16 {
        let allowed: Vec<String> = allowed.iter().map(|host| (*host).to_owned()).collect();
        let hosts = Hosts { listen: listen.parse().unwrap(), allowed: &allowed };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let uri: Uri = path.parse().unwrap();
        let checked = hosts.check(&method, &uri, &map, uri.path() == "/");
        checked.map_or_else(|error| error.problem().status, |()| 200)
    }

    #[test]
    fn only_hosts_of_this_server_are_answered_for() {
        let cases = [
            ("127.0.0.1:8070", "localhost:8070", 200),
            ("127.0.0.1:8070", "LOCALHOST", 200),
            ("127.0.0.1:8070", "localhost.:8070", 200),
            ("127.0.0.1:8070", "127.0.0.1:9999", 200),
            ("127.0.0.1:8070", "127.8.0.1", 200),
            ("127.0.0.1:8070", "[::1]:8070", 200),
            ("127.0.0.1:8070", "evil.example:8070", 421),
            ("127.0.0.1:8070", "localhost.evil.example", 421),
            ("127.0.0.1:8070", "127.0.0.1.evil.example", 421),
            ("127.0.0.1:8070", "user@localhost", 421),
            ("127.0.0.1:8070", "10.0.0.5:8070", 421),
            ("127.0.0.1:8070", "", 421),
            ("10.0.0.5:8070", "10.0.0.5:8070", 200),
            ("10.0.0.5:8070", "10.0.0.6:8070", 421),
            ("0.0.0.0:8070", "10.0.0.6:8070", 200),
            ("0.0.0.0:8070", "evil.example:8070", 421),
        ];
        for (listen, host, status) in cases {
            assert_eq!(check(listen, &[], Method::GET, &[("host", host)]), status, "{listen} {host}");
        }
        let allowed = ["quorate.example", "jobs.example:8443"];
        for (host, status) in [
            ("quorate.example", 200),
            ("Quorate.Example:1", 200),
            ("jobs.example:8443", 200),
            ("jobs.example", 421),
        ] {
            assert_eq!(check("127.0.0.1:1", &allowed, Method::GET, &[("host", host)]), status, "{host}");
        }
        assert_eq!(check("127.0.0.1:1", &[], Method::GET, &[]), 421);
        // As HTTP/2 has it.
        for (url, host, status) in [
            ("http://localhost:8070/x", None, 200),
            ("http://evil.example/x", None, 421),
            ("http://evil.example/x", Some(("host", "localhost")), 421),
            ("http://localhost/x", Some(("host", "evil.example")), 421),
        ] {
            let checked = check_at(url, "127.0.0.1:1", &[], Method::GET, host.as_slice());
            assert_eq!(checked, status, "{url} {host:?}");
        }
        let own = [("origin", "http://localhost:8070")];
        assert_eq!(check_at("http://localhost:8070/x", "127.0.0.1:1", &[], Method::POST, &own), 200);
        assert_eq!(check_at("http://127.0.0.1:8070/x", "127.0.0.1:1", &[], Method::POST, &own), 403);
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(check("127.0.0.1:1", &[], Method::GET, &two), 421);
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        let host = ("host", "localhost:8070");
        let cases: [(&[(&'static str, &str)], u16); 10] = [
            (&[], 200),
            (&[("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8070")], 200),
            (&[("sec-fetch-site", "none")], 200),
            (&[("sec-fetch-site", "cross-site")], 403),
            (&[("sec-fetch-site", "same-site")], 403),
            (&[("origin", "null")], 403),
            (&[("origin", "http://evil.example")], 403),
            (&[("origin", "http://localhost:3000")], 403),
            (&[("origin", "https://localhost:8070")], 200),
            (&[("origin", "http://jobs.example")], 200),
        ];
        for (headers, status) in cases {
            let mut all = vec![host];
            all.extend_from_slice(headers);
            for method in [Method::POST, Method::PUT, Method::DELETE] {
                assert_eq!(check("127.0.0.1:8070", &["jobs.example"], method, &all), status, "{headers:?}");
            }
        }
    }

    #[test]
    fn a_page_of_another_site_reads_nothing_and_may_link_to_ours() {
        let cases = [
            ("/x", "same-origin", "cors", 200),
            ("/x", "none", "navigate", 200),
            ("/x", "cross-site", "no-cors", 403),
            ("/x", "same-site", "cors", 403),
            ("/x", "cross-site", "navigate", 403),
            ("/", "cross-site", "navigate", 200),
            ("/?a=b", "same-site", "navigate", 200),
            ("/", "cross-site", "no-cors", 403),
            ("//", "cross-site", "navigate", 403),
        ];
        for (path, site, mode, status) in cases {
            let headers = [("host", "localhost:8070"), ("sec-fetch-site", site), ("sec-fetch-mode", mode)];
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                let checked = check_at(path, "127.0.0.1:8070", &[], method, &headers);
                assert_eq!(checked, status, "{path} {site} {mode}");
            }
            let changed = check_at(path, "127.0.0.1:8070", &[], Method::POST, &headers);
            assert_eq!(changed, if site.ends_with("-site") { 403 } else { 200 }, "{path} {site} {mode}");
        }
    }
}
