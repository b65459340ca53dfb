//! The result of a sync, with its problems.

use serde::{Deserialize, Serialize};

/// Most problems that a report lists one by one.
const PROBLEMS_MAX: usize = 1_000;

/// The result of a sync.
///
/// ```
/// use runlode::sync::{Source, Target};
///
/// # let dir = tempfile::tempdir()?;
/// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
/// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
/// here.create_experiment("digits")?;
/// let mut target = Target::new(&there, here.engine().id())?;
/// let mut source = Source::new(&here, target.applied()?, there.engine().id())?;
/// let mut report = runlode::sync::Report::default();
/// while let Some(chunk) = source.next_chunk()? {
///     report.add(target.apply(&chunk)?);
/// }
/// assert_eq!((report.problems_count, report.through), (0, source.end().0));
/// assert!(report.events_count > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Batches of the source that were applied.
    pub batches_count: u64,
    /// Events that were appended.
    pub events_count: u64,
    /// Points that were appended.
    pub points_count: u64,
    /// Events that the target already had.
    pub known_count: u64,
    /// What was not taken unchanged. At most 1,000 are listed; the count includes all.
    pub problems: Vec<Problem>,
    /// Number of problems.
    pub problems_count: u64,
    /// Everything of the source up to here is in the target.
    pub through: u64,
}

/// Something that was not taken unchanged.
///
/// ```
/// use runlode::sync::Problem;
///
/// let problem = Problem { position: 7, what: "run x: deleted here".into(), disagreement: None };
/// println!("at {}: {}", problem.position, problem.what);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Position in the store that decided it; 0 if unknown.
    pub position: u64,
    /// What it is, and what was done.
    pub what: String,
    /// The field on which two stores disagree, if that is the problem.
    #[serde(default)]
    pub disagreement: Option<Disagreement>,
}

/// A field that two stores changed since they last met.
///
/// ```
/// use runlode::sync::Disagreement;
///
/// let about = Disagreement { entity: "run x".into(), field: "tag note".into(), ..Disagreement::default() };
/// assert_eq!((about.stays, about.own_stays), (None, false));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disagreement {
    /// The entity.
    pub entity: String,
    /// The field.
    pub field: String,
    /// The value that the target has now; `None` if there is none, as after deleting a tag.
    pub stays: Option<String>,
    /// When that was decided, Unix ms.
    pub stays_time_ms: i64,
    /// The other value.
    pub given_up: Option<String>,
    /// When that was decided, Unix ms.
    pub given_up_time_ms: i64,
    /// Whether the target's own value stays.
    pub own_stays: bool,
}

impl Disagreement {
    fn text(&self) -> String {
        let value = |value: &Option<String>| value.as_ref().map_or("nothing".into(), |value| format!("`{value}`"));
        let (stays, given_up) = (value(&self.stays), value(&self.given_up));
        let (at, other_at) = (time_text(self.stays_time_ms), time_text(self.given_up_time_ms));
        let whose = if self.own_stays { ("here", "there") } else { ("there", "here") };
        format!(
            "{}: {}: {stays} stays ({}, {at}), {given_up} is given up ({}, {other_at})",
            self.entity, self.field, whose.0, whose.1
        )
    }
}

impl Report {
    pub(super) fn problem(&mut self, position: u64, what: impl Into<String>) {
        self.push(Problem { position, what: what.into(), disagreement: None });
    }

    pub(super) fn disagreement(&mut self, position: u64, about: Disagreement) {
        self.push(Problem { position, what: about.text(), disagreement: Some(about) });
    }

    /// A field is reported once, with its final state; equal texts are listed once.
    fn push(&mut self, problem: Problem) {
        let same = |known: &&mut Problem| match (&known.disagreement, &problem.disagreement) {
            (Some(known), Some(new)) => known.entity == new.entity && known.field == new.field,
            (None, None) => known.what == problem.what,
            _ => false,
        };
        if let Some(known) = self.problems.iter_mut().find(same) {
            *known = problem;
            return;
        }
        self.problems_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    /// Adds the content of another report.
    ///
    /// ```
    /// use runlode::sync::Report;
    ///
    /// let mut all = Report::default();
    /// all.add(Report::default());
    /// assert_eq!(all.batches_count, 0);
    /// ```
    pub fn add(&mut self, other: Self) {
        self.batches_count += other.batches_count;
        self.events_count += other.events_count;
        self.points_count += other.points_count;
        self.known_count += other.known_count;
        self.problems_count += other.problems_count - other.problems.len() as u64;
        other.problems.into_iter().for_each(|problem| self.push(problem));
        self.through = self.through.max(other.through);
    }
}

/// A time for users, UTC.
fn time_text(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Days since 0000-03-01, in eras of 400 years (Hinnant's algorithm).
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(time_text(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(time_text(1_709_210_096_789), "2024-02-29 12:34:56 UTC");
        assert_eq!(time_text(-1), "1969-12-31 23:59:59 UTC");
    }

    #[test]
    fn a_field_is_reported_once() {
        let about =
            |value: &str| Disagreement { field: "name".into(), stays: Some(value.into()), ..Disagreement::default() };
        let (mut report, mut other) = (Report::default(), Report::default());
        report.disagreement(1, about("a"));
        report.problem(1, "left out");
        other.disagreement(2, about("b"));
        other.problem(3, "left out");
        report.add(other);
        assert_eq!((report.problems_count, report.problems.len()), (2, 2));
        assert_eq!(report.problems[0].position, 2);
    }
}
