//! Parses `models:/` URIs.

use super::error::{ApiError, ApiResult};
use crate::uri::scheme;

/// The thing that a `models:/` URI names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ModelUri {
    /// `models:/m-...`
    Logged(String),
    /// `models:/NAME/3`
    Version { name: String, version: String },
    /// `models:/NAME@alias`
    Alias { name: String, alias: String },
    /// `models:/NAME/latest`
    Latest { name: String },
    /// `models:/NAME/Production`
    Stage { name: String, stage: String },
}

impl ModelUri {
    /// Whether a source has this scheme.
    pub(super) fn is_one(source: &str) -> bool {
        scheme(source).is_some_and(|scheme| scheme.eq_ignore_ascii_case("models"))
    }

    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for one that is not formed so, or is of another registry.
    pub(super) fn parse(uri: &str) -> ApiResult<Self> {
        let improper = || {
            ApiError::invalid(format!(
                "Not a proper models:/ URI: {uri}. Models URIs must be of the form 'models:/name/suffix' or \
                 'models:/name@alias' where suffix is a version, stage, or the string 'latest' and where alias is a \
                 registered model alias. Only one of suffix or alias can be defined at a time."
            ))
        };
        // Names may contain `#`, so only a query is cut off.
        let rest = uri.split_once(':').map_or("", |(_, rest)| rest);
        let path = rest.split('?').next().unwrap_or_default();
        if path.starts_with("//") && !path.starts_with("///") {
            return Err(ApiError::invalid("Registered model sources must use the active model registry."));
        }
        let path = path.strip_prefix('/').ok_or_else(improper)?.trim_start_matches('/');
        let (name, suffix) = match path.split_once('/') {
            Some((name, suffix)) if !suffix.contains('/') => (name, Some(suffix)),
            Some(_) => return Err(improper()),
            None => (path, None),
        };
        if name.trim().is_empty() || suffix.is_some_and(|suffix| suffix.trim().is_empty()) {
            return Err(improper());
        }
        let owned = str::to_owned;
        Ok(match (suffix, name.rsplit_once('@')) {
            (Some(version), _) if version.bytes().all(|byte| byte.is_ascii_digit()) => {
                Self::Version { name: owned(name), version: owned(version) }
            }
            (Some(latest), _) if latest.eq_ignore_ascii_case("latest") => Self::Latest { name: owned(name) },
            (Some(stage), _) => Self::Stage { name: owned(name), stage: owned(stage) },
            (None, Some((_, alias))) if alias.trim().is_empty() => return Err(improper()),
            (None, Some((name, alias))) => Self::Alias { name: owned(name), alias: owned(alias) },
            (None, None) => Self::Logged(owned(name)),
        })
    }

    /// The registered model's name, or the logged model's id.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Logged(name)
            | Self::Version { name, .. }
            | Self::Alias { name, .. }
            | Self::Latest { name }
            | Self::Stage { name, .. } => name,
        }
    }
}
