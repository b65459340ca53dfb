//! Protocol buffers on the wire: fields one after another, without a schema.
//!
//! ```text
//!  field = varint (number << 3 | kind), then: kind 0 varint, 1 eight bytes, 2 varint length + bytes, 5 four bytes
//! ```
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>

/// The content of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Content<'b> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'b [u8]),
    Fixed32(u32),
}

impl<'b> Content<'b> {
    /// A message, text or other bytes; empty if the field is none.
    pub(super) fn bytes(self) -> &'b [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// A text; empty if the field is none.
    pub(super) fn text(self) -> &'b str {
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// An integer; 0 if the field is none.
    pub(super) fn integer(self) -> i64 {
        match self {
            Self::Varint(number) => number.cast_signed(),
            _ => 0,
        }
    }

    /// A double or float; 0 if the field is none.
    pub(super) fn number(self) -> f64 {
        match self {
            Self::Fixed64(bits) => f64::from_bits(bits),
            Self::Fixed32(bits) => f64::from(f32::from_bits(bits)),
            Self::Varint(_) | Self::Bytes(_) => 0.0,
        }
    }
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The fields of a message. After an error there are no more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// The last field with this number.
    pub(super) fn find(self, number: u32) -> Option<Content<'b>> {
        self.filter_map(Result::ok).filter(|(at, _)| *at == number).map(|(_, content)| content).last()
    }

    fn take(&mut self, bytes: usize) -> Result<&'b [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(bytes).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f).checked_shl(7 * at as u32).unwrap_or(0);
            if byte & 0x80 == 0 {
                self.0 = self.0.get(at + 1..).unwrap_or_default();
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn field(&mut self) -> Result<(u32, Content<'b>), Malformed> {
        let head = self.varint()?;
        let number = u32::try_from(head >> 3).map_err(|_| Malformed)?;
        let content = match head & 7 {
            0 => Content::Varint(self.varint()?),
            1 => Content::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| Malformed)?)),
            2 => {
                let bytes = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Content::Bytes(self.take(bytes)?)
            }
            5 => Content::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| Malformed)?)),
            // Groups are not used by any format that is read here.
            _ => return Err(Malformed),
        };
        Ok((number, content))
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(u32, Content<'b>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// The integers of a packed field, or the single one of another.
pub(super) fn packed(content: Content<'_>) -> Vec<u64> {
    match content {
        Content::Varint(number) => vec![number],
        Content::Bytes(bytes) => {
            let mut fields = Fields(bytes);
            let mut numbers = Vec::new();
            while !fields.0.is_empty() {
                match fields.varint() {
                    Ok(number) => numbers.push(number),
                    Err(Malformed) => break,
                }
            }
            numbers
        }
        Content::Fixed64(_) | Content::Fixed32(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_kind_are_read() {
        let message =
            [0x08, 0xac, 0x02, 0x12, 2, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f, 0x21, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
        let fields: Vec<_> = Fields::new(&message).collect::<Result<_, _>>().unwrap();
        assert_eq!(fields[0], (1, Content::Varint(300)));
        assert_eq!(fields[1].1.text(), "hi");
        assert_eq!((fields[2].1.number(), fields[3].1.number()), (1.0, 1.0));
        let minus_one = [0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Fields::new(&minus_one).find(2).unwrap().integer(), -1);
    }

    #[test]
    fn damage_ends_the_fields() {
        for message in [&[0x12, 200][..], &[0x0b], &[0x08], &[0xff; 12], &[0x09, 1, 2]] {
            let fields: Vec<_> = Fields::new(message).collect();
            assert_eq!(fields.last(), Some(&Err(Malformed)), "{message:?}");
        }
    }
}
