//! Compares the points of a run: two streams in ascending order of key, time and step, read side by side.
//!
//! Points of one key, time and step are compared as a bag of values. Values that only one side's format can hold are told
//! apart from real differences: infinities and the sign of zero (MLflow's databases store +-1.797e308 and 0.0), and equal
//! points that were logged twice.

use std::cmp::Ordering;

use super::report::Tally;
use super::view::{Holds, Kind, Points, Row};
use crate::error::Result;

/// Points of one key, time and step.
#[derive(Debug, Default)]
struct Group {
    key: String,
    at: (i64, i64),
    values: Vec<f64>,
    /// Rows that are no points, whatever key they have.
    unreadable: u64,
}

/// A stream with one row of look-ahead.
struct Ahead<'p> {
    points: &'p mut dyn Points,
    next: Option<Row>,
    started: bool,
}

impl<'p> Ahead<'p> {
    fn new(points: &'p mut dyn Points) -> Self {
        Self { points, next: None, started: false }
    }

    fn group(&mut self) -> Result<Option<Group>> {
        if !self.started {
            self.started = true;
            self.next = self.points.next()?;
        }
        let mut group: Option<Group> = None;
        while let Some(row) = &self.next {
            let Some(point) = row.point else {
                group.get_or_insert_with(|| Group { key: row.key.clone(), ..Group::default() }).unreadable += 1;
                self.next = self.points.next()?;
                continue;
            };
            let at = (point.time.0, point.step);
            match &mut group {
                Some(group) if group.values.is_empty() => {
                    group.key.clone_from(&row.key);
                    group.at = at;
                    group.values.push(point.value);
                }
                Some(group) if group.key == row.key && group.at == at => group.values.push(point.value),
                Some(_) => break,
                None => group = Some(Group { key: row.key.clone(), at, values: vec![point.value], unreadable: 0 }),
            }
            self.next = self.points.next()?;
        }
        Ok(group)
    }
}

/// Compares two streams of one run.
pub(super) fn compare(
    run: &str,
    a: &mut dyn Points,
    b: &mut dyn Points,
    holds: [Holds; 2],
    tally: &mut Tally,
) -> Result<()> {
    let (mut a, mut b) = (Ahead::new(a), Ahead::new(b));
    let (mut left, mut right) = (a.group()?, b.group()?);
    loop {
        let order = match (&left, &right) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => (&left.key, left.at).cmp(&(&right.key, right.at)),
        };
        let none = Group::default();
        let (here, there) = (left.as_ref().unwrap_or(&none), right.as_ref().unwrap_or(&none));
        match order {
            Ordering::Less => {
                groups(run, here, &none, holds, tally);
                left = a.group()?;
            }
            Ordering::Greater => {
                groups(run, &none, there, holds, tally);
                right = b.group()?;
            }
            Ordering::Equal => {
                groups(run, here, there, holds, tally);
                left = a.group()?;
                right = b.group()?;
            }
        }
    }
}

/// Bits that are equal for equal values; all NaN are one.
fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

/// The value as a side writes it that cannot hold all.
fn squeezed(value: f64) -> f64 {
    if value.is_infinite() { f64::MAX.copysign(value) } else { value + 0.0 }
}

fn groups(run: &str, a: &Group, b: &Group, [holds_a, holds_b]: [Holds; 2], tally: &mut Tally) {
    let unreadable = a.unreadable + b.unreadable;
    if unreadable > 0 {
        let text = format!("rows of metric {} of run {run} that are no points", a.key);
        tally.different(Kind::Points, unreadable, &text, "unreadable", "unreadable");
    }
    if let ([left], [right]) = (a.values.as_slice(), b.values.as_slice())
        && bits(*left) == bits(*right)
    {
        tally.equal(Kind::Points, 1);
        return;
    }
    let of = if a.values.is_empty() { b } else { a };
    let (time_ms, step) = of.at;
    let label = format!("metric {} of run {run} at step {step}, {time_ms} ms", of.key);
    let (mut left, mut right) = (a.values.clone(), b.values.clone());
    take_pairs(&mut left, &mut right, |one, two| bits(one) == bits(two), |_, _| tally.equal(Kind::Points, 1));
    let alike = |one: f64, two: f64| {
        (!holds_b.values && bits(squeezed(one)) == bits(two)) || (!holds_a.values && bits(one) == bits(squeezed(two)))
    };
    take_pairs(&mut left, &mut right, alike, |one, two| {
        tally.impossible(Kind::Points, 1, &label, &one.to_string(), &two.to_string());
    });
    // Logged twice, and the other side keeps one.
    let mut twice = |values: &mut Vec<f64>, others: &[f64], can: Holds| {
        values.retain(|value| {
            let is_it =
                |other: &f64| bits(*other) == bits(*value) || (!can.values && bits(*other) == bits(squeezed(*value)));
            let kept = can.repeats || !others.iter().any(is_it);
            if !kept {
                tally.impossible(Kind::Points, 1, &label, &value.to_string(), "once");
            }
            kept
        });
    };
    twice(&mut left, &b.values, holds_b);
    twice(&mut right, &a.values, holds_a);
    take_pairs(
        &mut left,
        &mut right,
        |_, _| true,
        |one, two| {
            tally.different(Kind::Points, 1, &label, &one.to_string(), &two.to_string());
        },
    );
    left.iter().for_each(|value| tally.only_a(Kind::Points, 1, &label, &value.to_string()));
    right.iter().for_each(|value| tally.only_b(Kind::Points, 1, &label, &value.to_string()));
}

/// Takes the pairs that belong together out of both lists.
fn take_pairs(
    left: &mut Vec<f64>,
    right: &mut Vec<f64>,
    are_pair: impl Fn(f64, f64) -> bool,
    mut each: impl FnMut(f64, f64),
) {
    left.retain(|one| match right.iter().position(|two| are_pair(*one, *two)) {
        Some(at) => {
            let two = right.swap_remove(at);
            each(*one, two);
            false
        }
        None => true,
    });
}

#[cfg(test)]
mod tests {
    use runlode::{Point, TimestampMs};

    use super::super::report::Counts;
    use super::*;

    struct List(std::vec::IntoIter<Row>);

    impl Points for List {
        fn next(&mut self) -> Result<Option<Row>> {
            Ok(self.0.next())
        }
    }

    fn list(points: &[(&str, i64, f64)]) -> List {
        let row = |(key, step, value): &(&str, i64, f64)| Row {
            key: (*key).to_owned(),
            point: Some(Point { step: *step, time: TimestampMs(7), value: *value }),
        };
        List(points.iter().map(row).collect::<Vec<_>>().into_iter())
    }

    fn counts(a: &[(&str, i64, f64)], b: &[(&str, i64, f64)], holds: [bool; 2]) -> Counts {
        let mut tally = Tally::default();
        let holds = holds.map(|all| Holds { values: all, repeats: all });
        compare("r", &mut list(a), &mut list(b), holds, &mut tally).unwrap();
        tally.counts.get(&Kind::Points).copied().unwrap_or_default()
    }

    const ALL: [bool; 2] = [true, true];

    #[test]
    fn equal_and_different_points_are_counted() {
        let a = [("k", 1, 0.5), ("k", 2, f64::NAN), ("k", 3, 1.0), ("m", 1, 1.0)];
        let b = [("k", 1, 0.5), ("k", 2, f64::NAN), ("k", 3, 1.5), ("n", 1, 1.0), ("n", 2, 1.0)];
        assert_eq!(counts(&a, &b, ALL), Counts { equal: 2, different: 1, only_a: 1, only_b: 2, cannot_be_equal: 0 });
        assert_eq!(counts(&b, &a, ALL), Counts { equal: 2, different: 1, only_a: 2, only_b: 1, cannot_be_equal: 0 });
    }

    #[test]
    fn what_a_database_cannot_hold_is_told_apart() {
        let a = [("k", 1, f64::INFINITY), ("k", 2, -0.0), ("k", 3, 2.0), ("k", 3, 2.0)];
        let b = [("k", 1, f64::MAX), ("k", 2, 0.0), ("k", 3, 2.0)];
        let sql = counts(&a, &b, [true, false]);
        assert_eq!(sql, Counts { equal: 1, cannot_be_equal: 3, ..Counts::default() });
        let two_stores = counts(&a, &b, ALL);
        assert_eq!(two_stores, Counts { equal: 1, different: 2, only_a: 1, ..Counts::default() });
        // It is the other side that cannot hold them.
        let wrong_way = counts(&a, &b, [false, true]);
        assert_eq!(wrong_way, two_stores);
    }
}
