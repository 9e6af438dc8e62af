//! What registries are shown: Docker's own file, `{"auths": {"registry.example": {"auth": "…"}}}`.

use std::{collections::HashMap, io, path::Path};

use base64::{Engine as _, engine::general_purpose};
use bollard::Docker;
use common::job::docker::Image;
use http::HeaderValue;
use serde::Deserialize;
use serde_json::json;

const HEADER: &str = "x-registry-auth";

/// The names that Docker's own registry goes by.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// What one registry is shown, as an engine wants to have it.
pub(super) struct Credentials(HeaderValue);

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    auths: HashMap<String, Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    #[serde(rename = "identitytoken")]
    identity_token: String,
}

impl Credentials {
    /// The same engine, which shows them.
    pub(super) fn on(self, docker: Docker) -> Docker {
        // Not by the library's own way: it writes the other one of the two alphabets of base64, and an engine takes what
        // it cannot read for nothing.
        docker.with_request_modifier(move |mut request| {
            request.headers_mut().insert(HEADER, self.0.clone());
            request
        })
    }
}

/// What `file` has for the registry of `image`. Read anew each time: such files are renewed by others.
pub(super) fn find(file: &Path, image: &Image) -> io::Result<Option<Credentials>> {
    let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let text = std::fs::read(file)?;
    let file: File = serde_json::from_slice(&text).map_err(|error| {
        bad(format!("is not {{\"auths\": {{\"registry.example\": {{\"auth\": \"…\"}}}}}}: {error}"))
    })?;
    let wanted = image.registry().unwrap_or(HUB[0]);
    let entry = file.auths.into_iter().find(|(registry, _)| is_same(host(registry), wanted));
    let Some((registry, entry)) = entry else { return Ok(None) };
    let shown = entry.shown(&registry).map_err(|why| bad(format!("{registry}: {why}")))?;
    let encoded = general_purpose::URL_SAFE.encode(shown.to_string());
    let mut value = HeaderValue::from_str(&encoded).map_err(|error| bad(error.to_string()))?;
    value.set_sensitive(true);
    Ok(Some(Credentials(value)))
}

impl Entry {
    fn shown(self, registry: &str) -> Result<serde_json::Value, String> {
        if !self.identity_token.is_empty() {
            return Ok(json!({"identitytoken": self.identity_token, "serveraddress": registry}));
        }
        let (name, password) = if self.auth.is_empty() {
            (self.username, self.password)
        } else {
            let wrong = || "\"auth\" is not the base64 of name:password".to_owned();
            let decoded = general_purpose::STANDARD.decode(self.auth.trim()).map_err(|_| wrong())?;
            let text = String::from_utf8(decoded).map_err(|_| wrong())?;
            let (name, password) = text.split_once(':').ok_or_else(wrong)?;
            // Some tools pad it so.
            (name.to_owned(), password.trim_end_matches('\0').to_owned())
        };
        Ok(json!({"username": name, "password": password, "serveraddress": registry}))
    }
}

/// `https://index.docker.io/v1/` is written for `index.docker.io`.
fn host(registry: &str) -> &str {
    let bare = registry.split_once("://").map_or(registry, |(_, rest)| rest);
    bare.split('/').next().unwrap_or_default()
}

fn is_same(one: &str, other: &str) -> bool {
    one == other || (HUB.contains(&one) && HUB.contains(&other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, image: &str) -> Result<Option<serde_json::Value>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, file).unwrap();
        let credentials = find(&path, &image.parse().unwrap()).map_err(|error| error.to_string())?;
        Ok(credentials.map(|Credentials(value)| {
            assert!(!format!("{value:?}").contains('='), "it shows in logs");
            let text = general_purpose::URL_SAFE.decode(value.as_bytes()).unwrap();
            serde_json::from_slice(&text).unwrap()
        }))
    }

    #[test]
    fn a_registry_is_shown_what_the_file_has_for_it() {
        // "ann:a>b?c~", which is where the two alphabets differ.
        let file = r#"{"auths": {"registry.example:5000": {"auth": "YW5uOmE+Yj9jfg=="},
            "https://index.docker.io/v1/": {"username": "bo", "password": "x"},
            "ghcr.example": {"identitytoken": "t"}}, "credsStore": "pass"}"#;
        let shown = found(file, "registry.example:5000/team/tool").unwrap().unwrap();
        assert_eq!((&shown["username"], &shown["password"]), (&json!("ann"), &json!("a>b?c~")));
        for image in ["busybox", "docker.io/library/busybox"] {
            assert_eq!(found(file, image).unwrap().unwrap()["username"], "bo");
        }
        assert_eq!(found(file, "ghcr.example/tool").unwrap().unwrap()["identitytoken"], "t");
        assert_eq!(found(file, "elsewhere.example/tool").unwrap(), None);
    }

    #[test]
    fn a_file_that_cannot_be_read_says_why() {
        assert!(found("3", "busybox").unwrap_err().contains("auths"));
        let bad = r#"{"auths": {"docker.io": {"auth": "?"}}}"#;
        assert!(found(bad, "busybox").unwrap_err().contains("name:password"));
        assert!(find(Path::new("/no/such/file"), &"busybox".parse().unwrap()).is_err());
    }
}
