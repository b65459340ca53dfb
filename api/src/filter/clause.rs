//! What clauses and orders of the public grammar mean, as the engine's typed expressions.

use super::key::{Family, aggregate, attribute, dataset};
use super::parser::{
    CLAUSES_MAX, Clause, DEPTH_MAX, Expr, Fault, FaultKind, Value, parse as parse_clauses,
    parse_order as parse_order_text, unquoted,
};
use super::{Dialect, FilterError, FilterErrorKind};
use crate::engine::search::filter::metric;
use crate::engine::search::{Comparison, Filter, Key, NumberKey, OrderKey, TextKey};

/// Reads a filter of runs. See the [module](crate::filter) for the grammar.
///
/// # Errors
/// The first place at which the text is no filter.
///
/// ```
/// let filter = runlode::filter::parse("metrics.acc.max > 0.9 AND not tags.kind = 'ablation'").unwrap();
/// assert_eq!(filter.to_string(), "metrics.acc.max > 0.9 AND NOT tags.kind = 'ablation'");
/// ```
pub fn parse(text: &str) -> Result<Filter, FilterError> {
    let expr = parse_clauses(text, Dialect::Own).map_err(|fault| error(text, fault))?;
    let mut term = |clause: &Clause<'_>| term(clause).map_err(|(kind, at)| FilterError::new(text, at, kind));
    Ok(expr.try_map(&mut term)?.into_filter())
}

/// Reads one key of an order of runs: `metrics.acc desc`, `params.lr`, `start_time asc`.
///
/// # Errors
/// The first place at which the text is no order.
///
/// ```
/// use runlode::engine::search::filter::metric;
/// use runlode::engine::search::{Key, OrderKey};
///
/// let order = runlode::filter::parse_order("metrics.acc.max desc")?;
/// assert_eq!(order, OrderKey { key: Key::Number(metric("acc").max()), ascending: false });
/// # Ok::<(), runlode::filter::FilterError>(())
/// ```
pub fn parse_order(text: &str) -> Result<OrderKey, FilterError> {
    let order = parse_order_text(text, Dialect::Own).map_err(|fault| error(text, fault))?;
    let at = text.len() - text.trim_start().len();
    let key = key(order.name).map_err(|kind| FilterError::new(text, at, kind))?;
    Ok(OrderKey { key, ascending: order.ascending })
}

fn error(text: &str, fault: Fault<'_>) -> FilterError {
    let kind = match fault.kind {
        FaultKind::Expected(what) => match unclosed(text, fault.at) {
            Some(quote) => FilterErrorKind::Unclosed(quote),
            None => FilterErrorKind::Expected(what),
        },
        FaultKind::NoName | FaultKind::Blank | FaultKind::Several => FilterErrorKind::Expected("a key"),
        FaultKind::Direction => FilterErrorKind::Expected("`asc`, `desc` or the end"),
        FaultKind::TooDeep => FilterErrorKind::TooDeep(DEPTH_MAX),
        FaultKind::TooManyClauses => FilterErrorKind::TooManyClauses(CLAUSES_MAX),
    };
    FilterError::new(text, fault.at, kind)
}

/// The quote that begins at a place and never ends.
fn unclosed(text: &str, at: usize) -> Option<char> {
    let rest = text.get(at..)?;
    let quote = rest.chars().next().filter(|first| matches!(first, '\'' | '"' | '`'))?;
    (!rest.get(1..)?.contains(quote)).then_some(quote)
}

/// What is wrong with a clause, and at which byte.
type Refused = (FilterErrorKind, usize);

fn expected(what: &'static str, at: usize) -> Refused {
    (FilterErrorKind::Expected(what), at)
}

/// The key that a name stands for: `metrics."val acc".max`, `params.lr`, `status`.
fn key(name: &str) -> Result<Key, FilterErrorKind> {
    let unknown = || FilterErrorKind::UnknownKey(name.to_owned());
    let (family, rest) = match name.split_once('.') {
        Some((family, rest)) => (family.to_ascii_lowercase(), Some(rest)),
        None => (name.to_ascii_lowercase(), None),
    };
    let Some((family, rest)) = Family::named(&family).zip(rest) else {
        return attribute(&family).filter(|_| rest.is_none()).ok_or_else(unknown);
    };
    // A key in quotes, and what comes after them.
    let end = rest.rfind(['\'', '"', '`']).map_or(0, |last| last + 1);
    let (quoted, after) = rest.split_at(end);
    let text = if quoted.is_empty() { rest } else { unquoted(quoted) };
    if family != Family::Metric && !quoted.is_empty() && !after.is_empty() {
        return Err(unknown());
    }
    Ok(match family {
        Family::Metric | Family::Param | Family::Tag if text.is_empty() => {
            return Err(FilterErrorKind::Expected("a name after the dot"));
        }
        Family::Metric if quoted.is_empty() => Key::Number(match aggregate(text) {
            Some((name, aggregate)) => NumberKey::Metric { name: name.to_owned(), aggregate },
            None => metric(text),
        }),
        Family::Metric if after.is_empty() => Key::Number(metric(text)),
        Family::Metric => match aggregate(after) {
            Some(("", aggregate)) => Key::Number(metric(text).aggregate(aggregate)),
            _ => return Err(FilterErrorKind::Expected("`.min`, `.max`, `.first`, `.count` or `.latest`")),
        },
        Family::Param => Key::Text(TextKey::Param(text.to_owned())),
        Family::Tag => Key::Text(TextKey::Tag(text.to_owned())),
        Family::Attribute => attribute(&text.to_ascii_lowercase()).ok_or_else(unknown)?,
        Family::Dataset => Key::Text(dataset(&text.to_ascii_lowercase()).ok_or_else(unknown)?),
    })
}

fn term(clause: &Clause<'_>) -> Result<Filter, Refused> {
    let comparator = match clause.comparator.as_str() {
        "==" => "=".to_owned(),
        comparator => comparator.to_ascii_uppercase(),
    };
    let is_null = comparator == "IS NULL";
    match key(clause.name).map_err(|kind| (kind, clause.at))? {
        Key::Text(key) => text_term(key, &comparator, is_null, clause),
        Key::Number(key) => match &clause.value {
            Value::Nothing => Ok(if is_null { key.is_null() } else { key.is_not_null() }),
            Value::List { .. } => {
                Err(expected("a comparison with a number (lists are for texts)", clause.comparator_at))
            }
            Value::Number { raw, .. } | Value::Text(raw) | Value::Sum(raw) => {
                let comparison =
                    comparison(&comparator).ok_or_else(|| expected("=, !=, <, <=, > or >=", clause.comparator_at))?;
                Ok(key.compare(comparison, number(unquoted(raw), clause.value_at)?))
            }
        },
    }
}

fn text_term(key: TextKey, comparator: &str, is_null: bool, clause: &Clause<'_>) -> Result<Filter, Refused> {
    const COMPARATORS: &str = "=, !=, like, ilike or in (texts have no order)";
    let as_number = match &key {
        TextKey::Param(name) => Some(NumberKey::Param(name.clone())),
        TextKey::Tag(name) => Some(NumberKey::Tag(name.clone())),
        _ => None,
    };
    match (&clause.value, as_number, comparison(comparator)) {
        (Value::Nothing, ..) => Ok(if is_null { key.is_null() } else { key.is_not_null() }),
        // A bare number compares numbers, where the key can hold one.
        (Value::Number { raw, .. }, Some(key), Some(comparison)) => {
            Ok(key.compare(comparison, number(raw, clause.value_at)?))
        }
        (Value::List { items, .. }, ..) => {
            let items = items.iter().flatten().map(|item| (*item).to_owned()).collect();
            list_test(key, comparator, items).ok_or_else(|| expected(COMPARATORS, clause.comparator_at))
        }
        (Value::Number { raw, .. } | Value::Text(raw) | Value::Sum(raw), as_number, comparison) => {
            text_test(key, comparator, unquoted(raw)).ok_or_else(|| match (as_number, comparison) {
                (Some(_), Some(_)) => expected("a number (texts have no order)", clause.value_at),
                _ => expected(COMPARATORS, clause.comparator_at),
            })
        }
    }
}

fn number(text: &str, at: usize) -> Result<f64, Refused> {
    text.parse().map_err(|_| expected("a number", at))
}

/// The comparison of numbers that a comparator stands for.
pub(crate) fn comparison(comparator: &str) -> Option<Comparison> {
    Some(match comparator {
        "=" => Comparison::Eq,
        "!=" => Comparison::Ne,
        "<" => Comparison::Lt,
        "<=" => Comparison::Le,
        ">" => Comparison::Gt,
        ">=" => Comparison::Ge,
        _ => return None,
    })
}

/// A test of a text, by a comparator in capitals; `None` if texts have no such comparator.
pub(crate) fn text_test(key: TextKey, comparator: &str, text: &str) -> Option<Filter> {
    Some(match comparator {
        "=" => key.eq(text),
        "!=" => key.ne(text),
        "LIKE" => key.like(text),
        "ILIKE" => key.ilike(text),
        _ => return None,
    })
}

/// A test of a text by a list.
pub(crate) fn list_test(key: TextKey, comparator: &str, list: Vec<String>) -> Option<Filter> {
    match comparator {
        "IN" => Some(key.is_in(list)),
        "NOT IN" => Some(key.not_in(list)),
        _ => None,
    }
}

impl Expr<Filter> {
    /// As the engine has it.
    pub(crate) fn into_filter(self) -> Filter {
        match self {
            Self::And(all) => Filter::And(all.into_iter().map(Self::into_filter).collect()),
            Self::Or(any) => Filter::Or(any.into_iter().map(Self::into_filter).collect()),
            Self::Not(inner) => Filter::Not(Box::new(inner.into_filter())),
            Self::Clause(term) => term,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read() {
        for (typed, read) in [
            ("metrics.val_acc.max > 0.9", "metrics.val_acc.max > 0.9"),
            (
                "metrics.acc > 0.9 and (params.lr < 0.01 or tags.kind = 'ablation')",
                "metrics.acc > 0.9 AND (params.lr < 0.01 OR tags.kind = 'ablation')",
            ),
            ("not status = 'FAILED'", "NOT status = 'FAILED'"),
            ("status in ('RUNNING', FAILED)", "status IN ('RUNNING', 'FAILED')"),
            ("params.lr = '0.1' AND params.lr != 0.2", "params.lr = '0.1' AND params.lr != 0.2"),
            ("name like 'lr%'", "run_name LIKE 'lr%'"),
            ("metrics.loss is null or params.x is not null", "metrics.loss IS NULL OR params.x IS NOT NULL"),
            ("metrics.a>1e-3", "metrics.a > 0.001"),
            ("Metrics.train/loss == inf", "metrics.`train/loss` = inf"),
            (
                "params.`a b` = 2024-01-05 and tag.x NOT IN (1, 'b')",
                "params.`a b` = '2024-01-05' AND tags.x NOT IN ('1', 'b')",
            ),
            ("run.\"start_time\" >= 5 and Datasets.Name = a.b", "start_time >= 5.0 AND dataset.name = 'a.b'"),
            ("params.path = 'C:\\' and name != '5'", "params.path = 'C:\\' AND run_name != '5'"),
            ("name = 5 or tags.n = 5", "run_name = '5' OR tags.n = 5.0"),
        ] {
            let filter = parse(typed).unwrap_or_else(|error| panic!("{typed}: {error}"));
            assert_eq!(filter.to_string(), read);
            assert_eq!(parse(read).unwrap(), filter, "{read} is read as it was written");
        }
        assert_eq!(parse("metrics.\"val acc\".min <= -1").unwrap(), metric("val acc").min().le(-1.0));
    }

    #[test]
    fn bad_filters_say_where() {
        use FilterErrorKind::{Expected, Unclosed, UnknownKey};
        let a_key = Expected("a key (metrics.X, params.X, tags.X, status, name, ...), as in \"metrics.acc > 0.9\"");
        let a_number = Expected("a number");
        let a_value = Expected("a number or a text in quotes");
        let no_order = Expected("=, !=, like, ilike or in (texts have no order)");
        for (bad, at, kind) in [
            ("", 0, a_key.clone()),
            ("  ", 2, a_key.clone()),
            ("metrics.acc >", 13, a_value.clone()),
            ("metrics.acc > 'high'", 14, a_number.clone()),
            ("metrics.acc > 0.9 and", 21, a_key.clone()),
            ("and metrics.acc > 0.9", 0, a_key.clone()),
            ("metrics. > 1", 0, Expected("a name after the dot")),
            ("metrics.\"a\".mean > 1", 0, Expected("`.min`, `.max`, `.first`, `.count` or `.latest`")),
            ("params.\"a\".min > 1", 0, UnknownKey("params.\"a\".min".to_owned())),
            ("(metrics.acc > 1", 16, Expected("`and`, `or` or `)`")),
            ("()", 1, a_key.clone()),
            ("bogus = 1", 0, UnknownKey("bogus".to_owned())),
            ("status = 'a' and no.such = 1", 17, UnknownKey("no.such".to_owned())),
            ("params.x like", 13, a_value.clone()),
            ("params.x rlike 'a'", 9, no_order.clone()),
            ("params.x not like 'a'", 9, no_order.clone()),
            ("params.x not = 'a'", 13, Expected("`in`")),
            ("status < 'a'", 7, no_order.clone()),
            ("params.x < 'a'", 11, Expected("a number (texts have no order)")),
            ("name = 'open", 7, Unclosed('\'')),
            ("name in ('a', \"open)", 14, Unclosed('"')),
            ("name in ('a' 'b')", 13, Expected("`,` or `)`")),
            ("name in ()", 9, Expected("a text")),
            ("name is nothing", 8, Expected("`null` or `not null`")),
            ("metrics.a > 1 params.b = 2", 14, Expected("`and`, `or` or the end")),
            ("metrics.a 1", 10, Expected("=, !=, <, <=, >, >=, like, ilike, in or is")),
            ("metrics.a =! 1", 10, Expected("=, !=, <, <=, > or >=")),
            ("é = 1", 0, UnknownKey("é".to_owned())),
            ("name = 'é' or 1", 15, a_key.clone()),
            ("!", 0, a_key.clone()),
            ("metrics.a in (1)", 10, Expected("a comparison with a number (lists are for texts)")),
            ("not", 3, a_key.clone()),
        ] {
            let error = parse(bad).expect_err(bad);
            assert_eq!((error.at(), error.kind()), (at, &kind), "{bad}");
            assert!(error.to_string().starts_with(&format!("cannot read `{bad}`: ")), "{error}");
        }
        let error = parse("name = 'é' or 1").unwrap_err().to_string();
        assert!(error.ends_with("as in \"metrics.acc > 0.9\" at character 15, found `1`"), "{error}");
        let deep = format!("{}metrics.a > 1{}", "(".repeat(10_000), ")".repeat(10_000));
        for deep in [deep, "not ".repeat(10_000)] {
            assert_eq!(parse(&deep).unwrap_err().kind(), &FilterErrorKind::TooDeep(DEPTH_MAX));
        }
        let many = vec!["status = 'FAILED'"; CLAUSES_MAX + 1].join(" or ");
        assert_eq!(parse(&many).unwrap_err().kind(), &FilterErrorKind::TooManyClauses(CLAUSES_MAX));
    }

    #[test]
    fn orders_are_read() {
        let order = parse_order("metrics.acc desc").unwrap();
        assert!(!order.ascending);
        assert!(parse_order("params.lr").unwrap().ascending);
        let order = parse_order("metrics.`val acc`.max ASC").unwrap();
        assert_eq!(order, OrderKey { key: Key::Number(metric("val acc").max()), ascending: true });
        for (bad, at) in [("params.lr down", 10), ("params.lr desc, name", 14), ("", 0), (" bogus desc", 1)] {
            assert_eq!(parse_order(bad).expect_err(bad).at(), at, "{bad}");
        }
    }
}
