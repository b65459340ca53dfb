//! What goes on beside a server: following an alias, logging windows.
//!
//! ```text
//! every 2 s   where does the URI lead?  -- to the model that is served: nothing
//!                 | to another one
//!                 v
//!             a thread fetches and loads it; windows are logged meanwhile
//!                 |-> served from now on
//!                 `-> cannot be loaded: said once, tried again after a minute, or when the URI leads elsewhere
//! ```

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use runlode_serving::Model;
use runlode_serving::server::Handle;

use super::load::{self, Wanted};
use super::place::Identity;
use super::record::Recorder;
use super::resolve::Target;
use crate::error::Result;
use crate::output::note;

/// How often an alias is looked at, and a model that is being loaded.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);
const LOADING_EVERY: Duration = Duration::from_millis(50);
/// When a model that could not be loaded is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// What is done beside the server, until it ends.
pub(super) struct Attendant {
    pub(super) handle: Handle,
    pub(super) recorder: Option<Recorder>,
    pub(super) uri: String,
    /// The model that is served.
    pub(super) identity: Option<Identity>,
    pub(super) wanted: Wanted,
    /// How often a window is logged.
    pub(super) window_every: Option<Duration>,
    pub(super) following: Option<Following>,
}

/// How far following is.
#[derive(Default)]
pub(super) struct Following {
    loading: Option<Loading>,
    /// The model that could not be loaded, and when that was.
    refused: Option<(Option<Identity>, Instant)>,
    /// What was said last; the same is not said again.
    said: String,
}

/// A model that a thread loads.
struct Loading {
    identity: Option<Identity>,
    loaded: Receiver<Result<(PathBuf, Model)>>,
}

impl Following {
    fn say(&mut self, text: String) {
        if self.said != text {
            note(&text);
            self.said = text;
        }
    }
}

impl Attendant {
    /// Runs until `ended` hangs up; then says that serving has ended.
    pub(super) fn run(mut self, ended: &Receiver<()>) {
        if let (Some(recorder), Some(identity)) = (&mut self.recorder, &self.identity) {
            recorder.started(identity.clone());
        }
        let mut next_window = self.window_every.map(|every| Instant::now() + every);
        loop {
            let until_window = next_window.map(|next| next.saturating_duration_since(Instant::now()));
            let until_look = self.following.as_ref().map(|following| match following.loading {
                Some(_) => LOADING_EVERY,
                None => FOLLOW_EVERY,
            });
            let wait = until_window.into_iter().chain(until_look).min().unwrap_or(Duration::MAX);
            match ended.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
            if next_window.is_some_and(|next| next <= Instant::now()) {
                self.log();
                next_window = self.window_every.map(|every| Instant::now() + every);
            }
            // A model that is still being loaded when the server ends is left to its thread, which ends with the process.
            if let Some(mut following) = self.following.take() {
                self.follow(&mut following);
                self.following = Some(following);
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
    fn follow(&mut self, following: &mut Following) {
        match following.loading.take() {
            None => self.look(following),
            Some(loading) => match loading.loaded.try_recv() {
                Err(TryRecvError::Empty) => following.loading = Some(loading),
                Ok(Ok((folder, model))) => {
                    self.handle.replace(model);
                    following.say(format!("{} is served from {} now", self.uri, folder.display()));
                    if let (Some(recorder), Some(identity)) = (&mut self.recorder, &loading.identity) {
                        recorder.started(identity.clone());
                    }
                    self.identity = loading.identity;
                    following.refused = None;
                }
                Ok(Err(error)) => self.stay(following, loading.identity, &error.to_string()),
                Err(TryRecvError::Disconnected) => self.stay(following, loading.identity, "loading it ended early"),
            },
        }
    }

    fn stay(&self, following: &mut Following, identity: Option<Identity>, why: &str) {
        following.say(format!("{} leads to another model, but the one before stays: {why}", self.uri));
        following.refused = Some((identity, Instant::now()));
    }

    fn look(&self, following: &mut Following) {
        let Some(recorder) = &self.recorder else { return };
        let target = match Target::look_up(Some(&recorder.place), &self.uri) {
            Ok(target) => target,
            // The alias may be moved in two steps: removed, then set.
            Err(error) => {
                return following.say(format!("{} leads nowhere now, so the model stays: {error}", self.uri));
            }
        };
        let identity = target.identity();
        if identity == self.identity {
            return;
        }
        if let Some((refused, when)) = &following.refused
            && *refused == identity
            && when.elapsed() < AGAIN_AFTER
        {
            return;
        }
        let (sender, loaded) = mpsc::channel();
        let (uri, wanted) = (self.uri.clone(), self.wanted.clone());
        let load = move || {
            let load = || {
                let folder = target.fetch()?.folder;
                let model = load::load(&folder, &uri, &wanted)?;
                Ok((folder, model))
            };
            // Nobody listens any more once the server has ended.
            let _ = sender.send(load());
        };
        match std::thread::Builder::new().name("runlode-load".into()).spawn(load) {
            Ok(_) => following.loading = Some(Loading { identity, loaded }),
            Err(error) => self.stay(following, identity, &error.to_string()),
        }
    }
}
