//! Runlode's own web pages as files that a server sends: one page, one script, one style sheet.
//!
//! ```text
//!   web/js/*.js   \                    app.js  \
//!   web/css/*.css  -> build.rs joins -> app.css  -> in the binary, compressed at the first request
//!   web/index.html /                            /
//! ```
//! `web/early.js` is a script of its own: it asks for the first rows before the rest is there.
//!
//! - The page names script and style by a hash of their content, so they are cached for ever and never mixed.
//! - `RUNLODE_UI_DIR=api/pages/web` reads the files from that folder at each request instead: for working on them.
//! - MLflow's page gets one more script from here ([`linked`]): a link to the same entity on these pages.
//! - [`SECURITY_POLICY`] allows this server's own files and nothing else; texts never become markup.

mod bundle;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;

/// The `Content-Security-Policy` of the page.
pub const SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                                   media-src 'self' blob:; connect-src 'self'; frame-src 'self'; base-uri 'none'; \
                                   form-action 'none'; frame-ancestors 'self'";

const INDEX: &str = include_str!("../web/index.html");
const SCRIPT: &str = include_str!(concat!(env!("OUT_DIR"), "/app.js"));
/// What runs before the rest is there.
const EARLY: &str = include_str!("../web/early.js");
/// What is added to MLflow's page.
const BRIDGE: &str = include_str!("../web/mlflow.js");
const STYLE: &str = include_str!(concat!(env!("OUT_DIR"), "/app.css"));

/// A file as it is sent.
#[derive(Debug, Clone)]
pub struct File {
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Its content.
    pub bytes: Cow<'static, [u8]>,
    /// The same, compressed by gzip.
    pub gzip: Cow<'static, [u8]>,
    /// Its `ETag`, with quotes.
    pub etag: String,
    /// Whether its name changes with its content.
    pub immutable: bool,
}

impl File {
    fn of(content_type: &'static str, text: &str, immutable: bool) -> Self {
        let bytes = text.as_bytes().to_vec();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory does not fail; an empty copy is never sent.
        let gzip = encoder.write_all(&bytes).and_then(|()| encoder.finish()).unwrap_or_default();
        let etag = format!("\"{:016x}\"", hash(&bytes));
        Self { content_type, bytes: bytes.into(), gzip: gzip.into(), etag, immutable }
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

struct Built {
    script: File,
    style: File,
    early: File,
    bridge: File,
}

static BUILT: LazyLock<Built> = LazyLock::new(|| Built {
    script: File::of("text/javascript; charset=utf-8", SCRIPT, true),
    style: File::of("text/css; charset=utf-8", STYLE, true),
    early: File::of("text/javascript; charset=utf-8", EARLY, true),
    bridge: File::of("text/javascript; charset=utf-8", BRIDGE, true),
});

/// The folder of the sources, while somebody works on them.
fn folder() -> Option<PathBuf> {
    std::env::var_os("RUNLODE_UI_DIR").map(PathBuf::from)
}

/// The page. `assets` is the path of the folder of script and style, and `api` that of the API, both relative to the
/// page and with a slash at the end.
///
/// # Errors
/// Those of reading `RUNLODE_UI_DIR`, as a sentence.
///
/// ```
/// let page = runlode_ui::page("runlode/assets/", "api/runlode/v1/")?;
/// let text = std::str::from_utf8(&page.bytes)?;
/// assert!(text.contains("<script type=\"module\" src=\"runlode/assets/app-"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn page(assets: &str, api: &str) -> Result<File, String> {
    let (index, [script, style, early]) = match folder() {
        Some(folder) => (Cow::Owned(read(&folder, "index.html")?), ["dev"; 3].map(str::to_owned)),
        None => (Cow::Borrowed(INDEX), [&BUILT.script, &BUILT.style, &BUILT.early].map(name_of)),
    };
    let mut text = String::with_capacity(index.len() + 128);
    for line in index.lines() {
        let line = line
            .replace("{{style}}", &format!("{assets}app-{style}.css"))
            .replace("{{script}}", &format!("{assets}app-{script}.js"))
            .replace("{{early}}", &format!("{assets}early-{early}.js"))
            .replace("{{api}}", api);
        let _ = writeln!(text, "{line}");
    }
    Ok(File::of("text/html; charset=utf-8", &text, false))
}

fn name_of(file: &File) -> String {
    file.etag.trim_matches('"').to_owned()
}

/// MLflow's page with a script that links to the same entity on these pages; `None` if the text is no such page.
/// `assets` is the path of the folder of scripts, relative to the page and with a slash at the end.
///
/// ```
/// let page = runlode_ui::linked("<body>theirs</body>", "runlode/assets/").ok_or("no page")?;
/// assert!(String::from_utf8(page.bytes.to_vec())?.starts_with("<body>theirs<script defer src=\"runlode/assets/mlflow-"));
/// assert!(runlode_ui::linked("no page", "").is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn linked(page: &str, assets: &str) -> Option<File> {
    let (before, after) = page.rsplit_once("</body>")?;
    let name = name_of(&BUILT.bridge);
    let text = format!("{before}<script defer src=\"{assets}mlflow-{name}.js\"></script></body>{after}");
    Some(File::of("text/html; charset=utf-8", &text, false))
}

/// The script or style sheet of this name; `None` if there is none.
///
/// # Errors
/// Those of reading and joining the files of `RUNLODE_UI_DIR`, as a sentence.
///
/// ```
/// assert!(runlode_ui::asset("app-0.js")?.is_none(), "another version's");
/// # Ok::<(), String>(())
/// ```
pub fn asset(name: &str) -> Result<Option<File>, String> {
    if let Some(folder) = folder().filter(|_| name.starts_with("app-") || name.starts_with("early-")) {
        return Ok(match name.rsplit_once('.') {
            Some(("early-dev", "js")) => {
                Some(File::of("text/javascript; charset=utf-8", &read(&folder, "early.js")?, false))
            }
            Some((_, "js")) => {
                Some(File::of("text/javascript; charset=utf-8", &bundle::script(&folder.join("js"))?, false))
            }
            Some((_, "css")) => Some(File::of("text/css; charset=utf-8", &bundle::style(&folder.join("css"))?, false)),
            _ => None,
        });
    }
    let all = [
        (&BUILT.script, "app", "js"),
        (&BUILT.style, "app", "css"),
        (&BUILT.early, "early", "js"),
        (&BUILT.bridge, "mlflow", "js"),
    ];
    let found = all.into_iter().find(|(file, begin, end)| name == format!("{begin}-{}.{end}", name_of(file)));
    Ok(found.map(|(file, ..)| file.clone()))
}

fn read(folder: &Path, name: &str) -> Result<String, String> {
    let path = folder.join(name);
    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a first load sends of script and style.
    const GZIP_BYTES_MAX: usize = 120 << 10;

    #[test]
    fn the_pages_are_small() {
        let bytes = BUILT.script.gzip.len() + BUILT.style.gzip.len() + BUILT.early.gzip.len();
        assert!(bytes > 1_000 && bytes <= GZIP_BYTES_MAX, "{bytes}");
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for text in [INDEX, SCRIPT, STYLE, EARLY, BRIDGE] {
            for (at, _) in text.match_indices("://") {
                let around = &text[at.saturating_sub(6)..text.len().min(at + 20)];
                // The name of a format, not an address.
                assert!(around.contains("http://www.w3.org"), "{around}");
            }
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
                assert!(!text.contains(word), "{word} makes markup or code of text");
            }
        }
    }

    #[test]
    fn modules_are_joined_in_order_and_circles_and_double_names_are_refused() {
        let dir = std::env::temp_dir().join(format!("runlode-bundle-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
        put("main.js", "import {\n  one,\n} from \"./a.js\";\n// why\none();\n");
        put("a.js", "/** Doc. */\nexport function one() {\n  return 1;\n}\n");
        assert_eq!(bundle::script(&dir).unwrap(), "\"use strict\";\nfunction one() {\nreturn 1;\n}\none();\n");
        put("a.js", "import { x } from \"./main.js\";\nexport const one = 1;\n");
        assert!(bundle::script(&dir).unwrap_err().contains("main.js -> a.js -> main.js"));
        put("a.js", "export const one = 1;\n");
        put("main.js", "import { one } from \"./a.js\";\nlet one = 2;\n");
        assert!(bundle::script(&dir).unwrap_err().contains("both declare `one`"));
        put("main.js", "import * as a from \"./a.js\";\n");
        assert!(bundle::script(&dir).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
