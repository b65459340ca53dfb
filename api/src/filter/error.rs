//! Why a text is no filter and no order, and where.

use std::fmt;

/// A text that is no filter or order.
///
/// ```
/// let error = runlode::filter::parse("name = 'open").unwrap_err();
/// assert_eq!(error.at(), 7);
/// assert_eq!(error.to_string(), "cannot read `name = 'open`: the ' at character 8 has no closing one");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    text: String,
    at: usize,
    kind: FilterErrorKind,
}

/// What is wrong with a filter or an order.
///
/// ```
/// use runlode::filter::{FilterErrorKind, parse};
///
/// assert_eq!(parse("name = 'open").unwrap_err().kind(), &FilterErrorKind::Unclosed('\''));
/// assert_eq!(parse("nom = 'x'").unwrap_err().kind(), &FilterErrorKind::UnknownKey("nom".into()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterErrorKind {
    /// Something else should stand there; the text says what.
    Expected(&'static str),
    /// This quote is not closed.
    Unclosed(char),
    /// No key has this name.
    UnknownKey(String),
    /// Parentheses and NOT are nested too deeply; the number is the limit.
    TooDeep(usize),
    /// There are too many clauses; the number is the limit.
    TooManyClauses(usize),
}

/// Most characters of the text that a message shows.
const SHOWN_MAX: usize = 80;

impl FilterError {
    pub(super) fn new(text: &str, at: usize, kind: FilterErrorKind) -> Self {
        Self { text: text.to_owned(), at, kind }
    }

    /// The whole text.
    ///
    /// ```
    /// assert_eq!(runlode::filter::parse("name =").unwrap_err().text(), "name =");
    /// ```
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it goes wrong, in bytes from the beginning of the text; its length if something is missing at the end.
    ///
    /// ```
    /// assert_eq!(runlode::filter::parse("metrics.acc > high").unwrap_err().at(), 14);
    /// ```
    pub fn at(&self) -> usize {
        self.at
    }

    /// What is wrong.
    ///
    /// ```
    /// use runlode::filter::FilterErrorKind;
    ///
    /// let error = runlode::filter::parse("metrics.acc > high").unwrap_err();
    /// assert_eq!(error.kind(), &FilterErrorKind::Expected("a number"));
    /// ```
    pub fn kind(&self) -> &FilterErrorKind {
        &self.kind
    }

    /// The number of the character at which it goes wrong, from 1.
    fn character(&self) -> usize {
        self.text.get(..self.at).map_or(0, |before| before.chars().count()) + 1
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.text.chars().take(SHOWN_MAX).collect();
        let more = if shown.len() < self.text.len() { "..." } else { "" };
        write!(f, "cannot read `{shown}{more}`: ")?;
        match &self.kind {
            FilterErrorKind::Expected(what) => {
                write!(f, "expected {what}")?;
                match self.text.get(self.at..).filter(|rest| !rest.is_empty()) {
                    Some(rest) => {
                        let found: String = rest.chars().take(20).collect();
                        write!(f, " at character {}, found `{found}`", self.character())
                    }
                    None => f.write_str(" at its end"),
                }
            }
            FilterErrorKind::Unclosed(quote) => {
                write!(f, "the {quote} at character {} has no closing one", self.character())
            }
            FilterErrorKind::UnknownKey(key) => write!(
                f,
                "`{key}` is no key; there are metrics.X, params.X, tags.X, run_id, name, status, user_id, start_time, \
                 end_time, experiment_id, lifecycle, artifact_uri, dataset.name, dataset.digest, dataset.context"
            ),
            FilterErrorKind::TooDeep(limit) => write!(f, "it is nested deeper than {limit}"),
            FilterErrorKind::TooManyClauses(limit) => write!(f, "it has more than {limit} clauses"),
        }
    }
}

impl std::error::Error for FilterError {}

impl From<FilterError> for crate::Error {
    fn from(error: FilterError) -> Self {
        Self::invalid("filter", error.to_string())
    }
}
