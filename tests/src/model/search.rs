//! Which runs a search finds, in which order.

use super::*;

impl Model {
    /// All runs that match a query, in order, without paging.
    pub fn search(&self, query: &SearchQuery) -> Vec<RunId> {
        let mut found: Vec<(&RunId, &RunState)> = self
            .runs
            .iter()
            .filter(|(_, run)| query.experiments.contains(&run.experiment) && query.view.shows(self.lifecycle(run)))
            .filter(|(id, run)| query.filter.as_ref().is_none_or(|filter| self.matches(filter, **id, run)))
            .collect();
        found.sort_by(|a, b| {
            for order in &query.order {
                let compared = match &order.key {
                    Key::Text(key) => {
                        let (a, b) = (self.text(key, *a.0, a.1), self.text(key, *b.0, b.1));
                        directed(order.ascending, a, b, |_| false, |a, b| a.cmp(b))
                    }
                    Key::Number(key) => {
                        let (a, b) = (self.number(key, *a.0, a.1), self.number(key, *b.0, b.1));
                        directed(order.ascending, a, b, |v| v.is_nan(), |a, b| a.partial_cmp(b).unwrap())
                    }
                };
                if compared.is_ne() {
                    return compared;
                }
            }
            b.1.start_time_ms.cmp(&a.1.start_time_ms).then(a.0.cmp(b.0))
        });
        found.into_iter().map(|(id, _)| *id).collect()
    }

    fn matches(&self, filter: &Filter, id: RunId, run: &RunState) -> bool {
        match filter {
            Filter::And(all) => all.iter().all(|filter| self.matches(filter, id, run)),
            Filter::Or(any) => any.iter().any(|filter| self.matches(filter, id, run)),
            Filter::Not(inner) => !self.matches(inner, id, run),
            Filter::Term(Term::Text { key, test }) => match (self.text(key, id, run), test) {
                (text, TextTest::IsNull) => text.is_none(),
                (None, _) => false,
                (Some(_), TextTest::IsNotNull) => true,
                (Some(text), TextTest::Eq(wanted)) => text == *wanted,
                (Some(text), TextTest::Ne(wanted)) => text != *wanted,
                (_, other) => panic!("the generator makes no {other:?}"),
            },
            Filter::Term(Term::Number { key, test }) => match (self.number(key, id, run), test) {
                (number, NumberTest::IsNull) => number.is_none(),
                (None, _) => false,
                (Some(_), NumberTest::IsNotNull) => true,
                (Some(number), NumberTest::Compare(comparison, value)) => match comparison {
                    Comparison::Eq => number == *value,
                    Comparison::Ne => number != *value,
                    Comparison::Lt => number < *value,
                    Comparison::Le => number <= *value,
                    Comparison::Gt => number > *value,
                    Comparison::Ge => number >= *value,
                },
            },
        }
    }

    fn text(&self, key: &TextKey, id: RunId, run: &RunState) -> Option<String> {
        match key {
            TextKey::RunId => Some(id.to_string()),
            TextKey::Name => Some(run.name.clone()),
            TextKey::UserId => Some(run.user_id.clone()),
            TextKey::Status => Some(<&str>::from(run.status).to_owned()),
            TextKey::Param(key) => get(&run.params, key).map(str::to_owned),
            TextKey::Tag(key) => get(&run.tags, key).map(str::to_owned),
            other => panic!("the generator makes no {other:?}"),
        }
    }

    fn number(&self, key: &NumberKey, id: RunId, run: &RunState) -> Option<f64> {
        match key {
            NumberKey::StartTime => Some(run.start_time_ms as f64),
            NumberKey::EndTime => run.end_time_ms.map(|time| time as f64),
            NumberKey::Param(key) => get(&run.params, key).and_then(|text| text.parse().ok()),
            NumberKey::Tag(key) => get(&run.tags, key).and_then(|text| text.parse().ok()),
            NumberKey::Metric { name, aggregate } => {
                let totals = self.totals(id, name)?;
                Some(match aggregate {
                    Aggregate::Latest => f64::from_bits(totals.last.2),
                    Aggregate::First => f64::from_bits(totals.first.2),
                    Aggregate::Min => totals.min,
                    Aggregate::Max => totals.max,
                    Aggregate::Count => totals.count as f64,
                })
            }
        }
    }
}

fn directed<T>(
    ascending: bool,
    a: Option<T>,
    b: Option<T>,
    is_nan: impl Fn(&T) -> bool,
    cmp: impl Fn(&T, &T) -> Ordering,
) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => match (is_nan(&a), is_nan(&b)) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if ascending => cmp(&a, &b),
            (false, false) => cmp(&b, &a),
        },
    }
}
