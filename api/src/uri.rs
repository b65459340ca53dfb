//! Artifact locations as texts: paths and URIs.

/// The folder of a store that holds its artifacts; locations in it begin with this in events.
pub const ARTIFACTS_DIR: &str = "artifacts";

/// The scheme of a URI; `None` if the text is not one.
///
/// ```
/// assert_eq!(runlode::mlflow::scheme("s3://team/digits"), Some("s3"));
/// assert_eq!(runlode::mlflow::scheme("/data/digits"), None);
/// ```
pub fn scheme(uri: &str) -> Option<&str> {
    let (scheme, _) = uri.split_once(':')?;
    let mut bytes = scheme.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    (starts && rest).then_some(scheme)
}

/// A location below another; query and fragment of a URI stay after the path.
///
/// ```
/// assert_eq!(runlode::mlflow::below("s3://team/digits?region=eu", "plots"), "s3://team/digits/plots?region=eu");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn below(place: &str, path: &str) -> String {
    let cut = if scheme(place).is_some() { place.find(['?', '#']).unwrap_or(place.len()) } else { place.len() };
    let (head, tail) = place.split_at(cut);
    // As MLflow writes it: `file:/x` becomes `file:///x/PATH`.
    let bare = head.strip_prefix("file:").filter(|rest| rest.starts_with('/') && !rest.starts_with("//"));
    let (start, head) = bare.map_or(("", head), |rest| ("file://", rest));
    format!("{start}{}/{path}{tail}", head.strip_suffix('/').unwrap_or(head))
}
