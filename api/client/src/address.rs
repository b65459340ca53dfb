//! Parts of an address.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Characters that are not escaped, besides letters and digits (RFC 3986, 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text as a part of a path, or as a parameter.
///
/// ```
/// assert_eq!(runlode_client::escaped("a b/c"), "a%20b%2Fc");
/// ```
#[must_use]
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// Parameters as the end of an address; nothing if there are none.
///
/// ```
/// assert_eq!(runlode_client::query(&[("name", "a&b"), ("page", "2")]), "?name=a%26b&page=2");
/// assert_eq!(runlode_client::query(&[]), "");
/// ```
#[must_use]
pub fn query(parameters: &[(&str, &str)]) -> String {
    if parameters.is_empty() {
        return String::new();
    }
    let pairs: Vec<String> = parameters.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect();
    format!("?{}", pairs.join("&"))
}
