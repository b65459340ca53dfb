//! Quoting for the shell.

/// Whether a shell takes the text as one word, unchanged, without quotes.
pub fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte))
}

/// The text as one word of a shell, as Python's `shlex.quote` writes it.
///
/// ```
/// use runlode_projects::quote::quote;
///
/// assert_eq!(quote("lr=0.1"), "lr=0.1");
/// assert_eq!(quote("it's"), r#"'it'"'"'s'"#);
/// assert_eq!(quote(""), "''");
/// ```
pub fn quote(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', r#"'"'"'"#)) }
}
