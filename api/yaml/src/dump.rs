//! Values as YAML text, as `yaml.safe_dump(value, default_flow_style=False, sort_keys=False)` writes them: block style,
//! lines folded after column 80, letters beyond ASCII as escapes.
//!
//! ```text
//! style of a text   plain, if it resolves to a text and no letter means something to YAML
//!                   'single', if no letter needs an escape and no line begins or ends with a space
//!                   "double" else
//! ```

use crate::scalar::{Kind, kind_of};
use crate::value::{Integer, Node, Value};

/// Lines are folded at the first space beyond it.
const WIDTH: usize = 80;
/// Longer keys are written as `? key`.
const KEY_CHARS_MAX: usize = 128;

/// Writes a value as Python's `yaml.safe_dump` does, in block style and with keys in their order.
///
/// ```
/// use runlode_yaml::{dump, load};
///
/// let text = "lr: 1.0e-05\nname: 'yes'\nsteps:\n- 1\n- - a: null\n    b: []\n";
/// assert_eq!(dump(&load(text).unwrap().value), text);
/// ```
#[must_use]
pub fn dump(value: &Value) -> String {
    let mut writer = Writer { out: String::new(), column: 0 };
    match value {
        Value::List(items) if !items.is_empty() => writer.list(items, 0),
        Value::Map(entries) if !entries.is_empty() => writer.map(entries, 0),
        scalar => {
            writer.scalar(scalar, 2, false);
            if matches!(scalar, Value::Text(text) if style_of(text, false) == Style::Plain) || !scalar.is_quoted() {
                writer.out.push_str("\n...");
            }
            writer.out.push('\n');
        }
    }
    writer.out
}

impl Value {
    fn is_quoted(&self) -> bool {
        matches!(self, Self::Text(text) if style_of(text, false) != Style::Plain)
            || matches!(self, Self::List(_) | Self::Map(_) | Self::Bytes(_))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
}

fn is_break(letter: char) -> bool {
    matches!(letter, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// The style of a text; a key on one line with its value takes no line breaks.
fn style_of(text: &str, is_key: bool) -> Style {
    let is_white = |letter: Option<&char>| {
        letter.is_none_or(|letter| matches!(letter, '\0' | ' ' | '\t' | '\r') || is_break(*letter))
    };
    let letters: Vec<char> = text.chars().collect();
    let (Some(first), Some(last)) = (letters.first(), letters.last()) else { return Style::Single };
    let mut means_something = text.starts_with("---") || text.starts_with("...");
    let (mut has_breaks, mut is_special, mut break_space, mut space_break) = (false, false, false, false);
    for (at, letter) in letters.iter().enumerate() {
        let next_is_white = is_white(letters.get(at + 1));
        means_something |= match (at, letter) {
            (0, '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`') => true,
            (0, '?' | ':' | '-') | (_, ':') => next_is_white,
            (_, '#') => is_white(letters.get(at - 1)),
            _ => false,
        };
        has_breaks |= is_break(*letter);
        is_special |= !(*letter == '\n' || (' '..='~').contains(letter));
        if let Some(before) = at.checked_sub(1).and_then(|before| letters.get(before)) {
            break_space |= *letter == ' ' && is_break(*before);
            space_break |= is_break(*letter) && *before == ' ';
        }
    }
    let is_outer = |letter: &char| *letter == ' ' || is_break(*letter);
    let is_plain = !(is_outer(first)
        || is_outer(last)
        || break_space
        || space_break
        || is_special
        || has_breaks
        || means_something);
    if is_plain && kind_of(text) == Kind::Text {
        return Style::Plain;
    }
    let is_single = !(break_space || space_break || is_special || is_key && has_breaks);
    if is_single { Style::Single } else { Style::Double }
}

struct Writer {
    out: String,
    /// Characters since the last line break.
    column: usize,
}

impl Writer {
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn line(&mut self, indent: usize) {
        self.out.push('\n');
        self.out.push_str(&" ".repeat(indent));
        self.column = indent;
    }

    /// Entries of a map; the first one begins where the line stands.
    fn map(&mut self, entries: &[(Node, Node)], indent: usize) {
        for (at, (key, value)) in entries.iter().enumerate() {
            if at > 0 {
                self.out.push_str(&" ".repeat(indent));
                self.column = indent;
            }
            if is_simple_key(&key.value) {
                self.scalar(&key.value, indent + 2, true);
                self.push(":");
            } else {
                self.push("? ");
                self.scalar(&key.value, indent + 2, false);
                self.line(indent);
                self.push(":");
            }
            self.value(&value.value, indent, true);
        }
    }

    fn list(&mut self, items: &[Node], indent: usize) {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.out.push_str(&" ".repeat(indent));
                self.column = indent;
            }
            self.push("-");
            self.value(&item.value, indent, false);
        }
    }

    /// What follows `key:` or `-`, with the line's end.
    fn value(&mut self, value: &Value, indent: usize, is_in_map: bool) {
        match value {
            Value::List(items) if !items.is_empty() && is_in_map => {
                self.line(indent);
                self.list(items, indent);
            }
            Value::Map(entries) if !entries.is_empty() && is_in_map => {
                self.line(indent + 2);
                self.map(entries, indent + 2);
            }
            Value::List(items) if !items.is_empty() => {
                self.push(" ");
                self.list(items, indent + 2);
            }
            Value::Map(entries) if !entries.is_empty() => {
                self.push(" ");
                self.map(entries, indent + 2);
            }
            scalar => {
                self.push(" ");
                self.scalar(scalar, indent + 2, false);
                self.out.push('\n');
                self.column = 0;
            }
        }
    }

    fn scalar(&mut self, value: &Value, indent: usize, is_key: bool) {
        match value {
            Value::Null => self.push("null"),
            Value::Bool(true) => self.push("true"),
            Value::Bool(false) => self.push("false"),
            Value::Int(Integer(digits)) => self.push(digits),
            Value::Float(number) => self.push(&float(*number)),
            Value::Date(_) | Value::DateTime(_) => self.push(&value.to_string()),
            Value::List(_) => self.push("[]"),
            Value::Map(_) => self.push("{}"),
            Value::Bytes(bytes) => self.binary(bytes, indent),
            Value::Text(text) => match style_of(text, is_key) {
                Style::Plain => self.folded(text, indent, is_key, false),
                Style::Single => self.single(text, indent, is_key),
                Style::Double => self.double(text, indent, is_key),
            },
        }
    }

    /// Words; a single space beyond the width becomes a line break.
    fn folded(&mut self, text: &str, indent: usize, is_key: bool, is_quoted: bool) {
        let letters: Vec<char> = text.chars().collect();
        for (at, letter) in letters.iter().enumerate() {
            let is_lone = *letter == ' '
                && letters.get(at + 1) != Some(&' ')
                && at.checked_sub(1).and_then(|before| letters.get(before)) != Some(&' ');
            let is_outer = is_quoted && (at == 0 || at + 1 == letters.len());
            if is_lone && self.column > WIDTH && !is_key && !is_outer {
                self.line(indent);
                continue;
            }
            if is_quoted && *letter == '\'' {
                self.push("''");
            } else {
                self.out.push(*letter);
                self.column += 1;
            }
        }
    }

    fn single(&mut self, text: &str, indent: usize, is_key: bool) {
        self.push("'");
        let mut rest = text;
        // A line break in quotes is written as an empty line.
        while let Some(begin) = rest.find('\n') {
            let (words, after) = rest.split_at(begin);
            self.folded(words, indent, is_key, true);
            let breaks = after.len() - after.trim_start_matches('\n').len();
            self.out.push('\n');
            self.out.push_str(&"\n".repeat(breaks));
            self.out.push_str(&" ".repeat(indent));
            self.column = indent;
            rest = &after[breaks..];
        }
        self.folded(rest, indent, is_key, true);
        self.push("'");
    }

    fn double(&mut self, text: &str, indent: usize, is_key: bool) {
        self.push("\"");
        let letters: Vec<char> = text.chars().collect();
        // Letters from `start` on are not written yet.
        let (mut start, mut end) = (0, 0);
        loop {
            let letter = letters.get(end).copied();
            let is_plain = letter.is_some_and(|letter| (' '..='~').contains(&letter) && !matches!(letter, '"' | '\\'));
            if !is_plain {
                let run: String = letters[start..end].iter().collect();
                self.push(&run);
                start = end;
                if let Some(letter) = letter {
                    self.push(&escape(letter));
                    start = end + 1;
                }
            }
            let may_break = letter == Some(' ') || start >= end;
            let pending = end.saturating_sub(start);
            if end > 0 && end + 1 < letters.len() && may_break && self.column + pending > WIDTH && !is_key {
                let run: String = letters[start.min(end)..end].iter().collect();
                self.push(&run);
                self.push("\\");
                start = start.max(end);
                self.line(indent);
                if letters.get(start) == Some(&' ') {
                    self.push("\\");
                }
            }
            if letter.is_none() {
                break;
            }
            end += 1;
        }
        self.push("\"");
    }

    fn binary(&mut self, bytes: &[u8], indent: usize) {
        use base64::Engine as _;
        self.push("!!binary |");
        for line in bytes.chunks(57) {
            self.line(indent);
            self.push(&base64::engine::general_purpose::STANDARD.encode(line));
        }
    }
}

fn is_simple_key(value: &Value) -> bool {
    match value {
        Value::Text(text) => !text.is_empty() && text.chars().count() < KEY_CHARS_MAX && !text.contains(is_break),
        Value::Bytes(_) => false,
        _ => true,
    }
}

/// A float as PyYAML writes it, so that YAML 1.1 reads a float again: an exponent stands after a point.
fn float(number: f64) -> String {
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let text = Value::Float(number).to_string();
    if text.contains('.') { text } else { text.replacen('e', ".0e", 1) }
}

fn escape(letter: char) -> String {
    let short = match letter {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ => {
            return match u32::from(letter) {
                code @ ..=0xff => format!("\\x{code:02X}"),
                code @ ..=0xffff => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            };
        }
    };
    format!("\\{short}")
}
