//! An entity's events as changes from an old to a new value: each event has the new value, earlier ones the old.

use std::collections::BTreeMap;

use crate::engine::event::payload::Decoded;
use crate::{Event, EventRecord};

/// One event of an entity.
///
/// ```
/// use runlode::{EntityKey, changes};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// let digits = store.experiment("digits")?;
/// digits.rename("mnist")?;
/// let local = store.local()?;
/// let events = local.snapshot()?.events(&EntityKey::Experiment(digits.id()))?;
/// let last = changes::of(&events, |ms| ms.to_string()).pop().expect("the rename");
/// assert_eq!((last.event.as_str(), last.changes[0].as_str()), ("ExperimentRenamed", "name: digits -> mnist"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its position in the store's one order.
    pub position: u64,
    /// When it was appended, Unix ms.
    pub time_ms: i64,
    /// The actor, if given.
    pub actor: Option<String>,
    /// Kind of event.
    pub event: String,
    /// What it changed, a sentence each: `stage: Staging -> Production`.
    pub changes: Vec<String>,
}

/// The known state of the entity while its events are walked through.
struct Known {
    values: BTreeMap<String, String>,
    /// Renders a time, Unix ms.
    time: fn(i64) -> String,
}

impl Known {
    fn set(&mut self, what: impl Into<String>, value: impl Into<String>) -> String {
        let (what, value) = (what.into(), value.into());
        let line = match self.values.get(&what) {
            Some(old) if *old != value => format!("{what}: {old} -> {value}"),
            _ => format!("{what}: {value}"),
        };
        self.values.insert(what, value);
        line
    }

    fn pairs(&mut self, kind: &str, pairs: &[(String, String)]) -> Vec<String> {
        pairs.iter().map(|(key, value)| self.set(format!("{kind} {key}"), value.as_str())).collect()
    }

    fn drop(&mut self, what: &str) -> String {
        match self.values.remove(what) {
            Some(old) => format!("{what}: {old} -> (deleted)"),
            None => format!("{what}: (deleted)"),
        }
    }

    fn optional(&mut self, what: &str, value: Option<&String>) -> String {
        match value {
            Some(value) => self.set(what, value.as_str()),
            None => self.drop(what),
        }
    }

    fn apply(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::ExperimentCreated(e) => {
                let mut lines = vec![self.set("name", &e.name)];
                lines.extend(self.pairs("tag", &e.tags));
                lines
            }
            Event::ExperimentRenamed(e) => vec![self.set("name", &e.name)],
            Event::ExperimentTagsSet(e) => self.pairs("tag", &e.tags),
            Event::ExperimentTagDeleted(e) => vec![self.drop(&format!("tag {}", e.key))],
            Event::RunCreated(e) => {
                let status: &str = e.status.into();
                let mut lines = vec![self.set("name", &e.name), self.set("status", status)];
                lines.extend(self.pairs("tag", &e.tags));
                lines
            }
            Event::RunUpdated(e) => {
                let mut lines = Vec::new();
                if let Some(status) = e.status {
                    let status: &str = status.into();
                    lines.push(self.set("status", status));
                }
                lines.extend(e.end_time_ms.map(|end| self.set("end", (self.time)(end))));
                lines.extend(e.name.as_ref().map(|name| self.set("name", name)));
                lines
            }
            Event::ParamsLogged(e) => self.pairs("param", &e.params),
            Event::RunTagsSet(e) => self.pairs("tag", &e.tags),
            Event::RunTagDeleted(e) => vec![self.drop(&format!("tag {}", e.key))],
            Event::RunInputsLogged(e) => {
                let datasets =
                    e.datasets.iter().map(|dataset| format!("data set {} ({})", dataset.name, dataset.digest));
                datasets.chain(e.models.iter().map(|model| format!("reads model {model}"))).collect()
            }
            Event::RunOutputsLogged(e) => {
                e.models.iter().map(|(model, step)| format!("made model {model} at step {step}")).collect()
            }
            Event::ArtifactLogged(e) => vec![format!("artifact {}", e.path)],
            Event::LoggedModelTagsSet(e) => self.pairs("tag", &e.tags),
            Event::LoggedModelTagDeleted(e) => vec![self.drop(&format!("tag {}", e.key))],
            Event::LoggedModelParamsLogged(e) => self.pairs("param", &e.params),
            Event::LoggedModelPointShared(e) => {
                vec![format!("{} at step {} of run {} too", e.key, e.step, e.run)]
            }
            Event::LoggedModelMetricsLogged(e) => {
                vec![format!("metrics {} of run {}", e.keys.join(", "), e.run)]
            }
            Event::RegisteredModelCreated(e) => {
                let mut lines = vec![self.set("name", &e.name)];
                lines.extend(e.description.as_ref().map(|text| self.set("description", text)));
                lines.extend(self.pairs("tag", &e.tags));
                lines
            }
            Event::RegisteredModelUpdated(e) => vec![self.optional("description", e.description.as_ref())],
            Event::RegisteredModelRenamed(e) => vec![self.set("name", &e.name)],
            Event::RegisteredModelTagsSet(e) => self.pairs("tag", &e.tags),
            Event::RegisteredModelTagDeleted(e) => vec![self.drop(&format!("tag {}", e.key))],
            Event::AliasSet(e) => vec![self.set(format!("alias {}", e.alias), format!("version {}", e.version))],
            Event::AliasDeleted(e) => vec![self.drop(&format!("alias {}", e.alias))],
            Event::ModelVersionCreated(e) => {
                let stage: &str = e.stage.into();
                let version = e.version;
                let mut lines = vec![
                    self.set(format!("version {version} source"), &e.source),
                    self.set(format!("version {version} stage"), stage),
                ];
                lines.extend(self.pairs(&format!("version {version} tag"), &e.tags));
                lines
            }
            Event::ModelVersionUpdated(e) => {
                vec![self.optional(&format!("version {} description", e.version), e.description.as_ref())]
            }
            Event::ModelVersionStageChanged(e) => {
                let stage: &str = e.stage.into();
                vec![self.set(format!("version {} stage", e.version), stage)]
            }
            Event::ModelVersionTagsSet(e) => self.pairs(&format!("version {} tag", e.version), &e.tags),
            Event::ModelVersionTagDeleted(e) => vec![self.drop(&format!("version {} tag {}", e.version, e.key))],
            Event::ModelVersionDeleted(e) => vec![format!("version {} deleted", e.version)],
            Event::RunRewound(e) => vec![format!("branch: {} -> {}, from step {}", e.from, e.branch, e.to_step)],
            Event::RunLeased(e) => vec![self.set("process", format!("{} on {}", e.pid, e.host))],
            Event::ProjectLaunched(e) => vec![format!("{} {} (attempt {})", e.uri, e.entry_point, e.attempt)],
            _ => Vec::new(),
        }
    }
}

/// Events of one entity, in order, as changes; `time` renders the times in them, Unix ms.
///
/// ```
/// use runlode::{EntityKey, ExperimentId, LocalStore, changes};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::open(&path)?;
/// store.rename_experiment(ExperimentId(0), "digits")?;
/// let events = store.snapshot()?.events(&EntityKey::Experiment(ExperimentId(0)))?;
/// assert_eq!(changes::of(&events, |ms| ms.to_string())[1].changes, ["name: Default -> digits"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn of(events: &[EventRecord], time: fn(i64) -> String) -> Vec<Change> {
    let mut known = Known { values: BTreeMap::new(), time };
    let change = |record: &EventRecord| Change {
        position: record.lsn.0,
        time_ms: record.time.0,
        actor: record.actor.clone(),
        event: match &record.event {
            Decoded::Known(event) => event.name().to_owned(),
            Decoded::Unknown { tag, .. } => format!("event of kind {tag}, which this version does not know"),
        },
        changes: match &record.event {
            Decoded::Known(event) => known.apply(event),
            Decoded::Unknown { .. } => Vec::new(),
        },
    };
    events.iter().map(change).collect()
}
