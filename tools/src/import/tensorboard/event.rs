//! What an event says: its values by kind.
//!
//! Metadata (the plugin of a tag) comes only with a tag's first value, so [`Tags`] remembers it.

use std::collections::HashMap;

use super::super::proto::{Content, Fields, packed};

/// Numbers of a tensor that are looked at: histograms have three for each bucket.
const NUMBERS_MAX: usize = 1 << 20;

/// An event, its values still encoded.
#[derive(Debug, Default)]
pub(super) struct Event<'b> {
    pub(super) wall_time_s: f64,
    pub(super) step: i64,
    summary: &'b [u8],
    /// The writer began again at this event's step: what is after it was superseded.
    pub(super) starts_over: bool,
}

/// A value of an event.
#[derive(Debug, PartialEq)]
pub(super) enum Value<'b> {
    Scalar(f64),
    Histogram {
        min: f64,
        max: f64,
        mean: Option<f64>,
        count: f64,
    },
    Text(Vec<&'b [u8]>),
    /// Encoded images, usually PNG.
    Images(Vec<&'b [u8]>),
    /// Hyperparameters, as `(name, value)`.
    Params(Vec<(String, String)>),
    /// How a session of hyperparameters ended: 1 success, 2 failure, 3 running; and when, in seconds.
    Ended(i64, f64),
    /// Something else: what a report calls it.
    Other(String),
}

#[derive(Debug)]
struct Tag {
    plugin: String,
    class: i64,
}

/// The tags seen so far, with their metadata.
#[derive(Debug, Default)]
pub(super) struct Tags(HashMap<String, Tag>);

impl<'b> Event<'b> {
    /// Decodes an event; `None` if the bytes are none.
    pub(super) fn decode(bytes: &'b [u8]) -> Option<Self> {
        let mut event = Self::default();
        for field in Fields::new(bytes) {
            match field.ok()? {
                (1, content) => event.wall_time_s = content.number(),
                (2, content) => event.step = content.integer(),
                (5, content) => event.summary = content.bytes(),
                (7, content) => {
                    event.starts_over =
                        Fields::new(content.bytes()).find(1).is_some_and(|status| status.integer() == 1);
                }
                _ => {}
            }
        }
        Some(event)
    }

    pub(super) fn time_ms(&self) -> i64 {
        (self.wall_time_s * 1000.0).round() as i64
    }

    /// Calls `each` with the tag and content of every value. `false`: the summary is damaged.
    pub(super) fn values(&self, tags: &mut Tags, mut each: impl FnMut(&'b str, Value<'b>)) -> bool {
        for field in Fields::new(self.summary) {
            match field {
                Ok((1, content)) => {
                    let Some((tag, value)) = tags.value(content.bytes()) else { return false };
                    each(tag, value);
                }
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

impl Tags {
    fn value<'b>(&mut self, bytes: &'b [u8]) -> Option<(&'b str, Value<'b>)> {
        let (mut tag, mut metadata, mut simple) = ("", None, None);
        let (mut image, mut histogram, mut audio, mut tensor) = (None, None, None, None);
        for field in Fields::new(bytes) {
            match field.ok()? {
                (1, content) => tag = std::str::from_utf8(content.bytes()).ok()?,
                (2, content) => simple = Some(content.number()),
                (4, content) => image = Some(content.bytes()),
                (5, content) => histogram = Some(content.bytes()),
                (6, content) => audio = Some(content.bytes()),
                (8, content) => tensor = Some(content.bytes()),
                (9, content) => metadata = Some(content.bytes()),
                _ => {}
            }
        }
        if let Some(value) = simple {
            return Some((tag, Value::Scalar(value)));
        }
        if let Some(histogram) = histogram {
            return Some((tag, old_histogram(histogram)?));
        }
        if let Some(image) = image {
            let encoded = Fields::new(image).find(4).map(Content::bytes);
            return Some((tag, Value::Images(encoded.into_iter().collect())));
        }
        if audio.is_some() {
            return Some((tag, Value::Other("sounds".to_owned())));
        }
        let content = metadata.map(|metadata| self.learn(tag, metadata)).unwrap_or_default();
        let (plugin, class) = self.0.get(tag).map_or(("", 0), |known| (known.plugin.as_str(), known.class));
        if plugin == "hparams" {
            return Some((tag, hyperparameters(tag, content)));
        }
        let Some(tensor) = tensor else { return Some((tag, other(plugin))) };
        let tensor = Tensor::decode(tensor)?;
        let value = match (plugin, class) {
            ("scalars", _) | (_, 1) => tensor.numbers().first().copied().map(Value::Scalar),
            ("text", _) => Some(Value::Text(tensor.texts)),
            // The first two texts are width and height.
            ("images", _) => Some(Value::Images(tensor.texts.into_iter().skip(2).collect())),
            ("histograms", _) => Some(new_histogram(&tensor.numbers())),
            _ => None,
        };
        Some((tag, value.unwrap_or_else(|| other(plugin))))
    }

    /// Remembers a tag's metadata, and returns the plugin's content in it.
    fn learn<'b>(&mut self, tag: &str, metadata: &'b [u8]) -> &'b [u8] {
        let fields = Fields::new(metadata);
        let plugin = fields.find(1).map(Content::bytes).unwrap_or_default();
        let name = Fields::new(plugin).find(1).map(Content::text).unwrap_or_default();
        let class = fields.find(4).map_or(0, Content::integer);
        self.0.entry(tag.to_owned()).or_insert_with(|| Tag { plugin: name.to_owned(), class });
        Fields::new(plugin).find(2).map(Content::bytes).unwrap_or_default()
    }
}

fn other(plugin: &str) -> Value<'static> {
    Value::Other(match plugin {
        "" => "values of unknown kinds".to_owned(),
        plugin => format!("values of plugin {plugin}"),
    })
}

/// A tensor: numbers or texts.
#[derive(Debug, Default)]
struct Tensor<'b> {
    kind: i64,
    content: &'b [u8],
    floats: Vec<f64>,
    texts: Vec<&'b [u8]>,
}

impl<'b> Tensor<'b> {
    fn decode(bytes: &'b [u8]) -> Option<Self> {
        let mut tensor = Self::default();
        for field in Fields::new(bytes) {
            let (number, content) = field.ok()?;
            match number {
                1 => tensor.kind = content.integer(),
                4 => tensor.content = content.bytes(),
                5 => tensor.floats.extend(floats(content)),
                6 => tensor.floats.extend(doubles(content)),
                7 | 10 | 11 => tensor.floats.extend(packed(content).iter().map(|bits| bits.cast_signed() as f64)),
                8 => tensor.texts.push(content.bytes()),
                13 => tensor.floats.extend(packed(content).iter().map(|bits| half(*bits as u16, tensor.kind))),
                _ => {}
            }
            if tensor.floats.len() > NUMBERS_MAX {
                return None;
            }
        }
        Some(tensor)
    }

    fn numbers(&self) -> Vec<f64> {
        fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
            let pieces = bytes.chunks_exact(N).take(NUMBERS_MAX);
            pieces.map(|piece| number(piece.try_into().unwrap_or([0; N]))).collect()
        }
        if self.content.is_empty() {
            return self.floats.clone();
        }
        match self.kind {
            1 => each(self.content, |bytes| f64::from(f32::from_le_bytes(bytes))),
            2 => each(self.content, f64::from_le_bytes),
            3 => each(self.content, |bytes| f64::from(i32::from_le_bytes(bytes))),
            9 => each(self.content, |bytes| i64::from_le_bytes(bytes) as f64),
            10 => each(self.content, |[byte]| f64::from(byte)),
            14 | 19 => each(self.content, |bytes| half(u16::from_le_bytes(bytes), self.kind)),
            _ => Vec::new(),
        }
    }
}

/// Sixteen bits: bfloat16 (kind 14), else IEEE 754.
fn half(bits: u16, kind: i64) -> f64 {
    if kind == 14 {
        return f64::from(f32::from_bits(u32::from(bits) << 16));
    }
    let (sign, exponent, fraction) = (bits >> 15, i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    };
    if sign == 1 { -size } else { size }
}

fn floats(content: Content<'_>) -> Vec<f64> {
    match content {
        Content::Bytes(bytes) => bytes
            .chunks_exact(4)
            .take(NUMBERS_MAX)
            .map(|bits| f64::from(f32::from_le_bytes(bits.try_into().unwrap_or_default())))
            .collect(),
        content => vec![content.number()],
    }
}

fn doubles(content: Content<'_>) -> Vec<f64> {
    match content {
        Content::Bytes(bytes) => bytes
            .chunks_exact(8)
            .take(NUMBERS_MAX)
            .map(|bits| f64::from_le_bytes(bits.try_into().unwrap_or_default()))
            .collect(),
        content => vec![content.number()],
    }
}

/// `HistogramProto`: min 1, max 2, num 3, sum 4.
fn old_histogram(bytes: &[u8]) -> Option<Value<'_>> {
    let [mut min, mut max, mut count, mut sum] = [0.0; 4];
    for field in Fields::new(bytes) {
        match field.ok()? {
            (1, content) => min = content.number(),
            (2, content) => max = content.number(),
            (3, content) => count = content.number(),
            (4, content) => sum = content.number(),
            _ => {}
        }
    }
    let mean = (count > 0.0).then(|| sum / count);
    Some(Value::Histogram { min, max, mean, count })
}

/// A tensor of buckets: left edge, right edge, count. The edges of the outermost ones are the least and greatest value;
/// the mean is not in it.
fn new_histogram(numbers: &[f64]) -> Value<'static> {
    let filled: Vec<&[f64]> = numbers.chunks_exact(3).filter(|bucket| bucket[2] > 0.0).collect();
    let min = filled.first().map_or(0.0, |bucket| bucket[0]);
    let max = filled.last().map_or(0.0, |bucket| bucket[1]);
    Value::Histogram { min, max, mean: None, count: filled.iter().map(|bucket| bucket[2]).sum() }
}

/// The content of plugin `hparams`.
fn hyperparameters(tag: &str, content: &[u8]) -> Value<'static> {
    let fields = Fields::new(content);
    if let Some(start) = fields.find(3) {
        let entries = Fields::new(start.bytes()).filter_map(Result::ok).filter(|(number, _)| *number == 1);
        let mut params: Vec<(String, String)> = entries
            .map(|(_, entry)| {
                let entry = Fields::new(entry.bytes());
                let value = entry.find(2).map(Content::bytes).unwrap_or_default();
                (entry.find(1).map(Content::text).unwrap_or_default().to_owned(), json_value(value, 0))
            })
            .collect();
        params.sort();
        return Value::Params(params);
    }
    if let Some(end) = fields.find(4) {
        let end = Fields::new(end.bytes());
        return Value::Ended(end.find(1).map_or(0, Content::integer), end.find(2).map_or(0.0, Content::number));
    }
    // What the experiment as a whole compares; each run has its own values.
    if tag == "_hparams_/experiment" {
        return Value::Params(Vec::new());
    }
    Value::Other("values of plugin hparams".to_owned())
}

/// `google.protobuf.Value` as text.
fn json_value(bytes: &[u8], depth: usize) -> String {
    match Fields::new(bytes).filter_map(Result::ok).last() {
        Some((2, content)) => content.number().to_string(),
        Some((3, content)) => String::from_utf8_lossy(content.bytes()).into_owned(),
        Some((4, content)) => (if content.integer() == 1 { "True" } else { "False" }).to_owned(),
        Some((6, list)) if depth < 8 => {
            let items = Fields::new(list.bytes()).filter_map(Result::ok);
            let items: Vec<String> = items.map(|(_, item)| json_value(item.bytes(), depth + 1)).collect();
            format!("[{}]", items.join(", "))
        }
        _ => "None".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_widened_exactly() {
        for (bits, value) in [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (0x0001, 2_f64.powi(-24))] {
            assert_eq!(half(bits, 19), value);
        }
        assert!(half(0x7e00, 19).is_nan() && half(0x7c00, 19).is_infinite());
        assert_eq!(half(0x3f80, 14), 1.0);
    }

    #[test]
    fn buckets_give_the_outermost_values() {
        let buckets = [-1.0, 0.0, 0.0, 0.0, 1.0, 3.0, 1.0, 2.5, 4.0, 2.5, 9.0, 0.0];
        assert_eq!(new_histogram(&buckets), Value::Histogram { min: 0.0, max: 2.5, mean: None, count: 7.0 });
    }
}
