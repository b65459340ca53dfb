//! Comparing stores and sources of imports with one another.
//!
//! ```text
//!  store    --> view (facts by entity, runs in order, points in order) --+
//!                                                                        +--> merge --> counts, first differences
//!  source   --> view                                                   --+
//! ```
//!
//! - Experiments and registered models are the same if their names are, runs and logged models if their ids are.
//! - Both sides are read in the same order, side by side. Memory is bounded by experiments and models, by the ids of
//!   runs, and by one run without its points.
//! - Not compared: places of artifacts and the files in them, as they move with a store; times of last updates; which
//!   model and data set a point belongs to (but which metrics a model has is).

mod points;
mod report;
mod store;
mod tables;
mod view;

use std::cmp::Ordering;

use runlode::LocalStore;

pub use self::report::{Comparison, Counts, Difference};
pub use self::view::Kind;

use self::report::Tally;
use self::store::StoreView;
use self::tables::TablesView;
use self::view::{Holds, Points, Record, Records, Row, Run, Runs, View};
use super::{Opened, Progress};
use crate::error::Result;

/// One side of a comparison.
#[non_exhaustive]
pub enum Side {
    /// A store as it is now.
    Store(LocalStore),
    /// A source of an import, and its workspace.
    Source(Box<Opened>, String),
}

/// Compares two sides, which are called `names`.
///
/// ```
/// use runlode::LocalStore;
/// use runlode_cli::import::diff::{Kind, Side, compare};
///
/// # let dir = tempfile::tempdir().unwrap();
/// let (a, b) = (LocalStore::open(dir.path().join("a"))?, LocalStore::open(dir.path().join("b"))?);
/// b.get_or_create_experiment("digits")?;
/// let found = compare(&Side::Store(a), &Side::Store(b), ["a", "b"], &mut |_| {})?;
/// assert!(!found.equal);
/// assert_eq!(found.counts[&Kind::Experiments].only_b, 1);
/// # Ok::<(), runlode_cli::Error>(())
/// ```
///
/// # Errors
/// A side cannot be read.
pub fn compare(a: &Side, b: &Side, names: [&str; 2], progress: &mut dyn FnMut(Progress)) -> Result<Comparison> {
    let (a, b) = (view(a)?, view(b)?);
    let mut tally = Tally::default();
    entities(&a.entities()?, &b.entities()?, &mut tally);
    let holds = [a.holds(), b.holds()];
    let mut merge = Merge { a: &*a, b: &*b, holds, tally: &mut tally, done: 0, progress };
    a.runs(&mut |left| b.runs(&mut |right| merge.runs(left, right)))?;
    Ok(tally.finish(names.map(str::to_owned)))
}

fn view(side: &Side) -> Result<Box<dyn View + '_>> {
    Ok(match side {
        Side::Store(store) => Box::new(StoreView::new(store.snapshot()?)),
        Side::Source(opened, workspace) => Box::new(TablesView::new(&opened.source, workspace)?),
    })
}

fn entities(a: &Records, b: &Records, tally: &mut Tally) {
    for (key, record) in a {
        match b.get(key) {
            Some(other) => facts(record, other, tally),
            None => one_side(record, tally, Tally::only_a),
        }
    }
    for (key, record) in b {
        if !a.contains_key(key) {
            one_side(record, tally, Tally::only_b);
        }
    }
}

/// Counts an entity that only one side has.
fn one_side(record: &Record, tally: &mut Tally, count: fn(&mut Tally, Kind, u64, &str, &str)) {
    if record.is_untouched {
        return;
    }
    count(tally, record.kind, 1, &record.label, "all of it");
    for ((kind, name), value) in record.facts.iter().filter(|((kind, _), _)| *kind != record.kind) {
        count(tally, *kind, 1, &format!("{name} of {}", record.label), value);
    }
}

/// Compares an entity that both sides have.
fn facts(a: &Record, b: &Record, tally: &mut Tally) {
    let mut is_equal = true;
    let names = a.facts.keys().chain(b.facts.keys().filter(|name| !a.facts.contains_key(name)));
    for name in names {
        let (kind, fact) = (name.0, format!("{} of {}", name.1, a.label));
        let own = kind == a.kind;
        match (a.facts.get(name), b.facts.get(name)) {
            (Some(one), Some(two)) if one == two => {
                if !own {
                    tally.equal(kind, 1);
                }
            }
            // The entity as a whole is counted, once; each of its own facts that differs is told.
            (one, two) if own => {
                let count = u64::from(is_equal);
                is_equal = false;
                let none = "none".to_owned();
                tally.different(kind, count, &fact, one.unwrap_or(&none), two.unwrap_or(&none));
            }
            (Some(one), Some(two)) => tally.different(kind, 1, &fact, one, two),
            (Some(one), None) => tally.only_a(kind, 1, &fact, one),
            (None, Some(two)) => tally.only_b(kind, 1, &fact, two),
            (None, None) => {}
        }
    }
    if is_equal {
        tally.equal(a.kind, 1);
    }
}

/// Both sides, read side by side.
struct Merge<'m> {
    a: &'m dyn View,
    b: &'m dyn View,
    holds: [Holds; 2],
    tally: &'m mut Tally,
    done: u64,
    progress: &'m mut dyn FnMut(Progress),
}

impl Merge<'_> {
    fn runs(&mut self, a: &mut dyn Runs, b: &mut dyn Runs) -> Result<()> {
        let (mut left, mut right) = (a.next()?, b.next()?);
        loop {
            (self.progress)(Progress { phase: "runs compared", done: self.done, total: 0 });
            self.done += 1;
            let order = match (&left, &right) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(left), Some(right)) => left.id.cmp(&right.id),
            };
            match order {
                Ordering::Less => {
                    self.run(left.as_ref(), None)?;
                    left = a.next()?;
                }
                Ordering::Greater => {
                    self.run(None, right.as_ref())?;
                    right = b.next()?;
                }
                Ordering::Equal => {
                    self.run(left.as_ref(), right.as_ref())?;
                    left = a.next()?;
                    right = b.next()?;
                }
            }
        }
    }

    fn run(&mut self, left: Option<&Run>, right: Option<&Run>) -> Result<()> {
        let holds = self.holds;
        match (left, right) {
            (Some(one), Some(two)) => facts(&one.record, &two.record, self.tally),
            (Some(one), None) => one_side(&one.record, self.tally, Tally::only_a),
            (None, Some(two)) => one_side(&two.record, self.tally, Tally::only_b),
            (None, None) => return Ok(()),
        }
        let Some(id) = left.or(right).map(|run| run.id.to_string()) else { return Ok(()) };
        let (a, b, tally) = (self.a, self.b, &mut *self.tally);
        points_of(a, left, &mut |one| points_of(b, right, &mut |two| points::compare(&id, one, two, holds, tally)))
    }
}

/// Points of a run; none if the side has no such run.
fn points_of(view: &dyn View, run: Option<&Run>, with: &mut dyn FnMut(&mut dyn Points) -> Result<()>) -> Result<()> {
    match run {
        Some(run) => view.points(run, with),
        None => with(&mut NoPoints),
    }
}

struct NoPoints;

impl Points for NoPoints {
    fn next(&mut self) -> Result<Option<Row>> {
        Ok(None)
    }
}
