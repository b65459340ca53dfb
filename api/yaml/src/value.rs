//! A loaded YAML value, and where it stands.

/// A value and the line on which it begins.
#[derive(Debug, Clone)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Line in the file, from 1.
    pub line: usize,
}

/// What PyYAML's safe loader makes of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `None`.
    Null,
    /// `True` or `False`.
    Bool(bool),
    /// An `int`, of any size.
    Int(Integer),
    /// A `float`.
    Float(f64),
    /// A `str`.
    Text(String),
    /// `bytes`, of `!!binary`.
    Bytes(Vec<u8>),
    /// A `datetime.date`.
    Date(jiff::civil::Date),
    /// A `datetime.datetime`.
    DateTime(Moment),
    /// A `list`.
    List(Vec<Node>),
    /// A `dict`, in the order of the file.
    Map(Vec<(Node, Node)>),
}

/// A whole number in decimal digits, with `-` before it if it is negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integer(pub(crate) String);

/// A date with a time, and its distance from UTC if it names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    pub(crate) at: jiff::civil::DateTime,
    /// `Z` is `Zone::Utc`, which Python prints otherwise than an offset of zero.
    pub(crate) zone: Zone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    None,
    Utc,
    /// Minutes east of UTC.
    Offset(i32),
}

/// Nodes are equal if their values are.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Node {
    /// The value under a text key; the last one, if the key is repeated.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(name, _)| matches!(&name.value, Value::Text(text) if text == key)).map(|(_, value)| value)
    }

    /// The text, if the value is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether Python counts the value as false: `None`, `False`, zero, and what is empty.
    pub fn is_falsy(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Bool(is) => !is,
            Value::Int(Integer(digits)) => digits == "0",
            Value::Float(number) => *number == 0.0,
            Value::Text(text) => text.is_empty(),
            Value::Bytes(bytes) => bytes.is_empty(),
            Value::Date(_) | Value::DateTime(_) => false,
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
        }
    }
}

impl Value {
    /// What the value is, in the words of YAML: for errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "binary data",
            Self::Date(_) | Self::DateTime(_) => "a date",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// Whether Python can use the value as a key of a `dict`.
    pub(crate) fn is_hashable(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Map(_))
    }

    /// Whether Python holds both for the same key: `1`, `1.0` and `True` are.
    pub(crate) fn is_same_key(&self, other: &Self) -> bool {
        match (self.as_number(), other.as_number()) {
            (Some(one), Some(two)) => one == two,
            (None, None) => self == other,
            _ => false,
        }
    }

    /// A text that two keys share if, and only if, [`Self::is_same_key`] holds. `None` is a key like no other: NaN.
    pub(crate) fn hash_text(&self) -> Option<String> {
        match self.as_number() {
            Some(number) if number.is_nan() => None,
            // Both zeros are one key.
            Some(number) => Some(format!("number {}", number + 0.0)),
            None => Some(format!("{self:?}")),
        }
    }

    fn as_number(&self) -> Option<f64> {
        match self {
            Self::Bool(is) => Some(f64::from(u8::from(*is))),
            // Above 2^53 two integers can round to one float: those are compared as texts.
            Self::Int(Integer(digits)) if digits.len() <= 15 => digits.parse().ok(),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }
}
