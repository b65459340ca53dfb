//! What goes on beside a server: following an alias, logging windows.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use runlode_serving::server::Handle;

use super::load::{self, Wanted};
use super::place::Place;
use super::record::Recorder;
use super::resolve::{self, Found};
use crate::output::note;

/// How often an alias is looked at.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);

/// What is done beside the server, until it ends.
pub(super) struct Attendant {
    pub(super) handle: Handle,
    pub(super) recorder: Option<Recorder>,
    pub(super) uri: String,
    /// The model that is served.
    pub(super) found: Found,
    pub(super) wanted: Wanted,
    /// Whether to serve another model once the URI leads to one.
    pub(super) follows: bool,
    /// How often a window is logged.
    pub(super) window_every: Option<Duration>,
}

impl Attendant {
    /// Runs until `ended` hangs up; then says that serving has ended.
    pub(super) fn run(mut self, ended: &Receiver<()>) {
        if let (Some(recorder), Some(identity)) = (&mut self.recorder, &self.found.identity) {
            recorder.started(identity.clone());
        }
        let mut next_window = self.window_every.map(|every| Instant::now() + every);
        loop {
            let until_window = next_window.map(|next| next.saturating_duration_since(Instant::now()));
            let wait = match (self.follows, until_window) {
                (true, Some(window)) => window.min(FOLLOW_EVERY),
                (true, None) => FOLLOW_EVERY,
                (false, window) => window.unwrap_or(Duration::MAX),
            };
            match ended.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
            if next_window.is_some_and(|next| next <= Instant::now()) {
                self.log();
                next_window = self.window_every.map(|every| Instant::now() + every);
            }
            if self.follows {
                self.follow();
            }
        }
        self.log();
        if let Some(recorder) = &mut self.recorder {
            recorder.ended();
        }
    }

    fn log(&mut self) {
        if self.window_every.is_some()
            && let Some(recorder) = &mut self.recorder
        {
            recorder.window(&self.handle.take_window());
        }
    }

    /// Loads the model that the URI leads to now, if it is another one, and serves it once it is ready.
    fn follow(&mut self) {
        let Some(Recorder { place: Place::Store(store), .. }) = &self.recorder else { return };
        let found = match resolve::in_store(store, &self.uri) {
            Ok(found) if found == self.found => return,
            Ok(found) => found,
            // The alias may be moved in two steps: removed, then set.
            Err(error) => return note(format!("{} leads nowhere now, so the model stays: {error}", self.uri)),
        };
        match load::load(&found.folder, &self.uri, &self.wanted) {
            Ok(model) => self.handle.replace(model),
            Err(error) => {
                return note(format!("{} leads to another model, but the one before stays: {error}", self.uri));
            }
        }
        note(format!("{} is served from {} now", self.uri, found.folder.display()));
        if let (Some(recorder), Some(identity)) = (&mut self.recorder, &found.identity) {
            recorder.started(identity.clone());
        }
        self.found = found;
    }
}
