//! The floor of a question about the past: the frames that it needs, read and checked at offsets that are known.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use runlode_engine::checksum::Crc32;
use runlode_engine::log::{FRAME_HEADER_BYTES, FrameHeader, HeadCrc};
use runlode_engine::{Lsn, StoreId};

use crate::Result;

#[derive(Debug, Clone, Copy)]
struct Place {
    file: usize,
    offset: u64,
    bytes: usize,
}

/// The frames of a log, and where each lies.
#[derive(Debug)]
pub struct Frames {
    files: Vec<File>,
    places: HashMap<Lsn, Place>,
}

impl Frames {
    /// Walks over all segments of a store that nobody writes to.
    ///
    /// # Errors
    /// Those of the file system; also for a file that is no segment.
    pub fn of(store: &Path) -> Result<Self> {
        let (mut files, mut places) = (Vec::new(), HashMap::new());
        for entry in std::fs::read_dir(store.join("log"))? {
            let path = entry?.path();
            let bytes = std::fs::read(&path)?;
            let id = bytes.get(16..).and_then(|rest| rest.first_chunk()).ok_or("a segment without a header")?;
            let crc = HeadCrc::new(StoreId(*id));
            let mut at = runlode_engine::log::segment::SEGMENT_HEADER_BYTES as usize;
            while let Some(header) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
                let Some(header) = FrameHeader::decode(header, &crc) else { break };
                let place = Place { file: files.len(), offset: at as u64, bytes: header.len_bytes as usize };
                places.insert(header.lsn, place);
                at += header.padded_bytes() as usize;
            }
            files.push(File::open(path)?);
        }
        Ok(Self { files, places })
    }

    /// Reads and checks one frame; returns its bytes.
    ///
    /// # Errors
    /// Those of the file system; also for a position without a frame.
    pub fn read(&self, lsn: Lsn, room: &mut Vec<u8>) -> Result<u32> {
        let place = self.places.get(&lsn).ok_or("no frame has this position")?;
        room.resize(place.bytes, 0);
        self.files[place.file].read_exact_at(room, place.offset)?;
        Ok(Crc32::of(&room[FRAME_HEADER_BYTES..]).0)
    }
}
