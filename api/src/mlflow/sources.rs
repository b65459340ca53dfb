//! Which sources a client may name for a model version.
//!
//! A server hands out the files of a version's source to any client, so a source must not lead outside of the files
//! that the server keeps for its clients:
//!
//! - a local path lies in the artifact directory of the run, or logged model, that is named with it;
//! - any other URI has an absolute path without relative parts, however often it is percent-encoded;
//! - `models:/NAME/...` names a version that is there, and is kept with that version's number and run;
//! - a prompt has no files: its placeholder is taken as it is.
//!
//! These are the rules of a server; a process that opened the store itself reads its files anyway.

use std::path::{Component, Path, PathBuf};

use super::error::{ApiError, ApiResult, ErrorCode};
use super::model_uri::ModelUri;
use super::{Mlflow, model_versions};
use crate::Snapshot;
use crate::uri::scheme;

/// Placeholders that prompts use as source.
const PROMPT_SOURCES: [&str; 2] = ["dummy-source", "prompt-template"];

/// A source with the run and the logged model named with it; `None` is absent, and differs from empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionSource {
    /// A path or URI.
    pub source: String,
    /// Id of the run that produced the model.
    pub run_id: Option<String>,
    /// Id of the logged model.
    pub model_id: Option<String>,
}

impl Mlflow {
    /// Checks a source and returns it as it is stored: `models:/NAME/...` with the version's number and its run, all
    /// else unchanged.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a source that leads outside; `INTERNAL_ERROR` for a `file:` URI of another host;
    /// `RESOURCE_DOES_NOT_EXIST` for a version that does not exist.
    pub fn vet_source(&self, given: VersionSource, is_prompt: bool) -> ApiResult<VersionSource> {
        if is_prompt && PROMPT_SOURCES.contains(&given.source.as_str()) {
            return Ok(given);
        }
        let snapshot = self.snapshot()?;
        if is_local(&given.source)? {
            return if self.holds_local(&snapshot, &given)? { Ok(given) } else { Err(not_held(&given)) };
        }
        if !has_plain_path(&given.source) {
            return Err(ApiError::invalid(format!(
                "Invalid model version source: '{}'. If supplying a source as an http, https, local file path, ftp, \
                 objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path \
                 references present. Please provide an absolute path.",
                given.source
            )));
        }
        if ModelUri::is_one(&given.source) { self.vet_model_uri(&snapshot, given) } else { Ok(given) }
    }

    fn vet_model_uri(&self, snapshot: &Snapshot, given: VersionSource) -> ApiResult<VersionSource> {
        let uri = ModelUri::parse(&given.source).map_err(|why| {
            ApiError::invalid(format!("Invalid model version source: '{}'. {}", given.source, why.message))
        })?;
        if let ModelUri::Logged(_) = uri {
            return Ok(given);
        }
        if snapshot.registered_model(uri.name())?.is_none() {
            return Err(super::lookup::absent(uri.name()));
        }
        let (_, model, number, version) = model_versions::resolve(snapshot, &uri)?;
        Ok(VersionSource {
            source: format!("models:/{}/{number}", model.name),
            run_id: given.run_id.or_else(|| version.run_id.clone()),
            model_id: given.model_id,
        })
    }

    /// Whether a local path is in the artifact directory of its logged model or run.
    fn holds_local(&self, snapshot: &Snapshot, given: &VersionSource) -> ApiResult<bool> {
        let named = |id: &Option<String>| id.clone().filter(|id| !id.is_empty());
        let place = if let Some(id) = named(&given.model_id) {
            match self.visible_logged_model(snapshot, &id) {
                Ok((id, state)) => Some(self.logged_model_place(snapshot, id, &state)?),
                Err(error) if error.code == ErrorCode::ResourceDoesNotExist => None,
                Err(error) => return Err(error),
            }
        } else if let Some(id) = named(&given.run_id) {
            match self.run_id(&id).and_then(|id| Ok((id, self.run_state(snapshot, id)?))) {
                Ok((id, state)) => {
                    let experiment = self.experiment_state(snapshot, state.experiment)?;
                    Some(self.info(id, &state, &experiment).artifact_uri)
                }
                Err(error) if error.code == ErrorCode::ResourceDoesNotExist => None,
                Err(error) => return Err(error),
            }
        } else {
            None
        };
        // A location on another host contains no local path.
        let Some(place) = place.filter(|place| is_local(place).unwrap_or(false)) else { return Ok(false) };
        let directory = self.places().directory();
        // A plain path may be read with or without percent-decoding: it must be inside either way.
        Ok([false, true].into_iter().all(|decode| {
            let holder = resolved(directory, &local_path(&place, decode));
            let path = resolved(directory, &local_path(&given.source, decode));
            matches!((path, holder), (Some(path), Some(holder)) if path.starts_with(&holder))
        }))
    }
}

fn not_held(given: &VersionSource) -> ApiError {
    let parameter = if given.model_id.as_deref().unwrap_or_default().is_empty() { "run_id" } else { "model_id" };
    ApiError::invalid(format!(
        "Invalid model version source: '{}'. To use a local path as a model version source, the {parameter} request \
         parameter has to be specified and the local path has to be contained within the artifact directory of the \
         run specified by the {parameter}.",
        given.source
    ))
}

/// Whether a source is a path of this machine, or a `file:` URI.
fn is_local(source: &str) -> ApiResult<bool> {
    match scheme(source) {
        None => Ok(true),
        Some(scheme) if scheme.eq_ignore_ascii_case("file") => {
            // The one case in which MLflow's tests expect a 500.
            refuse_foreign_files(source).map_err(|error| error.with_status(500))?;
            Ok(true)
        }
        Some(_) => Ok(false),
    }
}

/// Refuses a `file:` URI of another host.
pub(super) fn refuse_foreign_files(uri: &str) -> ApiResult<()> {
    let is_file = scheme(uri).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file"));
    let host = if is_file { host(uri) } else { Default::default() };
    if host.is_empty() || host == "." || host.starts_with("localhost") || host.starts_with("127.0.0.1") {
        return Ok(());
    }
    Err(super::names::internal_as_400(format!(
        "{uri} is not a valid remote uri. For remote access on windows, please consider using a different scheme such \
         as SMB (e.g. smb://<hostname>/<path>)."
    )))
}

/// Authority and path of a URI, without scheme, query and fragment.
fn parts(uri: &str) -> (&str, &str) {
    let rest = scheme(uri).map_or(uri, |scheme| uri.get(scheme.len() + 1..).unwrap_or_default());
    let rest = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    }
}

/// The host of a URI, in lower case.
fn host(uri: &str) -> String {
    let (authority, _) = parts(uri);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    host.to_ascii_lowercase()
}

/// Whether a URI has an absolute path without relative parts and NUL.
fn has_plain_path(source: &str) -> bool {
    let decoded = fully_decoded(source);
    if decoded.split('/').any(|part| part.split(';').next() == Some("..")) {
        return false;
    }
    let (_, path) = parts(&decoded);
    let path = path.trim_end_matches('/');
    path.starts_with('/') && !path.contains('\0') && !path.split('/').any(|part| matches!(part, "." | ".."))
}

/// Decodes percent-encoding until none is left, and removes control characters that URI parsers skip.
fn fully_decoded(text: &str) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    for byte in text.trim_start_matches(|c: char| c <= ' ').bytes() {
        if matches!(byte, b'\t' | b'\r' | b'\n') {
            continue;
        }
        out.push(byte);
        // A decoded character may complete another encoded one: one pass handles all rounds.
        while let [.., b'%', high, low] = out[..]
            && let (Some(high), Some(low)) = (char::from(high).to_digit(16), char::from(low).to_digit(16))
        {
            out.truncate(out.len() - 3);
            let decoded = (high * 16 + low) as u8;
            if !matches!(decoded, b'\t' | b'\r' | b'\n') {
                out.push(decoded);
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The path of a local location.
fn local_path(place: &str, decode: bool) -> PathBuf {
    let is_uri = scheme(place).is_some();
    let path = if is_uri { parts(place).1 } else { place };
    if is_uri || decode { PathBuf::from(once_decoded(path)) } else { PathBuf::from(path) }
}

fn once_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An absolute path without `.`, `..` and symbolic links; parts that do not exist are used as written. `None` for a
/// path that is invalid or leads over a dangling link.
fn resolved(directory: &Path, path: &Path) -> Option<PathBuf> {
    let path = directory.join(path);
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return None;
    }
    let mut real = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Prefix(_) | Component::RootDir => real.push(component),
            Component::CurDir => {}
            Component::ParentDir => {
                real.pop();
            }
            Component::Normal(name) => {
                real.push(name);
                if real.is_symlink() {
                    real = real.canonicalize().ok()?;
                }
            }
        }
    }
    Some(real)
}

#[cfg(test)]
mod tests;
