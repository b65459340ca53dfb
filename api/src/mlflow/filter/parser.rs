//! The grammar of filters: which clauses stand in a text, and how they are joined. What a clause means is up to the
//! kind of entity that is searched.
//!
//! ```text
//! any    := all { OR all }
//! all    := { AND } [ one { [AND] one } ] { AND }         AND may be missing, doubled, leading or trailing
//! one    := NOT one | ( any ) | clause
//! clause := name comparator value | name [NOT] IN list | name IS [NOT] NULL
//! name   := part { . part }       part := word | `...` | "..." | '...' (not as the first)
//! value  := number | '...' | name | list
//! list   := ( [ text { , text } [,] ] )
//! ```
//! Keywords in any case. OR, NOT and parentheses are ours; MLflow has `all` only.

use super::lexer::{Kind, Token, tokens};
use crate::mlflow::error::{ApiError, ApiResult};

/// Deepest nesting of parentheses and NOT.
const DEPTH_MAX: usize = 48;
/// Most clauses of a filter.
const CLAUSES_MAX: usize = 4096;

/// Names that MLflow's tokenizer takes as words of SQL when they stand alone.
const SQL_WORDS: &[&str] = &["version", "source", "alias"];

/// Clauses, joined.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr<T> {
    /// All match; none listed: everything does.
    And(Vec<Expr<T>>),
    /// One matches.
    Or(Vec<Expr<T>>),
    /// The inner one does not match.
    Not(Box<Expr<T>>),
    /// One test.
    Clause(T),
}

impl<T> Expr<T> {
    /// The same expression of other clauses.
    ///
    /// # Errors
    /// The first one of `make`, from left to right.
    pub(crate) fn try_map<U>(&self, make: &mut impl FnMut(&T) -> ApiResult<U>) -> ApiResult<Expr<U>> {
        let mut list = |inner: &[Self]| inner.iter().map(|expr| expr.try_map(make)).collect::<ApiResult<Vec<_>>>();
        Ok(match self {
            Self::And(inner) => Expr::And(list(inner)?),
            Self::Or(inner) => Expr::Or(list(inner)?),
            Self::Not(inner) => Expr::Not(Box::new(inner.try_map(make)?)),
            Self::Clause(clause) => Expr::Clause(make(clause)?),
        })
    }

    /// Whether it holds, if `test` says so of clauses.
    pub(crate) fn holds(&self, test: &mut impl FnMut(&T) -> bool) -> bool {
        match self {
            Self::And(inner) => inner.iter().all(|expr| expr.holds(test)),
            Self::Or(inner) => inner.iter().any(|expr| expr.holds(test)),
            Self::Not(inner) => !inner.holds(test),
            Self::Clause(clause) => test(clause),
        }
    }

    /// Calls `visit` with every clause, from left to right.
    pub(crate) fn each<'a>(&'a self, visit: &mut impl FnMut(&'a T)) {
        match self {
            Self::And(inner) | Self::Or(inner) => inner.iter().for_each(|expr| expr.each(visit)),
            Self::Not(inner) => inner.each(visit),
            Self::Clause(clause) => visit(clause),
        }
    }
}

/// A clause as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Clause<'t> {
    /// `entity.key` or `key`, quotes included.
    pub(crate) name: &'t str,
    /// As it is written, but for `IN`, `NOT IN`, `IS NULL` and `IS NOT NULL`, whose words may stand apart: these are
    /// capitals, `in` alone stays as it is.
    pub(crate) comparator: String,
    /// What it is compared with.
    pub(crate) value: Value<'t>,
}

/// The right side of a clause.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'t> {
    /// None, for `IS [NOT] NULL`.
    Nothing,
    /// A number.
    Number {
        /// As it is written.
        raw: &'t str,
        /// Without point and exponent.
        integer: bool,
    },
    /// A text with its quotes, or a name.
    Text(&'t str),
    /// A list.
    List {
        /// As it is written, parentheses included.
        raw: &'t str,
        /// Its texts, without quotes.
        items: Result<Vec<&'t str>, ListError>,
    },
}

/// Why a list is none of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListError {
    Empty,
    IllFormed,
    NotText,
}

impl<'t> Value<'t> {
    /// As it is written.
    pub(crate) fn raw(&self) -> &'t str {
        match self {
            Self::Nothing => "",
            Self::Number { raw, .. } | Self::Text(raw) | Self::List { raw, .. } => raw,
        }
    }
}

/// Reads a filter; an empty one matches everything.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words.
pub(crate) fn parse(text: &str) -> ApiResult<Expr<Clause<'_>>> {
    if text.is_empty() {
        return Ok(Expr::And(Vec::new()));
    }
    let tokens = tokens(text);
    if tokens.is_empty() {
        return Err(ApiError::invalid(format!("Invalid filter '{text}'. Could not be parsed.")));
    }
    if tokens.iter().position(|token| token.kind == Kind::Semicolon).is_some_and(|at| at + 1 < tokens.len()) {
        return Err(ApiError::invalid(format!(
            "Search filter contained multiple expression {}. Provide AND-ed expression list.",
            crate::mlflow::names::python_text(text)
        )));
    }
    let mut parser = Parser { text, tokens: &tokens, at: 0, clauses: 0 };
    let expr = parser.any(0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(token) => Err(parser.invalid(token, token)),
    }
}

struct Parser<'t, 'k> {
    text: &'t str,
    tokens: &'k [Token],
    at: usize,
    clauses: usize,
}

impl<'t> Parser<'t, '_> {
    fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    fn next_if(&mut self, kind: Kind) -> Option<Token> {
        let token = self.peek().filter(|token| token.kind == kind)?;
        self.at += 1;
        Some(token)
    }

    fn raw(&self, first: Token, last: Token) -> &'t str {
        &self.text[first.start..last.end]
    }

    fn is_word(&self, at: usize, word: &str) -> bool {
        self.tokens
            .get(at)
            .is_some_and(|token| token.kind == Kind::Word && self.raw(*token, *token).eq_ignore_ascii_case(word))
    }

    fn next_if_word(&mut self, word: &str) -> bool {
        let is = self.is_word(self.at, word);
        self.at += usize::from(is);
        is
    }

    fn invalid(&self, first: Token, last: Token) -> ApiError {
        ApiError::invalid(format!("Invalid clause(s) in filter string: '{}'", self.raw(first, last)))
    }

    /// The last token that was read is not followed by what it needs.
    fn incomplete(&self) -> ApiError {
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).or(self.tokens.first());
        last.map_or_else(
            || ApiError::invalid("Invalid clause(s) in filter string: ''"),
            |token| self.invalid(*token, *token),
        )
    }

    fn any(&mut self, depth: usize) -> ApiResult<Expr<Clause<'t>>> {
        let first = self.all(depth)?;
        if !self.is_word(self.at, "OR") {
            return Ok(first);
        }
        let mut any = vec![first];
        while self.next_if_word("OR") {
            any.push(self.all(depth)?);
        }
        if any.iter().any(|expr| matches!(expr, Expr::And(inner) if inner.is_empty())) {
            return Err(ApiError::invalid("Invalid clause(s) in filter string: 'OR'"));
        }
        Ok(Expr::Or(any))
    }

    fn all(&mut self, depth: usize) -> ApiResult<Expr<Clause<'t>>> {
        let mut all = Vec::new();
        loop {
            while self.next_if_word("AND") {}
            match self.peek() {
                None => break,
                Some(token) if token.kind == Kind::Close || self.is_word(self.at, "OR") => break,
                Some(_) => all.push(self.one(depth)?),
            }
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expr::And(all) })
    }

    fn one(&mut self, depth: usize) -> ApiResult<Expr<Clause<'t>>> {
        if depth >= DEPTH_MAX {
            return Err(ApiError::invalid(format!("Invalid filter: it is nested deeper than {DEPTH_MAX}.")));
        }
        if self.next_if_word("NOT") {
            return match self.peek() {
                Some(token) if token.kind != Kind::Close && !self.is_word(self.at, "AND") => {
                    Ok(Expr::Not(Box::new(self.one(depth + 1)?)))
                }
                _ => Err(self.incomplete()),
            };
        }
        if let Some(open) = self.next_if(Kind::Open) {
            let inner = self.any(depth + 1)?;
            let Some(close) = self.next_if(Kind::Close) else { return Err(self.invalid(open, open)) };
            return match inner {
                Expr::And(inner) if inner.is_empty() => Err(self.invalid(open, close)),
                inner => Ok(inner),
            };
        }
        self.clauses += 1;
        if self.clauses > CLAUSES_MAX {
            return Err(ApiError::invalid(format!("Invalid filter: it has more than {CLAUSES_MAX} clauses.")));
        }
        self.clause().map(Expr::Clause)
    }

    fn clause(&mut self) -> ApiResult<Clause<'t>> {
        let Some(first) = self.peek() else { return Err(self.incomplete()) };
        if matches!(first.kind, Kind::Integer | Kind::Float | Kind::Single) {
            self.at += 1;
            let compared = self.peek().is_some_and(|token| token.kind == Kind::Compare);
            return Err(if compared {
                let found = self.raw(first, first);
                ApiError::invalid(format!("Invalid comparison clause. Expected 'Identifier' found '{found}'"))
            } else {
                self.invalid(first, first)
            });
        }
        let Some(name) = self.name() else { return Err(self.invalid(first, first)) };
        if SQL_WORDS.contains(&name) {
            return Err(self.invalid(first, first));
        }
        let unfinished = || ApiError::invalid(format!("Invalid clause(s) in filter string: '{name}'"));
        if self.next_if_word("IS") {
            let not = self.next_if_word("NOT");
            if !self.next_if_word("NULL") {
                return Err(unfinished());
            }
            let comparator = if not { "IS NOT NULL" } else { "IS NULL" }.to_owned();
            return Ok(Clause { name, comparator, value: Value::Nothing });
        }
        let start = self.at;
        let not = self.next_if_word("NOT");
        if let Some(word) = self.peek().filter(|_| self.is_word(self.at, "IN")) {
            self.at += 1;
            let comparator = if not { "NOT IN" } else { self.raw(word, word) }.to_owned();
            let value = self.list().ok_or_else(unfinished)?;
            return Ok(Clause { name, comparator, value });
        }
        let comparator = match self.peek() {
            Some(token) if token.kind == Kind::Compare && !not => self.raw(token, token).to_owned(),
            Some(token) if ["LIKE", "ILIKE", "RLIKE", "REGEXP"].iter().any(|word| self.is_word(self.at, word)) => {
                self.raw(*self.tokens.get(start).unwrap_or(&token), token).to_owned()
            }
            _ => return Err(unfinished()),
        };
        self.at += 1;
        let value = self.value().ok_or_else(unfinished)?;
        Ok(Clause { name, comparator, value })
    }

    fn name(&mut self) -> Option<&'t str> {
        let first = self.peek().filter(|token| matches!(token.kind, Kind::Word | Kind::Backtick | Kind::Double))?;
        self.at += 1;
        let mut last = first;
        while self.peek().is_some_and(|token| token.kind == Kind::Dot) {
            let Some(part) = self.tokens.get(self.at + 1) else { break };
            match part.kind {
                Kind::Word | Kind::Backtick | Kind::Double | Kind::Single | Kind::Integer => {}
                _ => break,
            }
            last = *part;
            self.at += 2;
        }
        Some(self.raw(first, last))
    }

    fn value(&mut self) -> Option<Value<'t>> {
        let token = self.peek()?;
        match token.kind {
            Kind::Integer | Kind::Float => {
                self.at += 1;
                Some(Value::Number { raw: self.raw(token, token), integer: token.kind == Kind::Integer })
            }
            Kind::Single => {
                self.at += 1;
                Some(Value::Text(self.raw(token, token)))
            }
            Kind::Open => self.list(),
            _ => self.name().map(Value::Text),
        }
    }

    /// A list as Python reads a tuple of texts.
    fn list(&mut self) -> Option<Value<'t>> {
        let open = self.next_if(Kind::Open)?;
        let mut items = Vec::new();
        let mut error = None;
        // Whether an item, or a comma, may come next.
        let (mut item_may_come, mut comma_may_come) = (true, false);
        loop {
            let token = self.peek()?;
            self.at += 1;
            match token.kind {
                Kind::Close => {
                    let items = match error {
                        Some(error) => Err(error),
                        None if items.is_empty() => Err(ListError::Empty),
                        None => Ok(items),
                    };
                    return Some(Value::List { raw: self.raw(open, token), items });
                }
                Kind::Single | Kind::Double if item_may_come => {
                    items.push(&self.text[token.start + 1..token.end - 1]);
                    (item_may_come, comma_may_come) = (false, true);
                }
                Kind::Word | Kind::Integer | Kind::Float if item_may_come => {
                    error = error.or(Some(ListError::NotText));
                    (item_may_come, comma_may_come) = (false, true);
                }
                Kind::Comma if comma_may_come => (item_may_come, comma_may_come) = (true, false),
                _ => error = Some(ListError::IllFormed),
            }
        }
    }
}
