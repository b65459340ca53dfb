//! Who changes something: recorded in the history of everything that is changed.
//!
//! A login at a server says best who it is, then the user whom a client names in what it creates or tags, then the user
//! of the process. What comes from another store keeps its authors.

use super::LocalStore;
use crate::Batch;
use crate::os_user::NAME_CHARS_MAX;
use runlode_engine::event::Event;

/// The tag in which MLflow's clients name their user.
const TAG_USER: &str = "mlflow.user";

impl LocalStore {
    /// The author of what is changed through this value, if a batch names none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::LocalStore::options(dir.path().join("exp")).author(Some("ann")).open()?;
    /// assert_eq!(store.author(), Some("ann"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn author(&self) -> Option<&str> {
        let called = self.call.as_ref().map(|call| call.actor.as_str()).filter(|actor| !actor.is_empty());
        called.or(self.author.as_deref())
    }

    /// The same store for changes that were made elsewhere, or for its own.
    pub(crate) fn of_others(&self, of_others: bool) -> Self {
        Self { of_others, ..self.clone() }
    }

    /// The same store for changes of another author; that of a call stays.
    pub(crate) fn written_by(&self, author: Option<&str>) -> Self {
        Self { author: author.map(Into::into), ..self.clone() }
    }

    /// The batch with its author.
    pub(super) fn with_author(&self, batch: Batch) -> Batch {
        if self.of_others {
            return batch;
        }
        if let Some(call) = self.call.as_ref().filter(|call| !call.actor.is_empty()) {
            return batch.actor(&call.actor);
        }
        match named_user(batch.events()).or(self.author.as_deref()).map(str::to_owned) {
            Some(author) => batch.actor_or(&author),
            None => batch,
        }
    }
}

/// The user whom a client names in what it creates or tags.
fn named_user(events: &[Event]) -> Option<&str> {
    let named = events.iter().find_map(|event| {
        let (user, tags) = match event {
            Event::RunCreated(e) => (e.user_id.as_str(), &e.tags),
            Event::RunTagsSet(e) => ("", &e.tags),
            Event::ExperimentCreated(e) => ("", &e.tags),
            Event::ExperimentTagsSet(e) => ("", &e.tags),
            Event::LoggedModelCreated(e) => ("", &e.tags),
            Event::LoggedModelTagsSet(e) => ("", &e.tags),
            Event::RegisteredModelCreated(e) => ("", &e.tags),
            Event::RegisteredModelTagsSet(e) => ("", &e.tags),
            Event::ModelVersionCreated(e) => (e.user_id.as_deref().unwrap_or_default(), &e.tags),
            Event::ModelVersionTagsSet(e) => ("", &e.tags),
            _ => return None,
        };
        let tagged = tags.iter().rfind(|(key, _)| key == TAG_USER).map(|(_, user)| user.trim());
        let tagged = tagged.filter(|user| !user.is_empty());
        tagged.or(Some(user.trim()).filter(|user| !user.is_empty()))
    })?;
    Some(named.char_indices().nth(NAME_CHARS_MAX).map_or(named, |(end, _)| &named[..end]))
}
