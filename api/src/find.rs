//! Finds the entity that a text names, as people type it: by id, by the beginning of an id, by name, by `models:/` URI.
//!
//! | Text | Names |
//! |---|---|
//! | 32 hex digits, or `runs:/` and these | a run |
//! | `m-` and an id or its beginning | a logged model |
//! | `experiment:NAME` or `experiment:ID` | an experiment |
//! | `models:/NAME` | a registered model |
//! | `models:/NAME/3`, `models:/NAME@ALIAS`, `models:/NAME/latest`, `models:/NAME/Production` | a version of it |
//! | `models:/m-...` | a logged model |
//! | anything else | the run of that name; else the experiment, registered model or logged model; else the run whose id begins so, or the experiment with that id |
//!
//! A name goes before the beginning of an id. Of several entities that a text fits, the only active one is meant; if
//! there is no such one, the answer names them all. If there is none, the answer has the nearest names ([`near`]).

mod keys;
mod near;

pub use keys::{UnknownKey, metric_keys, unknown_keys};
pub use near::near;

use crate::engine::search::filter::{Filter, TextKey};
use crate::engine::search::{SearchQuery, View};
use crate::{
    Error, ExperimentId, Lifecycle, ModelId, RegisteredModelId, RegisteredModelState, RunId, RunState, Snapshot, Stage,
};

/// Entities that an ambiguous text names, at most.
const FITS_MAX: usize = 5;
/// The newest runs, among whose names the nearest ones are looked for.
const NAMES_MAX: usize = 5_000;
/// Most entities that are looked at to say how many a text fits.
const LIMIT: usize = 1_000;
/// Names that are listed if none is near.
const LISTED_MAX: usize = 10;

/// What a text names.
///
/// ```
/// use runlode::ExperimentId;
/// use runlode::find::{self, Named};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
/// assert_eq!(find::entity(&store.snapshot()?, "Default")?, Named::Experiment(ExperimentId(0)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// A run.
    Run(RunId),
    /// An experiment.
    Experiment(ExperimentId),
    /// A logged model.
    LoggedModel(ModelId),
    /// A registered model, by its number and name.
    RegisteredModel(RegisteredModelId, String),
    /// A version of a registered model, with the model's number and name.
    Version(RegisteredModelId, String, u32),
}

/// Which version of a registered model is meant.
///
/// ```
/// use runlode::find::{Wanted, Which};
///
/// assert_eq!(Wanted::parse("models:/fraud/7")?, Wanted::Version("fraud".into(), Which::Number(7)));
/// # Ok::<(), runlode::find::FindError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The one with this number.
    Number(u32),
    /// The one that an alias names.
    Alias(String),
    /// The newest.
    Latest,
    /// The newest in a stage.
    Stage(Stage),
}

/// What a text asks for, before it is looked up.
///
/// ```
/// use runlode::find::Wanted;
///
/// assert_eq!(Wanted::parse("models:/fraud")?, Wanted::RegisteredModel("fraud".into()));
/// # Ok::<(), runlode::find::FindError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// An entity of any kind, by name or by the beginning of an id.
    Any(String),
    /// A run.
    Run(String),
    /// An experiment.
    Experiment(String),
    /// A logged model.
    LoggedModel(String),
    /// A registered model.
    RegisteredModel(String),
    /// A version of a registered model.
    Version(String, Which),
}

/// Why a text names nothing.
///
/// ```
/// use runlode::find::{self, FindError};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
/// let error = find::run(&store.snapshot()?, "trial-17").unwrap_err();
/// assert!(matches!(&error, FindError::Absent { what: "run", .. }));
/// assert_eq!(error.to_string(), "there is no run `trial-17`");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum FindError {
    /// There is no such entity.
    Absent {
        /// The kind: `run`, `experiment`, ...
        what: &'static str,
        /// The text.
        text: String,
        /// The nearest names, best first.
        near: Vec<String>,
        /// All names, if they are few and none is near.
        there: Vec<String>,
    },
    /// It names several.
    Ambiguous {
        /// The text.
        text: String,
        /// Some of them.
        fits: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// The text cannot name anything.
    Improper(String),
    /// The store cannot be read.
    Store(Error),
}

impl From<Error> for FindError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl std::fmt::Display for FindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent { what, text, near, there } => {
                write!(f, "there is no {what} `{text}`")?;
                match (near.as_slice(), there.as_slice()) {
                    ([], []) => Ok(()),
                    ([], there) => write!(f, "; there are {}", there.join(", ")),
                    (near, _) => write!(f, "; did you mean {}?", or(near)),
                }
            }
            Self::Ambiguous { text, fits, count } => {
                write!(f, "`{text}` fits {count}; give more of the id: {}", fits.join(", "))?;
                if *count > fits.len() { f.write_str(", ...") } else { Ok(()) }
            }
            Self::Improper(why) => f.write_str(why),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FindError {}

/// `a`, `b` or `c`.
fn or(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => quoted.concat(),
    }
}

type Result<T, E = FindError> = std::result::Result<T, E>;

impl Wanted {
    /// Reads a text.
    ///
    /// # Errors
    /// [`FindError::Improper`] for a `models:/` URI that names no model.
    ///
    /// ```
    /// use runlode::find::{Wanted, Which};
    ///
    /// let champion = Wanted::parse("models:/fraud@champion")?;
    /// assert_eq!(champion, Wanted::Version("fraud".into(), Which::Alias("champion".into())));
    /// assert_eq!(Wanted::parse("trial-17")?, Wanted::Any("trial-17".into()));
    /// # Ok::<(), runlode::find::FindError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(name) = text.strip_prefix("experiment:") {
            return Ok(Self::Experiment(name.to_owned()));
        }
        if let Some(run) = text.strip_prefix("runs:/") {
            // What follows the id is a place among its artifacts.
            return Ok(Self::Run(run.split('/').next().unwrap_or_default().to_owned()));
        }
        let Some(model) = text.strip_prefix("models:/") else { return Ok(Self::Any(text.to_owned())) };
        let improper = |why: String| Err(FindError::Improper(why));
        match model.split_once('/') {
            None if model.starts_with("m-") => Ok(Self::LoggedModel(model.to_owned())),
            None => match model.rsplit_once('@') {
                Some((name, alias)) if !name.is_empty() && !alias.is_empty() => {
                    Ok(Self::Version(name.to_owned(), Which::Alias(alias.to_owned())))
                }
                None if !model.is_empty() => Ok(Self::RegisteredModel(model.to_owned())),
                _ => improper(format!(
                    "`{text}` does not name a model; write models:/NAME, models:/NAME/VERSION or models:/NAME@ALIAS"
                )),
            },
            Some((name, which)) if !name.is_empty() => match (which.parse(), stage(which)) {
                (Ok(number), _) => Ok(Self::Version(name.to_owned(), Which::Number(number))),
                _ if which.eq_ignore_ascii_case("latest") => Ok(Self::Version(name.to_owned(), Which::Latest)),
                (_, Some(stage)) => Ok(Self::Version(name.to_owned(), Which::Stage(stage))),
                _ => improper(format!(
                    "`{which}` is neither a version number, nor `latest`, nor a stage; write models:/{name}/1"
                )),
            },
            Some(_) => improper(format!("`{text}` does not name a model; write models:/NAME/VERSION")),
        }
    }

    /// The entity at a snapshot.
    ///
    /// # Errors
    /// [`FindError`]: there is none, or there are several.
    ///
    /// ```
    /// use runlode::find::{Named, Wanted};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// let found = Wanted::parse("experiment:Default")?.find(&store.snapshot()?)?;
    /// assert_eq!(found, Named::Experiment(runlode::ExperimentId(0)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find(&self, snapshot: &Snapshot) -> Result<Named> {
        match self {
            Self::Any(text) => anything(snapshot, text),
            Self::Run(text) => run(snapshot, text).map(Named::Run),
            Self::Experiment(text) => experiment(snapshot, text).map(Named::Experiment),
            Self::LoggedModel(text) => logged_model(snapshot, text).map(Named::LoggedModel),
            Self::RegisteredModel(name) => {
                registered_model(snapshot, name).map(|(id, _)| Named::RegisteredModel(id, name.clone()))
            }
            Self::Version(name, which) => {
                // A model may have an @ in its name.
                if let Which::Alias(alias) = which
                    && let Some((id, _)) = snapshot.registered_model(&format!("{name}@{alias}"))?
                {
                    return Ok(Named::RegisteredModel(id, format!("{name}@{alias}")));
                }
                let (id, state) = registered_model(snapshot, name)?;
                Ok(Named::Version(id, name.clone(), version(snapshot, id, &state, which)?))
            }
        }
    }
}

/// The entity that a text names: see the [module](self).
///
/// # Errors
/// [`FindError`]: there is none, or there are several.
///
/// ```
/// use runlode::find::{self, Named};
/// use runlode::{ExperimentId, LocalStore, RunSpec};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::open(&path)?;
/// let run = store.create_run(ExperimentId(0), RunSpec::named("trial-17"))?.id();
/// let snapshot = store.snapshot()?;
/// assert_eq!(find::entity(&snapshot, "trial-17")?, Named::Run(run));
/// assert_eq!(find::entity(&snapshot, &run.to_string()[..8])?, Named::Run(run));
/// let error = find::entity(&snapshot, "trail-17").unwrap_err().to_string();
/// assert!(error.ends_with("did you mean `trial-17`?"), "{error}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn entity(snapshot: &Snapshot, text: &str) -> Result<Named> {
    Wanted::parse(text)?.find(snapshot)
}

/// The stage of a name, in any case.
fn stage(text: &str) -> Option<Stage> {
    let all = [Stage::None, Stage::Staging, Stage::Production, Stage::Archived];
    all.into_iter().find(|stage| <&str>::from(*stage).eq_ignore_ascii_case(text))
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Runs that a filter finds, deleted ones included.
fn runs_by(snapshot: &Snapshot, filter: Option<Filter>, limit: usize) -> Result<Vec<RunId>> {
    let experiments = snapshot.experiments()?.into_iter().map(|(id, _)| id).collect();
    let query = SearchQuery { experiments, filter, view: View::All, limit, ..SearchQuery::new(ExperimentId(0)) };
    Ok(snapshot.search(&query)?.runs)
}

/// The one of several runs that is meant: the only one, or the only active one.
fn only(snapshot: &Snapshot, text: &str, found: Vec<RunId>) -> Result<Option<RunId>> {
    if let [one] = found.as_slice() {
        return Ok(Some(*one));
    }
    let mut active = Vec::new();
    for id in &found {
        if let Some(state) = snapshot.run(*id)?
            && snapshot.lifecycle(&state)? == Lifecycle::Active
        {
            active.push(*id);
        }
    }
    match active.as_slice() {
        [one] => Ok(Some(*one)),
        _ if found.is_empty() => Ok(None),
        _ => Err(ambiguous(text, found.iter().map(ToString::to_string).collect())),
    }
}

fn ambiguous(text: &str, mut fits: Vec<String>) -> FindError {
    let count = fits.len();
    fits.truncate(FITS_MAX);
    FindError::Ambiguous { text: text.to_owned(), fits, count }
}

fn absent(what: &'static str, text: &str, names: &[String]) -> FindError {
    let near = near(text, names.iter().map(String::as_str));
    let there = if near.is_empty() && names.len() <= LISTED_MAX { names.to_vec() } else { Vec::new() };
    FindError::Absent { what, text: text.to_owned(), near, there }
}

fn run_by_name(snapshot: &Snapshot, name: &str) -> Result<Option<RunId>> {
    only(snapshot, name, runs_by(snapshot, Some(TextKey::Name.eq(name)), LIMIT)?)
}

fn runs_by_prefix(snapshot: &Snapshot, text: &str) -> Result<Vec<RunId>> {
    if !is_hex(text) || text.len() > 32 {
        return Ok(Vec::new());
    }
    runs_by(snapshot, Some(TextKey::RunId.like(format!("{text}%"))), LIMIT)
}

/// Names of the newest runs.
fn run_names(snapshot: &Snapshot) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for id in runs_by(snapshot, None, NAMES_MAX)? {
        names.extend(snapshot.run(id)?.map(|state: std::sync::Arc<RunState>| state.name.clone()));
    }
    Ok(names)
}

/// The run that a text names: by id, by name, by the beginning of its id.
///
/// # Errors
/// [`FindError`]: there is none, or there are several.
///
/// ```
/// use runlode::{ExperimentId, LocalStore, RunSpec, find};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::open(&path)?;
/// let run = store.create_run(ExperimentId(0), RunSpec::named("trial-17"))?.id();
/// assert_eq!(find::run(&store.snapshot()?, "trial-17")?, run);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn run(snapshot: &Snapshot, text: &str) -> Result<RunId> {
    let text = text.strip_prefix("runs:/").unwrap_or(text);
    if let Ok(id) = text.parse::<RunId>() {
        return match snapshot.run(id)? {
            Some(_) => Ok(id),
            None => Err(FindError::Absent { what: "run", text: text.to_owned(), near: Vec::new(), there: Vec::new() }),
        };
    }
    if let Some(id) = run_by_name(snapshot, text)? {
        return Ok(id);
    }
    match only(snapshot, text, runs_by_prefix(snapshot, text)?)? {
        Some(id) => Ok(id),
        None => Err(absent("run", text, &run_names(snapshot)?)),
    }
}

fn experiment_by_id(snapshot: &Snapshot, text: &str) -> Result<Option<ExperimentId>> {
    let Ok(id) = text.parse::<ExperimentId>() else { return Ok(None) };
    Ok(snapshot.experiment(id)?.filter(|state| !state.is_purged()).map(|_| id))
}

/// The experiment that a text names: by name, else by id.
///
/// # Errors
/// [`FindError`]: there is none.
///
/// ```
/// use runlode::{LocalStore, find};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::open(&path)?;
/// let snapshot = store.snapshot()?;
/// assert_eq!(find::experiment(&snapshot, "Default")?, find::experiment(&snapshot, "0")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn experiment(snapshot: &Snapshot, text: &str) -> Result<ExperimentId> {
    let text = text.strip_prefix("experiment:").unwrap_or(text);
    if let Some((id, _)) = snapshot.experiment_by_name(text)? {
        return Ok(id);
    }
    match experiment_by_id(snapshot, text)? {
        Some(id) => Ok(id),
        None => Err(absent("experiment", text, &experiment_names(snapshot)?)),
    }
}

fn experiment_names(snapshot: &Snapshot) -> Result<Vec<String>> {
    Ok(snapshot.experiments()?.iter().map(|(_, state)| state.name.clone()).collect())
}

/// All logged models: id, name, and whether it is active.
fn logged_models(snapshot: &Snapshot) -> Result<Vec<(ModelId, String, bool)>> {
    let mut all = Vec::new();
    for (experiment, _) in snapshot.experiments()? {
        for (id, state) in snapshot.logged_models_of(experiment)? {
            all.push((id, state.name.clone(), state.lifecycle == Lifecycle::Active));
        }
    }
    Ok(all)
}

/// The one of several logged models that is meant.
fn only_model(text: &str, found: &[&(ModelId, String, bool)]) -> Result<Option<ModelId>> {
    let mut active = found.iter().filter(|(_, _, active)| *active);
    match (found, active.next(), active.next()) {
        ([], ..) => Ok(None),
        ([(id, ..)], ..) | (_, Some((id, ..)), None) => Ok(Some(*id)),
        _ => Err(ambiguous(text, found.iter().map(|(id, ..)| id.to_string()).collect())),
    }
}

/// The logged model that a text names: by id, by the beginning of its id (`m-...`), by name.
///
/// # Errors
/// [`FindError`]: there is none, or there are several.
///
/// ```
/// use runlode::{ExperimentId, LocalStore, LoggedModelSpec, find};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::open(&path)?;
/// let model = store.create_logged_model(ExperimentId(0), LoggedModelSpec::named("net"))?;
/// let snapshot = store.snapshot()?;
/// assert_eq!(find::logged_model(&snapshot, "net")?, model);
/// assert_eq!(find::logged_model(&snapshot, &model.to_string()[..8])?, model);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn logged_model(snapshot: &Snapshot, text: &str) -> Result<ModelId> {
    let text = text.strip_prefix("models:/").unwrap_or(text);
    if let Ok(id) = text.parse::<ModelId>()
        && snapshot.logged_model(id)?.is_some()
    {
        return Ok(id);
    }
    let all = logged_models(snapshot)?;
    let named: Vec<_> = all.iter().filter(|(_, name, _)| name == text).collect();
    if let Some(id) = only_model(text, &named)? {
        return Ok(id);
    }
    let begun: Vec<_> = all.iter().filter(|(id, ..)| text.len() > 2 && id.to_string().starts_with(text)).collect();
    if let Some(id) = only_model(text, &begun)? {
        return Ok(id);
    }
    let names: Vec<String> = all.iter().flat_map(|(id, name, _)| [name.clone(), id.to_string()]).collect();
    Err(absent("logged model", text, &names))
}

/// The registered model of a name.
///
/// # Errors
/// [`FindError`]: there is none.
///
/// ```
/// use runlode::{LocalStore, find};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::open(&path)?;
/// store.create_registered_model("fraud")?;
/// let snapshot = store.snapshot()?;
/// assert_eq!(find::registered_model(&snapshot, "fraud")?.1.name, "fraud");
/// let error = find::registered_model(&snapshot, "fruad").unwrap_err();
/// assert_eq!(error.to_string(), "there is no registered model `fruad`; did you mean `fraud`?");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn registered_model(
    snapshot: &Snapshot,
    name: &str,
) -> Result<(RegisteredModelId, std::sync::Arc<RegisteredModelState>)> {
    if let Some(found) = snapshot.registered_model(name)? {
        return Ok(found);
    }
    let names: Vec<String> = snapshot.registered_models()?.iter().map(|(_, state)| state.name.clone()).collect();
    Err(absent("registered model", name, &names))
}

/// The number of a version; deleted ones are found by number only.
fn version(snapshot: &Snapshot, id: RegisteredModelId, state: &RegisteredModelState, which: &Which) -> Result<u32> {
    let numbers = || state.versions.iter().map(ToString::to_string).collect::<Vec<_>>();
    let name = &state.name;
    match which {
        Which::Number(number) => match snapshot.model_version(id, *number)? {
            Some(_) => Ok(*number),
            None => Err(absent("model version", &format!("{name}/{number}"), &numbers())),
        },
        Which::Alias(alias) => match state.aliases.iter().find(|(known, _)| known == alias) {
            Some((_, number)) => Ok(*number),
            None => {
                let aliases: Vec<String> = state.aliases.iter().map(|(alias, _)| format!("{name}@{alias}")).collect();
                Err(absent("alias", &format!("{name}@{alias}"), &aliases))
            }
        },
        Which::Latest => state.versions.iter().max().copied().ok_or_else(|| absent("version of", name, &[])),
        Which::Stage(stage) => {
            for number in state.versions.iter().rev() {
                if snapshot.model_version(id, *number)?.is_some_and(|state| state.stage == *stage && !state.deleted) {
                    return Ok(*number);
                }
            }
            let stage: &str = (*stage).into();
            Err(absent("model version", &format!("{name}/{stage}"), &numbers()))
        }
    }
}

fn anything(snapshot: &Snapshot, text: &str) -> Result<Named> {
    if text.parse::<RunId>().is_ok() {
        return run(snapshot, text).map(Named::Run);
    }
    if let Some(id) = run_by_name(snapshot, text)? {
        return Ok(Named::Run(id));
    }
    if let Some((id, _)) = snapshot.experiment_by_name(text)? {
        return Ok(Named::Experiment(id));
    }
    if let Some((id, state)) = snapshot.registered_model(text)? {
        return Ok(Named::RegisteredModel(id, state.name.clone()));
    }
    if text.starts_with("m-") {
        return logged_model(snapshot, text).map(Named::LoggedModel);
    }
    let models = logged_models(snapshot)?;
    let named: Vec<_> = models.iter().filter(|(_, name, _)| name == text).collect();
    if let Some(id) = only_model(text, &named)? {
        return Ok(Named::LoggedModel(id));
    }
    let by_prefix = runs_by_prefix(snapshot, text)?;
    if let Some(id) = experiment_by_id(snapshot, text)? {
        if by_prefix.is_empty() {
            return Ok(Named::Experiment(id));
        }
        let runs = by_prefix.iter().map(ToString::to_string);
        return Err(ambiguous(text, std::iter::once(format!("experiment:{id}")).chain(runs).collect()));
    }
    if let Some(id) = only(snapshot, text, by_prefix)? {
        return Ok(Named::Run(id));
    }
    let mut names = run_names(snapshot)?;
    names.extend(experiment_names(snapshot)?);
    names.extend(snapshot.registered_models()?.iter().map(|(_, state)| state.name.clone()));
    names.extend(models.into_iter().map(|(_, name, _)| name));
    match absent("run, experiment or model", text, &names) {
        FindError::Absent { what, text, near, .. } => Err(FindError::Absent { what, text, near, there: Vec::new() }),
        other => Err(other),
    }
}
