//! Filters as people type them, read into the engine's typed expression.
//!
//! ```text
//! or    = and { "or" and }            and  = not { "and" not }          not = "not" not | "(" or ")" | term
//! term  = key op value | key "is" ["not"] "null" | key ["not"] "in" "(" value { "," value } ")"
//! key   = metrics.NAME[.min|.max|.first|.count] | params.NAME | tags.NAME | ATTRIBUTE     op = = != < <= > >= like ilike
//! value = 'text' | "text" | number | word
//! ```
//! Names with spaces or signs stand in backticks or double quotes: ``metrics.`val acc` > 0.9``. A param or tag against
//! a number compares numbers; against a quoted text, text. Words (`and`, `or`, `like`) in any case.

use runlode::engine::search::{
    Aggregate, Comparison, Filter, Key, NumberKey, NumberTest, OrderKey, Term, TextKey, TextTest,
};

use crate::error::{Error, Result};

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 60;

/// Reads a filter.
pub(crate) fn parse(text: &str) -> Result<Filter> {
    let mut parser = Parser { text, tokens: tokens(text)?, at: 0 };
    let filter = parser.any_of(0)?;
    match parser.tokens.get(parser.at) {
        None => Ok(filter),
        Some(token) => Err(parser.error(token.at, "`and`, `or` or the end")),
    }
}

/// Reads one key of an order: `metrics.acc desc`, `params.lr`, `start_time desc`.
pub(crate) fn parse_order(text: &str) -> Result<OrderKey> {
    let (key, ascending) = match text.trim().rsplit_once(char::is_whitespace) {
        Some((key, word)) if word.eq_ignore_ascii_case("desc") => (key.trim(), false),
        Some((key, word)) if word.eq_ignore_ascii_case("asc") => (key.trim(), true),
        _ => (text.trim(), true),
    };
    let mut parser = Parser { text: key, tokens: tokens(key)?, at: 0 };
    let found = parser.key()?;
    if parser.at < parser.tokens.len() {
        return Err(Error::usage(format!("cannot order by `{text}`: write KEY, KEY asc or KEY desc")));
    }
    let key = match found {
        Found::Text(key) => Key::Text(key),
        Found::Number(key) => Key::Number(key),
    };
    Ok(OrderKey { key, ascending })
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Word(String),
    Quoted(String),
    Number(f64),
    Sign(&'static str),
}

#[derive(Debug, Clone, PartialEq)]
struct Token {
    kind: Kind,
    /// Bytes from the beginning, for messages.
    at: usize,
    /// Whether a blank stands before it.
    spaced: bool,
}

const SIGNS: [&str; 10] = ["!=", "<=", ">=", "==", "=", "<", ">", "(", ")", ","];

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut spaced = true;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(first) = rest.chars().next() else { break };
        if first.is_whitespace() {
            at += first.len_utf8();
            spaced = true;
            continue;
        }
        let (kind, bytes) = if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Kind::Sign(sign), sign.len())
        } else if matches!(first, '\'' | '"' | '`') {
            let Some(end) = rest.get(1..).and_then(|rest| rest.find(first)) else {
                return Err(Error::usage(format!(
                    "the filter has an opening {first} at character {at} and no closing one"
                )));
            };
            (Kind::Quoted(rest.get(1..=end).unwrap_or_default().to_owned()), end + 2)
        } else {
            let stop = |c: char| c.is_whitespace() || "'\"`=<>!(),".contains(c);
            let word = rest.get(..rest.find(stop).unwrap_or(rest.len())).unwrap_or_default();
            if word.is_empty() {
                return Err(Error::usage(format!(
                    "the filter has `{first}` at character {at}, which means nothing there"
                )));
            }
            let numeric = word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
            match word.parse::<f64>() {
                Ok(number) if numeric => (Kind::Number(number), word.len()),
                _ => (Kind::Word(word.to_owned()), word.len()),
            }
        };
        tokens.push(Token { kind, at, spaced });
        at += bytes;
        spaced = false;
    }
    Ok(tokens)
}

enum Found {
    Text(TextKey),
    Number(NumberKey),
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    at: usize,
}

impl Parser<'_> {
    fn error(&self, at: usize, expected: &str) -> Error {
        let found = self
            .text
            .get(at..)
            .filter(|rest| !rest.is_empty())
            .map_or("its end".to_owned(), |rest| format!("`{}`", rest.chars().take(20).collect::<String>()));
        Error::usage(format!(
            "the filter has {found} where {expected} should be; e.g. \"metrics.acc > 0.9 and params.lr = '0.1'\""
        ))
    }

    fn error_here(&self, expected: &str) -> Error {
        self.error(self.tokens.get(self.at).map_or(self.text.len(), |token| token.at), expected)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found =
            matches!(self.tokens.get(self.at), Some(Token { kind: Kind::Word(w), .. }) if w.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token { kind: Kind::Sign(s), .. }) if *s == sign);
        self.at += usize::from(found);
        found
    }

    fn any_of(&mut self, depth: usize) -> Result<Filter> {
        if depth > DEPTH_MAX {
            return Err(Error::usage("the filter is nested too deeply"));
        }
        let mut parts = vec![self.all_of(depth)?];
        while self.take_word("or") {
            parts.push(self.all_of(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Or(parts) })
    }

    fn all_of(&mut self, depth: usize) -> Result<Filter> {
        let mut parts = vec![self.one(depth)?];
        while self.take_word("and") {
            parts.push(self.one(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::And(parts) })
    }

    fn one(&mut self, depth: usize) -> Result<Filter> {
        if depth > DEPTH_MAX {
            return Err(Error::usage("the filter is nested too deeply"));
        }
        if self.take_word("not") {
            return Ok(Filter::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take_sign("(") {
            let inner = self.any_of(depth + 1)?;
            return if self.take_sign(")") { Ok(inner) } else { Err(self.error_here("`)`")) };
        }
        self.term()
    }

    /// A key, with the quoted parts that belong to it: metrics."val acc".max
    fn key(&mut self) -> Result<Found> {
        let Some(Token { kind: Kind::Word(word), .. }) = self.tokens.get(self.at).cloned() else {
            return Err(self.error_here("a key (metrics.X, params.X, tags.X, status, name, ...)"));
        };
        let start = self.at;
        self.at += 1;
        let (mut family, mut name) = match word.split_once('.') {
            Some((family, name)) => (family.to_owned(), name.to_owned()),
            None => (word.clone(), String::new()),
        };
        let mut quoted = false;
        let mut behind = String::new();
        if name.is_empty()
            && word.ends_with('.')
            && let Some(Token { kind: Kind::Quoted(text), spaced: false, .. }) = self.tokens.get(self.at)
        {
            name.clone_from(text);
            quoted = true;
            self.at += 1;
            if let Some(Token { kind: Kind::Word(text), spaced: false, .. }) = self.tokens.get(self.at) {
                behind.clone_from(text);
                self.at += 1;
            }
        }
        family.make_ascii_lowercase();
        let attribute = match family.as_str() {
            "metrics" | "metric" | "params" | "param" | "parameters" | "tags" | "tag" if name.is_empty() => {
                return Err(self.error(self.tokens.get(start).map_or(0, |token| token.at), "a name behind the dot"));
            }
            "metrics" | "metric" => {
                let known = |suffix: &str| match suffix {
                    "min" => Some(Aggregate::Min),
                    "max" => Some(Aggregate::Max),
                    "first" => Some(Aggregate::First),
                    "count" => Some(Aggregate::Count),
                    "latest" | "last" => Some(Aggregate::Latest),
                    _ => None,
                };
                let mut aggregate = Aggregate::Latest;
                if quoted {
                    aggregate = match behind.strip_prefix('.') {
                        Some(suffix) => known(suffix)
                            .ok_or_else(|| self.error_here("`.min`, `.max`, `.first`, `.count` or `.latest`"))?,
                        None => Aggregate::Latest,
                    };
                } else if let Some((head, suffix)) = name.clone().rsplit_once('.')
                    && let Some(found) = known(suffix)
                {
                    aggregate = found;
                    head.clone_into(&mut name);
                }
                return Ok(Found::Number(NumberKey::Metric { name, aggregate }));
            }
            "params" | "param" | "parameters" => return Ok(Found::Text(TextKey::Param(name))),
            "tags" | "tag" => return Ok(Found::Text(TextKey::Tag(name))),
            "attributes" | "attribute" | "attr" | "run" => name.to_ascii_lowercase(),
            "dataset" | "datasets" => format!("dataset.{}", name.to_ascii_lowercase()),
            _ => word.to_ascii_lowercase(),
        };
        Ok(match attribute.as_str() {
            "run_id" | "id" => Found::Text(TextKey::RunId),
            "run_name" | "name" => Found::Text(TextKey::Name),
            "status" => Found::Text(TextKey::Status),
            "user_id" | "user" => Found::Text(TextKey::UserId),
            "artifact_uri" => Found::Text(TextKey::ArtifactUri),
            "experiment_id" => Found::Text(TextKey::Experiment),
            "lifecycle" | "lifecycle_stage" => Found::Text(TextKey::Lifecycle),
            "dataset.name" => Found::Text(TextKey::DatasetName),
            "dataset.digest" => Found::Text(TextKey::DatasetDigest),
            "dataset.context" => Found::Text(TextKey::DatasetContext),
            "start_time" | "created" => Found::Number(NumberKey::StartTime),
            "end_time" => Found::Number(NumberKey::EndTime),
            _ => {
                return Err(Error::usage(format!(
                    "`{word}` is no key; there are metrics.X, params.X, tags.X, run_id, name, status, user_id, \
                     start_time, end_time, experiment_id, lifecycle, dataset.name, dataset.digest, dataset.context"
                )));
            }
        })
    }

    fn term(&mut self) -> Result<Filter> {
        let key = self.key()?;
        if self.take_word("is") {
            let not = self.take_word("not");
            if !self.take_word("null") {
                return Err(self.error_here("`null`"));
            }
            return Ok(match (key, not) {
                (Found::Text(key), false) => text_term(key, TextTest::IsNull),
                (Found::Text(key), true) => text_term(key, TextTest::IsNotNull),
                (Found::Number(key), false) => number_term(key, NumberTest::IsNull),
                (Found::Number(key), true) => number_term(key, NumberTest::IsNotNull),
            });
        }
        let not = self.take_word("not");
        if self.take_word("in") {
            return self.list(key, not);
        }
        if not {
            return Err(self.error_here("`in`"));
        }
        if let Found::Text(text_key) = &key {
            for (word, test) in [("like", TextTest::Like as fn(String) -> TextTest), ("ilike", TextTest::ILike)] {
                if self.take_word(word) {
                    let pattern = self.text()?;
                    return Ok(text_term(text_key.clone(), test(pattern)));
                }
            }
        }
        let comparison = self.comparison()?;
        match key {
            Found::Number(key) => {
                let number = self.number()?;
                Ok(number_term(key, NumberTest::Compare(comparison, number)))
            }
            Found::Text(key) => {
                // A bare number compares numbers, where the key can hold one.
                if let Some(Token { kind: Kind::Number(number), .. }) = self.tokens.get(self.at) {
                    let number_key = match &key {
                        TextKey::Param(name) => Some(NumberKey::Param(name.clone())),
                        TextKey::Tag(name) => Some(NumberKey::Tag(name.clone())),
                        _ => None,
                    };
                    if let Some(number_key) = number_key {
                        let test = NumberTest::Compare(comparison, *number);
                        self.at += 1;
                        return Ok(number_term(number_key, test));
                    }
                }
                match comparison {
                    Comparison::Eq => Ok(text_term(key, TextTest::Eq(self.text()?))),
                    Comparison::Ne => Ok(text_term(key, TextTest::Ne(self.text()?))),
                    _ => Err(self.error_here("a number (texts compare by =, !=, like, ilike and in)")),
                }
            }
        }
    }

    fn list(&mut self, key: Found, not: bool) -> Result<Filter> {
        let Found::Text(key) = key else {
            return Err(self.error_here("a comparison with a number (lists are for texts)"));
        };
        if !self.take_sign("(") {
            return Err(self.error_here("`(`"));
        }
        let mut texts = vec![self.text()?];
        while self.take_sign(",") {
            texts.push(self.text()?);
        }
        if !self.take_sign(")") {
            return Err(self.error_here("`,` or `)`"));
        }
        Ok(text_term(key, if not { TextTest::NotIn(texts) } else { TextTest::In(texts) }))
    }

    fn comparison(&mut self) -> Result<Comparison> {
        let comparison = match self.tokens.get(self.at).map(|token| &token.kind) {
            Some(Kind::Sign("=" | "==")) => Comparison::Eq,
            Some(Kind::Sign("!=")) => Comparison::Ne,
            Some(Kind::Sign("<")) => Comparison::Lt,
            Some(Kind::Sign("<=")) => Comparison::Le,
            Some(Kind::Sign(">")) => Comparison::Gt,
            Some(Kind::Sign(">=")) => Comparison::Ge,
            _ => return Err(self.error_here("=, !=, <, <=, >, >=, like, ilike, in or is")),
        };
        self.at += 1;
        Ok(comparison)
    }

    fn number(&mut self) -> Result<f64> {
        let number = match self.tokens.get(self.at).map(|token| &token.kind) {
            Some(Kind::Number(number)) => Some(*number),
            Some(Kind::Word(word) | Kind::Quoted(word)) => word.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.error_here("a number"))?;
        self.at += 1;
        Ok(number)
    }

    fn text(&mut self) -> Result<String> {
        let token = self.tokens.get(self.at);
        let text = match token.map(|token| &token.kind) {
            Some(Kind::Quoted(text) | Kind::Word(text)) => Some(text.clone()),
            // As it was typed: run names and tags may look like numbers.
            Some(Kind::Number(_)) => token.and_then(|token| {
                let rest = self.text.get(token.at..)?;
                let stop = |c: char| c.is_whitespace() || "'\"`=<>!(),".contains(c);
                rest.get(..rest.find(stop).unwrap_or(rest.len())).map(str::to_owned)
            }),
            _ => None,
        };
        let text = text.ok_or_else(|| self.error_here("a text in quotes"))?;
        self.at += 1;
        Ok(text)
    }
}

fn text_term(key: TextKey, test: TextTest) -> Filter {
    Filter::Term(Term::Text { key, test })
}

fn number_term(key: NumberKey, test: NumberTest) -> Filter {
    Filter::Term(Term::Number { key, test })
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
        ] {
            let filter = parse(typed).unwrap_or_else(|error| panic!("{typed}: {error}"));
            assert_eq!(filter.to_string(), read);
        }
        assert_eq!(
            parse("metrics.\"val acc\".min <= -1").unwrap(),
            number_term(
                NumberKey::Metric { name: "val acc".into(), aggregate: Aggregate::Min },
                NumberTest::Compare(Comparison::Le, -1.0)
            )
        );
    }

    #[test]
    fn bad_filters_say_where() {
        for bad in [
            "",
            "metrics.acc >",
            "metrics.acc > 0.9 and",
            "metrics. > 1",
            "(metrics.acc > 1",
            "bogus = 1",
            "params.x like",
            "status < 'a'",
            "name = 'open",
            "metrics.a > 1 params.b = 2",
            "é = 1",
            "!",
            "metrics.a in (1)",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let deep = format!("{}metrics.a > 1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(parse(&deep).is_err());
        assert!(parse(&"not ".repeat(10_000)).is_err());
    }

    #[test]
    fn orders_are_read() {
        let order = parse_order("metrics.acc desc").unwrap();
        assert!(!order.ascending);
        assert!(parse_order("params.lr").unwrap().ascending);
        assert!(parse_order("params.lr down").is_err());
    }
}
