//! Records of an event file, as TensorFlow's record files have them.
//!
//! ```text
//! u64 LE   length of the payload
//! u32 LE   masked CRC of these 8 bytes
//! bytes    payload: an event
//! u32 LE   masked CRC of the payload
//! ```
//! The CRC is CRC-32C (Castagnoli); masked is `rotate_right(crc, 15) + 0xa282ead8`, so that a CRC of data that holds
//! CRCs is no trivial one.

const MASK_DELTA: u32 = 0xa282_ead8;

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK_DELTA)
}

/// Appends a record.
pub(super) fn put(payload: &[u8], out: &mut Vec<u8>) {
    let length = (payload.len() as u64).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&masked_crc(&length).to_le_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(&masked_crc(payload).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_what_tensorflow_writes() {
        let mut out = Vec::new();
        // The first record of every event file: time 0, version 2.
        put(b"\x09\0\0\0\0\0\0\0\0\x1a\x0dbrain.Event:2", &mut out);
        assert_eq!(out.len(), 8 + 4 + 24 + 4);
        assert_eq!(out[..12], [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
    }
}
