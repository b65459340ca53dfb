//! The first pass over a run's event files: all that is no point.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::decode::plain_key;
use super::super::report::Report;
use super::event::{Event, Tags, Value};
use super::record::Records;
use super::tell_end;
use crate::error::{Error, Result};

/// Longest text that becomes a tag; MLflow's stores take a few more bytes.
const TAG_BYTES_MAX: usize = 5000;

/// What the event files of a run say.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    status: &'static str,
    params: BTreeMap<String, String>,
    /// The last text of each tag.
    texts: BTreeMap<String, String>,
    /// Where the writer began again: number of the event, and the step.
    pub(super) starts: Vec<(u64, i64)>,
}

/// What becomes rows of tables.
pub(super) struct Facts {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) status: &'static str,
    pub(super) params: BTreeMap<String, String>,
    pub(super) tags: BTreeMap<String, String>,
}

impl Scan {
    /// Reads the files. Texts and images are written below `artifacts`.
    pub(super) fn read(paths: &[PathBuf], artifacts: &Path, found: &mut Report) -> Result<Self> {
        let mut scan = Self {
            start_ms: i64::MAX,
            end_ms: 0,
            status: "FINISHED",
            params: BTreeMap::new(),
            texts: BTreeMap::new(),
            starts: Vec::new(),
        };
        let (mut tags, mut number, mut ended_ms) = (Tags::default(), 0_u64, None);
        for path in paths {
            let mut records = Records::open(path)?;
            let mut malformed = 0;
            while let Some(payload) = records.next()? {
                number += 1;
                let Some(event) = Event::decode(payload) else {
                    malformed += 1;
                    continue;
                };
                scan.start_ms = scan.start_ms.min(event.time_ms());
                scan.end_ms = scan.end_ms.max(event.time_ms());
                if event.starts_over {
                    scan.starts.push((number, event.step));
                }
                let mut result = Ok(());
                let whole = event.values(&mut tags, |tag, value| match value {
                    Value::Scalar(_) | Value::Histogram { .. } => {}
                    Value::Params(params) => scan.params.extend(params),
                    Value::Ended(status, at_s) => {
                        scan.status = match status {
                            2 => "FAILED",
                            3 => "RUNNING",
                            _ => "FINISHED",
                        };
                        ended_ms = (at_s > 0.0).then(|| (at_s * 1000.0).round() as i64);
                    }
                    Value::Text(texts) => {
                        for (at, text) in texts.iter().enumerate() {
                            let written = write(artifacts, "text", tag, event.step, at, "md", text);
                            result = std::mem::replace(&mut result, Ok(())).and(written);
                        }
                        let text = texts.first().map(|text| String::from_utf8_lossy(text).into_owned());
                        scan.texts.insert(tag.to_owned(), text.unwrap_or_default());
                    }
                    Value::Images(images) => {
                        for (at, image) in images.iter().enumerate() {
                            let written = write(artifacts, "images", tag, event.step, at, kind(image), image);
                            result = std::mem::replace(&mut result, Ok(())).and(written);
                        }
                    }
                    Value::Other(what) => found.leave_out(&what, 1),
                });
                result?;
                malformed += u64::from(!whole);
            }
            if malformed > 0 {
                found.problem(format!("{} has {malformed} events that make no sense", path.display()));
                found.skip("events that make no sense", malformed);
            }
            tell_end(path, &records, found);
        }
        if scan.start_ms == i64::MAX {
            scan.start_ms = 0;
        }
        scan.end_ms = ended_ms.unwrap_or(scan.end_ms);
        Ok(scan)
    }

    pub(super) fn facts(&self) -> Facts {
        let short = self.texts.iter().filter(|(_, text)| text.len() <= TAG_BYTES_MAX);
        Facts {
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            status: self.status,
            params: self.params.clone(),
            tags: short.map(|(tag, text)| (format!("text/{}", plain_key(tag)), text.clone())).collect(),
        }
    }
}

/// Writes an artifact as `KIND/TAG/STEP.ENDING`, further ones of one value as `STEP-1.ENDING` and so on.
fn write(artifacts: &Path, folder: &str, tag: &str, step: i64, at: usize, ending: &str, bytes: &[u8]) -> Result<()> {
    let folder = artifacts.join(folder).join(plain_key(tag));
    let number = if at == 0 { String::new() } else { format!("-{at}") };
    let path = folder.join(format!("{step}{number}.{ending}"));
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&path, bytes))
        .map_err(|error| Error::io(format!("cannot write {}", path.display()), error))
}

/// The ending of an image's name, by its first bytes.
fn kind(image: &[u8]) -> &'static str {
    match image {
        [0xff, 0xd8, ..] => "jpg",
        [b'G', b'I', b'F', ..] => "gif",
        _ => "png",
    }
}
