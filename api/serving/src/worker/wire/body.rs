//! The bytes behind a header, in pieces: a long array stays where it is until it is sent.

use std::io::{self, IoSlice, Write};

use arrow_buffer::Buffer;

use super::ALIGN_BYTES;

/// Arrays of at least this many bytes are sent without a copy. For shorter ones a copy costs less than another write.
const SHARED_BYTES_MIN: usize = 16 << 10;

/// Bytes in pieces.
#[derive(Debug, Default)]
pub(super) struct Body {
    pieces: Vec<Piece>,
    /// Bytes of all pieces but the last.
    earlier_bytes: usize,
}

#[derive(Debug)]
enum Piece {
    Own(Vec<u8>),
    Shared(Buffer),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Body {
    /// Bytes in all.
    pub(super) fn len(&self) -> usize {
        self.earlier_bytes + self.pieces.last().map_or(0, |piece| piece.bytes().len())
    }

    /// Fills up with zeros to the boundary of a column.
    pub(super) fn align(&mut self) {
        let missing = self.len().next_multiple_of(ALIGN_BYTES) - self.len();
        if missing > 0 {
            self.own().extend_from_slice(&[0; ALIGN_BYTES][..missing]);
        }
    }

    /// Where bytes are put behind all others.
    pub(super) fn own(&mut self) -> &mut Vec<u8> {
        if !matches!(self.pieces.last(), Some(Piece::Own(_))) {
            self.push(Piece::Own(Vec::new()));
        }
        match self.pieces.last_mut() {
            Some(Piece::Own(bytes)) => bytes,
            _ => unreachable!("a piece of this kind was pushed"),
        }
    }

    /// Puts an array behind all others.
    pub(super) fn put(&mut self, bytes: &Buffer) {
        if bytes.len() < SHARED_BYTES_MIN {
            self.own().extend_from_slice(bytes);
        } else {
            self.push(Piece::Shared(bytes.clone()));
        }
    }

    fn push(&mut self, piece: Piece) {
        self.earlier_bytes = self.len();
        self.pieces.push(piece);
    }

    /// Sends `head` and all pieces.
    pub(super) fn send(&self, head: &[u8], to: &mut impl Write) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(self.pieces.len() + 1);
        slices.push(IoSlice::new(head));
        slices.extend(self.pieces.iter().map(|piece| IoSlice::new(piece.bytes())));
        let mut rest = slices.as_mut_slice();
        // Empty slices in front would look like a connection that takes nothing more.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match to.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut rest, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn whole(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|piece| piece.bytes().to_vec()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes few bytes at a time, and is interrupted between them.
    #[derive(Default)]
    struct Slow {
        taken: Vec<u8>,
        calls: usize,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls.is_multiple_of(3) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = bytes.len().min(1000);
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pieces_arrive_in_order_and_columns_begin_at_boundaries() {
        let long = Buffer::from(vec![7u8; SHARED_BYTES_MIN + 3]);
        let mut body = Body::default();
        body.put(&Buffer::from(vec![1u8, 2, 3]));
        body.align();
        body.put(&long);
        assert_eq!(body.len(), 8 + SHARED_BYTES_MIN + 3);
        body.align();
        body.own().push(9);
        assert_eq!(body.len(), 8 + SHARED_BYTES_MIN + 8 + 1);
        assert_eq!(body.pieces.len(), 3);
        let mut sent = Slow::default();
        body.send(b"head", &mut sent).unwrap();
        assert_eq!(sent.taken, [b"head".as_slice(), &body.whole()].concat());
    }

    #[test]
    fn a_request_without_a_body_is_its_head() {
        let mut sent = Vec::new();
        Body::default().send(b"head", &mut sent).unwrap();
        assert_eq!(sent, b"head");
    }
}
