//! The page's files, inside the binary: `build.rs` generates the table, so the page needs no network and no files
//! beside the binary.

use manager::Asset;

type Row = (&'static str, &'static [u8], &'static str, &'static str);

/// Path, bytes, content type and entity tag, sorted by path.
static FILES: &[Row] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The file at a URL's path: `/` is the page, everything else is below `/assets/`. The prefix and the leading slash
/// may be missing: `assets/css/app.css` and `css/app.css` are the same file.
pub(crate) fn asset(path: &str) -> Option<Asset> {
    let path = path.trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path.strip_prefix("assets/").unwrap_or(path) };
    let row = FILES.binary_search_by_key(&path, |row| row.0).ok()?;
    let (_, bytes, content_type, etag) = FILES[row];
    Some(Asset { bytes, content_type, etag })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn text(path: &str) -> String {
        let found = asset(path).unwrap_or_else(|| panic!("the page has no {path}"));
        String::from_utf8(found.bytes.to_vec()).unwrap()
    }

    #[test]
    fn everything_that_the_page_asks_for_is_there() {
        let page = text("/");
        let asked: Vec<&str> = page.split(['"', '\'']).filter(|word| word.starts_with("/assets/")).collect();
        assert!(asked.len() >= 5, "{asked:?}");
        for path in asked {
            let found = asset(path).unwrap_or_else(|| panic!("the page asks for {path}, which is not there"));
            assert!(found.etag.starts_with('"') && found.etag.ends_with('"'), "{}", found.etag);
        }
    }

    #[test]
    fn every_module_that_is_imported_is_there_and_no_other() {
        let mut waiting = vec!["js/main.js".to_owned()];
        let mut seen = BTreeSet::from(["js/theme.js".to_owned()]);
        while let Some(path) = waiting.pop() {
            if seen.insert(path.clone()) {
                waiting.extend(imports(&path));
            }
        }
        let there = FILES.iter().map(|row| row.0.to_owned()).filter(|path| path.starts_with("js/"));
        assert_eq!(seen, there.collect(), "left is what the page asks for, right what there is");
    }

    /// The modules that a module imports, by their paths as `FILES` has them.
    fn imports(path: &str) -> Vec<String> {
        let own = text(path);
        let names = own.split(" from \"").skip(1).filter_map(|rest| rest.split('"').next());
        names.map(|name| beside(path, name)).collect()
    }

    /// `../b.js`, as written in `js/a/c.js`, is `js/b.js`.
    fn beside(path: &str, name: &str) -> String {
        let mut parts: Vec<&str> = path.split('/').collect();
        parts.pop();
        for part in name.split('/') {
            match part {
                "." => {}
                ".." => drop(parts.pop()),
                _ => parts.push(part),
            }
        }
        parts.join("/")
    }

    #[test]
    fn nothing_in_the_page_runs_inline_or_comes_from_elsewhere() {
        for (path, bytes, content_type, _) in FILES.iter().filter(|row| !row.0.starts_with("vendor/")) {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            // A name and an example, which nobody fetches.
            let text = text.replace("http://www.w3.org/2000/svg", "").replace("https://example.org/hook", "");
            for banned in
                ["style=", "onclick=", "http://", "https://", "innerHTML", "insertAdjacentHTML", "eval("]
            {
                assert!(!text.contains(banned), "{path} ({content_type}) contains {banned}");
            }
        }
    }

    #[test]
    fn a_path_that_is_no_file_is_none() {
        for path in [
            "/nothing",
            "/assets/",
            "/assets/../Cargo.toml",
            "/assets/js",
            "/assets/js/pages",
            "/assets/js/pages/",
        ] {
            assert!(asset(path).is_none(), "{path}");
        }
    }
}
