//! A filter over runs, as a typed expression.
//!
//! - A term reads one key. **A run without the key matches no term on it, not even `!=` and `NOT IN`; only `IS NULL`.**
//! - `NOT x` is the plain complement: all runs that `x` does not match, including those that lack its keys. There is no
//!   third truth value; `NOT (params.lr = '1')` is not `params.lr != '1'`.
//! - Numbers compare as in IEEE 754: NaN matches `!=` only, -0.0 equals 0.0, infinities are numbers. Times compare
//!   exactly even with numbers that are not whole.
//! - A param or tag compared with a number is parsed as one (`0.1`, `1e-3`, `inf`, `nan`); if that fails, it counts as
//!   missing.
//! - Text compares by bytes (UTF-8, so by code points); see [`super::like`] for `LIKE`.
//! - Data sets: a term on `dataset.name` matches if any data set of the run does; two terms may match two data sets.
//! - An empty `AND` matches all runs, an empty `OR` none.

use std::fmt;

use super::like::Pattern;
use crate::error::{Error, Result};

/// Deepest nesting that [`Filter::check`] accepts.
pub const DEPTH_MAX: usize = 64;
/// Greatest number of terms that [`Filter::check`] accepts.
pub const TERMS_MAX: usize = 4096;

/// A filter. Display prints it in the search grammar.
///
/// ```
/// use runlode_engine::search::filter::{metric, param_number, tag};
/// let filter = metric("acc").max().gt(0.9) & (param_number("lr").lt(0.01) | !tag("kind").eq("ablation"));
/// assert_eq!(
///     filter.to_string(),
///     "metrics.acc.max > 0.9 AND (params.lr < 0.01 OR NOT tags.kind = 'ablation')",
/// );
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// Every inner filter matches; an empty list matches all runs.
    And(Vec<Filter>),
    /// At least one inner filter matches; an empty list matches no run.
    Or(Vec<Filter>),
    /// The inner filter does not match.
    Not(Box<Filter>),
    /// One test of one key.
    Term(Term),
}

/// One test of one key, as text or as a number.
#[derive(Debug, Clone, PartialEq)]
pub enum Term {
    /// A test of a text.
    Text {
        /// The text to test.
        key: TextKey,
        /// The test.
        test: TextTest,
    },
    /// A test of a number.
    Number {
        /// The number to test.
        key: NumberKey,
        /// The test.
        test: NumberTest,
    },
}

/// Text keys of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TextKey {
    /// Run id, 32 hex digits.
    RunId,
    /// Run name.
    Name,
    /// `RUNNING`, `SCHEDULED`, `FINISHED`, `FAILED`, `KILLED`.
    Status,
    /// The user who created the run; empty if none was named.
    UserId,
    /// Artifact location, as its source renders it; slow.
    ArtifactUri,
    /// Experiment id, decimal.
    Experiment,
    /// `active` or `deleted`.
    Lifecycle,
    /// A param, by its key.
    Param(String),
    /// A tag, by its key.
    Tag(String),
    /// Names of the run's data sets.
    DatasetName,
    /// Digests of the run's data sets.
    DatasetDigest,
    /// Contexts of the run's data sets.
    DatasetContext,
}

/// Number keys of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NumberKey {
    /// Start time, Unix ms.
    StartTime,
    /// End time, Unix ms; missing while the run is running.
    EndTime,
    /// An aggregate of a metric.
    Metric {
        /// The metric's key.
        name: String,
        /// Which of its numbers to read.
        aggregate: Aggregate,
    },
    /// A param read as a number; missing if it is not one.
    Param(String),
    /// A tag read as a number; missing if it is not one.
    Tag(String),
}

/// A number that summarises a metric's points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Aggregate {
    /// Value of the greatest point in latest order.
    Latest = 0,
    /// Least value; NaN skipped, NaN if all are.
    Min = 1,
    /// Greatest value; NaN skipped, NaN if all are.
    Max = 2,
    /// Value of the least point in latest order.
    First = 3,
    /// Number of points.
    Count = 4,
}

/// How numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Comparison {
    /// `=`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// A test of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextTest {
    /// `=`
    Eq(String),
    /// `!=`
    Ne(String),
    /// `LIKE`
    Like(String),
    /// `ILIKE`
    ILike(String),
    /// `IN`
    In(Vec<String>),
    /// `NOT IN`
    NotIn(Vec<String>),
    /// `IS NULL`: the key is missing.
    IsNull,
    /// `IS NOT NULL`
    IsNotNull,
}

/// A test of a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NumberTest {
    /// Compares with a number.
    Compare(Comparison, f64),
    /// The key is missing, or its text is not a number.
    IsNull,
    /// There is a number (which may be NaN).
    IsNotNull,
}

/// A param, as text.
pub fn param(key: impl Into<String>) -> TextKey {
    TextKey::Param(key.into())
}

/// A tag, as text.
pub fn tag(key: impl Into<String>) -> TextKey {
    TextKey::Tag(key.into())
}

/// A param, as a number.
pub fn param_number(key: impl Into<String>) -> NumberKey {
    NumberKey::Param(key.into())
}

/// A tag, as a number.
pub fn tag_number(key: impl Into<String>) -> NumberKey {
    NumberKey::Tag(key.into())
}

/// A metric's latest value; [`NumberKey::min`] and the like select another number.
pub fn metric(key: impl Into<String>) -> NumberKey {
    NumberKey::Metric { name: key.into(), aggregate: Aggregate::Latest }
}

impl TextKey {
    fn test(self, test: TextTest) -> Filter {
        Filter::Term(Term::Text { key: self, test })
    }

    /// `= text`
    pub fn eq(self, text: impl Into<String>) -> Filter {
        self.test(TextTest::Eq(text.into()))
    }

    /// `!= text`
    pub fn ne(self, text: impl Into<String>) -> Filter {
        self.test(TextTest::Ne(text.into()))
    }

    /// `LIKE pattern`
    pub fn like(self, pattern: impl Into<String>) -> Filter {
        self.test(TextTest::Like(pattern.into()))
    }

    /// `ILIKE pattern`
    pub fn ilike(self, pattern: impl Into<String>) -> Filter {
        self.test(TextTest::ILike(pattern.into()))
    }

    /// `IN (texts)`
    pub fn is_in<T: Into<String>>(self, texts: impl IntoIterator<Item = T>) -> Filter {
        self.test(TextTest::In(texts.into_iter().map(Into::into).collect()))
    }

    /// `NOT IN (texts)`
    pub fn not_in<T: Into<String>>(self, texts: impl IntoIterator<Item = T>) -> Filter {
        self.test(TextTest::NotIn(texts.into_iter().map(Into::into).collect()))
    }

    /// `IS NULL`
    pub fn is_null(self) -> Filter {
        self.test(TextTest::IsNull)
    }

    /// `IS NOT NULL`
    pub fn is_not_null(self) -> Filter {
        self.test(TextTest::IsNotNull)
    }
}

impl NumberKey {
    /// Selects another aggregate of the same metric; other keys are unchanged.
    #[must_use]
    pub fn aggregate(self, aggregate: Aggregate) -> Self {
        match self {
            Self::Metric { name, .. } => Self::Metric { name, aggregate },
            other => other,
        }
    }

    /// [`Aggregate::Min`] of the metric.
    #[must_use]
    pub fn min(self) -> Self {
        self.aggregate(Aggregate::Min)
    }

    /// [`Aggregate::Max`] of the metric.
    #[must_use]
    pub fn max(self) -> Self {
        self.aggregate(Aggregate::Max)
    }

    /// [`Aggregate::First`] of the metric.
    #[must_use]
    pub fn first(self) -> Self {
        self.aggregate(Aggregate::First)
    }

    /// [`Aggregate::Count`] of the metric.
    #[must_use]
    pub fn count(self) -> Self {
        self.aggregate(Aggregate::Count)
    }

    /// Compares with a number.
    pub fn compare(self, comparison: Comparison, value: f64) -> Filter {
        Filter::Term(Term::Number { key: self, test: NumberTest::Compare(comparison, value) })
    }

    /// `= value`
    pub fn eq(self, value: f64) -> Filter {
        self.compare(Comparison::Eq, value)
    }

    /// `!= value`
    pub fn ne(self, value: f64) -> Filter {
        self.compare(Comparison::Ne, value)
    }

    /// `< value`
    pub fn lt(self, value: f64) -> Filter {
        self.compare(Comparison::Lt, value)
    }

    /// `<= value`
    pub fn le(self, value: f64) -> Filter {
        self.compare(Comparison::Le, value)
    }

    /// `> value`
    pub fn gt(self, value: f64) -> Filter {
        self.compare(Comparison::Gt, value)
    }

    /// `>= value`
    pub fn ge(self, value: f64) -> Filter {
        self.compare(Comparison::Ge, value)
    }

    /// Matches if there is no number.
    pub fn is_null(self) -> Filter {
        Filter::Term(Term::Number { key: self, test: NumberTest::IsNull })
    }

    /// Matches if there is a number, NaN included.
    pub fn is_not_null(self) -> Filter {
        Filter::Term(Term::Number { key: self, test: NumberTest::IsNotNull })
    }
}

impl std::ops::BitAnd for Filter {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        match self {
            Self::And(mut all) => {
                all.push(other);
                Self::And(all)
            }
            first => Self::And(vec![first, other]),
        }
    }
}

impl std::ops::BitOr for Filter {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        match self {
            Self::Or(mut any) => {
                any.push(other);
                Self::Or(any)
            }
            first => Self::Or(vec![first, other]),
        }
    }
}

impl std::ops::Not for Filter {
    type Output = Self;

    fn not(self) -> Self {
        Self::Not(Box::new(self))
    }
}

impl Filter {
    /// Refuses a filter that could overflow the stack or take too long: [`DEPTH_MAX`], [`TERMS_MAX`].
    ///
    /// # Errors
    /// `Invalid`, naming the limit.
    pub fn check(&self) -> Result<()> {
        let mut terms = 0;
        let mut open = vec![(self, 1)];
        while let Some((filter, depth)) = open.pop() {
            if depth > DEPTH_MAX {
                return Err(Error::invalid("filter", format!("it is nested deeper than {DEPTH_MAX}")));
            }
            match filter {
                Self::And(inner) | Self::Or(inner) => open.extend(inner.iter().map(|f| (f, depth + 1))),
                Self::Not(inner) => open.push((inner, depth + 1)),
                Self::Term(_) => terms += 1,
            }
            if terms > TERMS_MAX {
                return Err(Error::invalid("filter", format!("it has more than {TERMS_MAX} terms")));
            }
        }
        Ok(())
    }

    /// Calls `visit` with every term, from left to right.
    pub fn terms<'f>(&'f self, visit: &mut impl FnMut(&'f Term)) {
        match self {
            Self::And(inner) | Self::Or(inner) => inner.iter().for_each(|filter| filter.terms(visit)),
            Self::Not(inner) => inner.terms(visit),
            Self::Term(term) => visit(term),
        }
    }
}

impl Comparison {
    /// Whether the comparison holds between `left` and `right`, by IEEE 754.
    #[inline]
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Eq => left == right,
            Self::Ne => left != right,
            Self::Lt => left < right,
            Self::Le => left <= right,
            Self::Gt => left > right,
            Self::Ge => left >= right,
        }
    }

    /// Whether the comparison holds between an integer and a number, exactly.
    pub fn holds_integer(self, left: i64, right: f64) -> bool {
        // i128 holds every i64, and floor and ceiling of any number near them.
        let (floor, ceil) = (right.floor() as i128, right.ceil() as i128);
        let left = i128::from(left);
        match self {
            _ if right.is_nan() => self == Self::Ne,
            Self::Eq => floor == ceil && left == floor,
            Self::Ne => floor != ceil || left != floor,
            Self::Lt => left < ceil,
            Self::Le => left <= floor,
            Self::Gt => left > floor,
            Self::Ge => left >= ceil,
        }
    }
}

/// A [`TextTest`] prepared to run over the texts that are present.
#[derive(Debug, Clone)]
pub(crate) enum TextMatcher {
    Any,
    Eq(String),
    Ne(String),
    Like(Pattern),
    /// The texts, sorted.
    In(Vec<String>),
    /// The texts, sorted.
    NotIn(Vec<String>),
}

impl TextMatcher {
    /// Prepares a test; `IS NULL` and `IS NOT NULL` both give `Any`.
    pub(crate) fn new(test: &TextTest) -> Self {
        let sorted = |list: &Vec<String>| {
            let mut list = list.clone();
            list.sort_unstable();
            list
        };
        match test {
            TextTest::Eq(text) => Self::Eq(text.clone()),
            TextTest::Ne(text) => Self::Ne(text.clone()),
            TextTest::Like(pattern) => Self::Like(Pattern::like(pattern)),
            TextTest::ILike(pattern) => Self::Like(Pattern::ilike(pattern)),
            TextTest::In(list) => Self::In(sorted(list)),
            TextTest::NotIn(list) => Self::NotIn(sorted(list)),
            TextTest::IsNull | TextTest::IsNotNull => Self::Any,
        }
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        let is_in = |list: &[String]| list.binary_search_by(|item| item.as_str().cmp(text)).is_ok();
        match self {
            Self::Any => true,
            Self::Eq(wanted) => text == wanted,
            Self::Ne(other) => text != other,
            Self::Like(pattern) => pattern.matches(text),
            Self::In(list) => is_in(list),
            Self::NotIn(list) => !is_in(list),
        }
    }
}

fn write_key(f: &mut fmt::Formatter<'_>, entity: &str, key: &str) -> fmt::Result {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    let quote = if plain {
        ""
    } else if key.contains('`') {
        "\""
    } else {
        "`"
    };
    write!(f, "{entity}.{quote}{key}{quote}")
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') { '"' } else { '\'' };
    write!(f, "{quote}{text}{quote}")
}

impl fmt::Display for TextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunId => f.write_str("run_id"),
            Self::Name => f.write_str("run_name"),
            Self::Status => f.write_str("status"),
            Self::UserId => f.write_str("user_id"),
            Self::ArtifactUri => f.write_str("artifact_uri"),
            Self::Experiment => f.write_str("experiment_id"),
            Self::Lifecycle => f.write_str("lifecycle_stage"),
            Self::Param(key) => write_key(f, "params", key),
            Self::Tag(key) => write_key(f, "tags", key),
            Self::DatasetName => f.write_str("dataset.name"),
            Self::DatasetDigest => f.write_str("dataset.digest"),
            Self::DatasetContext => f.write_str("dataset.context"),
        }
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Latest => "latest",
            Self::Min => "min",
            Self::Max => "max",
            Self::First => "first",
            Self::Count => "count",
        })
    }
}

impl fmt::Display for NumberKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartTime => f.write_str("start_time"),
            Self::EndTime => f.write_str("end_time"),
            Self::Metric { name, aggregate: Aggregate::Latest } => write_key(f, "metrics", name),
            Self::Metric { name, aggregate } => {
                write_key(f, "metrics", name)?;
                write!(f, ".{aggregate}")
            }
            Self::Param(key) => write_key(f, "params", key),
            Self::Tag(key) => write_key(f, "tags", key),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        })
    }
}

impl fmt::Display for TextTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match self {
            Self::Eq(text) => ("=", text),
            Self::Ne(text) => ("!=", text),
            Self::Like(text) => ("LIKE", text),
            Self::ILike(text) => ("ILIKE", text),
            Self::In(list) | Self::NotIn(list) => {
                f.write_str(if matches!(self, Self::In(_)) { "IN (" } else { "NOT IN (" })?;
                for (i, text) in list.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { ", " })?;
                    write_text(f, text)?;
                }
                return f.write_str(")");
            }
            Self::IsNull => return f.write_str("IS NULL"),
            Self::IsNotNull => return f.write_str("IS NOT NULL"),
        };
        write!(f, "{word} ")?;
        write_text(f, text)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { key, test } => write!(f, "{key} {test}"),
            Self::Number { key, test: NumberTest::Compare(comparison, value) } => {
                write!(f, "{key} {comparison} {value:?}")
            }
            Self::Number { key, test: NumberTest::IsNull } => write!(f, "{key} IS NULL"),
            Self::Number { key, test: NumberTest::IsNotNull } => write!(f, "{key} IS NOT NULL"),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, inner) = match self {
            Self::Term(term) => return write!(f, "{term}"),
            Self::Not(inner) if matches!(**inner, Self::Term(_)) => return write!(f, "NOT {inner}"),
            Self::Not(inner) => return write!(f, "NOT ({inner})"),
            Self::And(inner) => ("AND", inner),
            Self::Or(inner) => ("OR", inner),
        };
        if inner.is_empty() {
            return f.write_str(if word == "AND" { "TRUE" } else { "FALSE" });
        }
        for (i, filter) in inner.iter().enumerate() {
            if i > 0 {
                write!(f, " {word} ")?;
            }
            if matches!(filter, Self::And(_) | Self::Or(_)) {
                write!(f, "({filter})")?;
            } else {
                write!(f, "{filter}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
