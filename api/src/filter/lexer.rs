//! Cuts the text of a filter or an order into tokens.
//!
//! In our grammar a word goes up to white space, a quote, a parenthesis, a comma or one of `=<>!`; it is a number if it
//! reads as one. A quote ends at the next one of its kind.
//!
//! In MLflow's dialect, as its SQL tokenizer does where its answers depend on it:
//! - Text in quotes is raw. A doubled quote or a backslash before a quote does not end it, if a later quote does; both
//!   characters stay.
//! - A number has no plus sign before it, and no letter after it. (`1e+20`, as Python prints it, is ours: MLflow
//!   refuses it.)
//! - A comment is one token.
//! - A dot after a name is a token of its own.
//!
//! Anything that no filter needs becomes [`Kind::Bad`]. Linear in the text: a quote that nothing ends is looked for
//! once.

use super::Dialect;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In MLflow's dialect letters, digits, `_`, and after the first of them `$` and `#`.
    Word,
    /// In backticks.
    Backtick,
    /// In double quotes.
    Double,
    /// In single quotes.
    Single,
    /// A number of digits only, in MLflow's dialect.
    Integer,
    /// Any other number.
    Float,
    /// Any run of `<>=!`, and `~` in MLflow's dialect.
    Compare,
    /// A sign between two values, in MLflow's dialect: any run of `+-*/%&|^@#`.
    Operator,
    Dot,
    Comma,
    Open,
    Close,
    Semicolon,
    /// Nothing that a filter may hold.
    Bad,
}

/// A token and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Byte offset.
    pub(crate) start: usize,
    /// Byte offset, exclusive.
    pub(crate) end: usize,
}

impl Token {
    /// Whether it stands in quotes.
    pub(crate) fn is_quoted(self) -> bool {
        matches!(self.kind, Kind::Backtick | Kind::Double | Kind::Single)
    }
}

/// All tokens of a text; white space is left out.
pub(crate) fn tokens(text: &str, dialect: Dialect) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let rest = &text[at..];
        let (kind, bytes) = match dialect {
            Dialect::Own => own_token(rest, first),
            Dialect::Mlflow => {
                // A dot right after a name leads to its key, whatever follows.
                let after_name =
                    tokens.last().is_some_and(|last| last.end == at && (last.kind == Kind::Word || last.is_quoted()));
                mlflow_token(rest, first, after_name)
            }
        };
        tokens.push(Token { kind, start: at, end: at + bytes });
        at += bytes;
    }
    tokens
}

/// Kind and length of the token that a text begins with.
fn own_token(text: &str, first: char) -> (Kind, usize) {
    let ends_word = |c: char| c.is_whitespace() || "'\"`=<>!(),".contains(c);
    match first {
        '`' | '"' | '\'' => match (text[1..].find(first), first) {
            (None, _) => (Kind::Bad, text.len()),
            (Some(end), '`') => (Kind::Backtick, end + 2),
            (Some(end), '"') => (Kind::Double, end + 2),
            (Some(end), _) => (Kind::Single, end + 2),
        },
        '<' | '>' | '=' | '!' => (Kind::Compare, run_of(text, |c| matches!(c, '<' | '>' | '=' | '!'))),
        ',' => (Kind::Comma, 1),
        '(' => (Kind::Open, 1),
        ')' => (Kind::Close, 1),
        _ => {
            let bytes = run_of(text, |c| !ends_word(c));
            let is_number = matches!(first, '0'..='9' | '+' | '-' | '.') && text[..bytes].parse::<f64>().is_ok();
            (if is_number { Kind::Float } else { Kind::Word }, bytes)
        }
    }
}

/// Kind and length of the token that a text begins with.
fn mlflow_token(text: &str, first: char, after_name: bool) -> (Kind, usize) {
    let word = || run_of(text, |c| c.is_alphanumeric() || matches!(c, '_' | '$' | '#'));
    let line = || run_of(text, |c| c != '\n' && c != '\r');
    match first {
        '-' if text.starts_with("--") => (Kind::Bad, line()),
        '#' if text.starts_with("# ") => (Kind::Bad, line()),
        '/' if text.starts_with("/*") => (Kind::Bad, text[2..].find("*/").map_or(text.len(), |end| end + 4)),
        '`' => match text[1..].find('`') {
            Some(end) => (Kind::Backtick, end + 2),
            None => (Kind::Bad, text.len()),
        },
        '"' => quoted(text, b'"').map_or((Kind::Bad, text.len()), |end| (Kind::Double, end)),
        '\'' => quoted(text, b'\'').map_or((Kind::Bad, text.len()), |end| (Kind::Single, end)),
        '.' if after_name => (Kind::Dot, 1),
        '0'..='9' | '-' | '.' => match number(text) {
            Some((kind, end)) if !text[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_') => (kind, end),
            _ if first.is_ascii_digit() => (Kind::Word, word()),
            _ if first == '.' => (Kind::Dot, 1),
            _ => (Kind::Operator, run_of(text, is_operator)),
        },
        c if is_operator(c) => (Kind::Operator, run_of(text, is_operator)),
        '<' | '>' | '=' | '~' | '!' => (Kind::Compare, run_of(text, |c| matches!(c, '<' | '>' | '=' | '~' | '!'))),
        ',' => (Kind::Comma, 1),
        '(' => (Kind::Open, 1),
        ')' => (Kind::Close, 1),
        ';' => (Kind::Semicolon, 1),
        c if c.is_alphanumeric() || c == '_' => (Kind::Word, word()),
        c => (Kind::Bad, c.len_utf8()),
    }
}

fn is_operator(c: char) -> bool {
    matches!(c, '+' | '-' | '*' | '/' | '%' | '&' | '|' | '^' | '@' | '#')
}

/// Bytes from the beginning of a text whose characters all are of a kind.
fn run_of(text: &str, is: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is(c)).unwrap_or(text.len())
}

/// Length of a quoted text, quotes included; `None` if nothing ends it.
fn quoted(text: &str, quote: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut end_if_nothing_better = None;
    let mut at = 1;
    while at < bytes.len() {
        let next_is_quote = bytes.get(at + 1) == Some(&quote);
        if bytes[at] == b'\\' && next_is_quote {
            end_if_nothing_better = Some(at + 2);
            at += 2;
        } else if bytes[at] == quote && next_is_quote {
            end_if_nothing_better = Some(at + 1);
            at += 2;
        } else if bytes[at] == quote {
            return Some(at + 1);
        } else {
            at += 1;
        }
    }
    end_if_nothing_better
}

/// Kind and length of the number that a text begins with.
fn number(text: &str) -> Option<(Kind, usize)> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(at);
    at += whole;
    let mut kind = Kind::Integer;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if whole + fraction == 0 {
            return None;
        }
        at += 1 + fraction;
        kind = Kind::Float;
    } else if whole == 0 {
        return None;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'-' | b'+')));
        let exponent = digits((at + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            return Some((Kind::Float, at + 1 + sign + exponent));
        }
    }
    Some((kind, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<(Kind, &str)> {
        cut_by(text, Dialect::Mlflow)
    }

    fn cut_by(text: &str, dialect: Dialect) -> Vec<(Kind, &str)> {
        tokens(text, dialect).into_iter().map(|token| (token.kind, &text[token.start..token.end])).collect()
    }

    #[test]
    fn names_numbers_and_operators() {
        use Kind::*;
        assert_eq!(
            cut("metrics.loss<=-.5"),
            [(Word, "metrics"), (Dot, "."), (Word, "loss"), (Compare, "<="), (Float, "-.5")]
        );
        assert_eq!(
            cut("5e-1 1. 12 1e300 1e+20"),
            [(Float, "5e-1"), (Float, "1."), (Integer, "12"), (Float, "1e300"), (Float, "1e+20")]
        );
        assert_eq!(cut("+1 0x1F 1a"), [(Operator, "+"), (Integer, "1"), (Word, "0x1F"), (Word, "1a")]);
        assert_eq!(cut("tags.5"), [(Word, "tags"), (Dot, "."), (Integer, "5")]);
        assert_eq!(cut("(a,);"), [(Open, "("), (Word, "a"), (Comma, ","), (Close, ")"), (Semicolon, ";")]);
        assert_eq!(cut("a -- b /* c */ d"), [(Word, "a"), (Bad, "-- b /* c */ d")]);
        assert_eq!(cut("a /* b */ c"), [(Word, "a"), (Bad, "/* b */"), (Word, "c")]);
        assert_eq!(cut("a-1 -1"), [(Word, "a"), (Integer, "-1"), (Integer, "-1")]);
        assert_eq!(cut("a && b"), [(Word, "a"), (Operator, "&&"), (Word, "b")]);
    }

    #[test]
    fn quotes() {
        use Kind::*;
        assert_eq!(cut("'it''s' x"), [(Single, "'it''s'"), (Word, "x")]);
        assert_eq!(cut(r"'a\'b'"), [(Single, r"'a\'b'")]);
        assert_eq!(cut(r"'a\'"), [(Single, r"'a\'")]);
        assert_eq!(cut("'' \"\" `x y`"), [(Single, "''"), (Double, "\"\""), (Backtick, "`x y`")]);
        assert_eq!(cut("'0.1"), [(Bad, "'0.1")]);
        assert_eq!(cut("é = 'ü%'"), [(Word, "é"), (Compare, "="), (Single, "'ü%'")]);
    }

    #[test]
    fn our_words_go_up_to_a_sign() {
        use Kind::*;
        let cut = |text| cut_by(text, Dialect::Own);
        assert_eq!(cut("metrics.train/loss<=-.5"), [(Word, "metrics.train/loss"), (Compare, "<="), (Float, "-.5")]);
        assert_eq!(
            cut("1e+20 2024-01-05 v1.2 -inf"),
            [(Float, "1e+20"), (Word, "2024-01-05"), (Word, "v1.2"), (Float, "-inf")]
        );
        assert_eq!(cut(r"'C:\' `x y`.max"), [(Single, r"'C:\'"), (Backtick, "`x y`"), (Word, ".max")]);
        assert_eq!(
            cut("in ('a',b)"),
            [(Word, "in"), (Open, "("), (Single, "'a'"), (Comma, ","), (Word, "b"), (Close, ")")]
        );
        assert_eq!(cut("x = \"open"), [(Word, "x"), (Compare, "="), (Bad, "\"open")]);
    }
}
