//! JSON that is parsed only to be cut: texts are borrowed, and objects are lists. It takes a fraction of a tree of
//! `serde_json::Value`, whose objects take half a KiB each.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// A JSON value that borrows from its text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<'t> {
    Null,
    Truth(bool),
    Int(i64),
    Large(u64),
    Float(f64),
    Text(Cow<'t, str>),
    List(Box<[Node<'t>]>),
    Object(Box<[(Cow<'t, str>, Node<'t>)]>),
}

const NULL: &Node<'static> = &Node::Null;

impl<'t> Node<'t> {
    /// A field of an object; null if there is none.
    pub(super) fn get(&self, name: &str) -> &Self {
        match self {
            Self::Object(fields) => fields.iter().find(|(known, _)| known == name).map_or(NULL, |(_, value)| value),
            _ => NULL,
        }
    }

    /// A text; empty if it is something else.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }
}

impl<'t> Deserialize<'t> for Node<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'t> Visitor<'t> for Reader {
            type Value = Node<'t>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Node<'t>, E> {
                Ok(Node::Null)
            }
            fn visit_bool<E>(self, truth: bool) -> Result<Node<'t>, E> {
                Ok(Node::Truth(truth))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Node<'t>, E> {
                Ok(Node::Int(number))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Node<'t>, E> {
                Ok(i64::try_from(number).map_or(Node::Large(number), Node::Int))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Node<'t>, E> {
                Ok(Node::Float(number))
            }
            fn visit_borrowed_str<E>(self, text: &'t str) -> Result<Node<'t>, E> {
                Ok(Node::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Node<'t>, E> {
                Ok(Node::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'t>>(self, mut items: A) -> Result<Node<'t>, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Node::List(list.into()))
            }
            fn visit_map<A: MapAccess<'t>>(self, mut fields: A) -> Result<Node<'t>, A::Error> {
                let mut object = Vec::new();
                while let Some((Key(name), value)) = fields.next_entry()? {
                    object.push((name, value));
                }
                Ok(Node::Object(object.into()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// The name of a field.
struct Key<'t>(Cow<'t, str>);

impl<'t> Deserialize<'t> for Key<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'t> Visitor<'t> for Reader {
            type Value = Key<'t>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, text: &'t str) -> Result<Key<'t>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'t>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Truth(truth) => serializer.serialize_bool(*truth),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Large(number) => serializer.serialize_u64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items.iter()),
            Self::Object(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_and_written() {
        let text = r#"{"a":[1,-2,18446744073709551615,0.5,1e300,true,null,"x\n\u00e9",{}],"b\t":{"c":""}}"#;
        let node: Node<'_> = serde_json::from_str(text).unwrap();
        let written = serde_json::to_string(&node).unwrap();
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&written), value(text));
        assert_eq!(node.get("b\t").get("c"), &Node::Text("".into()));
        assert_eq!(node.get("no").get("no"), &Node::Null);
        assert_eq!((node.get("a").text(), Node::Text("t".into()).text()), ("", "t"));
    }
}
