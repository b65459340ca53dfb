//! Scans JSON of clients without building a tree: one pass checks it, counts its values and finds their places.
//!
//! [`Found`] is a place in the text. An object is opened into its members ([`members`]), a list into its values
//! ([`elements`]), and only fields that an endpoint knows become values. So reading takes the memory of the text, plus
//! about 60 bytes for each member of the open object.
//!
//! The first excess over [`DEPTH_MAX`] or [`MEMBERS_MAX`] ends the pass. Bare `NaN`, `Infinity` and `-Infinity`, which
//! Python's `json` writes, are texts.

use std::borrow::Cow;

/// Deepest nesting of lists and objects.
pub(crate) const DEPTH_MAX: usize = 64;
/// Most values in a body, including unknown fields and all levels, unless the endpoint says otherwise.
pub(crate) const MEMBERS_MAX: usize = 100_000;

/// Why a text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// It is not JSON.
    Syntax,
    /// It nests too deeply.
    Deep,
    /// It holds too many values.
    Large,
}

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    /// Whether it has escapes.
    Text {
        escaped: bool,
    },
    /// `NaN` and its like.
    Bare,
    /// Whether it holds nothing but objects.
    List {
        objects_only: bool,
    },
    Object,
}

/// A checked value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    /// Its text, unchanged.
    pub(crate) text: &'a str,
    pub(crate) kind: Kind,
}

/// Checks a text and returns its value.
pub(crate) fn find(text: &str) -> Result<Found<'_>, Bad> {
    find_within(text, MEMBERS_MAX)
}

/// Checks a text that may hold this many values and returns its value.
pub(crate) fn find_within(text: &str, members_max: usize) -> Result<Found<'_>, Bad> {
    let mut reader = Reader { text, at: 0, members: 0, members_max };
    reader.space();
    let found = reader.value(0)?;
    reader.space();
    if reader.at == text.len() { Ok(found) } else { Err(Bad::Syntax) }
}

/// Calls `each` with name and value of every member of an object.
pub(crate) fn members<'a>(object: Found<'a>, mut each: impl FnMut(Found<'a>, Found<'a>)) -> Result<(), Bad> {
    let mut reader = Reader { text: object.text, at: 1, members: 0, members_max: usize::MAX };
    reader.sequence(b'}', |reader| {
        let name = reader.name()?;
        let value = reader.value(1)?;
        each(name, value);
        Ok(())
    })
}

/// Calls `each` with every value of a list.
pub(crate) fn elements<'a>(list: Found<'a>, mut each: impl FnMut(Found<'a>)) -> Result<(), Bad> {
    let mut reader = Reader { text: list.text, at: 1, members: 0, members_max: usize::MAX };
    reader.sequence(b']', |reader| {
        each(reader.value(1)?);
        Ok(())
    })
}

/// Lengths of the lists with these names in an object with any number of values, for the message of a refusal.
pub(crate) fn list_lengths<const N: usize>(text: &[u8], names: [&str; N]) -> Option<[usize; N]> {
    let object = find_within(std::str::from_utf8(text).ok()?, usize::MAX).ok()?;
    let mut lengths = [0; N];
    if object.kind == Kind::Object {
        let count = |name: Found<'_>, value: Found<'_>| {
            let known = names.iter().zip(&mut lengths).find(|(known, _)| **known == name.unquoted());
            if let (Some((_, length)), Kind::List { .. }) = (known, value.kind) {
                *length = 0;
                // Both were checked before.
                let _counted = elements(value, |_| *length += 1);
            }
        };
        members(object, count).ok()?;
    }
    Some(lengths)
}

impl<'a> Found<'a> {
    /// The content of a text. For other values: their JSON.
    pub(crate) fn unquoted(self) -> Cow<'a, str> {
        match self.kind {
            Kind::Text { escaped } => {
                let inner = self.text.get(1..self.text.len() - 1).unwrap_or_default();
                if escaped { Cow::Owned(unescaped(inner)) } else { Cow::Borrowed(inner) }
            }
            _ => Cow::Borrowed(self.text),
        }
    }
}

/// A text without its escapes, which were checked before.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        out.push_str(plain);
        let sign = escape.as_bytes().get(1).copied().unwrap_or(b'\\');
        let mut length = 2;
        match sign {
            b'n' => out.push('\n'),
            b't' => out.push('\t'),
            b'r' => out.push('\r'),
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'u' => {
                length = 6;
                let high = hex(escape.as_bytes(), 2).unwrap_or(0xfffd);
                let mut code = u32::from(high);
                if (0xd800..0xdc00).contains(&high) {
                    length = 12;
                    let low = hex(escape.as_bytes(), 8).unwrap_or(0xdc00);
                    code = 0x10000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(low) - 0xdc00);
                }
                out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => out.push(char::from(other)),
        }
        rest = escape.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

fn hex(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |number: u16, byte| Some(number << 4 | char::from(*byte).to_digit(16)? as u16))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    members: usize,
    members_max: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn found(&self, start: usize, kind: Kind) -> Result<Found<'a>, Bad> {
        Ok(Found { text: self.text.get(start..self.at).ok_or(Bad::Syntax)?, kind })
    }

    fn word(&mut self, word: &str, kind: Kind) -> Result<Found<'a>, Bad> {
        let start = self.at;
        if !self.text.as_bytes()[start..].starts_with(word.as_bytes()) {
            return Err(Bad::Syntax);
        }
        self.at += word.len();
        self.found(start, kind)
    }

    /// The value that begins here, `depth` levels below the top.
    fn value(&mut self, depth: usize) -> Result<Found<'a>, Bad> {
        let start = self.at;
        match self.peek().ok_or(Bad::Syntax)? {
            b'"' => self.string(),
            b'{' | b'[' if depth >= DEPTH_MAX => Err(Bad::Deep),
            b'{' => {
                self.at += 1;
                self.sequence(b'}', |reader| {
                    reader.name()?;
                    reader.value(depth + 1).map(drop)
                })?;
                self.found(start, Kind::Object)
            }
            b'[' => {
                self.at += 1;
                let mut objects_only = true;
                self.sequence(b']', |reader| {
                    let found = reader.value(depth + 1)?;
                    objects_only &= found.kind == Kind::Object;
                    Ok(())
                })?;
                self.found(start, Kind::List { objects_only })
            }
            b'n' => self.word("null", Kind::Null),
            b't' => self.word("true", Kind::Bool),
            b'f' => self.word("false", Kind::Bool),
            b'N' => self.word("NaN", Kind::Bare),
            b'I' => self.word("Infinity", Kind::Bare),
            b'-' if self.text.as_bytes().get(start + 1) == Some(&b'I') => self.word("-Infinity", Kind::Bare),
            _ => self.number(),
        }
    }

    /// A member's name and the colon after it.
    fn name(&mut self) -> Result<Found<'a>, Bad> {
        if self.peek() != Some(b'"') {
            return Err(Bad::Syntax);
        }
        let name = self.string()?;
        self.space();
        if self.peek() != Some(b':') {
            return Err(Bad::Syntax);
        }
        self.at += 1;
        self.space();
        Ok(name)
    }

    /// Reads the values between the bracket before this place and `end`, with commas between them.
    fn sequence(&mut self, end: u8, mut one: impl FnMut(&mut Self) -> Result<(), Bad>) -> Result<(), Bad> {
        self.space();
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.members += 1;
            if self.members > self.members_max {
                return Err(Bad::Large);
            }
            one(self)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(sign) if sign == end => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Bad::Syntax),
            }
            self.space();
        }
    }

    fn string(&mut self) -> Result<Found<'a>, Bad> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        self.at += 1;
        loop {
            match bytes.get(self.at).ok_or(Bad::Syntax)? {
                b'"' => {
                    self.at += 1;
                    return self.found(start, Kind::Text { escaped });
                }
                b'\\' => {
                    escaped = true;
                    self.at += 1;
                    match bytes.get(self.at).ok_or(Bad::Syntax)? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
                        b'u' => {
                            let high = hex(bytes, self.at + 1).ok_or(Bad::Syntax)?;
                            self.at += 5;
                            // Half of a surrogate pair is not a character.
                            if (0xdc00..0xe000).contains(&high) {
                                return Err(Bad::Syntax);
                            }
                            if (0xd800..0xdc00).contains(&high) {
                                let follows = bytes.get(self.at..self.at + 2) == Some(b"\\u");
                                let low = hex(bytes, self.at + 2).filter(|low| (0xdc00..0xe000).contains(low));
                                if !follows || low.is_none() {
                                    return Err(Bad::Syntax);
                                }
                                self.at += 6;
                            }
                        }
                        _ => return Err(Bad::Syntax),
                    }
                }
                0..0x20 => return Err(Bad::Syntax),
                _ => self.at += 1,
            }
        }
    }

    fn digits(&mut self) -> Result<(), Bad> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Bad::Syntax) }
    }

    fn number(&mut self) -> Result<Found<'a>, Bad> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        // Whether it fits a double or an integer is up to its reader, who can name the field.
        self.found(start, Kind::Number)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Our reader's result, as a tree.
    fn tree(found: Found<'_>) -> Value {
        match found.kind {
            Kind::Text { .. } | Kind::Bare => Value::String(found.unquoted().into_owned()),
            Kind::List { .. } => {
                let mut list = Vec::new();
                elements(found, |found| list.push(tree(found))).unwrap();
                Value::Array(list)
            }
            Kind::Object => {
                let mut map = serde_json::Map::new();
                members(found, |name, value| drop(map.insert(name.unquoted().into_owned(), tree(value)))).unwrap();
                Value::Object(map)
            }
            _ => serde_json::from_str(found.text).unwrap(),
        }
    }

    #[test]
    fn what_serde_json_reads_is_read_and_nothing_else() {
        let texts = [
            r#"{"a": [1, -2.5e-3, true, false, null, "x"], "b": {"c": {}}, "a": []}"#,
            r#" [ ] "#,
            r#""\u00e9\ud83d\ude00\n\"\\\/\b\f\r\t""#,
            r#""\ud83d""#,
            r#""\udc00x""#,
            r#""\ud83d\u0041""#,
            "\"\u{1}\"",
            "01",
            "-0",
            "1.",
            ".5",
            "1e",
            "123456789012345678901234567890",
            "[1,]",
            "{,}",
            r#"{"a" 1}"#,
            r#"{"a": 1,}"#,
            "nul",
            "truefalse",
            "[",
            "\"",
            "\"\\",
            "\"\\u12",
            "",
            "{\"é\": \"ü\\u0041\"}",
            "[1 2]",
            "{\"a\":1}x",
            "+1",
            "--1",
            "-",
        ];
        let check = |text: &str| {
            let theirs = serde_json::from_str::<Value>(text).ok();
            assert_eq!(find(text).ok().map(tree), theirs, "{text}");
        };
        texts.into_iter().for_each(check);
        // Each of them with a byte left out, and with one doubled.
        for text in texts {
            for (at, c) in text.char_indices() {
                check(&format!("{}{}", &text[..at], &text[at + c.len_utf8()..]));
                check(&format!("{}{c}{}", &text[..at], &text[at..]));
            }
        }
    }

    #[test]
    fn a_number_that_no_double_holds_is_left_to_its_reader() {
        for text in ["1e400", "-1e400", "1e-400", &"9".repeat(400)] {
            let found = find(text).unwrap();
            assert_eq!((found.kind, found.text), (Kind::Number, text));
        }
    }

    #[test]
    fn the_first_excess_ends_it() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(find(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(find(&nested(DEPTH_MAX + 1)).unwrap_err(), Bad::Deep);
        assert_eq!(find(&"[".repeat(1_000_000)).unwrap_err(), Bad::Deep);
        let list = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
        assert!(find(&list(MEMBERS_MAX)).is_ok());
        assert_eq!(find(&list(MEMBERS_MAX + 1)).unwrap_err(), Bad::Large);
        // All levels count together.
        assert_eq!(find(&format!("[{}1]", "{\"a\":1},".repeat(MEMBERS_MAX / 2))).unwrap_err(), Bad::Large);
        assert_eq!(find(&"{\"a\":1},".repeat(MEMBERS_MAX)).unwrap_err(), Bad::Syntax);
    }

    #[test]
    fn lists_are_counted_beyond_the_limit() {
        let text =
            format!("{{\"a\": [{}1], \"b\": 5, \"a\": [1, 2], \"c\": [{}1]}}", "1,".repeat(10), "{},".repeat(200_000));
        assert_eq!(find(&text).unwrap_err(), Bad::Large);
        assert_eq!(list_lengths(text.as_bytes(), ["c", "a", "b", "d"]), Some([200_001, 2, 0, 0]));
        assert_eq!(list_lengths(b"{", ["c"]), None);
    }

    #[test]
    fn bare_numbers_are_texts() {
        for word in ["NaN", "Infinity", "-Infinity"] {
            let found = find(word).unwrap();
            assert_eq!((found.kind, &*found.unquoted()), (Kind::Bare, word));
        }
        assert!(find("[NaN, {\"a\": -Infinity}]").is_ok());
        assert!(find("NaNs").is_err() && find("-Inf").is_err());
    }
}
