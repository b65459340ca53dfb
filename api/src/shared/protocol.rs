//! The protocol between the processes of a store, on the socket `STORE/sock`: version 1.
//!
//! ```text
//!   client                                            holder
//!   greeting  magic 8, lowest and highest version u16 each,
//!             kind u8 (0 calls, 1 watch), 3 zeros, pid u32,
//!             client id 16, length u32, settings
//!                                                     greeting  magic 8, version u16 (0: none in common), 2 zeros,
//!                                                               pid u32, store id 16, length u32, text of a refusal
//!   request   length u32, count u64, call u16, arguments
//!                                                     answer    length u32, 0 and the result, or 1 (MLflow's calls)
//!                                                               or 2 (typed calls) and the error, or 4 and the
//!                                                               position of the same call, made before
//! ```
//!
//! Some calls have long answers: before its last frame such an answer has any number of frames that begin with 3 and
//! hold a part of it. Call 900 carries another one, made for a client of the caller: author (text), idempotency key
//! (list of bytes; may be empty), hash of the request (u64), and then the call (u16) with its arguments. If the key was
//! used before, the answer is 4.
//!
//! All numbers are little endian; [`super::wire`] encodes arguments, results, errors and settings. On a connection of
//! kind `calls`, the holder answers requests in turn. A connection of kind `watch` carries nothing after the greeting:
//! when it ends, the client knows that the holder has gone. A holder serves this version and the one before. It answers
//! an unknown call with `NOT_IMPLEMENTED`, and ends the connection if it cannot read a request.
//!
//! `count` numbers the requests of a client, over all its connections. If no answer came, the client sends the request
//! again with the same number, to whichever process holds the store by then. Client id and number together are the
//! idempotency key of calls that may be made only once.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::fault::Fault;
use super::wire::{Put, Take};
use crate::engine::StoreId;
use crate::engine::varint::Bytes;
use crate::mlflow::{Call, Places, Settings};
use crate::{Error, Lsn};

pub(super) const VERSION: u16 = 1;
const VERSION_LOWEST: u16 = 1;
const MAGIC: [u8; 8] = *b"runlode\n";

/// Longest request or answer.
const FRAME_BYTES_MAX: u32 = 1 << 30;
/// Longest settings, and longest text of a refusal.
const GREETING_TAIL_BYTES_MAX: u32 = 64 << 10;

/// Bytes of an answer before its result: length, and whether it is an error.
const ANSWER_HEAD_BYTES: usize = 5;
/// Marks a frame that is a part of an answer.
pub(super) const PART: u8 = 3;
/// Marks the position of the same call, made before under its idempotency key.
const REPEATED: u8 = 4;

/// The call that carries another one, made for a client of the caller.
pub(super) const FOR_ANOTHER: u16 = 900;

/// Identifies a client over all its connections, also after the holder changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientId(pub(super) [u8; 16]);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Calls,
    Watch,
}

/// The client's greeting.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) kind: Kind,
    pub(super) client: ClientId,
    pub(super) settings: Settings,
}

/// The holder's greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Welcome {
    pub(super) pid: u32,
    pub(super) store: StoreId,
}

/// Reads what `Caller::request` put before the call that is asked for: author, key, and the call.
fn take_made_for(from: &mut Bytes<'_>) -> Option<(Call, u16)> {
    let actor = Take::take(from)?;
    let idempotency_key = Take::take(from)?;
    let request_hash = Take::take(from)?;
    Some((Call { actor, idempotency_key, request_hash }, from.u16()?))
}

fn garbled(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} cannot be read"))
}

fn put_settings(settings: &Settings, out: &mut Vec<u8>) {
    settings.places.root().put(out);
    // A folder whose name is no UTF-8 is only what relative locations are relative to.
    settings.places.directory().to_string_lossy().as_ref().put(out);
    settings.long_values.put(out);
    settings.metric_durability.put(out);
    settings.process.put(out);
    // At the end: an older holder reads only what is before it.
    settings.author.put(out);
}

fn take_settings(from: &mut Bytes<'_>) -> Option<Settings> {
    let root: String = Take::take(from)?;
    let directory: String = Take::take(from)?;
    Some(Settings {
        places: Places::new(root, PathBuf::from(directory)),
        long_values: Take::take(from)?,
        metric_durability: Take::take(from)?,
        process: Take::take(from)?,
        // An older client names nobody.
        author: if from.is_empty() { None } else { Take::take(from)? },
    })
}

impl Hello {
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut tail = Vec::new();
        put_settings(&self.settings, &mut tail);
        let mut out = Vec::with_capacity(64 + tail.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION_LOWEST.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[u8::from(self.kind == Kind::Watch), 0, 0, 0]);
        out.extend_from_slice(&std::process::id().to_le_bytes());
        out.extend_from_slice(&self.client.0);
        out.extend_from_slice(&(tail.len() as u32).to_le_bytes());
        out.extend_from_slice(&tail);
        to.write_all(&out)
    }

    /// The greeting; `None` if it has no version in common with us.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = [0; 40];
        from.read_exact(&mut head)?;
        let mut bytes = Bytes::new(&head);
        let mut parse = || {
            (bytes.array()? == MAGIC).then_some(())?;
            let (lowest, highest) = (bytes.u16()?, bytes.u16()?);
            let kind = match bytes.array::<4>()? {
                [0, ..] => Kind::Calls,
                [1, ..] => Kind::Watch,
                _ => return None,
            };
            let _pid = bytes.u32()?;
            Some((lowest, highest, kind, ClientId(bytes.array()?), bytes.u32()?))
        };
        let (lowest, highest, kind, client, tail) = parse().ok_or_else(|| garbled("a greeting"))?;
        let tail = read_bytes(from, tail, GREETING_TAIL_BYTES_MAX)?;
        if lowest > VERSION || highest < VERSION_LOWEST {
            return Ok(None);
        }
        let settings = take_settings(&mut Bytes::new(&tail)).ok_or_else(|| garbled("the settings of a greeting"))?;
        Ok(Some(Self { kind, client, settings }))
    }
}

impl Welcome {
    /// Writes it; with a text it is a refusal.
    pub(super) fn write(&self, refusal: &str, to: &mut impl Write) -> io::Result<()> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&(if refusal.is_empty() { VERSION } else { 0 }).to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.pid.to_le_bytes());
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&(refusal.len() as u32).to_le_bytes());
        out.extend_from_slice(refusal.as_bytes());
        to.write_all(&out)
    }

    /// The answer to a greeting; the inner error is a refusal, which will not change.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Result<Self, String>> {
        let mut head = [0; 36];
        from.read_exact(&mut head)?;
        let mut bytes = Bytes::new(&head);
        let mut parse = || {
            (bytes.array()? == MAGIC).then_some(())?;
            let version = bytes.u16()?;
            bytes.u16()?;
            Some((version, bytes.u32()?, StoreId(bytes.array()?), bytes.u32()?))
        };
        let (version, pid, store, tail) = parse().ok_or_else(|| garbled("the answer to a greeting"))?;
        let text = read_bytes(from, tail, GREETING_TAIL_BYTES_MAX)?;
        if version == 0 {
            return Ok(Err(String::from_utf8_lossy(&text).into_owned()));
        }
        Ok(Ok(Self { pid, store }))
    }
}

/// So many bytes; memory is taken as they come.
fn read_bytes(from: &mut impl Read, count: u32, most: u32) -> io::Result<Vec<u8>> {
    if count > most {
        return Err(garbled("a length"));
    }
    let mut bytes = Vec::with_capacity((count as usize).min(1 << 20));
    from.take(count.into()).read_to_end(&mut bytes)?;
    if bytes.len() < count as usize { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
}

/// The next request or answer without its length. `None`: the other side has closed the connection in between.
pub(super) fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut len = [0; 4];
    loop {
        match from.read(&mut len) {
            Ok(0) => return Ok(None),
            Ok(count) => {
                from.read_exact(&mut len[count..])?;
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    read_bytes(from, u32::from_le_bytes(len), FRAME_BYTES_MAX).map(Some)
}

/// Writes the length in front of a request or answer, of which the first four bytes are left free for it.
pub(super) fn finish_frame(frame: &mut [u8]) -> io::Result<()> {
    let len = frame.len().checked_sub(4).and_then(|len| u32::try_from(len).ok());
    match (len, frame.first_chunk_mut::<4>()) {
        (Some(len), Some(place)) if len <= FRAME_BYTES_MAX => {
            *place = len.to_le_bytes();
            Ok(())
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "more than 1 GiB in one call")),
    }
}

/// A request, taken apart.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) count: u64,
    pub(super) call: u16,
    pub(super) arguments: Bytes<'a>,
    /// In whose name the call is made, if it is not the sender's own.
    pub(super) made_for: Option<Call>,
}

impl<'a> Request<'a> {
    /// Reads it from the bytes after the length.
    pub(super) fn parse(frame: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes::new(frame);
        let (count, call) = (bytes.u64()?, bytes.u16()?);
        if call != FOR_ANOTHER {
            return Some(Self { count, call, arguments: bytes, made_for: None });
        }
        let (made_for, call) = take_made_for(&mut bytes)?;
        Some(Self { count, call, arguments: bytes, made_for: Some(made_for) })
    }

    /// Whether the one for whom the call is made gave it an idempotency key.
    pub(super) fn has_key(&self) -> bool {
        self.made_for.as_ref().is_some_and(|call| !call.idempotency_key.is_empty())
    }
}

/// A request without arguments yet: they are appended.
pub(super) fn new_request(count: u64, call: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&call.to_le_bytes());
    out
}

/// The bytes of a result.
pub(super) fn answered<T: Put, E: Fault>(result: Result<T, E>) -> Vec<u8> {
    match result {
        Ok(value) => {
            let mut out = vec![0; ANSWER_HEAD_BYTES];
            value.put(&mut out);
            out
        }
        Err(error) => refused(&error),
    }
}

/// The bytes of an error.
pub(super) fn refused<E: Fault>(error: &E) -> Vec<u8> {
    let mut out = vec![0; ANSWER_HEAD_BYTES];
    out[ANSWER_HEAD_BYTES - 1] = E::MARK;
    error.put(&mut out);
    out
}

/// A part of an answer, its length still to be filled in.
pub(super) fn new_part() -> Vec<u8> {
    let mut out = vec![0; ANSWER_HEAD_BYTES];
    out[ANSWER_HEAD_BYTES - 1] = PART;
    out
}

/// The answer to a call that was made before under its idempotency key.
pub(super) fn repeated(lsn: Lsn) -> Vec<u8> {
    let mut out = vec![0; ANSWER_HEAD_BYTES];
    out[ANSWER_HEAD_BYTES - 1] = REPEATED;
    lsn.0.put(&mut out);
    out
}

/// The result in the bytes after an answer's length.
pub(super) fn read_answer<T: for<'a> Take<'a>, E: Fault>(answer: &[u8]) -> Result<T, E> {
    let parse = || {
        let (kind, rest) = answer.split_first()?;
        let mut bytes = Bytes::new(rest);
        let result = match kind {
            0 => Ok(T::take(&mut bytes)?),
            &REPEATED => Err(Error::Repeated { lsn: bytes.varint()? }.into()),
            mark => Err(E::read(*mark, &mut bytes)?),
        };
        bytes.is_empty().then_some(result)
    };
    parse().unwrap_or_else(|| {
        let why =
            "the answer of the process that holds the store cannot be read; use one version of Runlode".to_owned();
        Err(Error::Refused { why }.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Durability;

    #[test]
    fn greetings_come_through() {
        let mut settings = Settings::with_root("s3://b/x", "/srv");
        settings.metric_durability = Durability::Sync;
        settings.author = Some("ann".to_owned());
        let hello = Hello { kind: Kind::Watch, client: ClientId([7; 16]), settings };
        let mut bytes = Vec::new();
        hello.write(&mut bytes).unwrap();
        let back = Hello::read(&mut &bytes[..]).unwrap().unwrap();
        assert_eq!((back.kind, back.client, back.settings.places.root()), (Kind::Watch, hello.client, "s3://b/x"));
        assert_eq!(back.settings.metric_durability, Durability::Sync);
        assert_eq!(back.settings.author.as_deref(), Some("ann"));
        let welcome = Welcome { pid: 7, store: StoreId([1; 16]) };
        for refusal in ["", "another version"] {
            let mut bytes = Vec::new();
            welcome.write(refusal, &mut bytes).unwrap();
            let expected = if refusal.is_empty() { Ok(welcome) } else { Err(refusal.to_owned()) };
            assert_eq!(Welcome::read(&mut &bytes[..]).unwrap(), expected);
        }
    }

    #[test]
    fn peers_without_a_common_version_get_a_refusal_and_so_does_noise() {
        let hello = Hello { kind: Kind::Calls, client: ClientId([7; 16]), settings: Settings::with_root("r", "/") };
        let mut bytes = Vec::new();
        hello.write(&mut bytes).unwrap();
        bytes[8..12].copy_from_slice(&[9, 0, 10, 0]);
        assert!(Hello::read(&mut &bytes[..]).unwrap().is_none());
        bytes[0] = b'G';
        assert!(Hello::read(&mut &bytes[..]).is_err());
        assert!(read_frame(&mut &[255, 255, 255, 255, 1][..]).is_err());
        assert!(read_frame(&mut &[3, 0, 0, 0, 1][..]).is_err());
        assert!(read_frame(&mut &[][..]).unwrap().is_none());
    }
}
