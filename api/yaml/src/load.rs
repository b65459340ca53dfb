//! From the parser's events to values.
//!
//! Aliases are copied, so the number of nodes is bounded: a small file can name billions.

use std::collections::{BTreeSet, HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use crate::error::YamlError;
use crate::scalar::{Kind, kind_of, tagged, value_of};
use crate::strict::Strict;
use crate::value::{Node, Value};

/// Nodes of a file, copies of aliases included.
const NODES_MAX: usize = 100_000;
/// Lists and maps inside one another.
const DEPTH_MAX: usize = 100;
/// How the parser's errors about indentation begin.
const INDENTATION: &str = "invalid indentation";
/// Lines whose indentation is passed over.
const LOOSENED_MAX: usize = 100;
/// Further than any block of a file is indented.
const LOOSENED_SPACES: usize = 200;

/// Loads the one document of a text, as `yaml.safe_load` does. An empty text is `Value::Null`.
///
/// ```
/// use runlode_yaml::load;
///
/// let file = load("lr: 0.00006\nbatch: 010\n").unwrap();
/// assert_eq!(file.get("lr").unwrap().value.to_string(), "6e-05");
/// assert_eq!(file.get("batch").unwrap().value.to_string(), "8");
/// assert_eq!(load("a: 1\nb: 2024-02-30").unwrap_err().line, 2);
/// ```
///
/// # Errors
/// Wrong syntax, unknown tags, dates that do not exist, a second document; too many or too deep nodes.
pub fn load(text: &str) -> Result<Node, YamlError> {
    let first = match load_once(text) {
        (Ok(node), _) => return Ok(node),
        (Err(error), _) => error,
    };
    // PyYAML does not look at how far the lines of a quoted text, and of what stands in brackets, are indented.
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (mut loosened, mut error) = (BTreeSet::new(), first.clone());
    while error.reason.starts_with(INDENTATION) && loosened.len() < LOOSENED_MAX {
        // The parser reports a quoted text at its first line; the bad indentation is on the next one.
        let mut at = error.line + usize::from(error.reason.contains("quoted"));
        while loosened.contains(&at) {
            at += 1;
        }
        let Some(line) = at.checked_sub(1).and_then(|at| lines.get_mut(at)) else { break };
        line.insert_str(0, &" ".repeat(LOOSENED_SPACES));
        loosened.insert(at);
        match load_once(&(lines.join("\n") + "\n")) {
            (Ok(node), strict) if loosened.iter().all(|line| strict.is_free(*line)) => return Ok(node),
            (Ok(_), _) => break,
            (Err(next), _) => error = next,
        }
    }
    Err(first)
}

/// Loads a text as it stands.
fn load_once(text: &str) -> (Result<Node, YamlError>, Strict) {
    let strict = match Strict::new(text) {
        Ok(strict) => strict,
        Err(error) => return (Err(error), Strict::default()),
    };
    let mut loader = Loader { parser: Parser::new_from_str(text), strict, anchors: HashMap::new(), nodes: 0 };
    let loaded = document(&mut loader);
    (loaded, loader.strict)
}

fn document(loader: &mut Loader<'_>) -> Result<Node, YamlError> {
    let mut document = None;
    loop {
        let (event, span) = loader.next()?;
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(_) if document.is_some() => {
                return Err(refused(span, "a second document; a project file has one"));
            }
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event => document = Some(loader.node(event, span, 0)?),
        }
    }
    loader.strict.end()?;
    Ok(document.unwrap_or(Node { value: Value::Null, line: 1 }))
}

fn refused(span: Span, reason: impl Into<String>) -> YamlError {
    YamlError { line: span.start.line(), reason: reason.into() }
}

struct Loader<'text> {
    parser: Parser<'text, StrInput<'text>>,
    strict: Strict,
    /// By the parser's number of the anchor: the node, and how many nodes it holds.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

/// A key that names other maps to take entries from.
enum Key {
    Merge,
    Plain(Node),
}

impl<'text> Loader<'text> {
    fn next(&mut self) -> Result<(Event<'text>, Span), YamlError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.strict.event(&event, span)?;
                Ok((event, span))
            }
            Some(Err(error)) => Err(YamlError { line: error.marker().line(), reason: error.info().to_owned() }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), YamlError> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return Err(refused(span, format!("more than {NODES_MAX} values, those of aliases included")));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'text>, span: Span, depth: usize) -> Result<Node, YamlError> {
        if depth > DEPTH_MAX {
            return Err(refused(span, format!("more than {DEPTH_MAX} lists and maps inside one another")));
        }
        let before = self.nodes;
        self.count(1, span)?;
        let line = span.start.line();
        let (node, anchor) = match event {
            Event::Alias(anchor) => {
                let Some((node, nodes)) = self.anchors.get(&anchor).cloned() else {
                    return Err(refused(span, "an alias of a value that it is part of"));
                };
                self.count(nodes, span)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref()).map_err(|reason| refused(span, reason))?;
                (Node { value, line }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), "seq").map_err(|reason| refused(span, reason))?;
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
                (Node { value: Value::List(items), line }, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), "map").map_err(|reason| refused(span, reason))?;
                (Node { value: Value::Map(self.entries(depth)?), line }, anchor)
            }
            _ => return Err(refused(span, "a value is missing here")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    /// The entries of a map. A repeated key keeps its first place and takes the last value; merged entries come first.
    fn entries(&mut self, depth: usize) -> Result<Vec<(Node, Node)>, YamlError> {
        let mut merged: Vec<(Node, Node)> = Vec::new();
        let mut own = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => break,
                // For a missing key the parser returns an empty text at the place of the colon.
                Event::Scalar(text, ScalarStyle::Plain, 0, None) if text.is_empty() && self.strict.lacks_key(span) => {
                    return Err(refused(span, "a key is missing before the colon"));
                }
                Event::Scalar(text, ScalarStyle::Plain, _, None) if kind_of(&text) == Kind::Merge => Key::Merge,
                Event::Scalar(text, ScalarStyle::Plain, _, None) if kind_of(&text) == Kind::Default => {
                    Key::Plain(Node { value: Value::Text(text.into_owned()), line: span.start.line() })
                }
                event => Key::Plain(self.node(event, span, depth + 1)?),
            };
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span, depth + 1)?;
            match key {
                Key::Merge => merge(value, &mut merged).map_err(|reason| refused(value_span, reason))?,
                Key::Plain(key) if !key.value.is_hashable() => {
                    return Err(refused(span, format!("{} cannot be a key", key.value.kind())));
                }
                Key::Plain(key) => own.push((key, value)),
            }
        }
        let mut entries: Vec<(Node, Node)> = Vec::new();
        // A file may have tens of thousands of keys, so none is compared with all others.
        let mut places: HashMap<String, usize> = HashMap::new();
        for (key, value) in merged.into_iter().chain(own) {
            let known = key.value.hash_text().map(|text| *places.entry(text).or_insert(entries.len()));
            match known.and_then(|place| entries.get_mut(place)) {
                Some((_, known)) => *known = value,
                None => entries.push((key, value)),
            }
        }
        Ok(entries)
    }
}

fn merge(value: Node, merged: &mut Vec<(Node, Node)>) -> Result<(), String> {
    let mut add = |entries: Vec<(Node, Node)>| {
        for (key, value) in entries {
            // Of several maps the first that has a key counts.
            if !merged.iter().any(|(known, _)| known.value.is_same_key(&key.value)) {
                merged.push((key, value));
            }
        }
    };
    match value.value {
        Value::Map(entries) => add(entries),
        Value::List(items) => {
            for item in items {
                let Value::Map(entries) = item.value else {
                    return Err(format!("'<<' takes maps, not {}", item.value.kind()));
                };
                add(entries);
            }
        }
        other => return Err(format!("'<<' takes a map or a list of maps, not {}", other.kind())),
    }
    Ok(())
}

/// The name of a tag of YAML's own, in the short form or in full.
fn own(tag: &Tag) -> Option<&str> {
    match tag.is_yaml_core_schema() {
        true => Some(&tag.suffix),
        false => tag.suffix.strip_prefix("tag:yaml.org,2002:").filter(|_| tag.handle.is_empty()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    if let Some(name) = tag.and_then(own) {
        return tagged(name, text);
    }
    match tag {
        // A lone `!` makes a text of any scalar that is written.
        Some(tag) if tag.handle.is_empty() && tag.suffix == "!" && text.is_empty() => Ok(Value::Null),
        Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Ok(Value::Text(text.to_owned())),
        Some(tag) => Err(format!("the tag {}{} is not known; take it away", tag.handle, tag.suffix)),
        None if style == ScalarStyle::Plain => value_of(text),
        None => Ok(Value::Text(text.to_owned())),
    }
}

fn check_tag(tag: Option<&Tag>, expected: &str) -> Result<(), String> {
    match tag {
        None => Ok(()),
        Some(tag) if own(tag) == Some(expected) => Ok(()),
        Some(tag) => Err(format!("the tag {}{} is not known; take it away", tag.handle, tag.suffix)),
    }
}
