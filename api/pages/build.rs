//! Makes one script and one style sheet of the files in `web`.

#[path = "src/bundle.rs"]
mod bundle;

use std::path::{Path, PathBuf};

fn main() -> Result<(), String> {
    // Cargo runs this in the crate's folder, which may be another one than when it was compiled.
    let web = Path::new("web");
    println!("cargo:rerun-if-changed={}", web.display());
    println!("cargo:rerun-if-changed=src/bundle.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let write = |name: &str, text: String| std::fs::write(out.join(name), text).map_err(|error| error.to_string());
    write("app.js", bundle::script(&web.join("js"))?)?;
    write("app.css", bundle::style(&web.join("css"))?)
}
