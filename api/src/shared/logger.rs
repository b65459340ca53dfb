//! The hot path: points to one run, by numbers of keys.
//!
//! Numbers of keys belong to the store while this process holds it, and to the inbox while it is a client; a logger
//! outlives both. So it has numbers of its own, and a table of what they are now; the table is made anew when the
//! process becomes something else. What is logged meanwhile waits for nobody: a refusal because of the change means
//! that nothing was logged, and is tried again.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::Shared;
use super::client::Client;
use super::node::Role;
use super::per_process::PerProcess;
use super::seat::Seat;
use crate::engine::{KeyedPoint, RowScratch, fork};
use crate::mlflow::{ApiError, ApiResult, names};
use crate::{Durability, Error, KeyId, Result, RunHandle, RunId, TimestampMs};

/// How long a forked child waits for its parent's table of keys, which a thread may have been changing.
const FORK_WAIT: Duration = Duration::from_secs(1);

/// Logs metric points to one run. Cheap to clone; may be used from several threads.
///
/// ```
/// use runlode::engine::KeyedPoint;
/// use runlode::{Durability, Point, TimestampMs};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
/// let logger = store.mlflow().logger(&run.id().to_string())?;
/// let loss = logger.key("loss")?;
/// logger.log_row(0, TimestampMs(1_700_000_000_000), &[(loss, 2.3)], Durability::Buffered)?;
/// logger.log_row_now(1, &[(loss, 1.9)], Durability::Buffered)?;
/// let point = Point { step: 2, time: TimestampMs(1_700_000_002_000), value: 1.7 };
/// logger.log_points(&[KeyedPoint { key: loss, point }], Durability::Buffered)?;
/// assert_eq!(run.latest("loss")?.expect("logged above").count, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Logger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Shared,
    run: RunId,
    state: PerProcess<State>,
}

#[derive(Debug, Default)]
struct State {
    names: RwLock<Names>,
    target: RwLock<Option<Target>>,
}

#[derive(Debug, Default, Clone)]
struct Names {
    list: Vec<Arc<str>>,
    numbers: FxHashMap<Arc<str>, u32>,
}

/// Where points go, since a settling of the process's part in the store.
#[derive(Debug)]
struct Target {
    serial: u64,
    to: To,
    /// What the logger's numbers are there.
    keys: Vec<KeyId>,
}

#[derive(Debug)]
enum To {
    Run(RunHandle),
    Inbox(Arc<Client>),
}

thread_local! {
    static ROW: RefCell<Vec<(KeyId, f64)>> = const { RefCell::new(Vec::new()) };
    static POINTS: RefCell<Vec<KeyedPoint>> = const { RefCell::new(Vec::new()) };
}

impl To {
    fn metric_key(&self, seat: &Seat, name: &str) -> Result<KeyId> {
        match self {
            Self::Run(_) => match seat.mlflow()? {
                Some(mlflow) => mlflow.store().engine().metric_key(name),
                None => Err(Error::Closed),
            },
            Self::Inbox(client) => client.inbox()?.metric_key(name),
        }
    }
}

impl Logger {
    pub(super) fn new(shared: Shared, run: &str) -> ApiResult<Self> {
        let id = run.parse().map_err(|_| ApiError::absent(format!("Run with id={run} not found")))?;
        // Whether it takes points is asked here, so that the first point is not the one to find out.
        let seat = shared.seat()?;
        match seat.mlflow()? {
            Some(mlflow) => mlflow.check_run(run).map_err(|error| seat.explained(error))?,
            None => shared.ask_for_run(seat, id)?,
        }
        Ok(Self::of(shared, id))
    }

    /// Of a run that was looked for already.
    pub(crate) fn of(shared: Shared, run: RunId) -> Self {
        Self { inner: Arc::new(Inner { shared, run, state: PerProcess::new(State::default()) }) }
    }

    fn state(&self) -> Result<&State> {
        self.inner.state.get(|parent| {
            let names = parent.names.try_read_for(FORK_WAIT).ok_or_else(|| {
                let why = "the process was forked while a key of this logger was made; make a new logger";
                Error::Unsupported { why: why.to_owned() }
            })?;
            Ok(State { names: RwLock::new(names.clone()), target: RwLock::new(None) })
        })
    }

    /// The number of a metric key, for [`Logger::log_row`]; it holds for this logger and its clones.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a key that MLflow would refuse.
    pub fn key(&self, name: &str) -> ApiResult<KeyId> {
        // Not in a `match`: its lock would be held while a new key is noted.
        let known = self.state()?.names.read().numbers.get(name).copied();
        if let Some(number) = known {
            return Ok(KeyId(number));
        }
        names::metric_key(name)?;
        Ok(self.key_of(name)?)
    }

    /// The number of a key that was found right.
    pub(crate) fn key_of(&self, name: &str) -> Result<KeyId> {
        let state = self.state()?;
        if let Some(number) = state.names.read().numbers.get(name) {
            return Ok(KeyId(*number));
        }
        let seat = self.inner.shared.seat()?;
        loop {
            let mut target = state.target.write();
            if target.as_ref().is_none_or(|target| target.serial != seat.node.serial()) {
                *target = Some(self.look_up(seat, state)?);
            }
            let Some(target) = &mut *target else { continue };
            let key = match target.to.metric_key(seat, name) {
                Err(Error::Closed) if seat.has_moved(target.serial) => continue,
                result => result?,
            };
            let mut names = state.names.write();
            if let Some(number) = names.numbers.get(name) {
                return Ok(KeyId(*number));
            }
            let number =
                u32::try_from(names.list.len()).map_err(|_| Error::invalid("metric key", "too many of them"))?;
            let name: Arc<str> = name.into();
            names.list.push(name.clone());
            names.numbers.insert(name, number);
            target.keys.push(key);
            return Ok(KeyId(number));
        }
    }

    /// Where points go now.
    fn look_up(&self, seat: &Seat, state: &State) -> Result<Target> {
        loop {
            let (serial, to) = {
                let role = seat.node.role.read();
                let to = match &*role {
                    Role::Holder(holder) => To::Run(holder.store.engine().run(self.inner.run)?),
                    Role::Offline(offline) => To::Run(offline.own()?.engine().run(self.inner.run)?),
                    Role::Client(client) => To::Inbox(client.clone()),
                    Role::Unsettled | Role::Closed => return Err(Error::Closed),
                };
                (seat.node.serial(), to)
            };
            let names = state.names.read();
            let keys: Result<Vec<KeyId>> = names.list.iter().map(|name| to.metric_key(seat, name)).collect();
            match keys {
                Ok(keys) => return Ok(Target { serial, to, keys }),
                Err(Error::Closed) if seat.has_moved(serial) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Logs one step: a value for each of many keys.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` for a full disk, `INVALID_PARAMETER_VALUE`; nothing is logged then.
    pub fn log_row(&self, step: i64, time: TimestampMs, row: &[(KeyId, f64)], durability: Durability) -> ApiResult<()> {
        Ok(self.log_row_at(step, Some(time), row, durability)?)
    }

    /// As [`Logger::log_row`], with the current time: for callers without a timestamp.
    ///
    /// # Errors
    /// As [`Logger::log_row`].
    pub fn log_row_now(&self, step: i64, row: &[(KeyId, f64)], durability: Durability) -> ApiResult<()> {
        Ok(self.log_row_at(step, None, row, durability)?)
    }

    #[inline]
    pub(crate) fn log_row_at(
        &self,
        step: i64,
        time: Option<TimestampMs>,
        row: &[(KeyId, f64)],
        durability: Durability,
    ) -> Result<()> {
        let run_id = self.inner.run;
        ROW.with_borrow_mut(|translated| {
            self.log(|target| {
                translated.clear();
                for (key, value) in row {
                    translated.push((target.key(*key)?, *value));
                }
                match (&target.to, time) {
                    (To::Run(run), None) => run.log_row_now(step, translated, durability).map(drop),
                    (To::Run(run), Some(time)) => run.log_row(step, time, translated, durability).map(drop),
                    (To::Inbox(client), None) => {
                        client.inbox()?.log_row_now(run_id, step, translated, durability).map(drop)
                    }
                    (To::Inbox(client), Some(time)) => {
                        client.inbox()?.log_row(run_id, step, time, translated, durability).map(drop)
                    }
                }
            })
        })
    }

    /// Logs points of any keys, in the order given; all or nothing.
    ///
    /// # Errors
    /// As [`Logger::log_row`].
    pub fn log_points(&self, points: &[KeyedPoint], durability: Durability) -> ApiResult<()> {
        Ok(self.log_points_typed(points, durability)?)
    }

    pub(crate) fn log_points_typed(&self, points: &[KeyedPoint], durability: Durability) -> Result<()> {
        POINTS.with_borrow_mut(|translated| {
            let logged = self.log(|target| {
                translated.clear();
                translated.reserve(points.len());
                for point in points {
                    translated.push(KeyedPoint { key: target.key(point.key)?, point: point.point });
                }
                match &target.to {
                    To::Run(run) => run.log_points(translated, durability).map(drop),
                    To::Inbox(client) => client.inbox()?.log_points(self.inner.run, translated, durability).map(drop),
                }
            });
            // What a large batch took is given back.
            translated.shrink_to(4096);
            logged
        })
    }

    #[inline]
    fn log(&self, mut log: impl FnMut(&Target) -> Result<()>) -> Result<()> {
        let (shared, state) = (&self.inner.shared, self.state()?);
        let seat = shared.seat()?;
        loop {
            if let Some(target) = &*state.target.read()
                && target.serial == seat.node.serial()
            {
                let known = match &target.to {
                    To::Run(_) => true,
                    To::Inbox(client) => client.knows(self.inner.run)?,
                };
                if known {
                    match log(target) {
                        Err(Error::Closed) if seat.has_moved(target.serial) => continue,
                        result => return result,
                    }
                }
            }
            self.prepare(seat, state)?;
        }
    }

    /// Where rows go, if this process has the run's store.
    fn known(&self) -> Result<Option<Known>> {
        Ok(match &*self.state()?.target.read() {
            Some(Target { serial, to: To::Run(run), keys }) => {
                Some(Known { generation: fork::generation(), serial: *serial, run: run.clone(), keys: keys.clone() })
            }
            _ => None,
        })
    }

    /// Finds out where points go, and whether the run takes them.
    #[cold]
    fn prepare(&self, seat: &Seat, state: &State) -> Result<()> {
        {
            let mut target = state.target.write();
            if target.as_ref().is_none_or(|target| target.serial != seat.node.serial()) {
                *target = Some(self.look_up(seat, state)?);
                return Ok(());
            }
        }
        self.inner.shared.ask_for_run(seat, self.inner.run)
    }
}

/// The same logger's way for rows whose keys never change: what is found out under its locks is kept, and the numbers of
/// the keys are looked up once.
#[derive(Debug)]
pub(crate) struct FixedRow {
    logger: Logger,
    known: Option<Known>,
    /// The row by the logger's numbers.
    own: Vec<(KeyId, f64)>,
    /// The row by the store's numbers.
    row: Vec<(KeyId, f64)>,
    scratch: RowScratch,
}

impl FixedRow {
    /// Of a logger, and keys in the order of the values.
    pub(crate) fn new(logger: Logger, keys: Vec<KeyId>) -> Self {
        let own = keys.into_iter().map(|key| (key, 0.0)).collect();
        Self { logger, known: None, own, row: Vec::new(), scratch: RowScratch::default() }
    }

    pub(crate) fn keys_count(&self) -> usize {
        self.own.len()
    }

    /// Logs a value for each key; as many as there are keys.
    #[inline]
    pub(crate) fn log(
        &mut self,
        step: i64,
        time: Option<TimestampMs>,
        values: &[f64],
        durability: Durability,
    ) -> Result<()> {
        let seat = self.logger.inner.shared.seat()?;
        if let Some(known) = &self.known
            && known.serial == seat.node.serial()
            && known.generation == fork::generation()
        {
            for (place, value) in self.row.iter_mut().zip(values) {
                place.1 = *value;
            }
            match known.run.log_row_with(&mut self.scratch, step, time, &self.row, durability) {
                Ok(_) => return Ok(()),
                Err(Error::Closed) if seat.has_moved(known.serial) => {}
                Err(error) => return Err(error),
            }
        }
        self.log_unknown(step, time, values, durability)
    }

    #[cold]
    fn log_unknown(
        &mut self,
        step: i64,
        time: Option<TimestampMs>,
        values: &[f64],
        durability: Durability,
    ) -> Result<()> {
        forget(&mut self.known);
        for (place, value) in self.own.iter_mut().zip(values) {
            place.1 = *value;
        }
        self.logger.log_row_at(step, time, &self.own, durability)?;
        if let Some(known) = self.logger.known()?
            && known.translate(&self.own, &mut self.row)
        {
            self.known = Some(known);
        }
        Ok(())
    }
}

impl Drop for FixedRow {
    fn drop(&mut self) {
        forget(&mut self.known);
    }
}

/// Nothing of a parent is dropped in its child.
fn forget(known: &mut Option<Known>) {
    if let Some(known) = known.take()
        && known.generation != fork::generation()
    {
        std::mem::forget(known);
    }
}

/// Logs rows of one caller: what the logger finds out under its locks is kept here, so that a row takes none of them.
///
/// ```
/// use runlode::Durability;
/// use runlode::shared::RowLogger;
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
/// let logger = store.mlflow().logger(&run.id().to_string())?;
/// let loss = logger.key("loss")?;
/// let mut rows = RowLogger::new(logger);
/// for step in 0..1000 {
///     rows.log_row(step, None, &[(loss, 0.5)], Durability::Buffered)?;
/// }
/// assert_eq!(rows.logger().key("loss")?, loss);
/// assert_eq!(run.latest("loss")?.expect("logged above").count, 1000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RowLogger {
    logger: Logger,
    known: Option<Known>,
    /// The row by the store's numbers.
    row: Vec<(KeyId, f64)>,
    scratch: RowScratch,
}

/// Where rows go, while this process holds the store.
#[derive(Debug)]
pub(crate) struct Known {
    /// Which process found it: see [`fork::generation`].
    generation: u64,
    serial: u64,
    run: RunHandle,
    /// What the logger's numbers are there.
    keys: Vec<KeyId>,
}

impl RowLogger {
    /// Of a logger.
    pub fn new(logger: Logger) -> Self {
        Self { logger, known: None, row: Vec::new(), scratch: RowScratch::default() }
    }

    /// The logger.
    pub fn logger(&self) -> &Logger {
        &self.logger
    }

    /// As [`Logger::log_row`]; without a time as [`Logger::log_row_now`].
    ///
    /// # Errors
    /// As [`Logger::log_row`].
    #[inline]
    pub fn log_row(
        &mut self,
        step: i64,
        time: Option<TimestampMs>,
        row: &[(KeyId, f64)],
        durability: Durability,
    ) -> ApiResult<()> {
        let seat = self.logger.inner.shared.seat()?;
        if let Some(known) = &self.known
            && known.serial == seat.node.serial()
            && known.generation == fork::generation()
            && known.translate(row, &mut self.row)
        {
            match known.run.log_row_with(&mut self.scratch, step, time, &self.row, durability) {
                Ok(_) => return Ok(()),
                Err(Error::Closed) if seat.has_moved(known.serial) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.log_unknown_row(step, time, row, durability)
    }

    #[cold]
    fn log_unknown_row(
        &mut self,
        step: i64,
        time: Option<TimestampMs>,
        row: &[(KeyId, f64)],
        durability: Durability,
    ) -> ApiResult<()> {
        forget(&mut self.known);
        self.logger.log_row_at(step, time, row, durability)?;
        self.known = self.logger.known()?;
        Ok(())
    }
}

impl Drop for RowLogger {
    fn drop(&mut self) {
        forget(&mut self.known);
    }
}

impl Known {
    /// The row by the store's numbers; false if one is not known here.
    #[inline]
    fn translate(&self, row: &[(KeyId, f64)], translated: &mut Vec<(KeyId, f64)>) -> bool {
        translated.clear();
        let key = |number: &KeyId| self.keys.get(usize::try_from(number.0).ok()?).copied();
        translated.extend(row.iter().map_while(|(number, value)| Some((key(number)?, *value))));
        translated.len() == row.len()
    }
}

impl Target {
    #[inline]
    fn key(&self, number: KeyId) -> Result<KeyId> {
        let key = usize::try_from(number.0).ok().and_then(|number| self.keys.get(number));
        key.copied().ok_or_else(|| Error::invalid("metric key", "its number is not one of this logger"))
    }
}
