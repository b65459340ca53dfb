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
    /// The same for programs.
    pub fields: Vec<FieldChange>,
}

/// One field that an event changed.
///
/// ```
/// use runlode::{EntityKey, ExperimentId, LocalStore, changes};
///
/// # let dir = tempfile::tempdir()?;
/// let store = LocalStore::open(dir.path().join("exp"))?;
/// store.set_experiment_tags(ExperimentId(0), &[("team", "vision")])?;
/// let events = store.snapshot()?.events(&EntityKey::Experiment(ExperimentId(0)))?;
/// let tagged = &changes::of(&events, |ms| ms.to_string())[1].fields[0];
/// assert_eq!((tagged.field.as_str(), &tagged.from, tagged.to.as_deref()), ("tags.team", &None, Some("vision")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// The field: `name`, `status`, `end_time_ms`, `lifecycle`, `description`, `stage`, `source`, `process`, `branch`,
    /// `artifact`, `params.KEY`, `tags.KEY`, `aliases.NAME`, `datasets.NAME`, ...
    pub field: String,
    /// The version of a registered model that has the field.
    pub version: Option<u32>,
    /// Its value before, as text; `None`: it had none.
    pub from: Option<String>,
    /// Its value now; `None`: it was deleted.
    pub to: Option<String>,
}

/// What a field is called in a sentence.
fn label(field: &str) -> String {
    match field.split_once('.') {
        Some(("tags", key)) => format!("tag {key}"),
        Some(("params", key)) => format!("param {key}"),
        Some(("aliases", alias)) => format!("alias {alias}"),
        _ if field == "end_time_ms" => "end".to_owned(),
        _ => field.to_owned(),
    }
}

/// The known state of the entity while its events are walked through.
struct Known {
    values: BTreeMap<(Option<u32>, String), String>,
    /// Renders a time, Unix ms.
    time: fn(i64) -> String,
    /// Of the event that is looked at.
    lines: Vec<String>,
    fields: Vec<FieldChange>,
}

impl Known {
    fn set(&mut self, field: impl Into<String>, value: impl Into<String>) {
        self.set_of(None, field, value);
    }

    /// A field of a version, or of the entity itself.
    fn set_of(&mut self, version: Option<u32>, field: impl Into<String>, value: impl Into<String>) {
        let (field, value) = (field.into(), value.into());
        let old = self.values.insert((version, field.clone()), value.clone());
        self.changed(version, field, old, Some(value));
    }

    /// Remembers a value that is not worth a sentence.
    fn know(&mut self, version: Option<u32>, field: &str, value: &str) {
        self.values.insert((version, field.to_owned()), value.to_owned());
    }

    fn drop_of(&mut self, version: Option<u32>, field: impl Into<String>) {
        let field = field.into();
        let old = self.values.remove(&(version, field.clone()));
        self.changed(version, field, old, None);
    }

    fn changed(&mut self, version: Option<u32>, field: String, from: Option<String>, to: Option<String>) {
        let shown = |value: &str| match value.parse() {
            Ok(time_ms) if field == "end_time_ms" => (self.time)(time_ms),
            Ok(_) if field.starts_with("aliases.") => format!("version {value}"),
            _ => value.to_owned(),
        };
        let of = version.map_or_else(String::new, |version| format!("version {version} "));
        let what = label(&field);
        let now = to.as_deref().map_or_else(|| "(deleted)".to_owned(), shown);
        self.lines.push(match &from {
            Some(old) if from != to => format!("{of}{what}: {} -> {now}", shown(old)),
            _ => format!("{of}{what}: {now}"),
        });
        self.fields.push(FieldChange { field, version, from, to });
    }

    /// A change with a sentence of its own.
    fn say(&mut self, line: String, field: impl Into<String>, from: Option<String>, to: impl Into<String>) {
        self.lines.push(line);
        self.fields.push(FieldChange { field: field.into(), version: None, from, to: Some(to.into()) });
    }

    fn pairs_of(&mut self, version: Option<u32>, kind: &str, pairs: &[(String, String)]) {
        for (key, value) in pairs {
            self.set_of(version, format!("{kind}.{key}"), value.as_str());
        }
    }

    fn optional_of(&mut self, version: Option<u32>, field: &str, value: Option<&String>) {
        match value {
            Some(value) => self.set_of(version, field, value.as_str()),
            None => self.drop_of(version, field),
        }
    }

    /// What an event created, in which state.
    fn created(&mut self, name: &str, tags: &[(String, String)]) {
        self.set("name", name);
        self.pairs_of(None, "tags", tags);
        self.know(None, "lifecycle", "active");
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::ExperimentCreated(e) => self.created(&e.name, &e.tags),
            Event::ExperimentRenamed(e) => self.set("name", &e.name),
            Event::ExperimentTagsSet(e) => self.pairs_of(None, "tags", &e.tags),
            Event::ExperimentTagDeleted(e) => self.drop_of(None, format!("tags.{}", e.key)),
            Event::RunCreated(e) => {
                let status: &str = e.status.into();
                self.set("name", &e.name);
                self.set("status", status);
                self.pairs_of(None, "tags", &e.tags);
                self.know(None, "lifecycle", "active");
            }
            Event::RunUpdated(e) => {
                if let Some(status) = e.status {
                    let status: &str = status.into();
                    self.set("status", status);
                }
                if let Some(end_time_ms) = e.end_time_ms {
                    self.set("end_time_ms", end_time_ms.to_string());
                }
                if let Some(name) = &e.name {
                    self.set("name", name);
                }
            }
            Event::ParamsLogged(e) => self.pairs_of(None, "params", &e.params),
            Event::RunTagsSet(e) => self.pairs_of(None, "tags", &e.tags),
            Event::RunTagDeleted(e) => self.drop_of(None, format!("tags.{}", e.key)),
            Event::RunInputsLogged(e) => {
                for dataset in &e.datasets {
                    let line = format!("data set {} ({})", dataset.name, dataset.digest);
                    self.say(line, format!("datasets.{}", dataset.name), None, &dataset.digest);
                }
                for model in &e.models {
                    self.say(format!("reads model {model}"), "model_inputs", None, model);
                }
            }
            Event::RunOutputsLogged(e) => {
                for (model, step) in &e.models {
                    self.say(format!("made model {model} at step {step}"), "model_outputs", None, model);
                }
            }
            Event::ArtifactLogged(e) => self.say(format!("artifact {}", e.path), "artifact", None, &e.path),
            Event::ExperimentDeleted(_) | Event::RunDeleted(_) | Event::LoggedModelDeleted(_) => {
                self.set("lifecycle", "deleted");
            }
            Event::RegisteredModelDeleted(_) => self.set("lifecycle", "deleted"),
            Event::ExperimentRestored(_) | Event::RunRestored(_) => self.set("lifecycle", "active"),
            Event::RunPurged(_) | Event::ExperimentPurged(_) => self.set("lifecycle", "purged"),
            Event::LoggedModelCreated(e) => {
                self.set("name", &e.name);
                self.set("status", format!("{:?}", e.status));
                self.pairs_of(None, "params", &e.params);
                self.pairs_of(None, "tags", &e.tags);
                self.know(None, "lifecycle", "active");
            }
            Event::LoggedModelFinalized(e) => self.set("status", format!("{:?}", e.status)),
            Event::LoggedModelTagsSet(e) => self.pairs_of(None, "tags", &e.tags),
            Event::LoggedModelTagDeleted(e) => self.drop_of(None, format!("tags.{}", e.key)),
            Event::LoggedModelParamsLogged(e) => self.pairs_of(None, "params", &e.params),
            Event::LoggedModelPointShared(e) => {
                let line = format!("{} at step {} of run {} too", e.key, e.step, e.run);
                self.say(line, format!("metrics.{}", e.key), None, e.run.to_string());
            }
            Event::LoggedModelMetricsLogged(e) => {
                self.lines.push(format!("metrics {} of run {}", e.keys.join(", "), e.run));
                for key in &e.keys {
                    let (field, to) = (format!("metrics.{key}"), Some(e.run.to_string()));
                    self.fields.push(FieldChange { field, version: None, from: None, to });
                }
            }
            Event::RegisteredModelCreated(e) => {
                self.set("name", &e.name);
                if let Some(description) = &e.description {
                    self.set("description", description);
                }
                self.pairs_of(None, "tags", &e.tags);
                self.know(None, "lifecycle", "active");
            }
            Event::RegisteredModelUpdated(e) => self.optional_of(None, "description", e.description.as_ref()),
            Event::RegisteredModelRenamed(e) => self.set("name", &e.name),
            Event::RegisteredModelTagsSet(e) => self.pairs_of(None, "tags", &e.tags),
            Event::RegisteredModelTagDeleted(e) => self.drop_of(None, format!("tags.{}", e.key)),
            Event::AliasSet(e) => self.set(format!("aliases.{}", e.alias), e.version.to_string()),
            Event::AliasDeleted(e) => self.drop_of(None, format!("aliases.{}", e.alias)),
            Event::ModelVersionCreated(e) => {
                let (version, stage): (_, &str) = (Some(e.version), e.stage.into());
                self.set_of(version, "source", &e.source);
                self.set_of(version, "stage", stage);
                if let Some(description) = &e.description {
                    self.set_of(version, "description", description);
                }
                self.pairs_of(version, "tags", &e.tags);
                self.know(version, "lifecycle", "active");
            }
            Event::ModelVersionUpdated(e) => self.optional_of(Some(e.version), "description", e.description.as_ref()),
            Event::ModelVersionStageChanged(e) => {
                let stage: &str = e.stage.into();
                self.set_of(Some(e.version), "stage", stage);
            }
            Event::ModelVersionTagsSet(e) => self.pairs_of(Some(e.version), "tags", &e.tags),
            Event::ModelVersionTagDeleted(e) => self.drop_of(Some(e.version), format!("tags.{}", e.key)),
            Event::ModelVersionDeleted(e) => self.set_of(Some(e.version), "lifecycle", "deleted"),
            Event::RunRewound(e) => {
                let line = format!("branch: {} -> {}, from step {}", e.from, e.branch, e.to_step);
                self.say(line, "branch", Some(e.from.to_string()), e.branch.to_string());
            }
            Event::RunForked(e) => {
                self.say(
                    format!("forked from {} at step {}", e.parent, e.to_step),
                    "forked_from",
                    None,
                    e.parent.to_string(),
                );
            }
            Event::RunLeased(e) => self.set("process", format!("{} on {}", e.pid, e.host)),
            Event::ProjectLaunched(e) => {
                let line = format!("{} {} (attempt {})", e.uri, e.entry_point, e.attempt);
                self.say(line, "project", None, &e.uri);
            }
            _ => {}
        }
    }
}

/// Events of one entity, in order, as changes; `time` renders the times in their sentences, Unix ms.
///
/// ```
/// use runlode::{EntityKey, ExperimentId, LocalStore, changes};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::open(&path)?;
/// store.rename_experiment(ExperimentId(0), "digits")?;
/// let events = store.snapshot()?.events(&EntityKey::Experiment(ExperimentId(0)))?;
/// let renamed = &changes::of(&events, |ms| ms.to_string())[1];
/// assert_eq!(renamed.changes, ["name: Default -> digits"]);
/// assert_eq!((renamed.fields[0].from.as_deref(), renamed.fields[0].to.as_deref()), (Some("Default"), Some("digits")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn of(events: &[EventRecord], time: fn(i64) -> String) -> Vec<Change> {
    let mut known = Known { values: BTreeMap::new(), time, lines: Vec::new(), fields: Vec::new() };
    let mut change = |record: &EventRecord| {
        let event = match &record.event {
            Decoded::Known(event) => {
                known.apply(event);
                event.name().to_owned()
            }
            Decoded::Unknown { tag, .. } => format!("event of kind {tag}, which this version does not know"),
        };
        Change {
            position: record.lsn.0,
            time_ms: record.time.0,
            actor: record.actor.clone(),
            event,
            changes: std::mem::take(&mut known.lines),
            fields: std::mem::take(&mut known.fields),
        }
    };
    events.iter().map(&mut change).collect()
}
