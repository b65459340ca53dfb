//! [`StepSet`] holds the steps of runs, and chooses those that an interval answers.

use super::error::{ApiError, ApiResult};

/// Ranges of steps that a bulk interval chooses from, those of two runs together.
const STEP_RANGES_MAX: usize = 1 << 21;

/// Steps that an interval answers.
pub(super) struct Sampled(pub(super) Vec<i64>);

impl Sampled {
    pub(super) fn rows_of(&self, steps: &[i64]) -> Vec<usize> {
        if steps.is_sorted() {
            // Few steps of many points: find each instead of looking at all.
            let mut rows = Vec::with_capacity(self.0.len());
            let mut from = 0;
            for step in &self.0 {
                from += steps[from..].partition_point(|other| other < step);
                while steps.get(from) == Some(step) {
                    rows.push(from);
                    from += 1;
                }
            }
            return rows;
        }
        (0..steps.len()).filter(|i| self.0.binary_search(&steps[*i]).is_ok()).collect()
    }
}

/// Steps, each once, as ranges without gaps: those of a run are mostly one.
#[derive(Debug, Default)]
pub(super) struct StepSet {
    /// First and last step; once settled, rising and apart from one another.
    ranges: Vec<(i64, i64)>,
}

impl StepSet {
    /// Adds steps in any order.
    pub(super) fn extend(&mut self, steps: &[i64]) -> ApiResult<()> {
        for step in steps {
            match self.ranges.last_mut() {
                Some((first, last)) if *first <= *step && *step <= last.saturating_add(1) => *last = (*last).max(*step),
                _ => self.ranges.push((*step, *step)),
            }
        }
        if self.ranges.len() > STEP_RANGES_MAX {
            self.settle();
            self.check()?;
        }
        Ok(())
    }

    fn check(&self) -> ApiResult<()> {
        if self.ranges.len() > STEP_RANGES_MAX / 2 { Err(too_many_points()) } else { Ok(()) }
    }

    /// Brings the ranges in order.
    pub(super) fn settle(&mut self) {
        if !self.ranges.is_sorted() {
            self.ranges.sort_unstable();
        }
        self.ranges.dedup_by(|next, range| {
            let touches = next.0 <= range.1.saturating_add(1);
            if touches {
                range.1 = range.1.max(next.1);
            }
            touches
        });
    }

    /// First and last of all.
    pub(super) fn span(&self) -> Option<(i64, i64)> {
        Some((self.ranges.first()?.0, self.ranges.last()?.1))
    }

    /// Takes in those of another run; both are settled.
    pub(super) fn merge(&mut self, other: Self) -> ApiResult<()> {
        if self.ranges != other.ranges {
            self.ranges.extend(other.ranges);
            self.settle();
        }
        self.check()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = i64> {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// The rule of MLflow 3.11 for runs with these first and last steps; `None`: there are no more than `most` distinct
    /// steps, so all are answered.
    pub(super) fn sampled(&self, ends: &[(i64, i64)], most: usize) -> Option<Sampled> {
        let length = |(first, last): &(i64, i64)| (i128::from(*last) - i128::from(*first) + 1) as u128;
        let count: u128 = self.ranges.iter().map(length).sum();
        if count <= most as u128 {
            return None;
        }
        let mut chosen = Vec::with_capacity(most + 1 + 2 * ends.len());
        let (mut at, mut before) = (0, 0);
        for i in 0..most as u128 {
            let wanted = i * count / most as u128;
            while let Some(range) = self.ranges.get(at)
                && before + length(range) <= wanted
            {
                before += length(range);
                at += 1;
            }
            let first = self.ranges.get(at).map_or(0, |range| range.0);
            // Within the range, so it is a step.
            chosen.push((i128::from(first) + (wanted - before) as i128) as i64);
        }
        chosen.extend(self.span().map(|(_, last)| last));
        chosen.extend(ends.iter().flat_map(|(first, last)| [*first, *last]));
        chosen.sort_unstable();
        chosen.dedup();
        Some(Sampled(chosen))
    }
}

/// The refusal of an interval whose runs have too many steps.
pub(super) fn too_many_points() -> ApiError {
    let message = "The steps of these runs are too many to choose from: ask for fewer runs, or for a range of steps.";
    // Clients repeat what is answered by 429, and it would be answered the same.
    ApiError::invalid(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(runs: &[&[i64]], most: usize) -> Option<Sampled> {
        let (mut all, mut ends) = (StepSet::default(), Vec::new());
        for steps in runs {
            let mut own = StepSet::default();
            own.extend(steps).unwrap();
            own.settle();
            ends.extend(own.span());
            all.merge(own).unwrap();
        }
        all.sampled(&ends, most)
    }

    #[test]
    fn intervals_sample_distinct_steps() {
        let steps: Vec<i64> = (0..10).collect();
        assert_eq!(sampled(&[&steps], 5).unwrap().0, [0, 2, 4, 6, 8, 9]);
        assert!(sampled(&[&steps], 10).is_none());
        let other = [-5, 3, 20];
        let chosen = sampled(&[&steps, &other], 2).unwrap();
        // Distinct steps: -5, 0..=9, 20; evenly spread ones -5 and 5; the last; each run's first and last.
        assert_eq!(chosen.0, [-5, 0, 5, 9, 20]);
        assert_eq!(chosen.rows_of(&other), [0, 2]);
        assert_eq!(chosen.rows_of(&[9, 0, 5, 5]), [0, 1, 2, 3]);
        let far = [i64::MIN, i64::MAX, 7, 7, 3, 5, 4];
        assert_eq!(sampled(&[&far, &far, &steps], 1).unwrap().0, [i64::MIN, 0, 9, i64::MAX]);
    }

    #[test]
    fn steps_are_chosen_as_from_a_list_of_all() {
        let mut state = 7u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..300 {
            let runs: Vec<Vec<i64>> =
                (0..1 + random(4)).map(|_| (0..1 + random(60)).map(|_| random(80) as i64 - 20).collect()).collect();
            let most = 1 + random(40) as usize;
            let runs: Vec<&[i64]> = runs.iter().map(Vec::as_slice).collect();
            let mut all = runs.concat();
            all.sort_unstable();
            all.dedup();
            let expected = (all.len() > most).then(|| {
                let mut chosen: Vec<i64> = (0..most).map(|i| all[i * all.len() / most]).collect();
                chosen.extend(all.last());
                chosen.extend(runs.iter().flat_map(|steps| steps.iter().min().into_iter().chain(steps.iter().max())));
                chosen.sort_unstable();
                chosen.dedup();
                chosen
            });
            assert_eq!(sampled(&runs, most).map(|chosen| chosen.0), expected, "{runs:?}, {most}");
        }
    }
}
