//! Reads everything and says what is not what was written.

use crate::error::Result;
use crate::id::Lsn;
use crate::wiring::Core;

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Damage, a sentence each; empty if all is sound.
    pub problems: Vec<String>,
    /// Frames read.
    pub frames_count: u64,
}

impl Core {
    /// Reads every frame and every series file.
    pub(crate) fn verify(&self) -> Result<VerifyReport> {
        let mut report = VerifyReport::default();
        let log = &self.pipeline.log;
        let mut frames = log.read_from(log.first(), Lsn::MAX)?;
        loop {
            match frames.next_frame() {
                Ok(Some(_)) => report.frames_count += 1,
                Ok(None) => break,
                Err(error) => {
                    report.problems.push(error.to_string());
                    frames.skip_damage();
                }
            }
        }
        for (number, _) in self.index.read()?.files()? {
            if let Err(error) = self.files.get(number).and_then(|file| file.verify()) {
                report.problems.push(error.to_string());
            }
        }
        Ok(report)
    }
}
