//! A batch as bytes, from one process to another that appends it.
//!
//! ```text
//! +------------+-------+-----+----------+------------------+--------------------------+--------------------------+
//! | version u8 | actor | key | flags u8 | request hash u64 | events: count varint,    | points: count varint,    |
//! |            | slice |     |          |                  | (payload slice)*         | (point)*                 |
//! +------------+-------+-----+----------+------------------+--------------------------+--------------------------+
//! point = run 16, key slice, step svarint, time svarint, value u64, context slice (as in the dictionary; may be empty)
//! flags = 1 acknowledged | 2 the caller gave the hash
//! ```
//! Batches that a merge or a sync makes, and those with conditions, are not carried: only the process that holds a store
//! makes these.

use super::batch::{Batch, BatchMetric, MetricKey};
use crate::error::{Error, Result};
use crate::event::batch::MetricContext;
use crate::event::payload::{Decoded, decode, encode};
use crate::id::RunId;
use crate::point::Point;
use crate::time::TimestampMs;
use crate::varint::{Bytes, put_i64, put_slice, put_u64};

const VERSION: u8 = 1;
const ACKNOWLEDGED: u8 = 1;
const HASH_GIVEN: u8 = 2;

impl Batch {
    /// The batch as bytes, for another process.
    ///
    /// # Errors
    /// `Invalid` for a batch that holds frames of another log, has conditions, or names keys by their numbers.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let refuse = |why: &str| Err(Error::invalid("batch for another process", why));
        if self.origin.merged.is_some() || self.origin.store.is_some() {
            return refuse("it holds what another log has");
        }
        if self.has_expectation() || self.has_look_up() {
            return refuse("it has conditions");
        }
        let mut out = vec![VERSION];
        put_slice(&mut out, self.origin.actor.as_bytes());
        put_slice(&mut out, &self.origin.key);
        let flags = |is: bool, flag: u8| if is { flag } else { 0 };
        out.push(flags(self.acknowledged, ACKNOWLEDGED) | flags(self.hash_given, HASH_GIVEN));
        out.extend_from_slice(&self.origin.request_hash.to_le_bytes());
        put_u64(&mut out, self.events.len() as u64);
        let mut payload = Vec::new();
        for event in &self.events {
            payload.clear();
            encode(event, &mut payload)?;
            put_slice(&mut out, &payload);
        }
        put_u64(&mut out, self.metrics.len() as u64);
        for metric in &self.metrics {
            let MetricKey::Name(key) = &metric.key else { return refuse("it names a key by its number") };
            out.extend_from_slice(&metric.run.0);
            put_slice(&mut out, key.as_bytes());
            put_i64(&mut out, metric.point.step);
            put_i64(&mut out, metric.point.time.0);
            out.extend_from_slice(&metric.point.value.to_bits().to_le_bytes());
            put_slice(&mut out, &metric.context.as_ref().map_or_else(Vec::new, MetricContext::encode));
        }
        Ok(out)
    }

    /// The idempotency key as text, for messages.
    pub fn key_text(&self) -> String {
        String::from_utf8_lossy(&self.origin.key).into_owned()
    }

    /// The inverse of [`Batch::to_bytes`].
    ///
    /// # Errors
    /// `Invalid` for other bytes, and for events of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::read(&mut Bytes::new(bytes)).ok_or_else(|| {
            Error::invalid("batch of another process", "its bytes cannot be read; use one version of Runlode")
        })
    }

    fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        if bytes.u8()? != VERSION {
            return None;
        }
        let mut batch = Self::new();
        batch.origin.actor = bytes.text()?.to_owned();
        batch.origin.key = bytes.slice()?.to_vec();
        let flags = bytes.u8()?;
        (batch.acknowledged, batch.hash_given) = (flags & ACKNOWLEDGED != 0, flags & HASH_GIVEN != 0);
        batch.origin.request_hash = bytes.u64()?;
        for _ in 0..bytes.varint()? {
            match decode(bytes.slice()?) {
                Ok(Decoded::Known(event)) => batch.push_event(event),
                _ => return None,
            }
        }
        for _ in 0..bytes.varint()? {
            let run = RunId(bytes.array()?);
            let key = MetricKey::Name(bytes.text()?.into());
            let (step, time) = (bytes.varint_signed()?, TimestampMs(bytes.varint_signed()?));
            let value = f64::from_bits(bytes.u64()?);
            let context = match bytes.slice()? {
                [] => None,
                context => Some(MetricContext::decode(context)?),
            };
            batch.metrics.push(BatchMetric { run, key, point: Point { step, time, value }, context });
        }
        bytes.is_empty().then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ParamsLogged, RunTagsSet};
    use crate::id::{KeyId, Lsn};

    #[test]
    fn batches_come_through_as_they_were() {
        let run = RunId([7; 16]);
        let point = |step, value| Point { step, time: TimestampMs(-5), value };
        let context = MetricContext { model_id: Some("m-1".into()), ..MetricContext::default() };
        let batch = Batch::new()
            .event(ParamsLogged { run, params: vec![("lr".into(), "0.1".into())] })
            .event(RunTagsSet { run, tags: vec![("é".into(), String::new())] })
            .metric(run, "loss", point(i64::MIN, f64::from_bits(0x7ff8_0000_0000_1234)), None)
            .metric(run, "acc", point(3, -0.0), Some(context))
            .actor("ann")
            .acknowledged()
            .idempotency(b"key", 17);
        let bytes = batch.to_bytes().unwrap();
        let again = Batch::from_bytes(&bytes).unwrap();
        assert_eq!(again.to_bytes().unwrap(), bytes);
        assert_eq!(again.events(), batch.events());
        assert!(again.acknowledged && again.hash_given && again.origin == batch.origin);
        let points = |batch: &Batch| {
            let of = |metric: &BatchMetric| (metric.run, metric.key.clone(), metric.context.clone());
            let bits = |metric: &BatchMetric| (metric.point.step, metric.point.time, metric.point.value.to_bits());
            batch.metrics.iter().map(|metric| (of(metric), bits(metric))).collect::<Vec<_>>()
        };
        assert_eq!(points(&again), points(&batch));
        // Any truncation is refused.
        for end in 0..bytes.len() {
            assert!(Batch::from_bytes(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn what_only_a_holder_makes_is_not_carried() {
        let batch = || Batch::new().event(ParamsLogged { run: RunId([1; 16]), params: Vec::new() });
        assert!(batch().to_bytes().is_ok());
        assert!(batch().expect_head(Lsn(1)).to_bytes().is_err());
        let mut by_number = batch();
        by_number.push_point(RunId([1; 16]), KeyId(1), Point { step: 0, time: TimestampMs(0), value: 0.0 });
        assert!(by_number.to_bytes().is_err());
    }
}
