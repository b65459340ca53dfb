//! All answers of a store as lines of text: made from a snapshot, and from the model.

use runlode_engine::entity::{EntityKey, Lifecycle};
use runlode_engine::event::payload::Decoded;
use runlode_engine::point::{Point, Stats};
use runlode_engine::{
    ColumnSet, Error, ExperimentId, HistoryQuery, Lsn, MetricContext, PastView, Result, RunId, Snapshot, TimestampMs,
};

use crate::model::{Model, Totals, history_cmp, latest_cmp};
use crate::work::{
    EXPERIMENT_NAMES, EXPERIMENTS, LOGGED_MODELS, METRICS, MODEL_NAMES, REGISTERED, RUNS, model_id, queries, run_id,
};

/// Versions of a registered model that are queried.
const VERSIONS: u32 = 6;

fn number(value: f64) -> String {
    // -0.0 and 0.0 count as equal where only the number matters.
    if value.is_nan() { "NaN".into() } else { format!("{:?}", value + 0.0) }
}

fn totals_line(run: RunId, key: &str, totals: &Totals) -> String {
    let Totals { count, min, max, first, last, time_max } = totals;
    let (min, max) = (number(*min), number(*max));
    format!("stats {run} {key}: {count} points, {min}..{max}, {first:x?} to {last:x?}, by {time_max}")
}

/// Totals of the past. If several NaNs tie, which one is first or last is not specified there.
fn past_line(run: RunId, key: &str, mut totals: Totals) -> String {
    for point in [&mut totals.first, &mut totals.last] {
        if f64::from_bits(point.2).is_nan() {
            point.2 = f64::NAN.to_bits();
        }
    }
    totals_line(run, key, &totals)
}

fn totals_of(stats: &Stats) -> Totals {
    Totals {
        count: stats.count_raw,
        min: stats.min,
        max: stats.max,
        first: stats.first().into(),
        last: stats.last().into(),
        time_max: stats.time_max_ms,
    }
}

fn point_text(point: Point, lsn: Lsn, context: Option<&MetricContext>) -> String {
    let context = match context {
        None => String::new(),
        Some(context) => {
            let part = |part: &MetricContext| {
                let MetricContext { model_id, dataset_name, dataset_digest, .. } = part;
                format!(" {model_id:?} {dataset_name:?} {dataset_digest:?}")
            };
            context.parts().map(part).collect()
        }
    };
    format!("({} @{} {:x} ^{lsn}{context})", point.step, point.time, point.value.to_bits())
}

fn event_text(lsn: Lsn, index: u16, time: TimestampMs, actor: Option<&str>, event: &str) -> String {
    format!("({lsn}.{index} {time} {actor:?} {event})")
}

fn entities() -> Vec<EntityKey> {
    let mut keys: Vec<EntityKey> = EXPERIMENTS.map(EntityKey::Experiment).into();
    keys.extend((0..RUNS).map(|number| EntityKey::Run(run_id(number))));
    keys.extend((0..LOGGED_MODELS).map(|number| EntityKey::LoggedModel(model_id(number))));
    for id in REGISTERED {
        keys.push(EntityKey::RegisteredModel(id));
        keys.extend((1..=2).map(|version| EntityKey::ModelVersion(id, version)));
    }
    keys
}

fn datasets() -> impl Iterator<Item = (ExperimentId, &'static str, &'static str)> {
    let of = |id| ["train", "test"].into_iter().flat_map(move |name| ["d1", "d2"].map(|digest| (id, name, digest)));
    EXPERIMENTS.into_iter().flat_map(of)
}

/// The answers of a snapshot.
///
/// # Errors
/// Those of the engine; none is expected.
pub fn of_snapshot(snapshot: &Snapshot) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for (id, state) in snapshot.experiments()? {
        out.push(format!("experiment {id}: {state:?}"));
        out.push(format!("runs of {id}: {:?}", snapshot.runs_of(id)?));
        for (model, state) in snapshot.logged_models_of(id)? {
            out.push(format!("logged model {model} of {id}: {state:?}"));
        }
    }
    for name in EXPERIMENT_NAMES {
        out.push(format!("experiment `{name}`: {:?}", snapshot.experiment_by_name(name)?.map(|(id, _)| id)));
    }
    for (id, state) in snapshot.registered_models()? {
        out.push(format!("registered {id:?}: {state:?}"));
    }
    for name in MODEL_NAMES {
        out.push(format!("model `{name}`: {:?}", snapshot.registered_model(name)?.map(|(id, _)| id)));
    }
    for id in REGISTERED {
        for version in 1..=VERSIONS {
            if let Some(state) = snapshot.model_version(id, version)? {
                out.push(format!("version {id:?} {version}: {state:?}"));
            }
        }
    }
    for (id, name, digest) in datasets() {
        if let Some(state) = snapshot.dataset(id, name, digest)? {
            out.push(format!("data set {id} {name} {digest}: {state:?}"));
        }
    }
    for number in 0..RUNS {
        let id = run_id(number);
        let Some(run) = snapshot.run(id)? else { continue };
        let lifecycle = snapshot.lifecycle(&run)?;
        out.push(format!("run {id}: {lifecycle:?} {run:?}"));
        if lifecycle == Lifecycle::Purged {
            continue;
        }
        for (key, stats) in snapshot.latest(id)? {
            out.push(totals_line(id, &key, &totals_of(&stats)));
            if stats.count_raw != snapshot.count_exact(id, &key)? {
                out.push(format!("{id} {key} counts its points in two ways"));
            }
            let same = snapshot.stats(id, &key)?;
            if format!("{same:?}") != format!("{:?}", Some(stats)) {
                out.push(format!("latest and stats of {id} {key} differ: {stats:?} and {same:?}"));
            }
        }
        for key in METRICS {
            let page =
                snapshot.history(id, key, &HistoryQuery { columns: ColumnSet::ALL, ..HistoryQuery::default() })?;
            let columns = &page.columns;
            let texts: Vec<String> = (0..columns.len())
                .map(|i| {
                    let context = columns.context(i);
                    let context = (context.0 != 0).then(|| snapshot.metric_context(context)).flatten();
                    point_text(columns.point(i), Lsn(columns.lsns[i]), context.as_deref())
                })
                .collect();
            out.push(format!("history {id} {key}: {}", texts.join(" ")));
        }
    }
    for entity in entities() {
        if let EntityKey::Run(id) = entity
            && snapshot.run(id)?.is_some_and(|run| run.lifecycle == Lifecycle::Purged)
        {
            continue;
        }
        let mut texts = Vec::new();
        for record in snapshot.events(&entity)? {
            let event = match &record.event {
                Decoded::Known(event) => format!("{event:?}"),
                Decoded::Unknown { tag, version, .. } => format!("unknown {tag} {version}"),
            };
            texts.push(event_text(record.lsn, record.index, record.time, record.actor.as_deref(), &event));
        }
        out.push(format!("events of {entity:?}: {}", texts.join(" ")));
    }
    for (index, mut query) in queries().into_iter().enumerate() {
        let mut runs = Vec::new();
        loop {
            let page = snapshot.search(&query)?;
            if page.runs.len() > query.limit {
                out.push(format!("search {index} answered {} runs for {}", page.runs.len(), query.limit));
            }
            runs.extend(page.runs);
            let Some(next) = page.next else { break };
            query.after = Some(next);
        }
        out.push(format!("search {index}: {runs:?}"));
    }
    Ok(out)
}

/// The answers of the model.
pub fn of_model(model: &Model) -> Vec<String> {
    let mut out = Vec::new();
    for (id, state) in &model.experiments {
        out.push(format!("experiment {id}: {state:?}"));
        let runs: Vec<RunId> = model
            .runs
            .iter()
            .filter(|(_, run)| run.experiment == *id && run.lifecycle != Lifecycle::Purged)
            .map(|(run, _)| *run)
            .collect();
        out.push(format!("runs of {id}: {runs:?}"));
        for (logged, state) in model.logged_models.iter().filter(|(_, state)| state.experiment == *id) {
            out.push(format!("logged model {logged} of {id}: {state:?}"));
        }
    }
    for name in EXPERIMENT_NAMES {
        let found = model.experiments.iter().find(|(_, state)| state.name == name).map(|(id, _)| *id);
        out.push(format!("experiment `{name}`: {found:?}"));
    }
    let mut registered: Vec<_> = model.registered.iter().filter(|(_, state)| !state.deleted).collect();
    registered.sort_by_key(|(_, state)| state.name.clone());
    for (id, state) in &registered {
        out.push(format!("registered {id:?}: {state:?}"));
    }
    for name in MODEL_NAMES {
        let found = registered.iter().find(|(_, state)| state.name == name).map(|(id, _)| **id);
        out.push(format!("model `{name}`: {found:?}"));
    }
    for id in REGISTERED {
        for version in 1..=VERSIONS {
            if let Some(state) = model.versions.get(&(id, version)) {
                out.push(format!("version {id:?} {version}: {state:?}"));
            }
        }
    }
    for (id, name, digest) in datasets() {
        if let Some(state) = model.datasets.get(&(id, name.to_owned(), digest.to_owned())) {
            out.push(format!("data set {id} {name} {digest}: {state:?}"));
        }
    }
    for number in 0..RUNS {
        let id = run_id(number);
        let Some(run) = model.runs.get(&id) else { continue };
        let lifecycle = model.lifecycle(run);
        out.push(format!("run {id}: {lifecycle:?} {run:?}"));
        if lifecycle == Lifecycle::Purged {
            continue;
        }
        for key in model.metric_keys(id) {
            out.extend(model.totals(id, &key).map(|totals| totals_line(id, &key, &totals)));
        }
        for key in METRICS {
            let history = model.history(id, key);
            let texts: Vec<String> =
                history.iter().map(|logged| point_text(logged.point, logged.lsn, logged.context.as_ref())).collect();
            out.push(format!("history {id} {key}: {}", texts.join(" ")));
        }
    }
    for entity in entities() {
        if let EntityKey::Run(id) = entity
            && model.runs.get(&id).is_some_and(|run| run.lifecycle == Lifecycle::Purged)
        {
            continue;
        }
        let texts: Vec<String> = model
            .events_of(&entity)
            .into_iter()
            .map(|e| event_text(e.lsn, e.index, e.time, e.actor.as_deref(), &format!("{:?}", e.event)))
            .collect();
        out.push(format!("events of {entity:?}: {}", texts.join(" ")));
    }
    for (index, query) in queries().iter().enumerate() {
        out.push(format!("search {index}: {:?}", model.search(query)));
    }
    out
}

/// The answers of a view of the past. `purged` runs are refused, whatever they were then.
///
/// # Errors
/// Those of the engine; none is expected.
pub fn of_past(view: &PastView<'_>) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for id in EXPERIMENTS {
        out.push(format!("experiment {id}: {:?}", view.experiment(id)?));
    }
    for number in 0..RUNS {
        let id = run_id(number);
        match view.run(id) {
            Err(Error::Purged { .. }) => {
                out.push(format!("run {id}: purged"));
                continue;
            }
            run => out.push(format!("run {id}: {:?}", run?)),
        }
        for key in METRICS {
            let page = view.history(id, key, &HistoryQuery { columns: ColumnSet::ALL, ..HistoryQuery::default() })?;
            let columns = &page.columns;
            if let Some(stats) = view.stats(id, key)? {
                out.push(past_line(id, key, totals_of(&stats)));
            }
            let texts: Vec<String> =
                (0..columns.len()).map(|i| point_text(columns.point(i), Lsn(columns.lsns[i]), None)).collect();
            out.push(format!("history {id} {key}: {}", texts.join(" ")));
        }
    }
    for number in 0..LOGGED_MODELS {
        out.push(format!("logged model {number}: {:?}", view.logged_model(model_id(number))?));
    }
    for id in REGISTERED {
        out.push(format!("registered {id:?}: {:?}", view.registered_model(id)?));
        for version in 1..=2 {
            out.push(format!("version {id:?} {version}: {:?}", view.model_version(id, version)?));
        }
    }
    Ok(out)
}

/// The same for a model with the writes up to then; `now` knows which runs were purged since.
pub fn of_past_model(then: &Model, now: &Model) -> Vec<String> {
    let mut out = Vec::new();
    for id in EXPERIMENTS {
        out.push(format!("experiment {id}: {:?}", then.experiments.get(&id)));
    }
    for number in 0..RUNS {
        let id = run_id(number);
        if now.runs.get(&id).is_some_and(|run| run.lifecycle == Lifecycle::Purged) {
            out.push(format!("run {id}: purged"));
            continue;
        }
        let run = then.runs.get(&id).map(|run| (run.clone(), then.lifecycle(run)));
        out.push(format!("run {id}: {run:?}"));
        for key in METRICS {
            out.extend(then.totals(id, key).map(|totals| past_line(id, key, totals)));
            let history = then.history(id, key);
            let texts: Vec<String> = history.iter().map(|logged| point_text(logged.point, logged.lsn, None)).collect();
            out.push(format!("history {id} {key}: {}", texts.join(" ")));
        }
    }
    for number in 0..LOGGED_MODELS {
        out.push(format!("logged model {number}: {:?}", then.logged_models.get(&model_id(number))));
    }
    for id in REGISTERED {
        out.push(format!("registered {id:?}: {:?}", then.registered.get(&id)));
        for version in 1..=2 {
            out.push(format!("version {id:?} {version}: {:?}", then.versions.get(&(id, version))));
        }
    }
    out
}

/// Faults in the small reads of one series: pages, ranges, buckets. Empty if there are none.
///
/// # Errors
/// Those of the engine; none is expected.
pub fn series_faults(snapshot: &Snapshot, model: &Model, run: RunId, key: &str, choice: u64) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let all: Vec<Point> = model.history(run, key).iter().map(|logged| logged.point).collect();
    let bits = |points: &[Point]| -> Vec<(i64, i64, u64)> {
        points.iter().map(|p| (p.step, p.time.0, p.value.to_bits())).collect()
    };
    // Pages of a few points.
    let limit = 1 + (choice % 7) as usize;
    let mut query = HistoryQuery { limit, ..HistoryQuery::default() };
    let mut paged = Vec::new();
    loop {
        let page = snapshot.history(run, key, &query)?;
        paged.extend((0..page.columns.len()).map(|i| page.columns.point(i)));
        let Some(next) = page.next else { break };
        query.after = Some(next);
    }
    if bits(&paged) != bits(&all) {
        faults.push(format!("pages of {limit} of {run} {key} show {} points, not {}", paged.len(), all.len()));
    }
    // A range of steps and times, and an offset.
    let pick = |salt: u64| all.get((choice / 7 + salt) as usize % all.len().max(1)).copied().unwrap_or_default();
    let (a, b) = (pick(0), pick(choice / 31));
    let steps = (a.step.min(b.step), a.step.max(b.step));
    let times_ms = (a.time.0.min(b.time.0), i64::MAX);
    let query = HistoryQuery { steps, times_ms, offset: choice % 3, ..HistoryQuery::default() };
    let page = snapshot.history(run, key, &query)?;
    let found: Vec<Point> = (0..page.columns.len()).map(|i| page.columns.point(i)).collect();
    let expected: Vec<Point> = all
        .iter()
        .filter(|p| (steps.0..=steps.1).contains(&p.step) && (times_ms.0..=times_ms.1).contains(&p.time.0))
        .skip((choice % 3) as usize)
        .copied()
        .collect();
    if bits(&found) != bits(&expected) {
        faults.push(format!("range {query:?} of {run} {key}: {:?}, not {:?}", bits(&found), bits(&expected)));
    }
    // Buckets over the same steps.
    let buckets = 1 + (choice % 50) as usize;
    let down = snapshot.downsample(run, key, Some(steps), buckets)?;
    let mut inside: Vec<Point> = all.iter().filter(|p| (steps.0..=steps.1).contains(&p.step)).copied().collect();
    inside.sort_by(|a, b| latest_cmp(a, b).then(history_cmp(a, b)));
    let counted: u64 = down.buckets.iter().map(|bucket| bucket.summary.count).sum();
    if down.count != inside.len() as u64 || counted != down.count || down.buckets.len() > buckets {
        faults.push(format!("buckets of {run} {key} hold {counted} of {} points ({})", inside.len(), down.count));
    }
    let mut rest = inside.as_slice();
    for bucket in &down.buckets {
        let (part, behind) = rest.split_at((bucket.summary.count as usize).min(rest.len()));
        rest = behind;
        let numbers = || part.iter().map(|p| p.value).filter(|v| !v.is_nan());
        let (low, high) = (numbers().reduce(f64::min), numbers().reduce(f64::max));
        let s = &bucket.summary;
        let nan = part.iter().filter(|p| p.value.is_nan()).count() as u64;
        let infinite = part.iter().filter(|p| p.value.is_infinite()).count() as u64;
        let right = number(s.min) == number(low.unwrap_or(f64::NAN))
            && number(s.max) == number(high.unwrap_or(f64::NAN))
            && part.first().is_some_and(|p| p.step == bucket.step_first && p.value.to_bits() == s.first.to_bits())
            && part.last().is_some_and(|p| p.step == bucket.step_last && p.value.to_bits() == s.last.to_bits())
            && (s.nan, s.pos_inf + s.neg_inf) == (nan, infinite);
        if !right {
            faults.push(format!("bucket {bucket:?} of {run} {key} is not of {:?}", bits(part)));
        }
        if down.exact_edges && !part.is_empty() {
            let span = u128::from(inside[inside.len() - 1].step.wrapping_sub(inside[0].step) as u64) + 1;
            let index = |p: &Point| u128::from(p.step.wrapping_sub(inside[0].step) as u64) * buckets as u128 / span;
            if part.iter().any(|p| index(p) != index(&part[0])) {
                faults.push(format!("bucket {bucket:?} of {run} {key} reaches over its edges"));
            }
        }
    }
    Ok(faults)
}
