//! Changes of the registry that must not race: an alias that moves only if it is where the caller saw it, and a model that
//! goes back to what it was.
//!
//! Both are decided on the newest state and appended as one batch, on condition that the model did not change meanwhile;
//! if it did, they are decided again. So of two callers who expect the same version, one moves the alias.

use runlode_engine::entity::{ModelVersionState, RegisteredModelState};
use runlode_engine::event::payload::Decoded;
use runlode_engine::event::{
    AliasDeleted, AliasSet, ModelVersionStageChanged, ModelVersionTagDeleted, ModelVersionTagsSet,
    RegisteredModelTagsSet, Stage,
};
use runlode_engine::{AsOf, Batch, EntityKind, Error, Event, Lsn, PastView, RegisteredModelId, Result, Snapshot};

use crate::registry::version_absent;
use crate::{EntityKey, LocalStore};

/// The tag that keeps a run or a version from being collected; its value is the reason.
pub const PIN_TAG: &str = "runlode.pin";
/// The tag of a model that says to which position it was rolled back last, and why.
const ROLLBACK_TAG: &str = "runlode.rollback";

/// The tag of a version that says why an alias was moved to it.
fn reason_tag(alias: &str) -> String {
    format!("runlode.promote.{alias}")
}

/// Where an alias must be for [`RegisteredModel::promote`](crate::RegisteredModel::promote) to move it.
///
/// ```
/// use runlode::{OnlyIf, VersionSpec};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// let fraud = store.create_registered_model("fraud")?;
/// let version = fraud.create_version(VersionSpec::from_source("s3://models/a"))?;
/// assert!(fraud.promote(version, "champion", OnlyIf::Unset, None)?.met);
/// assert!(!fraud.promote(version, "champion", OnlyIf::Unset, None)?.met, "it is set now");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnlyIf {
    /// Anywhere, or nowhere.
    Always,
    /// Nowhere: the model has no such alias.
    Unset,
    /// At this version.
    At(u32),
}

impl OnlyIf {
    /// As a number for the wire: none for always, 0 for unset.
    pub(crate) fn number(self) -> Option<u64> {
        match self {
            Self::Always => None,
            Self::Unset => Some(0),
            Self::At(version) => Some(version.into()),
        }
    }
}

/// What became of a promotion.
///
/// ```
/// use runlode::{OnlyIf, Promotion, VersionSpec};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// let fraud = store.create_registered_model("fraud")?;
/// let version = fraud.create_version(VersionSpec::from_source("s3://models/a"))?;
/// let done = fraud.promote(version, "champion", OnlyIf::Always, Some("CR-1182"))?;
/// assert_eq!(done, Promotion { met: true, before: None, now: Some(1) });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promotion {
    /// Whether the alias was where it had to be. If not, nothing changed.
    pub met: bool,
    /// The version that the alias named before.
    pub before: Option<u32>,
    /// The version that it names now.
    pub now: Option<u32>,
}

/// One change of a rollback: an alias, or the stage of a version.
///
/// ```
/// use runlode::{AsOf, OnlyIf, VersionSpec};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// let fraud = store.create_registered_model("fraud")?;
/// let version = fraud.create_version(VersionSpec::from_source("s3://models/a"))?;
/// let before = store.mlflow().positions()?.published;
/// fraud.promote(version, "champion", OnlyIf::Always, None)?;
/// let change = &fraud.roll_back(AsOf::Position(before), None)?.changes[0];
/// assert_eq!((change.what.as_str(), change.from.as_deref(), &change.to), ("alias champion", Some("1"), &None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryChange {
    /// `alias NAME`, or `stage of version N`.
    pub what: String,
    /// What it was; `None`: there was no such alias.
    pub from: Option<String>,
    /// What it is now.
    pub to: Option<String>,
}

/// What a rollback did.
///
/// ```
/// use runlode::AsOf;
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// let fraud = store.create_registered_model("fraud")?;
/// let now = store.mlflow().positions()?.published;
/// let done = fraud.roll_back(AsOf::Position(now), None)?;
/// assert_eq!((done.position, done.changes.len()), (now.0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rollback {
    /// The position whose aliases and stages the model has now.
    pub position: u64,
    /// What changed; empty if nothing had to.
    pub changes: Vec<RegistryChange>,
}

fn at_alias(state: &RegisteredModelState, alias: &str) -> Option<u32> {
    state.aliases.iter().find(|(known, _)| known == alias).map(|(_, version)| *version)
}

/// The alias and stage events of a rollback in the making.
struct Plan<'a> {
    snapshot: &'a Snapshot,
    past: &'a PastView<'a>,
    model: RegisteredModelId,
    now: &'a RegisteredModelState,
    at_ms: i64,
    events: Vec<Event>,
    changes: Vec<RegistryChange>,
}

impl Plan<'_> {
    fn add(&mut self, event: impl Into<Event>, what: String, from: Option<String>, to: Option<String>) {
        self.events.push(event.into());
        self.changes.push(RegistryChange { what, from, to });
    }

    fn version(&self, number: u32) -> Result<Option<std::sync::Arc<ModelVersionState>>> {
        Ok(self.snapshot.model_version(self.model, number)?.filter(|version| !version.deleted))
    }

    fn aliases(&mut self, then: &RegisteredModelState) -> Result<()> {
        let text = |version: u32| version.to_string();
        for (alias, version) in &then.aliases {
            let before = at_alias(self.now, alias);
            if before == Some(*version) {
                continue;
            }
            if self.version(*version)?.is_none() {
                let why = format!(
                    "alias `{alias}` named version {version} at position {}, which was deleted since; nothing is rolled \
                     back",
                    self.past.position()
                );
                return Err(Error::invalid("rollback", why));
            }
            let event = AliasSet { model: self.model, alias: alias.clone(), version: *version };
            self.add(event, format!("alias {alias}"), before.map(text), Some(text(*version)));
        }
        for (alias, version) in &self.now.aliases {
            if at_alias(then, alias).is_none() {
                let event = AliasDeleted { model: self.model, alias: alias.clone() };
                self.add(event, format!("alias {alias}"), Some(text(*version)), None);
            }
        }
        Ok(())
    }

    /// A version that was made since is archived if it is in use.
    fn stages(&mut self) -> Result<()> {
        let (model, at_ms) = (self.model, self.at_ms);
        for &version in &self.now.versions {
            let Some(now) = self.version(version)? else { continue };
            let stage = match self.past.model_version(model, version)? {
                Some(then) => then.stage,
                None if matches!(now.stage, Stage::Staging | Stage::Production) => Stage::Archived,
                None => now.stage,
            };
            if stage != now.stage {
                let (from, to): (&str, &str) = (now.stage.into(), stage.into());
                let event = ModelVersionStageChanged { model, version, stage, at_ms };
                let what = format!("stage of version {version}");
                self.add(event, what, Some(from.to_owned()), Some(to.to_owned()));
            }
        }
        Ok(())
    }
}

impl LocalStore {
    /// Moves an alias to a version, if the alias is where `only_if` says; the reason becomes a tag of the version,
    /// `runlode.promote.ALIAS`. One atomic step.
    ///
    /// # Errors
    /// [`Error::NotFound`] for model or version, [`Error::Invalid`] for the alias.
    ///
    /// ```
    /// use runlode::{OnlyIf, VersionSpec};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// store.create_registered_model("fraud")?;
    /// store.create_version("fraud", VersionSpec::from_source("s3://models/a"))?;
    /// assert!(store.promote("fraud", 1, "champion", OnlyIf::Unset, Some("CR-1182"))?.met);
    /// assert!(!store.promote("fraud", 1, "champion", OnlyIf::At(6), None)?.met);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn promote(
        &self,
        name: &str,
        version: u32,
        alias: &str,
        only_if: OnlyIf,
        reason: Option<&str>,
    ) -> Result<Promotion> {
        self.promote_if(name, version, alias, only_if.number(), reason)
    }

    pub(crate) fn promote_if(
        &self,
        name: &str,
        version: u32,
        alias: &str,
        expected: Option<u64>,
        reason: Option<&str>,
    ) -> Result<Promotion> {
        self.decide(name, |snapshot, model, state| {
            let found = snapshot.model_version(model, version)?.filter(|found| !found.deleted);
            let found = found.ok_or_else(|| version_absent(name, version))?;
            let before = at_alias(state, alias);
            if expected.is_some_and(|expected| expected != u64::from(before.unwrap_or(0))) {
                return Ok((Batch::new(), Promotion { met: false, before, now: before }));
            }
            let mut batch = Batch::new();
            let moves = before != Some(version);
            if moves {
                batch.push_event(AliasSet { model, alias: alias.to_owned(), version });
            }
            let key = reason_tag(alias);
            let known = found.tags.iter().find(|(tag, _)| *tag == key).map(|(_, reason)| reason.as_str());
            match reason {
                Some(reason) if known != Some(reason) => {
                    batch.push_event(ModelVersionTagsSet { model, version, tags: vec![(key, reason.to_owned())] });
                }
                // The reason of an earlier promotion is not that of this one.
                None if moves && known.is_some() => batch.push_event(ModelVersionTagDeleted { model, version, key }),
                _ => {}
            }
            let promotion = Promotion { met: true, before, now: Some(version) };
            Ok((batch.expect(EntityKey::RegisteredModel(model), state.last), promotion))
        })
    }

    /// Gives a model the aliases and the stages of its versions that it had at a moment; the position of that moment and
    /// the reason become its tag `runlode.rollback`. Descriptions, other tags and versions stay as they are: versions that
    /// were made since keep existing, archived if they were in use. One atomic step. With `plan` nothing is changed.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is or was no such model; [`Error::Invalid`] if an alias named a version that was deleted
    /// since.
    ///
    /// ```
    /// use runlode::{AsOf, VersionSpec};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// store.create_registered_model("fraud")?;
    /// store.create_version("fraud", VersionSpec::from_source("s3://models/a"))?;
    /// let before = store.positions().published;
    /// store.set_alias("fraud", "champion", 1)?;
    /// assert_eq!(store.roll_back("fraud", AsOf::Position(before), Some("CR-1183"), false)?.changes.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn roll_back(&self, name: &str, to: AsOf, reason: Option<&str>, plan: bool) -> Result<Rollback> {
        self.decide(name, |snapshot, model, now| {
            let past = snapshot.as_of(to)?;
            let position = past.position().0;
            let then = past.registered_model(model)?.filter(|then| !then.deleted).ok_or_else(|| Error::NotFound {
                entity: EntityKind::RegisteredModel,
                id: format!("{name} at position {position}"),
            })?;
            let (events, changes, at_ms) = (Vec::new(), Vec::new(), self.now().0);
            let mut planned = Plan { snapshot, past: &past, model, now, at_ms, events, changes };
            planned.aliases(&then)?;
            planned.stages()?;
            let Plan { events, changes, .. } = planned;
            let mut batch = Batch::new();
            if !plan && !events.is_empty() {
                events.into_iter().for_each(|event| batch.push_event(event));
                let why = reason.map_or_else(String::new, |reason| format!(": {reason}"));
                let tag = (ROLLBACK_TAG.to_owned(), format!("to position {position}{why}"));
                batch.push_event(RegisteredModelTagsSet { model, tags: vec![tag] });
                batch = batch.expect(EntityKey::RegisteredModel(model), now.last);
            }
            Ok((batch, Rollback { position, changes }))
        })
    }

    /// What the promotion of this batch answered.
    pub(crate) fn promoted_at(&self, lsn: Lsn) -> Result<Promotion> {
        let snapshot = self.snapshot_of_entities()?;
        let before = snapshot.as_of(AsOf::Position(Lsn(lsn.0.saturating_sub(1))))?;
        for record in self.engine().events_at(lsn)? {
            match record.event {
                Decoded::Known(Event::AliasSet(set)) => {
                    let state = before.registered_model(set.model)?;
                    let before = state.and_then(|state| at_alias(&state, &set.alias));
                    return Ok(Promotion { met: true, before, now: Some(set.version) });
                }
                // Only the reason was new.
                Decoded::Known(Event::ModelVersionTagsSet(set)) => {
                    let now = Some(set.version);
                    return Ok(Promotion { met: true, before: now, now });
                }
                _ => {}
            }
        }
        Err(Error::Internal(format!("the batch at {lsn} is no promotion")))
    }

    /// What the rollback of this batch answered.
    pub(crate) fn rolled_back_at(&self, lsn: Lsn) -> Result<Rollback> {
        let snapshot = self.snapshot_of_entities()?;
        let before = snapshot.as_of(AsOf::Position(Lsn(lsn.0.saturating_sub(1))))?;
        let mut done = Rollback::default();
        for record in self.engine().events_at(lsn)? {
            let Decoded::Known(event) = record.event else { continue };
            let alias = |model, alias: &str| {
                let state = before.registered_model(model)?;
                Ok::<_, Error>(state.and_then(|state| at_alias(&state, alias)).map(|version| version.to_string()))
            };
            match event {
                Event::AliasSet(set) => done.changes.push(RegistryChange {
                    what: format!("alias {}", set.alias),
                    from: alias(set.model, &set.alias)?,
                    to: Some(set.version.to_string()),
                }),
                Event::AliasDeleted(gone) => done.changes.push(RegistryChange {
                    what: format!("alias {}", gone.alias),
                    from: alias(gone.model, &gone.alias)?,
                    to: None,
                }),
                Event::ModelVersionStageChanged(changed) => {
                    let stage = |stage: Stage| <&str>::from(stage).to_owned();
                    let then = before.model_version(changed.model, changed.version)?;
                    done.changes.push(RegistryChange {
                        what: format!("stage of version {}", changed.version),
                        from: then.map(|then| stage(then.stage)),
                        to: Some(stage(changed.stage)),
                    });
                }
                Event::RegisteredModelTagsSet(set) => {
                    let tag = set.tags.iter().find(|(key, _)| key == ROLLBACK_TAG).map(|(_, value)| value.as_str());
                    let position = tag
                        .and_then(|tag| tag.strip_prefix("to position "))
                        .map(|rest| rest.split_once(':').map_or(rest, |(position, _)| position).parse::<u64>());
                    done.position = position.and_then(std::result::Result::ok).unwrap_or_default();
                }
                _ => {}
            }
        }
        Ok(done)
    }
}
