//! A store as its processes share it: one holds it, the others are its clients; to the caller it is one handle.
//!
//! ```text
//!   Shared: the calls of `Mlflow`, and `logger` for points
//!      |
//!      +-- holder:  Mlflow -> LocalStore                 LOCK is ours; merges inboxes, answers on STORE/sock
//!      +-- client:  decisions and reads -> the holder    over STORE/sock
//!                   points -> inbox/WRITER               no round trip
//!      +-- offline: Mlflow -> LocalStore                 a store of its own, inbox/ID: no holder is in reach
//! ```
//!
//! Which of the first two a process is may change with every call: a holder that has gone is followed by one of its
//! clients.
//!
//! - [`node`]: the store in this process, and how it is settled who holds it; [`seat`]: one handle in one process.
//! - [`holder`] serves; [`client`] knows runs and has the inbox; [`calls`], [`hidden`], [`wire`], [`protocol`] and
//!   [`socket`] are what goes between them; [`again`] answers what was asked twice.
//! - [`offline`]: the store of a process that can reach no holder.
//! - A forked child reopens the store by itself, at its first call: [`per_process`].

mod again;
mod calls;
mod client;
mod hidden;
mod holder;
mod logger;
mod node;
mod offline;
mod per_process;
mod protocol;
mod seat;
mod socket;
#[cfg(test)]
mod tests;
mod wire;
mod wire_native;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use logger::{Logger, RowLogger};
pub use offline::{OFFLINE_VARIABLE, closed_position, is_offline_store};

use crate::engine::storage::disk::Disk;
use crate::engine::storage::lock::{LOCK_PATH, holder_name};
use crate::engine::{InboxWriter, KeyedPoint, WriterId};
use crate::mlflow::entity::{Experiment, LoggedModel, ModelVersion, Run, Tag};
use crate::mlflow::runs::history_with;
use crate::mlflow::{
    ApiError, ApiResult, ErrorCode, NewLoggedModel, NewMetric, NewModelVersion, NewRun, Process, Settings, names,
    working_directory,
};
use crate::run::has_ended;
use crate::{Durability, EntityKind, Error, LocalOptions, LocalStore, RunId, RunStatus};
use calls::Asked;
use hidden::Metrics;
use node::{Node, Role};
use per_process::PerProcess;
use seat::Seat;

/// How a process looks at a store that it shares.
#[derive(Debug, Clone, Default)]
pub struct SharedOptions {
    /// How durable metric points are. Default: [`Durability::Buffered`].
    pub metric_durability: Option<Durability>,
    /// Where default artifact places lie: a URI or an absolute path. Default: `artifacts` below the store.
    pub artifact_root: Option<String>,
    /// Whether the handle's runs are other processes' (it is a server's): then it takes no leases of them. Default: no.
    pub serves_others: bool,
    /// Whether this process logs into a store of its own, which `runlode merge` brings in. Default: what the variable
    /// [`OFFLINE_VARIABLE`] says (1, 0); else whether the store lies on a network file system, or another host holds it.
    pub offline: Option<bool>,
}

/// A store that other processes may have open too. Cheap to clone.
///
/// ```
/// use runlode::shared::{Shared, SharedOptions};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let shared = Shared::open(&path, &SharedOptions::default())?;
/// let id = shared.create_experiment("digits", None, &[])?;
/// assert_eq!(shared.experiment(&id)?.name, "digits");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Shared {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    how: LocalOptions,
    settings: Settings,
    /// `None`: if another host holds the store.
    offline: Option<bool>,
    seat: PerProcess<Seat>,
}

/// What a process is to the store just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The store's folder, absolute.
    pub folder: PathBuf,
    /// Whether this process holds the store.
    pub holds: bool,
    /// The process that holds it, as far as this one knows.
    pub holder_pid: Option<u32>,
    /// Connections that this process serves, as holder.
    pub connections_count: usize,
    /// Whether other processes can reach this one, as holder. Some file systems have no sockets.
    pub serving: bool,
    /// Why they cannot.
    pub serving_problem: Option<String>,
    /// The inbox of this process, if it is a client that has logged points.
    pub writer: Option<WriterId>,
    /// What lies in the inboxes of all processes, in bytes on the disk.
    pub inbox_bytes: u64,
    /// Whether this process is offline.
    pub offline: bool,
    /// The store of its own that it then logs into, once it has.
    pub own_store: Option<PathBuf>,
}

impl Shared {
    /// Opens the store in a folder, or makes one. A process has one handle of a store, however often it is opened.
    ///
    /// # Errors
    /// As [`LocalStore::open`]; a store that another process holds is no error. `TEMPORARILY_UNAVAILABLE` when that process
    /// does not answer within ten seconds.
    pub fn open(path: impl AsRef<Path>, options: &SharedOptions) -> ApiResult<Self> {
        Self::open_with(LocalStore::options(path), options)
    }

    /// As [`Shared::open`], with settings for the case that this process holds the store.
    ///
    /// # Errors
    /// As [`Shared::open`]; `INVALID_PARAMETER_VALUE` for a read-only open, which has nothing to share.
    pub fn open_with(how: LocalOptions, options: &SharedOptions) -> ApiResult<Self> {
        let (how, settings, offline) = Self::prepare(how, options)?;
        let seat = PerProcess::new(Seat::open(how.clone(), settings.clone(), offline)?);
        Ok(Self { inner: Arc::new(Inner { how, settings, offline, seat }) })
    }

    /// As [`Shared::open`] in another process: nothing is shared with what this process has open. For tests and
    /// measurements.
    ///
    /// # Errors
    /// As [`Shared::open`].
    #[doc(hidden)]
    pub fn open_apart(path: impl AsRef<Path>, options: &SharedOptions) -> ApiResult<Self> {
        let (how, settings, offline) = Self::prepare(LocalStore::options(path), options)?;
        let seat = PerProcess::new(Seat::on(Node::apart(how.clone(), offline)?, settings.clone())?);
        Ok(Self { inner: Arc::new(Inner { how, settings, offline, seat }) })
    }

    fn prepare(how: LocalOptions, options: &SharedOptions) -> ApiResult<(LocalOptions, Settings, Option<bool>)> {
        if how.is_read_only() {
            return Err(ApiError::invalid("a store that is opened read-only is not shared: use `LocalStore::options`"));
        }
        let folder = std::path::absolute(how.path()).map_err(|error| Error::io("find", how.path(), error))?;
        let mut settings = Settings::in_folder(&folder);
        if let Some(root) = &options.artifact_root {
            settings = Settings::with_root(root, working_directory());
        }
        if !options.serves_others {
            settings.process = Process::current();
        }
        if let Some(durability) = options.metric_durability {
            settings.metric_durability = durability;
        }
        let offline = offline::decide(&folder, options.offline)?;
        Ok((how.at(&folder), settings, offline))
    }

    /// As [`Shared::open_with`], for a process that must be the holder, as a server must.
    ///
    /// # Errors
    /// `TEMPORARILY_UNAVAILABLE`, naming the process that holds it.
    pub fn hold(how: LocalOptions, options: &SharedOptions) -> ApiResult<Self> {
        let options = SharedOptions { offline: Some(false), ..options.clone() };
        let shared = Self::open_with(how, &options)?;
        if shared.holds()? {
            return Ok(shared);
        }
        let node = &shared.seat()?.node;
        let folder = node.folder.clone();
        let holder = holder_name(&Disk::read_only(&folder), LOCK_PATH);
        Err(Error::Locked { path: folder, holder }.into())
    }

    /// This process's part. A forked child makes its own at its first call.
    #[inline]
    fn seat(&self) -> ApiResult<&Seat> {
        let inner = &*self.inner;
        inner.seat.get(|_| Seat::open(inner.how.clone(), inner.settings.clone(), inner.offline))
    }

    /// Whether this process holds the store just now.
    ///
    /// # Errors
    /// Those of opening it in a forked child.
    pub fn holds(&self) -> ApiResult<bool> {
        Ok(matches!(&*self.seat()?.node.role.read(), Role::Holder(_)))
    }

    /// The store itself, if this process holds it. What other processes were acknowledged is merged before each of its
    /// snapshots.
    ///
    /// # Errors
    /// Those of opening it in a forked child.
    pub fn store(&self) -> ApiResult<Option<LocalStore>> {
        Ok(match &*self.seat()?.node.role.read() {
            Role::Holder(holder) => Some(holder.store.clone()),
            _ => None,
        })
    }

    /// How this handle looks at the store.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// What this process is to the store.
    ///
    /// # Errors
    /// Those of opening it in a forked child.
    pub fn status(&self) -> ApiResult<Status> {
        let node = &self.seat()?.node;
        let mut status = Status {
            folder: node.folder.clone(),
            holds: false,
            holder_pid: None,
            connections_count: 0,
            serving: false,
            serving_problem: None,
            writer: None,
            inbox_bytes: bytes_below(&node.folder.join("inbox")),
            offline: false,
            own_store: None,
        };
        match &*node.role.read() {
            Role::Holder(holder) => {
                status.holds = true;
                status.holder_pid = Some(std::process::id());
                status.connections_count = holder.connections_count();
                status.serving_problem = holder.serving_problem().map(str::to_owned);
                status.serving = status.serving_problem.is_none();
            }
            Role::Client(client) => {
                status.holder_pid = Some(client.holder_pid());
                status.writer = client.made_inbox().map(InboxWriter::id);
            }
            Role::Offline(offline) => {
                status.offline = true;
                status.own_store = offline.made().map(|store| store.path().to_path_buf());
            }
            Role::Unsettled | Role::Closed => {}
        }
        Ok(status)
    }

    // ---- calls that do more than to ask ------------------------------------------------------------------------------

    /// As [`crate::mlflow::Mlflow::experiment_by_name`]. Who is told that there is none may create it within a minute,
    /// and is then given the one that somebody else made meanwhile.
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn experiment_by_name(&self, name: &str) -> ApiResult<Option<Experiment>> {
        let mut found = Asked(self).experiment_by_name(name)?;
        if found.is_none()
            && let Some(offline) = self.seat()?.offline()?
        {
            found = offline.read_main(&self.inner.settings, |mlflow| mlflow.experiment_by_name(name))?;
        }
        if found.is_none() {
            self.seat()?.node.creations.give_credit("", name);
        }
        Ok(found)
    }

    /// As [`crate::mlflow::Mlflow::create_experiment`]; but where this process was told within the last minute that the
    /// name is free, and somebody else was faster, the id is that of the other one's. (MLflow's client asks, creates,
    /// and takes a refusal for a success: its runs would land in `Default`.)
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn create_experiment(&self, name: &str, artifact_location: Option<&str>, tags: &[Tag]) -> ApiResult<String> {
        if let Some(offline) = self.seat()?.offline()?
            && offline.adopt_name(name)?
        {
            return Err(Error::AlreadyExists { entity: EntityKind::Experiment, id: name.to_owned() }.into());
        }
        let plain = artifact_location.is_none_or(str::is_empty) && tags.is_empty();
        let created = Asked(self).create_experiment(name, artifact_location, tags);
        let creations = &self.seat()?.node.creations;
        match created {
            Err(error) if plain && error.code == ErrorCode::ResourceAlreadyExists => {
                if !creations.use_credit("", name) {
                    return Err(error);
                }
                match Asked(self).experiment_by_name(name)? {
                    Some(experiment) if !experiment.deleted => Ok(experiment.experiment_id),
                    _ => Err(error),
                }
            }
            result => {
                let created = result?;
                // The answer that this create followed has had its use.
                creations.use_credit("", name);
                Ok(created)
            }
        }
    }

    /// As [`crate::mlflow::Mlflow::ensure_experiment`].
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn ensure_experiment(&self, name: &str) -> ApiResult<String> {
        if let Some(offline) = self.seat()?.offline()?
            && offline.adopt_name(name)?
        {
            return Err(Error::Deleted { entity: EntityKind::Experiment, id: name.to_owned() }.into());
        }
        Asked(self).ensure_experiment(name)
    }

    /// As [`crate::mlflow::Mlflow::create_run`].
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn create_run(&self, new: &NewRun<'_>) -> ApiResult<Run> {
        if let Some(offline) = self.seat()?.offline()?
            && let Some(id) = new.experiment_id.filter(|id| !id.is_empty())
        {
            return Asked(self).create_run(NewRun { experiment_id: Some(&offline.adopt(id)?), ..*new });
        }
        Asked(self).create_run(*new)
    }

    /// As [`crate::mlflow::Mlflow::create_logged_model`].
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn create_logged_model(&self, new: &NewLoggedModel<'_>) -> ApiResult<LoggedModel> {
        if let Some(offline) = self.seat()?.offline()? {
            let id = offline.adopt(new.experiment_id)?;
            return Asked(self).create_logged_model(NewLoggedModel { experiment_id: &id, ..*new });
        }
        Asked(self).create_logged_model(*new)
    }

    /// As [`crate::mlflow::Mlflow::create_model_version`].
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn create_model_version(&self, name: &str, new: &NewModelVersion<'_>) -> ApiResult<ModelVersion> {
        Asked(self).create_model_version(name, *new)
    }

    /// As [`crate::mlflow::Mlflow::record_logged_model`].
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn record_logged_model(&self, id: &str, model_json: &str) -> ApiResult<()> {
        loop {
            let before = Asked(self).logged_model_history(id)?;
            let after = history_with(before.as_deref(), model_json)?;
            if Asked(self).swap_logged_model_history(id, before.as_deref(), &after)? {
                return Ok(());
            }
        }
    }

    // ---- points ------------------------------------------------------------------------------------------------------

    /// Whether a run can be made and be given these params, as far as that can be told beforehand.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub fn check_new_run(&self, new: &NewRun<'_>, params: &[Tag]) -> ApiResult<()> {
        new.check(params, self.inner.settings.long_values)
    }

    /// Creates a run with params: the run with all of them, or none. What can be refused is refused beforehand; a run
    /// whose params fail all the same (the disk is full, the holder of the store dies) is ended and deleted.
    ///
    /// # Errors
    /// As [`crate::mlflow::Mlflow::create_run`] and [`crate::mlflow::Mlflow::log_batch`].
    pub fn create_run_with(&self, new: &NewRun<'_>, params: &[Tag]) -> ApiResult<Run> {
        self.check_new_run(new, params)?;
        let run = self.create_run(new)?;
        let id = &run.info.run_id;
        let logged = params.chunks(names::BATCH_PARAMS_MAX).try_for_each(|part| self.log_batch(id, &[], part, &[]));
        if let Err(error) = logged {
            // The first error is told; where these fail as well, the run counts as lost when this process goes.
            let _ = self.update_run(id, Some(RunStatus::Failed), Some(new.start_time), None);
            let _ = self.delete_run(id);
            return Err(error);
        }
        Ok(run)
    }

    /// Ends a run, unless it has ended. The status that it has then.
    ///
    /// # Errors
    /// As [`crate::mlflow::Mlflow::update_run`].
    pub fn end_run(&self, id: &str, status: RunStatus, end_time: i64) -> ApiResult<RunStatus> {
        let before = self.run_info(id)?.status;
        if has_ended(before) {
            return Ok(before);
        }
        Ok(self.update_run(id, Some(status), Some(end_time), None)?.status)
    }

    /// As [`crate::mlflow::Mlflow::log_metric`]. A client needs nobody for a point of a run that it has logged to.
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn log_metric(&self, id: &str, metric: &NewMetric<'_>) -> ApiResult<()> {
        let seat = self.seat()?;
        loop {
            if let Some(mlflow) = seat.mlflow()? {
                return mlflow.log_metric(id, metric).map_err(|error| seat.explained(error));
            }
            names::metric("", metric.key, metric.value, metric.timestamp)?;
            if metric.has_context() {
                return Asked(self).log_batch(id, Metrics(std::slice::from_ref(metric)), &[], &[]);
            }
            let durability = self.inner.settings.metric_durability;
            let logged = self.with_inbox(seat, id, |run, inbox| {
                inbox.log_point(run, inbox.metric_key(metric.key)?, metric.point(), durability)
            })?;
            if logged.is_some() {
                return Ok(());
            }
        }
    }

    /// As [`crate::mlflow::Mlflow::log_batch`]. Points alone go the way of [`Shared::log_metric`].
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn log_batch(&self, id: &str, metrics: &[NewMetric<'_>], params: &[Tag], tags: &[Tag]) -> ApiResult<()> {
        let seat = self.seat()?;
        let alone = params.is_empty() && tags.is_empty() && !metrics.is_empty();
        let plain = alone && !metrics.iter().any(NewMetric::has_context);
        loop {
            if let Some(mlflow) = seat.mlflow()? {
                return mlflow.log_batch(id, metrics, params, tags).map_err(|error| seat.explained(error));
            }
            if !plain {
                return Asked(self).log_batch(id, Metrics(metrics), params, tags);
            }
            names::run_id(id)?;
            crate::mlflow::check_points(metrics)?;
            names::batch_sizes(metrics.len(), 0, 0)?;
            let durability = self.inner.settings.metric_durability;
            let logged = self.with_inbox(seat, id, |run, inbox| {
                let mut points = Vec::with_capacity(metrics.len());
                for metric in metrics {
                    points.push(KeyedPoint { key: inbox.metric_key(metric.key)?, point: metric.point() });
                }
                inbox.log_points(run, &points, durability)
            })?;
            if logged.is_some() {
                return Ok(());
            }
        }
    }

    /// Logs into the inbox. `None`: this process is, or has just become, something else: look again.
    #[inline]
    fn with_inbox<T>(
        &self,
        seat: &Seat,
        id: &str,
        log: impl Fn(RunId, &InboxWriter) -> crate::Result<T>,
    ) -> ApiResult<Option<T>> {
        let absent = || ApiError::absent(format!("Run with id={id} not found"));
        let run: RunId = id.parse().map_err(|_| absent())?;
        if let Role::Client(client) = &*seat.node.role.read()
            && client.knows(run)?
        {
            return match client.inbox().and_then(|inbox| log(run, inbox)) {
                Ok(logged) => Ok(Some(logged)),
                Err(Error::Closed) => Ok(None),
                Err(error) => Err(error.into()),
            };
        }
        self.check_run(seat, run)?;
        Ok(None)
    }

    /// Asks whether points may be logged to a run, and remembers it.
    #[cold]
    fn check_run(&self, seat: &Seat, run: RunId) -> ApiResult<()> {
        let epoch = match &*seat.node.role.read() {
            Role::Client(client) => client.epoch()?,
            _ => return Ok(()),
        };
        Asked(self).check_run(&run.to_string())?;
        if let Role::Client(client) = &*seat.node.role.read() {
            client.note_known(run, epoch);
        }
        Ok(())
    }

    /// A logger of metric points to a run: the hot path.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`, `INVALID_PARAMETER_VALUE` for a run that is deleted; `TEMPORARILY_UNAVAILABLE` when
    /// the process that holds the store does not answer.
    pub fn logger(&self, run: &str) -> ApiResult<Logger> {
        Logger::new(self.clone(), run)
    }

    /// Waits until everything that this process logged would outlive the machine.
    ///
    /// # Errors
    /// When the disk refused a write or sync.
    pub fn flush(&self) -> ApiResult<()> {
        match &*self.seat()?.node.role.read() {
            Role::Holder(holder) => Ok(holder.store.flush().map(drop)?),
            Role::Client(client) => Ok(client.made_inbox().map_or(Ok(()), InboxWriter::flush)?),
            Role::Offline(offline) => Ok(offline.made().map_or(Ok(()), |store| store.flush().map(drop))?),
            Role::Unsettled | Role::Closed => Err(Error::Closed.into()),
        }
    }

    /// Closes this handle in good order; the last one of a process gives the store to another process. Handles that
    /// are clones of this one, loggers of it, and others that were opened keep the process's part open.
    ///
    /// # Errors
    /// When the last writes did not reach the disk.
    pub fn close(self) -> ApiResult<()> {
        if Arc::strong_count(&self.inner) > 1 {
            return self.flush();
        }
        let Some(mut inner) = Arc::into_inner(self.inner) else { return Ok(()) };
        inner.seat.take().map_or(Ok(()), |seat| seat.leave())
    }

    /// Closes every store that this process has open, whoever still has handles: those answer that it is closed. For
    /// the end of a process that cannot wait for its handles to go.
    ///
    /// # Errors
    /// The first of those of the closes; all are tried.
    pub fn close_all() -> ApiResult<()> {
        let mut result = Ok(());
        for node in Node::all() {
            let closed = node.close();
            if result.is_ok() {
                result = closed;
            }
        }
        result
    }
}

/// Bytes of the files below a folder, on the disk; 0 where there is none. Files of inboxes come and go meanwhile: what
/// cannot be asked counts nothing.
fn bytes_below(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        _ => entry.metadata().map_or(0, |found| found.blocks() * 512),
    });
    sizes.sum()
}
