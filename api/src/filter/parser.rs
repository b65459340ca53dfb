//! The grammar of filters and orders: which clauses stand in a text, and how they are joined. What a clause means is up
//! to what is searched.
//!
//! ```text
//! any    := all { OR all }
//! all    := one { AND one }                               in MLflow's dialect AND may be missing, doubled, leading or
//! one    := NOT one | ( any ) | clause                    trailing, and an empty text matches everything
//! clause := name comparator value | name [NOT] IN list | name IS [NOT] NULL
//! value  := number | '...' | name | list
//! list   := ( text { , text } )                           in MLflow's dialect read as Python reads a tuple
//! name   := word [ quoted [ word ] ]                      ours: metrics."val acc".max
//! name   := part { . [ part ] }                           MLflow's: part := word | `...` | "..." | '...' (not first)
//! order  := name [ ASC | DESC ]
//! ```
//! MLflow reads SQL, so it also knows `a + b` as a value and `a = b = c` as a comparison of comparisons. No filter holds
//! them: they are read only to be refused in its words.
//!
//! Long, because the two dialects share one grammar, and what MLflow lists of a text outside it is found by the same rules.

use super::Dialect;
use super::lexer::{Kind, Token, tokens};

/// Deepest nesting of parentheses and NOT.
pub(crate) const DEPTH_MAX: usize = 48;
/// Most clauses of a filter.
pub(crate) const CLAUSES_MAX: usize = 4096;

/// Names that MLflow's tokenizer takes as words of SQL when they stand alone.
const SQL_WORDS: &[&str] = &["version", "source", "alias"];

/// Words that MLflow's tokenizer takes as SQL's, in any case: they are neither names nor values.
const KEYWORDS: &[&str] = &[
    "and", "or", "not", "in", "is", "like", "ilike", "between", "select", "from", "where", "order", "group", "union",
    "limit", "case", "when", "true", "false",
];

fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|known| word.eq_ignore_ascii_case(known))
}

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
    pub(crate) fn try_map<U, E>(&self, make: &mut impl FnMut(&T) -> Result<U, E>) -> Result<Expr<U>, E> {
        let mut list = |inner: &[Self]| inner.iter().map(|expr| expr.try_map(make)).collect::<Result<Vec<_>, E>>();
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
    /// Byte at which the name begins.
    pub(crate) at: usize,
    /// As it is written, except `NOT IN`, `IS NULL` and `IS NOT NULL`, whose words may stand apart: these are capitals.
    pub(crate) comparator: String,
    /// Byte at which the comparator begins.
    pub(crate) comparator_at: usize,
    /// What it is compared with.
    pub(crate) value: Value<'t>,
    /// Byte at which the value begins.
    pub(crate) value_at: usize,
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
    /// Values with signs between them.
    Sum(&'t str),
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
            Self::Number { raw, .. } | Self::Text(raw) | Self::Sum(raw) | Self::List { raw, .. } => raw,
        }
    }
}

/// Where and why a text is no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault<'t> {
    pub(crate) kind: FaultKind,
    /// Byte at which the text goes wrong.
    pub(crate) at: usize,
    /// What MLflow quotes: the beginning of the clause, mostly.
    pub(crate) part: &'t str,
}

/// Why a text is no filter or order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Something else should stand there.
    Expected(&'static str),
    /// A number or a text is compared with something.
    NoName,
    /// There is nothing in the text but white space.
    Blank,
    /// A semicolon ends one filter and another follows.
    Several,
    /// Neither ASC nor DESC comes after the key of an order.
    Direction,
    /// See [`DEPTH_MAX`].
    TooDeep,
    /// See [`CLAUSES_MAX`].
    TooManyClauses,
}

type Found<'t, T> = Result<T, Fault<'t>>;

const KEY: &str = "a key (metrics.X, params.X, tags.X, status, name, ...), as in \"metrics.acc > 0.9\"";
const COMPARATOR: &str = "=, !=, <, <=, >, >=, like, ilike, in or is";
const VALUE: &str = "a number or a text in quotes";

/// Reads a filter.
///
/// # Errors
/// The first fault of the text.
pub(crate) fn parse(text: &str, dialect: Dialect) -> Found<'_, Expr<Clause<'_>>> {
    let tokens = tokens(text, dialect);
    let whole = |kind| Err(Fault { kind, at: text.len(), part: text });
    if dialect == Dialect::Mlflow {
        if text.is_empty() {
            return Ok(Expr::And(Vec::new()));
        }
        if tokens.is_empty() {
            return whole(FaultKind::Blank);
        }
        if tokens.iter().position(|token| token.kind == Kind::Semicolon).is_some_and(|at| at + 1 < tokens.len()) {
            return whole(FaultKind::Several);
        }
    }
    let mut parser = Parser { text, dialect, tokens: &tokens, at: 0, clauses: 0 };
    let expr = parser.any(0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(token) => Err(parser.expected("`and`, `or` or the end", token, token)),
    }
}

/// The parts of a text that belong to no clause, as MLflow lists them. MLflow reads SQL, so a word and the next one are one
/// part (an alias), and so are words with commas between them.
pub(crate) fn foreign(text: &str) -> Vec<&str> {
    let tokens = tokens(text, Dialect::Mlflow);
    let mut parser = Parser { text, dialect: Dialect::Mlflow, tokens: &tokens, at: 0, clauses: 0 };
    let mut found: Vec<&str> = Vec::new();
    // Where the last part begins, and whether it is among those found.
    let mut last: Option<(usize, bool)> = None;
    while let Some(token) = parser.peek() {
        let at = parser.at;
        let joins = token.kind == Kind::Comma && last.is_some();
        parser.at += usize::from(joins);
        if parser.next_if_word("AND") {
            last = None;
            continue;
        }
        let begins = parser.at;
        // A comparison that has no name is one, too.
        let is_clause = matches!(parser.clause(), Ok(_) | Err(Fault { kind: FaultKind::NoName, .. }));
        if !is_clause {
            parser.at = begins;
            let is_word = |at: usize| {
                let word = tokens.get(at).filter(|token| token.kind == Kind::Word);
                word.is_some_and(|token| !is_keyword(&text[token.start..token.end]))
            };
            let may_have_alias = parser.operand().is_some() && is_word(begins);
            parser.at = parser.at.max((begins + 1).min(tokens.len()));
            let is_sum = tokens.get(parser.at + 1).is_some_and(|token| token.kind == Kind::Operator);
            parser.at += usize::from(may_have_alias && is_word(parser.at) && !is_sum);
        }
        let end = parser.at.checked_sub(1).and_then(|last| tokens.get(last)).map_or(text.len(), |token| token.end);
        match last {
            Some((start, listed)) if joins => {
                if listed {
                    found.pop();
                }
                found.push(&text[start..end]);
                last = Some((start, true));
            }
            _ => {
                let start = tokens.get(at).map_or(end, |token| token.start);
                if !is_clause {
                    found.push(&text[start..end]);
                }
                last = Some((start, !is_clause));
            }
        }
    }
    found
}

/// One key of an order, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order<'t> {
    /// As it is written, quotes included.
    pub(crate) name: &'t str,
    /// Least first.
    pub(crate) ascending: bool,
}

/// Reads one key of an order.
///
/// # Errors
/// The first fault of the text.
pub(crate) fn parse_order(text: &str, dialect: Dialect) -> Found<'_, Order<'_>> {
    let tokens = tokens(text, dialect);
    let mut parser = Parser { text, dialect, tokens: &tokens, at: 0, clauses: 0 };
    let expected = |what, token: Option<&Token>| {
        let at = token.map_or(text.len(), |token| token.start);
        Err(Fault { kind: FaultKind::Expected(what), at, part: text })
    };
    let Some(name) = parser.name() else { return expected(KEY, tokens.first()) };
    let ascending = match tokens.get(parser.at..) {
        None | Some([]) => true,
        Some([word, more @ ..]) => {
            let ascending = match parser.raw(*word, *word) {
                word if word.eq_ignore_ascii_case("asc") => true,
                word if word.eq_ignore_ascii_case("desc") => false,
                _ if more.is_empty() && word.kind == Kind::Word => {
                    return Err(Fault { kind: FaultKind::Direction, at: word.start, part: text });
                }
                _ => return expected("`asc`, `desc` or the end", Some(word)),
            };
            if !more.is_empty() {
                return expected("the end", more.first());
            }
            ascending
        }
    };
    Ok(Order { name, ascending })
}

struct Parser<'t, 'k> {
    text: &'t str,
    dialect: Dialect,
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

    /// Where the next token begins, or the end of the text.
    fn here(&self) -> usize {
        self.peek().map_or(self.text.len(), |token| token.start)
    }

    /// Something else should be where the first of these tokens is.
    fn expected(&self, what: &'static str, first: Token, last: Token) -> Fault<'t> {
        Fault { kind: FaultKind::Expected(what), at: first.start, part: self.raw(first, last) }
    }

    /// The last token that was read is not followed by what it needs.
    fn incomplete(&self, what: &'static str) -> Fault<'t> {
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).or(self.tokens.first());
        let part = last.map_or("", |token| self.raw(*token, *token));
        Fault { kind: FaultKind::Expected(what), at: self.here(), part }
    }

    fn any(&mut self, depth: usize) -> Found<'t, Expr<Clause<'t>>> {
        let first = self.all(depth)?;
        if !self.is_word(self.at, "OR") {
            return Ok(first);
        }
        let mut any = vec![first];
        while self.next_if_word("OR") {
            any.push(self.all(depth)?);
        }
        if any.iter().any(|expr| matches!(expr, Expr::And(inner) if inner.is_empty())) {
            return Err(Fault { kind: FaultKind::Expected(KEY), at: self.here(), part: "OR" });
        }
        Ok(Expr::Or(any))
    }

    fn all(&mut self, depth: usize) -> Found<'t, Expr<Clause<'t>>> {
        let mut all = Vec::new();
        loop {
            let more = match self.dialect {
                Dialect::Own => all.is_empty() || self.next_if_word("AND"),
                Dialect::Mlflow => {
                    while self.next_if_word("AND") {}
                    self.peek().is_some_and(|token| token.kind != Kind::Close) && !self.is_word(self.at, "OR")
                }
            };
            if !more {
                break;
            }
            all.push(self.one(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expr::And(all) })
    }

    fn one(&mut self, depth: usize) -> Found<'t, Expr<Clause<'t>>> {
        if depth >= DEPTH_MAX {
            return Err(Fault { kind: FaultKind::TooDeep, at: self.here(), part: self.text });
        }
        if self.next_if_word("NOT") {
            return match self.peek() {
                Some(token) if token.kind != Kind::Close && !self.is_word(self.at, "AND") => {
                    Ok(Expr::Not(Box::new(self.one(depth + 1)?)))
                }
                _ => Err(self.incomplete(KEY)),
            };
        }
        if let Some(fault) = self.no_name() {
            return Err(fault);
        }
        if let Some(open) = self.next_if(Kind::Open) {
            let inner = self.any(depth + 1)?;
            let at = self.here();
            let Some(close) = self.next_if(Kind::Close) else {
                return Err(Fault { at, ..self.expected("`and`, `or` or `)`", open, open) });
            };
            return match inner {
                Expr::And(inner) if inner.is_empty() => Err(Fault { at, ..self.expected(KEY, open, close) }),
                inner => Ok(inner),
            };
        }
        self.clauses += 1;
        if self.clauses > CLAUSES_MAX {
            return Err(Fault { kind: FaultKind::TooManyClauses, at: self.here(), part: self.text });
        }
        self.clause().map(Expr::Clause)
    }

    fn clause(&mut self) -> Found<'t, Clause<'t>> {
        let Some(first) = self.peek() else { return Err(self.incomplete(KEY)) };
        if let Some(fault) = self.no_name() {
            return Err(fault);
        }
        if matches!(first.kind, Kind::Integer | Kind::Float | Kind::Single) {
            return Err(self.expected(KEY, first, first));
        }
        let Some(name) = self.name() else { return Err(self.expected(KEY, first, first)) };
        let is_none = match self.dialect {
            Dialect::Own => ["and", "or"].iter().any(|word| name.eq_ignore_ascii_case(word)),
            Dialect::Mlflow => SQL_WORDS.contains(&name) || is_keyword(name),
        };
        if is_none {
            return Err(self.expected(KEY, first, first));
        }
        let unfinished = |what, at| Fault { kind: FaultKind::Expected(what), at, part: name };
        let clause = |comparator: &str, comparator_at, value, value_at| {
            let comparator = comparator.to_owned();
            Ok(Clause { name, at: first.start, comparator, comparator_at, value, value_at })
        };
        let comparator_at = self.here();
        if self.next_if_word("IS") {
            let not = self.next_if_word("NOT");
            let value_at = self.here();
            if !self.next_if_word("NULL") {
                return Err(unfinished(if not { "`null`" } else { "`null` or `not null`" }, value_at));
            }
            return clause(if not { "IS NOT NULL" } else { "IS NULL" }, comparator_at, Value::Nothing, value_at);
        }
        let start = self.at;
        let not = self.next_if_word("NOT");
        if let Some(word) = self.peek().filter(|_| self.is_word(self.at, "IN")) {
            self.at += 1;
            let comparator = if not { "NOT IN" } else { self.raw(word, word) };
            let value_at = self.here();
            let value = self.list().map_err(|(what, at)| unfinished(what, at))?;
            return clause(comparator, comparator_at, value, value_at);
        }
        let comparator = match self.peek() {
            Some(token) if token.kind == Kind::Compare && !not => self.raw(token, token),
            Some(token) if ["LIKE", "ILIKE", "RLIKE", "REGEXP"].iter().any(|word| self.is_word(self.at, word)) => {
                self.raw(*self.tokens.get(start).unwrap_or(&token), token)
            }
            _ => return Err(unfinished(if not { "`in`" } else { COMPARATOR }, self.here())),
        };
        self.at += 1;
        let value_at = self.here();
        let value = self.value().map_err(|(what, at)| unfinished(what, at))?;
        clause(comparator, comparator_at, value, value_at)
    }

    /// Whether a comparator comes next, in MLflow's dialect.
    fn next_if_comparator(&mut self) -> bool {
        let start = self.at;
        let not = self.next_if_word("NOT");
        let is_word = ["LIKE", "ILIKE", "RLIKE", "REGEXP"].iter().any(|word| self.is_word(self.at, word));
        let is = is_word || !not && self.peek().is_some_and(|token| token.kind == Kind::Compare);
        self.at = if is { self.at + 1 } else { start };
        is
    }

    /// Reads values with signs between them, in MLflow's dialect; whether it is a name alone. `None`: there is no value.
    fn operand(&mut self) -> Option<bool> {
        let mut is_name = self.primary()?;
        loop {
            let before = self.at;
            if self.next_if(Kind::Operator).is_none() || self.primary().is_none() {
                self.at = before;
                return Some(is_name);
            }
            is_name = false;
        }
    }

    /// Reads one value: whether it is a name.
    fn primary(&mut self) -> Option<bool> {
        let token = self.peek()?;
        match token.kind {
            Kind::Integer | Kind::Float | Kind::Single => {
                self.at += 1;
                Some(false)
            }
            Kind::Open => {
                let start = self.at;
                let mut depth = 0usize;
                while let Some(token) = self.peek() {
                    self.at += 1;
                    match token.kind {
                        Kind::Open => depth += 1,
                        Kind::Close => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 {
                        return Some(false);
                    }
                }
                self.at = start;
                None
            }
            Kind::Word if is_keyword(self.raw(token, token)) => None,
            _ => self.name().map(|_| true),
        }
    }

    /// A comparison whose left side is no name, as MLflow reads it, is refused as a whole; it is then read. `None`: what
    /// comes next is none, and nothing is read.
    fn no_name(&mut self) -> Option<Fault<'t>> {
        if self.dialect == Dialect::Own {
            return None;
        }
        let start = self.at;
        let first = self.peek()?;
        // Where the left side of the last comparison ends.
        let mut left_end = None;
        if let Some(mut is_name) = self.operand() {
            loop {
                let before = self.at;
                if !self.next_if_comparator() || self.operand().is_none() {
                    self.at = before;
                    break;
                }
                left_end = (!is_name).then_some(before);
                // What follows compares the comparison.
                is_name = false;
            }
        }
        let last = left_end.and_then(|end| self.tokens.get(end.checked_sub(1)?)).copied();
        let Some(last) = last else {
            self.at = start;
            return None;
        };
        Some(Fault { kind: FaultKind::NoName, ..self.expected(KEY, first, last) })
    }

    fn name(&mut self) -> Option<&'t str> {
        let is_first = |token: &Token| match self.dialect {
            Dialect::Own => token.kind == Kind::Word,
            Dialect::Mlflow => matches!(token.kind, Kind::Word | Kind::Backtick | Kind::Double),
        };
        let first = self.peek().filter(is_first)?;
        self.at += 1;
        let mut last = first;
        match self.dialect {
            Dialect::Own => {
                // `metrics."val acc".max`: the quotes join the family before them, and what follows joins them.
                let family = self.raw(first, first).strip_suffix('.').filter(|family| !family.contains('.'));
                let joined = |last: Token, token: &Token| token.start == last.end;
                if let Some(quoted) = self.peek().filter(|token| token.is_quoted() && joined(last, token))
                    && family.is_some()
                {
                    last = quoted;
                    self.at += 1;
                    if let Some(end) = self.peek().filter(|token| token.kind == Kind::Word && joined(last, token)) {
                        last = end;
                        self.at += 1;
                    }
                }
            }
            Dialect::Mlflow => {
                while let Some(dot) = self.next_if(Kind::Dot) {
                    // A dot that nothing follows belongs to the name: its key is empty.
                    // Words of SQL are names only right after the dot.
                    let is_name = |token: &Token| token.start == dot.end || !is_keyword(self.raw(*token, *token));
                    let part = self.peek().filter(|token| match token.kind {
                        Kind::Word => is_name(token),
                        Kind::Integer => true,
                        _ => token.is_quoted(),
                    });
                    self.at += usize::from(part.is_some());
                    last = part.unwrap_or(dot);
                }
            }
        }
        Some(self.raw(first, last))
    }

    fn value(&mut self) -> Result<Value<'t>, Wanted> {
        let start = self.at;
        let value = self.one_value()?;
        let end = self.at;
        if self.dialect == Dialect::Mlflow {
            self.at = start;
            self.operand();
            if let (true, Some(first), Some(last)) =
                (self.at > end, self.tokens.get(start), self.at.checked_sub(1).and_then(|at| self.tokens.get(at)))
            {
                return Ok(Value::Sum(self.raw(*first, *last)));
            }
        }
        self.at = end;
        Ok(value)
    }

    fn one_value(&mut self) -> Result<Value<'t>, Wanted> {
        let Some(token) = self.peek() else { return Err((VALUE, self.here())) };
        match token.kind {
            Kind::Integer | Kind::Float => {
                self.at += 1;
                Ok(Value::Number { raw: self.raw(token, token), integer: token.kind == Kind::Integer })
            }
            Kind::Single => {
                self.at += 1;
                Ok(Value::Text(self.raw(token, token)))
            }
            Kind::Backtick | Kind::Double | Kind::Word if self.dialect == Dialect::Own => {
                self.at += 1;
                Ok(Value::Text(self.raw(token, token)))
            }
            Kind::Open if self.dialect == Dialect::Mlflow => self.list(),
            // Not a name, but what SQL has for no value.
            Kind::Word if self.dialect == Dialect::Mlflow && self.raw(token, token).eq_ignore_ascii_case("null") => {
                self.at += 1;
                Ok(Value::Sum(self.raw(token, token)))
            }
            Kind::Word if self.dialect == Dialect::Mlflow && is_keyword(self.raw(token, token)) => {
                Err((VALUE, token.start))
            }
            _ => self.name().map(Value::Text).ok_or((VALUE, token.start)),
        }
    }

    /// A list; in MLflow's dialect as Python reads a tuple of texts.
    fn list(&mut self) -> Result<Value<'t>, Wanted> {
        let at = self.here();
        let open = self.next_if(Kind::Open).ok_or(("`(`", at))?;
        let mut items = Vec::new();
        let mut error = None;
        // Whether an item, or a comma, may come next.
        let (mut item_may_come, mut comma_may_come) = (true, false);
        loop {
            let wanted = (if item_may_come { "a text" } else { "`,` or `)`" }, self.here());
            let token = self.peek().ok_or(wanted)?;
            self.at += 1;
            match token.kind {
                Kind::Close if self.dialect == Dialect::Mlflow || comma_may_come => {
                    let items = match error {
                        Some(error) => Err(error),
                        None if items.is_empty() => Err(ListError::Empty),
                        None => Ok(items),
                    };
                    return Ok(Value::List { raw: self.raw(open, token), items });
                }
                Kind::Single | Kind::Double if item_may_come => {
                    items.push(&self.text[token.start + 1..token.end - 1]);
                    (item_may_come, comma_may_come) = (false, true);
                }
                Kind::Word | Kind::Integer | Kind::Float | Kind::Backtick
                    if item_may_come && self.dialect == Dialect::Own =>
                {
                    items.push(unquoted(self.raw(token, token)));
                    (item_may_come, comma_may_come) = (false, true);
                }
                Kind::Word | Kind::Integer | Kind::Float if item_may_come => {
                    error = error.or(Some(ListError::NotText));
                    (item_may_come, comma_may_come) = (false, true);
                }
                Kind::Comma if comma_may_come => (item_may_come, comma_may_come) = (true, false),
                _ if self.dialect == Dialect::Own => return Err(wanted),
                _ => error = Some(ListError::IllFormed),
            }
        }
    }
}

/// What should stand where.
type Wanted = (&'static str, usize);

/// Without quotes around it, of any kind.
pub(crate) fn unquoted(text: &str) -> &str {
    ['\'', '"', '`'].into_iter().find_map(|quote| inside(text, quote)).unwrap_or(text)
}

/// What stands in these quotes.
pub(crate) fn inside(text: &str, quote: char) -> Option<&str> {
    text.strip_prefix(quote)?.strip_suffix(quote)
}
