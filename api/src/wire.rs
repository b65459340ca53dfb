//! How values become bytes: on the socket between the processes of a store, and in the chunks of a sync.
//!
//! ```text
//!   integers       LEB128; signed ones by zigzag          bool, enums   one byte
//!   f64            8 bytes, little endian, bit for bit    text          length, UTF-8
//!   Option         0, or 1 and the value                  lists         count, items
//!   structs        their fields in order                  ids           16 bytes
//!   columns        count, then each column raw: a copy
//! ```
//!
//! The order and kind of fields is the format; the protocol that uses it has a version. Decoding never panics, and
//! allocates no more than the received bytes can fill.

use std::sync::Arc;

use crate::engine::varint::{Bytes, put_i64, put_u64, unzigzag};

/// A value that can be sent.
pub(crate) trait Put {
    /// Appends the value's bytes.
    fn put(&self, out: &mut Vec<u8>);
}

/// A value that can be received. `None`: the bytes are not one.
pub(crate) trait Take<'a>: Sized {
    /// Reads the value from the front of `from`.
    fn take(from: &mut Bytes<'a>) -> Option<Self>;
}

// ---- plain values ----------------------------------------------------------------------------------------------------

impl<T: Put + ?Sized> Put for &T {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }
}

impl Put for str {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.len() as u64);
        out.extend_from_slice(self.as_bytes());
    }
}

impl<'a> Take<'a> for &'a str {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        let len = usize::try_from(from.varint()?).ok()?;
        std::str::from_utf8(from.take(len)?).ok()
    }
}

impl Put for String {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_str().put(out);
    }
}

impl<'a> Take<'a> for String {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        <&str>::take(from).map(str::to_owned)
    }
}

impl Put for Arc<str> {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }
}

impl<'a> Take<'a> for Arc<str> {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        <&str>::take(from).map(Arc::from)
    }
}

impl Put for () {
    fn put(&self, _out: &mut Vec<u8>) {}
}

impl<'a> Take<'a> for () {
    fn take(_from: &mut Bytes<'a>) -> Option<Self> {
        Some(())
    }
}

impl Put for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl<'a> Take<'a> for bool {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        match from.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Put for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
}

impl<'a> Take<'a> for u8 {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        from.u8()
    }
}

impl Put for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_i64(out, *self);
    }
}

impl<'a> Take<'a> for i64 {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        from.varint().map(unzigzag)
    }
}

impl Put for [u8; 16] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<'a> Take<'a> for [u8; 16] {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        from.array()
    }
}

macro_rules! unsigned {
    ($($type:ty),*) => {
        $(
            impl Put for $type {
                fn put(&self, out: &mut Vec<u8>) {
                    put_u64(out, u64::from(*self));
                }
            }

            impl<'a> Take<'a> for $type {
                fn take(from: &mut Bytes<'a>) -> Option<Self> {
                    from.varint()?.try_into().ok()
                }
            }
        )*
    };
}

unsigned! { u64, u32, u16 }

impl Put for f64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bits().to_le_bytes());
    }
}

impl<'a> Take<'a> for f64 {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        from.f64()
    }
}

impl<T: Put> Put for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
}

impl<'a, T: Take<'a>> Take<'a> for Option<T> {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        if bool::take(from)? { T::take(from).map(Some) } else { Some(None) }
    }
}

impl<T: Put> Put for [T] {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.len() as u64);
        for item in self {
            item.put(out);
        }
    }
}

impl<T: Put> Put for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_slice().put(out);
    }
}

impl<'a, T: Take<'a>> Take<'a> for Vec<T> {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        let count = usize::try_from(from.varint()?).ok()?;
        // Every item takes at least one byte here and some tens in memory: reserve no more than can follow.
        let mut items = Vec::with_capacity(count.min(from.rest().len() / 8 + 1));
        for _ in 0..count {
            if from.is_empty() {
                return None;
            }
            items.push(T::take(from)?);
        }
        Some(items)
    }
}

impl<A: Put, B: Put, C: Put> Put for (A, B, C) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
        self.2.put(out);
    }
}

impl<'a, A: Take<'a>, B: Take<'a>, C: Take<'a>> Take<'a> for (A, B, C) {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        Some((A::take(from)?, B::take(from)?, C::take(from)?))
    }
}

impl<A: Put, B: Put> Put for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
}

impl<'a, A: Take<'a>, B: Take<'a>> Take<'a> for (A, B) {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        Some((A::take(from)?, B::take(from)?))
    }
}

// ---- columns ---------------------------------------------------------------------------------------------------------

fn put_column<T: Copy>(values: &[T], out: &mut Vec<u8>, bytes_of: impl Fn(T) -> [u8; 8]) {
    let start = out.len();
    out.resize(start + values.len() * 8, 0);
    for (place, value) in out[start..].chunks_exact_mut(8).zip(values) {
        place.copy_from_slice(&bytes_of(*value));
    }
}

fn take_column<T>(from: &mut Bytes<'_>, count: usize, of_bytes: impl Fn([u8; 8]) -> T) -> Option<Vec<T>> {
    let bytes = from.take(count.checked_mul(8)?)?;
    let (places, _) = bytes.as_chunks::<8>();
    Some(places.iter().map(|place| of_bytes(*place)).collect())
}

/// Columns of points, all of the same length: two of integers, then one of numbers.
pub(crate) fn put_points(columns: (&[i64], &[i64], &[f64]), out: &mut Vec<u8>) {
    let (steps, times, values) = columns;
    put_u64(out, steps.len() as u64);
    out.reserve(steps.len() * 24);
    put_column(steps, out, i64::to_le_bytes);
    put_column(times, out, i64::to_le_bytes);
    put_column(values, out, f64::to_le_bytes);
}

/// Reads what [`put_points`] wrote.
pub(crate) fn take_points(from: &mut Bytes<'_>) -> Option<(Vec<i64>, Vec<i64>, Vec<f64>)> {
    let count = usize::try_from(from.varint()?).ok()?;
    let steps = take_column(from, count, i64::from_le_bytes)?;
    let times = take_column(from, count, i64::from_le_bytes)?;
    Some((steps, times, take_column(from, count, f64::from_le_bytes)?))
}

/// Implements [`Put`] and [`Take`] of structs that hold some fields and columns of points.
macro_rules! columns {
    ($($name:ident { $($field:ident),* $(,)? } $steps:ident $times:ident $values:ident)*) => {
        $(
            impl Put for $name {
                fn put(&self, out: &mut Vec<u8>) {
                    // Names every field: a new field does not compile until it is added.
                    let Self { $($field,)* $steps, $times, $values } = self;
                    $($field.put(out);)*
                    $crate::wire::put_points(($steps, $times, $values), out);
                }
            }

            impl<'a> Take<'a> for $name {
                fn take(from: &mut Bytes<'a>) -> Option<Self> {
                    $(let $field = Take::take(from)?;)*
                    let ($steps, $times, $values) = $crate::wire::take_points(from)?;
                    Some(Self { $($field,)* $steps, $times, $values })
                }
            }
        )*
    };
}
pub(crate) use columns;

/// Implements [`Put`] and [`Take`] of structs, field by field.
macro_rules! structs {
    ($($name:ident { $($field:ident),* $(,)? })*) => {
        $(
            impl Put for $name {
                fn put(&self, out: &mut Vec<u8>) {
                    // Names every field: a new field does not compile until it is added.
                    let Self { $($field),* } = self;
                    $($field.put(out);)*
                }
            }

            impl<'a> Take<'a> for $name {
                fn take(from: &mut Bytes<'a>) -> Option<Self> {
                    Some(Self { $($field: Take::take(from)?),* })
                }
            }
        )*
    };
}

pub(crate) use structs;
