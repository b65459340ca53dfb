//! Files of the web.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::curl;
use crate::error::CallError;

/// Downloads a file over http or https. Redirects are followed, so no login is sent.
///
/// # Errors
/// The server refuses, does not answer, or sends more than `bytes_max`; or the file cannot be written.
pub fn download(url: &str, path: &Path, bytes_max: u64) -> Result<(), CallError> {
    if url.starts_with("https://") {
        let place = path.display().to_string();
        let lines = curl::config(&[("url", url), ("output", &place), ("max-filesize", &bytes_max.to_string())]);
        return curl::run(&format!("{lines}fail\nlocation\n")).map(drop);
    }
    let mut answer = ureq::get(url).call().map_err(CallError::no_answer)?;
    let no_file = |error: io::Error| CallError::NoAnswer(format!("{}: {error}", path.display()));
    let mut file = File::create(path).map_err(no_file)?;
    let mut body = answer.body_mut().with_config().limit(bytes_max).reader();
    io::copy(&mut body, &mut file).map(drop).map_err(CallError::no_answer)
}
