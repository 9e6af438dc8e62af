//! Collects the page's files into a table that the binary includes: our own from `webroot/`, Bootstrap's from npm.
//!
//! Third-party files are not in the repository. They come from the first place that has them: `webroot/node_modules`,
//! an `npm ci` in `OUT_DIR` (once, by the lock file), Debian's `libjs-bootstrap5`. Where none has, the build
//! succeeds with a warning and the page wears `webroot/css/plain.css` in Bootstrap's place.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A file of the page: its path below `/assets/` and where it is now.
struct File {
    path: String,
    source: PathBuf,
}

/// Where a package has its file, and where the page expects it. The icons' style sheet asks for its font beside it.
const BOOTSTRAP: [(&str, &str); 1] = [("bootstrap/dist/css/bootstrap.min.css", "vendor/bootstrap.min.css")];
const ICONS: [(&str, &str); 2] = [
    ("bootstrap-icons/font/bootstrap-icons.min.css", "vendor/bootstrap-icons.min.css"),
    ("bootstrap-icons/font/fonts/bootstrap-icons.woff2", "vendor/fonts/bootstrap-icons.woff2"),
];
const DEBIAN: &str = "/usr/share/javascript/bootstrap5/css/bootstrap.min.css";

/// The folders of `webroot/` that hold nothing but the page's own files.
const OWN: [&str; 3] = ["css", "img", "js"];

fn main() -> io::Result<()> {
    let webroot = folder("CARGO_MANIFEST_DIR").join("webroot");
    let out = folder("OUT_DIR");
    for watched in ["build.rs", "webroot/index.html", "webroot/package.json", "webroot/package-lock.json"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let mut files = vec![File { path: "index.html".to_owned(), source: webroot.join("index.html") }];
    for name in OWN {
        println!("cargo::rerun-if-changed=webroot/{name}");
        collect(&webroot.join(name), name, &mut files)?;
    }
    files.extend(vendor(&webroot, &out.join("npm")));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    fs::write(out.join("assets.rs"), table(&files)?)
}

fn folder(variable: &str) -> PathBuf {
    PathBuf::from(env::var_os(variable).expect("cargo sets it for every build script"))
}

/// Adds the files of `folder`, which the page knows as `path`, and of the folders in it.
fn collect(folder: &Path, path: &str, files: &mut Vec<File>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, files)?;
        } else if content_type(&path).is_some() {
            files.push(File { path, source: entry.path() });
        }
    }
    Ok(())
}

/// Bootstrap and its icons from the first place that has them.
fn vendor(webroot: &Path, npm: &Path) -> Vec<File> {
    let local = webroot.join("node_modules");
    let packages = [local.clone(), npm.join("node_modules")];
    if let Some(files) = from_packages(&local) {
        println!("cargo::rerun-if-changed=webroot/node_modules");
        return files;
    }
    let installed = install(webroot, npm);
    if let Some(files) = packages.iter().find_map(|folder| from_packages(folder)) {
        return files;
    }
    let why = installed.err().unwrap_or_else(|| "npm left no files of Bootstrap".to_owned());
    let (source, instead) = if Path::new(DEBIAN).is_file() {
        (PathBuf::from(DEBIAN), "Debian's Bootstrap, without icons")
    } else {
        (webroot.join("css/plain.css"), "its own plain style")
    };
    println!(
        "cargo::warning=the page gets {instead}: {why}. For the full look: npm ci --ignore-scripts --omit=peer \
         --prefix webroot && touch build.rs"
    );
    vec![
        File { path: BOOTSTRAP[0].1.to_owned(), source },
        File { path: ICONS[0].1.to_owned(), source: webroot.join("css/no-icons.css") },
    ]
}

/// The files from a `node_modules`, if it has them all.
fn from_packages(folder: &Path) -> Option<Vec<File>> {
    let files: Vec<File> = BOOTSTRAP
        .iter()
        .chain(&ICONS)
        .map(|(source, path)| File { path: (*path).to_owned(), source: folder.join(source) })
        .collect();
    files.iter().all(|file| file.source.is_file()).then_some(files)
}

/// Runs `npm ci` in `folder`, unless it has been run there for this lock file; an error in words.
fn install(webroot: &Path, folder: &Path) -> Result<(), String> {
    let lock =
        fs::read(webroot.join("package-lock.json")).map_err(|error| format!("package-lock.json: {error}"))?;
    let done = folder.join("installed-lock.json");
    if fs::read(&done).is_ok_and(|before| before == lock) {
        return Ok(());
    }
    let put = |name: &str| fs::copy(webroot.join(name), folder.join(name));
    fs::create_dir_all(folder)
        .and_then(|()| put("package.json"))
        .and_then(|_| put("package-lock.json"))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    // Few and short tries: without a network the build is to go on, not to wait for minutes.
    let output = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--omit=peer", "--no-audit", "--no-fund"])
        .args(["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=20000"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("npm does not start ({error})"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().find(|line| line.contains("npm error")).unwrap_or("no message").to_owned();
        return Err(format!("npm ci failed ({}: {line})", output.status));
    }
    fs::write(&done, lock).map_err(|error| format!("{}: {error}", done.display()))
}

/// The table as Rust: path, bytes, content type and entity tag, sorted by path.
fn table(files: &[File]) -> io::Result<String> {
    let mut text = String::from("&[\n");
    for file in files {
        let bytes = fs::read(&file.source)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.source.display())))?;
        let content_type = content_type(&file.path).unwrap_or("application/octet-stream");
        let tag = format!("\"{:016x}\"", fingerprint(&bytes));
        writeln!(text, "({:?}, include_bytes!({:?}), {content_type:?}, {tag:?}),", file.path, file.source)
            .expect("a string takes all text");
    }
    text.push_str("]\n");
    Ok(text)
}

/// By the end of the name; `None` for what is no file of a page.
fn content_type(path: &str) -> Option<&'static str> {
    Some(match path.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "woff2" => "font/woff2",
        _ => return None,
    })
}

/// FNV-1a: tells versions of a file apart, which is all that an entity tag is for.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
