//! MLflow's paging tokens: base64 of `{"offset": n}`, bound to no query.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::{ApiError, ApiResult};

/// The token of the page that begins behind `offset` items.
pub fn page_token(offset: usize) -> String {
    text_token(&format!("{{\"offset\": {offset}}}"))
}

/// A token that holds a text of its own.
pub fn text_token(text: &str) -> String {
    STANDARD.encode(text)
}

/// The offset that a token names; 0 for none or an empty one.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words.
pub fn page_offset(token: Option<&str>) -> ApiResult<usize> {
    let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(0) };
    let text = page_text(token)?;
    let parsed = || ApiError::invalid(format!("Invalid page token, parsed value={text}"));
    let value = offset_of(&text).ok_or_else(parsed)?;
    match value.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        Some((inner, _)) => {
            inner.trim().parse().map_err(|_| ApiError::invalid(format!("Invalid page token, not stringable {inner}")))
        }
        None => {
            let digits = value.bytes().take_while(u8::is_ascii_digit).count();
            value[..digits].parse().map_err(|_| parsed())
        }
    }
}

/// The text inside a token.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE`: no base64, or no text in it.
pub fn page_text(token: &str) -> ApiResult<String> {
    let unreadable = || ApiError::invalid("Invalid page token, could not base64-decode");
    String::from_utf8(STANDARD.decode(token).map_err(|_| unreadable())?).map_err(|_| unreadable())
}

/// What stands behind `"offset":`.
fn offset_of(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let (_, rest) = inner.split_once("\"offset\"")?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        assert_eq!(page_token(5), "eyJvZmZzZXQiOiA1fQ==");
        assert_eq!(page_offset(Some(&page_token(123))).unwrap(), 123);
        assert_eq!(page_offset(None).unwrap(), 0);
        assert_eq!(page_offset(Some("")).unwrap(), 0);
        assert!(page_offset(Some("e30=")).unwrap_err().message.contains("Invalid page token, parsed value={}"));
        let token = text_token("{\"offset\": \"x\"}");
        assert!(page_offset(Some(&token)).unwrap_err().message.contains("Invalid page token, not stringable x"));
        assert_eq!(page_offset(Some(&text_token("{\"offset\": \"7\"}"))).unwrap(), 7);
        assert!(page_offset(Some("!!")).unwrap_err().message.contains("could not base64-decode"));
    }
}
