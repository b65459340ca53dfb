//! Filters and orders of runs, read from text.
//!
//! ```text
//! any    := all { OR all }              all := one { AND one }
//! one    := NOT one | ( any ) | clause
//! clause := key op value | key [NOT] IN ( value { , value } ) | key IS [NOT] NULL
//! key    := metrics.NAME[.min|.max|.first|.count|.latest] | params.NAME | tags.NAME | ATTRIBUTE
//! op     := = | == | != | < | <= | > | >= | LIKE | ILIKE
//! value  := 'text' | "text" | `text` | number | word
//! order  := key [ASC | DESC]
//! ```
//! Write a name with spaces or signs in backticks or quotes: ``metrics.`val acc` > 0.9``. A param or tag compares as a
//! number with a bare number (`params.lr < 0.01`), and as text with a quoted one (`params.lr = '0.01'`). Keywords and
//! attributes may be in any case. The attributes are `run_id`, `name`, `status`, `user_id`, `artifact_uri`,
//! `start_time`, `end_time`, `experiment_id`, `lifecycle`, `dataset.name`, `dataset.digest` and `dataset.context`.
//!
//! ```
//! use runlode::filter::{FilterErrorKind, parse, parse_order};
//!
//! let filter = parse("metrics.acc.max > 0.9 and (params.lr < 0.01 or tags.kind = 'ablation')")?;
//! assert_eq!(
//!     filter.to_string(),
//!     "metrics.acc.max > 0.9 AND (params.lr < 0.01 OR tags.kind = 'ablation')",
//! );
//! assert!(!parse_order("metrics.acc desc")?.ascending);
//!
//! let error = parse("metrics.acc > high").unwrap_err();
//! assert_eq!((error.at(), error.kind()), (14, &FilterErrorKind::Expected("a number")));
//! # Ok::<(), runlode::filter::FilterError>(())
//! ```
//!
//! One lexer and one parser read this grammar and MLflow's dialect of it; [`crate::mlflow`] gives the clauses of the
//! latter their meaning, for each kind of entity, in MLflow's words.
//!
//! ```text
//! text -> lexer (tokens) -> parser (clauses, joined) -> clause           an engine filter
//!                                                    -> mlflow::filter   MLflow's rules and refusals
//! ```

mod clause;
mod error;
pub(crate) mod key;
pub(crate) mod lexer;
pub(crate) mod parser;

pub(crate) use clause::{comparison, list_test, text_test};
pub use clause::{parse, parse_order};
pub use error::{FilterError, FilterErrorKind};

/// How a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The public grammar: a word goes up to white space, a quote or a sign, so names may hold `/`, `-` and `:`.
    Own,
    /// MLflow's: the words of its SQL tokenizer, an AND that may be missing or doubled, names in any quotes. `OR`, `NOT`
    /// and parentheses are ours; MLflow refuses them.
    Mlflow,
}
