//! The few protobuf messages of an event file, written by hand.
//!
//! | message | fields, by number |
//! |---|---|
//! | Event | 1 wall_time double (s), 2 step int64, 3 file_version string, 5 summary |
//! | Summary | 1 value, repeated: 1 tag, 8 tensor, 9 metadata |
//! | TensorProto | 1 dtype (2: DOUBLE), 2 shape (empty: a scalar), 6 double_val, packed |
//! | SummaryMetadata | 1 plugin_data (1 plugin_name, 2 content), 4 data_class (1: SCALAR) |
//! | HParamsPluginData | 1 version, 3 session_start_info, 4 session_end_info |
//! | SessionStartInfo | 1 hparams, a map: entries of 1 name, 2 Value; 4 group_name, 5 start_time_secs double |
//! | SessionEndInfo | 1 status (1 SUCCESS, 2 FAILURE, 3 RUNNING), 2 end_time_secs double |
//! | Value | 2 number_value double, 3 string_value |
//!
//! A tag's metadata stands in its first event only.

/// Wire types of protobuf.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;

const DT_DOUBLE: u64 = 2;
const DATA_CLASS_SCALAR: u64 = 1;

/// A message as its bytes.
#[derive(Debug, Default, Clone)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }

    pub(super) fn int(&mut self, field: u64, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    pub(super) fn double(&mut self, field: u64, value: f64) {
        self.tag(field, FIXED_64);
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    pub(super) fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.tag(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn inner(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }
}

/// Milliseconds as the seconds of an event; `(seconds * 1000).round()` gives them back.
pub(super) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// The first event of a file.
pub(super) fn file_version(at_ms: i64) -> Message {
    let mut event = Message::default();
    event.double(1, seconds(at_ms));
    event.bytes(3, b"brain.Event:2");
    event
}

fn metadata(plugin: &str, content: &Message, data_class: Option<u64>) -> Message {
    let mut data = Message::default();
    data.bytes(1, plugin.as_bytes());
    if !content.0.is_empty() {
        data.inner(2, content);
    }
    let mut metadata = Message::default();
    metadata.inner(1, &data);
    if let Some(class) = data_class {
        metadata.int(4, class);
    }
    metadata
}

/// Writes the events of one tag.
#[derive(Debug)]
pub(super) struct Scalars {
    /// Of every event's value: the tag.
    tag: Message,
    /// Of the first event's.
    metadata: Option<Message>,
    event: Message,
    value: Message,
}

impl Scalars {
    pub(super) fn new(tag: &str) -> Self {
        let mut message = Message::default();
        message.bytes(1, tag.as_bytes());
        Self {
            tag: message,
            metadata: Some(metadata("scalars", &Message::default(), Some(DATA_CLASS_SCALAR))),
            event: Message::default(),
            value: Message::default(),
        }
    }

    /// The event of a point.
    pub(super) fn event(&mut self, time_ms: i64, step: i64, value: f64) -> &[u8] {
        let out = &mut self.value;
        out.0.clear();
        out.0.extend_from_slice(&self.tag.0);
        let mut tensor = [0u8; 14];
        tensor[..6].copy_from_slice(&[1 << 3, DT_DOUBLE as u8, 2 << 3 | BYTES as u8, 0, 6 << 3 | BYTES as u8, 8]);
        tensor[6..].copy_from_slice(&value.to_bits().to_le_bytes());
        out.bytes(8, &tensor);
        if let Some(metadata) = self.metadata.take() {
            out.inner(9, &metadata);
        }
        let event = &mut self.event;
        event.0.clear();
        event.double(1, seconds(time_ms));
        event.int(2, step.cast_unsigned());
        let length = 1 + varint_bytes(out.0.len() as u64) + out.0.len();
        event.tag(5, BYTES);
        event.varint(length as u64);
        event.inner(1, out);
        &event.0
    }
}

fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// An event whose summary holds hyperparameters; its tensor is empty.
fn hparams(tag: &str, content: &Message, at_ms: i64) -> Message {
    let mut data = Message::default();
    data.int(1, 0);
    data.0.extend_from_slice(&content.0);
    let mut value = Message::default();
    value.bytes(1, tag.as_bytes());
    // As TensorBoard's own writer: a float tensor without values.
    let mut tensor = Message::default();
    tensor.int(1, 1);
    let mut dimension = Message::default();
    dimension.int(1, 0);
    let mut shape = Message::default();
    shape.inner(2, &dimension);
    tensor.inner(2, &shape);
    value.inner(8, &tensor);
    value.inner(9, &metadata("hparams", &data, None));
    let mut summary = Message::default();
    summary.inner(1, &value);
    let mut event = Message::default();
    event.double(1, seconds(at_ms));
    event.inner(5, &summary);
    event
}

/// A value that is a number where its text comes back from that number.
fn value_of(text: &str) -> Message {
    let mut value = Message::default();
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number.to_string() == text => value.double(2, number),
        _ => value.bytes(3, text.as_bytes()),
    }
    value
}

/// The event that says which params a run had.
pub(super) fn session_start(params: &[(String, String)], name: &str, start_ms: i64) -> Message {
    let mut info = Message::default();
    for (key, text) in params {
        let mut entry = Message::default();
        entry.bytes(1, key.as_bytes());
        entry.inner(2, &value_of(text));
        info.inner(1, &entry);
    }
    info.bytes(4, name.as_bytes());
    info.double(5, seconds(start_ms));
    let mut content = Message::default();
    content.inner(3, &info);
    hparams("_hparams_/session_start_info", &content, start_ms)
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Success = 1,
    Failure = 2,
    Running = 3,
}

/// The event that says how a run ended.
pub(super) fn session_end(ended: Ended, at_ms: i64) -> Message {
    let mut info = Message::default();
    info.int(1, ended as u64);
    info.double(2, seconds(at_ms));
    let mut content = Message::default();
    content.inner(4, &info);
    hparams("_hparams_/session_end_info", &content, at_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_bytes_of_the_table_above() {
        let mut scalars = Scalars::new("loss");
        let first = scalars.event(1_500, 3, 0.5).to_vec();
        let metadata = b"\x0a\x09\x0a\x07scalars\x20\x01";
        let mut value = b"\x0a\x04loss\x42\x0e\x08\x02\x12\x00\x32\x08\0\0\0\0\0\0\xe0\x3f\x4a\x0d".to_vec();
        value.extend_from_slice(metadata);
        let mut wanted = b"\x09\0\0\0\0\0\0\xf8\x3f\x10\x03\x2a".to_vec();
        wanted.push(value.len() as u8 + 2);
        wanted.push(0x0a);
        wanted.push(value.len() as u8);
        wanted.extend_from_slice(&value);
        assert_eq!(first, wanted);
        // A negative step takes ten bytes; the metadata is not repeated.
        let second = scalars.event(0, -1, 0.5).len();
        assert_eq!(second, first.len() - metadata.len() - 2 + 9);
    }

    #[test]
    fn values_are_numbers_only_if_their_text_comes_back() {
        assert_eq!(value_of("0.01").0[0], 2 << 3 | 1);
        for text in ["0.010", "1e-5", "auto", "NaN", "inf", "", "-0.0"] {
            assert_eq!(value_of(text).0[0], 3 << 3 | 2, "{text}");
        }
    }

    #[test]
    fn lengths_of_varints() {
        for (value, bytes) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u64::MAX, 10)] {
            let mut message = Message::default();
            message.varint(value);
            assert_eq!((message.0.len(), varint_bytes(value)), (bytes, bytes));
        }
    }
}
