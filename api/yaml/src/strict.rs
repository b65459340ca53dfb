//! What PyYAML refuses and `saphyr-parser` takes: YAML 1.1 of one implementation is narrower than YAML 1.2.
//!
//! | text | PyYAML |
//! |---|---|
//! | controls, half surrogates | not allowed anywhere |
//! | a tab | only inside of quoted texts, of block texts, and of comments |
//! | `?` in a bare text inside of brackets | the key's sign |
//! | a bare text that begins with `\|`, `>`, or inside of brackets with `:` | no text |
//! | an anchor of a name that was there before | refused |
//! | `%YAML` with another version than 1.x | refused |

use std::collections::HashSet;
use std::ops::Range;

use saphyr_parser::{Event, ScalarStyle, Span};

use crate::error::YamlError;

/// Looks at each event of a text beside its letters.
#[derive(Debug, Default)]
pub(crate) struct Strict {
    letters: Vec<char>,
    /// Quoted and block texts, in order.
    texts: Vec<Range<usize>>,
    /// The line of each open list and map, and whether it stands in brackets.
    open: Vec<(usize, bool)>,
    /// Lines of which the beginning means nothing: those behind the first of a quoted text, or of what stands in brackets.
    free: Vec<Range<usize>>,
    anchors: HashSet<String>,
}

impl Strict {
    /// # Errors
    /// A letter that is not allowed, or another version of YAML.
    pub(crate) fn new(text: &str) -> Result<Self, YamlError> {
        for (at, line) in text.lines().enumerate() {
            if let Some(letter) = line.chars().find(|letter| !is_allowed(*letter)) {
                let reason = format!(
                    "the letter U+{:04X} is not allowed; in a text between double quotes write it as \\x{:02x}",
                    u32::from(letter),
                    u32::from(letter)
                );
                return Err(YamlError { line: at + 1, reason });
            }
        }
        let directives = text
            .lines()
            .enumerate()
            .take_while(|(_, line)| line.starts_with('%') || line.starts_with('#') || line.trim().is_empty());
        for (at, line) in directives {
            if let Some(version) = line.strip_prefix("%YAML ")
                && !version.trim_start().starts_with("1.")
            {
                return Err(YamlError { line: at + 1, reason: "another version of YAML than 1.x".to_owned() });
            }
        }
        Ok(Self {
            letters: text.chars().collect(),
            texts: Vec::new(),
            open: Vec::new(),
            free: Vec::new(),
            anchors: HashSet::new(),
        })
    }

    /// Looks at the next event.
    pub(crate) fn event(&mut self, event: &Event<'_>, span: Span) -> Result<(), YamlError> {
        let refused = |reason: &str| Err(YamlError { line: span.start.line(), reason: reason.to_owned() });
        let (start, end) = (span.start.index(), span.end.index().min(self.letters.len()));
        match event {
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                if *anchor > 0 && !self.is_new_anchor(start) {
                    return refused("an anchor of this name was there before");
                }
                let last = end.checked_sub(1).and_then(|at| self.letters.get(at));
                self.open.push((span.start.line(), matches!(last, Some('[' | '{'))));
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((line, true)) = self.open.pop() {
                    self.free.push(line + 1..span.start.line() + 1);
                }
            }
            Event::Scalar(text, style, anchor, _) => {
                if *anchor > 0 && !self.is_new_anchor(start) {
                    return refused("an anchor of this name was there before");
                }
                match style {
                    ScalarStyle::Plain => return self.plain(text, start, end).or_else(refused),
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                        self.free.push(span.start.line() + 1..span.end.line() + 1);
                    }
                    ScalarStyle::Literal | ScalarStyle::Folded => {}
                }
                self.texts.push(self.behind_properties(start)..end);
            }
            _ => {}
        }
        Ok(())
    }

    fn plain(&self, text: &str, start: usize, end: usize) -> Result<(), &'static str> {
        let start = self.behind_properties(start);
        let raw = self.letters.get(start..end.max(start)).unwrap_or_default();
        let is_in_brackets = self.open.last().is_some_and(|(_, is_flow)| *is_flow);
        match raw.first() {
            Some('|' | '>') if !text.is_empty() => Err("a text cannot begin so; put it between quotes"),
            Some(':') if is_in_brackets && !text.is_empty() => {
                Err("a text in brackets cannot begin with a colon; put it between quotes")
            }
            _ if is_in_brackets && raw.contains(&'?') => {
                Err("a text in brackets has a question mark, which is the sign of a key; put it between quotes")
            }
            _ => Ok(()),
        }
    }

    /// Where a value begins behind its tag and its anchor.
    fn behind_properties(&self, start: usize) -> usize {
        let mut at = start;
        while let Some(letter) = self.letters.get(at) {
            match letter {
                '&' | '!' => at = self.word_end(at),
                _ if at > start && letter.is_whitespace() => at += 1,
                _ => break,
            }
        }
        at
    }

    fn word_end(&self, start: usize) -> usize {
        let rest = self.letters.get(start..).unwrap_or_default();
        rest.iter().position(|letter| letter.is_whitespace()).map_or(self.letters.len(), |length| start + length)
    }

    /// Notes the anchor that stands before a value; whether its name is new.
    fn is_new_anchor(&mut self, start: usize) -> bool {
        let mut at = start;
        while let Some(letter) = self.letters.get(at) {
            match letter {
                '&' => {
                    let name = self.letters[at..self.word_end(at)].iter();
                    return self.anchors.insert(name.take_while(|letter| !"[]{},".contains(**letter)).collect());
                }
                '!' => at = self.word_end(at),
                _ if letter.is_whitespace() => at += 1,
                _ => break,
            }
        }
        true
    }

    /// Looks at what stands between the texts, once all events were seen.
    pub(crate) fn end(&self) -> Result<(), YamlError> {
        if !self.letters.contains(&'\t') {
            return Ok(());
        }
        let mut texts = self.texts.iter().peekable();
        let (mut line, mut is_comment, mut before) = (1, false, '\n');
        for (at, letter) in self.letters.iter().enumerate() {
            while texts.peek().is_some_and(|text| text.end <= at) {
                texts.next();
            }
            let is_text = texts.peek().is_some_and(|text| text.contains(&at));
            match letter {
                '\n' => (line, is_comment) = (line + 1, false),
                '#' if !is_text && (before == '\n' || before == ' ') => is_comment = true,
                '\t' if !is_text && !is_comment => {
                    return Err(YamlError { line, reason: "a tab, where only spaces may stand".to_owned() });
                }
                _ => {}
            }
            before = *letter;
        }
        Ok(())
    }

    /// Whether a key that is empty, at a colon, has no `?` of its own before it.
    pub(crate) fn lacks_key(&self, span: Span) -> bool {
        let at = span.start.index();
        let before = self.letters.get(..at).unwrap_or_default().iter().rfind(|letter| !letter.is_whitespace());
        self.letters.get(at) == Some(&':') && before != Some(&'?')
    }

    /// Whether it does not matter how far a line is indented.
    pub(crate) fn is_free(&self, line: usize) -> bool {
        self.free.iter().any(|lines| lines.contains(&line))
    }
}

/// The letters that a stream of YAML 1.1 may have.
fn is_allowed(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}
