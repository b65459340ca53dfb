//! MLflow's search vectors, and the projection against the reference.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::filter::*;
use super::reference::{matches, search_rows};
use super::*;
use crate::entity::{DatasetRef, Lifecycle, RunState};
use crate::error::Result;
use crate::event::RunStatus;
use crate::id::{ExperimentId, KeyId, Lsn, RunId};
use crate::point::{Point, Stats};
use crate::time::TimestampMs;

type Run = (RunState, Lifecycle, Vec<(KeyId, Stats)>);

/// Runs as the store would hold them.
#[derive(Debug, Default)]
struct Model {
    runs: BTreeMap<RunId, Run>,
    keys: Vec<&'static str>,
}

impl Model {
    fn rows(&self) -> impl Iterator<Item = RunRow<'_>> {
        self.runs.iter().map(|(run, (state, lifecycle, stats))| RunRow {
            run: *run,
            state,
            lifecycle: *lifecycle,
            stats,
        })
    }
}

impl Source for Model {
    fn metric_key(&self, name: &str) -> Result<Option<KeyId>> {
        Ok(self.keys.iter().position(|key| *key == name).map(|at| KeyId(at as u32)))
    }

    fn stats(&self, run: RunId, key: KeyId) -> Result<Option<Stats>> {
        let found = self.runs.get(&run).and_then(|run| run.2.iter().find(|(other, _)| *other == key));
        Ok(found.map(|(_, stats)| *stats))
    }

    fn artifact_uri(&self, experiment: ExperimentId, run: RunId, explicit: Option<&str>) -> String {
        explicit.map_or_else(|| format!("root/{experiment}/{run}/artifacts"), str::to_owned)
    }
}

fn state(experiment: u64, name: &str, start_time_ms: i64) -> RunState {
    RunState { name: name.to_owned(), start_time_ms, ..RunState::new(ExperimentId(experiment), Lsn(1)) }
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut list: Vec<(String, String)> = list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    list.sort();
    list
}

fn datasets(list: &[(&str, &str, Option<&str>)]) -> Vec<DatasetRef> {
    let input = |(name, digest, context): &(&str, &str, Option<&str>)| DatasetRef {
        name: (*name).to_owned(),
        digest: (*digest).to_owned(),
        tags: context.iter().map(|context| (row::DATASET_CONTEXT_TAG.to_owned(), (*context).to_owned())).collect(),
    };
    list.iter().map(input).collect()
}

fn stats_of(values: &[f64]) -> Stats {
    let point = |(step, value): (usize, &f64)| Point { step: step as i64, time: TimestampMs(1), value: *value };
    let mut points = values.iter().enumerate().map(point);
    let mut stats = Stats::of(points.next().unwrap());
    points.for_each(|point| stats.push(point));
    stats
}

/// The five runs of the vectors; ids sort A B C D a.
fn five() -> Model {
    let mut model = Model { keys: vec!["loss", "acc", "m/x y"], ..Model::default() };
    let mut add =
        |name: &str, start, status, end_time_ms, user: &str, params: &[_], tags: &[_], metrics: &[_], inputs: &[_]| {
            let state = RunState {
                status,
                end_time_ms,
                user_id: user.to_owned(),
                params: pairs(params),
                tags: pairs(tags),
                datasets: datasets(inputs),
                ..state(1, name, start)
            };
            let stats = metrics.iter().map(|(key, value)| (KeyId(*key), stats_of(&[*value]))).collect();
            model.runs.insert(RunId([name.as_bytes()[0]; 16]), (state, Lifecycle::Active, stats));
        };
    use RunStatus::*;
    add(
        "A",
        100,
        Finished,
        Some(200),
        "ann",
        &[("lr", "0.1"), ("opt", "SGD"), ("p x", "1"), ("empty", "")],
        &[("kind", "abl"), ("team.x", "1"), ("mlflow.note.content", "it's")],
        &[(0, 1.0), (1, 0.5)],
        &[("d1", "x1", Some("train")), ("d2", "x2", Some("eval"))],
    );
    add(
        "B",
        200,
        Failed,
        Some(300),
        "bob",
        &[("lr", "0.01"), ("opt", "sgd")],
        &[("kind", "Abl")],
        &[(0, f64::NAN), (1, 0.9)],
        &[("d1", "x1", Some("eval"))],
    );
    add("C", 300, Running, None, "", &[("lr", "10")], &[("kind", "other_%")], &[(0, f64::INFINITY)], &[]);
    add("D", 300, Killed, Some(500), "", &[], &[], &[(0, -1.0), (2, 2.0)], &[("d3", "x3", None)]);
    add("a", 400, Scheduled, None, "", &[("opt", "adam")], &[("kind", "")], &[(0, 0.0)], &[]);
    model
}

fn project(model: &Model) -> BTreeMap<ExperimentId, Projection> {
    let mut projections = BTreeMap::new();
    for row in model.rows() {
        let experiment = row.state.experiment;
        projections.entry(experiment).or_insert_with(|| Projection::new(experiment)).upsert(row).unwrap();
    }
    projections
}

fn search_prepared(
    query: &SearchQuery,
    projections: &mut BTreeMap<ExperimentId, Projection>,
    model: &Model,
) -> Result<SearchPage> {
    for projection in projections.values_mut() {
        projection.prepare(query, model)?;
        assert!(projection.is_prepared(query, model)?);
    }
    search(query, &projections.values().collect::<Vec<_>>(), model)
}

/// Names of the answer, from the projection; the reference must say the same.
fn ask(model: &Model, filter: Option<Filter>, order: Vec<OrderKey>) -> String {
    let query = SearchQuery { filter, order, ..SearchQuery::new(ExperimentId(1)) };
    let page = search_prepared(&query, &mut project(model), model).unwrap();
    assert_eq!(page, search_rows(&query, model.rows(), model).unwrap(), "{query:?}");
    let names: Vec<&str> = page.runs.iter().map(|run| model.runs[run].0.name.as_str()).collect();
    names.join(" ")
}

#[test]
fn filter_vectors() {
    let model = five();
    let a = RunId([b'A'; 16]).to_string();
    let vectors = [
        (metric("loss").lt(1.0), "a D"),
        (metric("loss").ne(1.0), "a C D B"),
        (metric("loss").gt(1e300), "C"),
        (metric("acc").eq(0.5), "A"),
        (metric("m/x y").eq(2.0), "D"),
        (metric("loss").eq(0.0), "a"),
        (param("lr").eq("0.1"), "A"),
        (param("lr").ne("0.1"), "C B"),
        (param("opt").like("%gd"), "B"),
        (param("opt").ilike("SGD"), "B A"),
        (param("opt").is_null(), "C D"),
        (param("empty").is_not_null(), "A"),
        (param(" lr").eq("0.1"), ""),
        (tag("team.x").eq("1"), "A"),
        (tag("kind").ne("abl"), "a C B"),
        (tag("kind").is_null(), "D"),
        (tag("kind").like("other\\_%"), ""),
        (tag("kind").like("other_%"), "C"),
        (tag("mlflow.note.content").eq("it's"), "A"),
        (tag("mlflow.note.content").eq("it''s"), ""),
        (TextKey::Status.ne("FINISHED"), "a C D B"),
        (TextKey::Status.eq("finished"), ""),
        (TextKey::Name.ilike("a"), "a A"),
        (NumberKey::StartTime.lt(250.5), "B A"),
        (NumberKey::EndTime.ne(300.0), "D A"),
        (TextKey::RunId.not_in([a.clone()]), "a C D B"),
        (TextKey::RunId.is_in([a.clone()]), "A"),
        (TextKey::RunId.like(format!("{}%", &a[..4])), "A"),
        (TextKey::DatasetName.eq("d1") & TextKey::DatasetContext.eq("eval"), "B A"),
        (TextKey::DatasetName.ne("d1"), "D A"),
        (TextKey::DatasetContext.is_null(), "a C D"),
        (metric("loss").gt(-5.0) & metric("acc").gt(0.0), "A"),
        (Filter::And(vec![metric("loss").gt(-5.0)]), "a C D A"),
        (tag("kind").eq("abl") & tag("kind").eq("Abl"), ""),
        // Beyond MLflow.
        (metric("acc").gt(0.6) | tag("kind").eq("abl"), "B A"),
        (!tag("kind").eq("abl"), "a C D B"),
        (param_number("lr").le(0.1), "B A"),
        (param_number("opt").ne(1.0), ""),
        (param_number("lr").is_null(), "a D"),
        (metric("loss").min().lt(0.0), "D"),
        (metric("loss").count().ge(1.0), "a C D B A"),
        (TextKey::ArtifactUri.like("%/41414141%"), "A"),
        (TextKey::Experiment.eq("1"), "a C D B A"),
        (Filter::Or(vec![]), ""),
    ];
    for (filter, answer) in vectors {
        assert_eq!(ask(&model, Some(filter.clone()), vec![]), answer, "{filter}");
    }
    assert_eq!(ask(&model, None, vec![]), "a C D B A");
}

#[test]
fn order_vectors() {
    let model = five();
    let up = |key: Key| vec![OrderKey::ascending(key)];
    let down = |key: Key| vec![OrderKey::descending(key)];
    let vectors = [
        (up(metric("loss").into()), "D a A C B"),
        (down(metric("loss").into()), "C A a D B"),
        (up(metric("acc").into()), "A B a C D"),
        (down(param("lr").into()), "C A B a D"),
        (up(param("lr").into()), "B A C a D"),
        (up(tag("kind").into()), "a B A C D"),
        ([down(TextKey::Status.into()), up(metric("loss").into())].concat(), "a C D A B"),
        (down(NumberKey::EndTime.into()), "D B A a C"),
        (up(param_number("lr").into()), "B A C a D"),
        (down(TextKey::RunId.into()), "a D C B A"),
        (up(TextKey::ArtifactUri.into()), "A B C D a"),
        (up(TextKey::Name.into()), "A B C D a"),
    ];
    for (order, answer) in vectors {
        assert_eq!(ask(&model, None, order.clone()), answer, "{order:?}");
    }
}

#[test]
fn queries_that_cannot_be_answered_are_refused() {
    let model = five();
    let base = SearchQuery { limit: 2, ..SearchQuery::new(ExperimentId(1)) };
    let next = search_rows(&base, model.rows(), &model).unwrap().next;
    assert!(next.is_some());
    let order = |key: Key| vec![OrderKey::ascending(key)];
    let bad = [
        SearchQuery { limit: 0, ..base.clone() },
        SearchQuery { order: order(TextKey::DatasetName.into()), ..base.clone() },
        SearchQuery { order: [order(TextKey::Name.into()), order(TextKey::Name.into())].concat(), ..base.clone() },
        SearchQuery { view: View::All, after: next.clone(), ..base.clone() },
        SearchQuery { filter: Some(metric("loss").gt(0.0)), after: next.clone(), ..base.clone() },
        SearchQuery { order: order(TextKey::Name.into()), after: next.clone(), ..base.clone() },
    ];
    for query in bad {
        let error = search_prepared(&query, &mut project(&model), &model).unwrap_err();
        assert!(matches!(error, crate::Error::Invalid { .. }), "{error}");
        assert!(search_rows(&query, model.rows(), &model).is_err());
    }
    // Another limit is the same query.
    assert!(search_prepared(&SearchQuery { limit: 7, after: next, ..base }, &mut project(&model), &model).is_ok());
}

const KEYS: [&str; 3] = ["loss", "acc", "unused"];
const NAMES: [&str; 3] = ["p", "q", "r"];
const TEXTS: [&str; 12] = ["", "0", "-0.0", "1", "0.5", "1e3", "nan", "inf", "abc", "aBc", "é_%", "run-1"];

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![4 => prop::sample::select(&TEXTS[..]).prop_map(str::to_owned), 1 => "[ab1]{0,3}"]
}

fn any_number() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1.0, 0.5, -1.0, 0.1, 2.0, 300.0])
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0..6i64, 1 => prop::sample::select(vec![i64::MIN, i64::MIN + 1, i64::MAX, 1 << 53])]
}

fn any_pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    let pairs = prop::collection::btree_map(prop::sample::select(&NAMES[..]), any_text(), 0..3);
    pairs.prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

type Change = (u8, RunState, Lifecycle, Vec<(KeyId, Stats)>);

fn any_change() -> impl Strategy<Value = Change> {
    let dataset = (0..2u8, 0..2u8, prop::option::of(0..2u8)).prop_map(|(name, digest, context)| DatasetRef {
        name: format!("d{name}"),
        digest: format!("x{digest}"),
        tags: context.map(|c| (row::DATASET_CONTEXT_TAG.to_owned(), format!("c{c}"))).into_iter().collect(),
    });
    let attributes =
        (0..2u64, any_text(), any_time(), prop::option::of(any_time()), 0..5u8, prop::option::of(any_text()));
    let lists = (any_pairs(), any_pairs(), prop::collection::vec(dataset, 0..3));
    let lifecycle =
        prop::sample::select(vec![Lifecycle::Active, Lifecycle::Active, Lifecycle::Deleted, Lifecycle::Purged]);
    let series = (0..2u32, prop::collection::vec(any_number(), 1..4), any::<bool>())
        .prop_map(|(key, values, repeats)| (KeyId(key), Stats { maybe_repeats: repeats, ..stats_of(&values) }));
    let stats = prop::collection::vec(series, 0..3).prop_map(|mut list| {
        list.sort_by_key(|(key, _)| *key);
        list.dedup_by_key(|(key, _)| *key);
        list
    });
    (0..40u8, attributes, lists, lifecycle, stats).prop_map(|(run, attributes, lists, lifecycle, stats)| {
        let (_, name, start, end_time_ms, status, artifact_location) = attributes;
        let (params, tags, datasets) = lists;
        use RunStatus::*;
        let state = RunState {
            status: [Running, Scheduled, Finished, Failed, Killed][usize::from(status)],
            user_id: if status == 0 { "ann".into() } else { String::new() },
            end_time_ms,
            artifact_location,
            params,
            tags,
            datasets,
            // A run never changes its experiment.
            ..state(u64::from(run % 2), &name, start)
        };
        (run, state, lifecycle, stats)
    })
}

fn run_id(run: u8) -> RunId {
    // Several share their first half.
    let mut id = [run % 3; 16];
    id[15] = run;
    RunId(id)
}

fn any_text_key() -> impl Strategy<Value = TextKey> {
    let name = || prop::sample::select(&NAMES[..]).prop_map(str::to_owned);
    prop_oneof![
        4 => name().prop_map(TextKey::Param),
        4 => name().prop_map(TextKey::Tag),
        4 => prop::sample::select(vec![TextKey::RunId, TextKey::Name, TextKey::Status, TextKey::UserId, TextKey::ArtifactUri]),
    ]
}

fn any_number_key() -> impl Strategy<Value = NumberKey> {
    use Aggregate::*;
    let name = || prop::sample::select(&NAMES[..]).prop_map(str::to_owned);
    let aggregate = prop::sample::select(vec![Latest, Min, Max, First, Count]);
    prop_oneof![
        2 => Just(NumberKey::StartTime),
        2 => Just(NumberKey::EndTime),
        2 => name().prop_map(NumberKey::Param),
        2 => name().prop_map(NumberKey::Tag),
        6 => (prop::sample::select(&KEYS[..]), aggregate)
            .prop_map(|(name, aggregate)| NumberKey::Metric { name: name.to_owned(), aggregate }),
    ]
}

fn any_text_of(key: &TextKey) -> BoxedStrategy<String> {
    match key {
        TextKey::RunId => (0..42u8).prop_map(|run| run_id(run).to_string()).boxed(),
        TextKey::Status => prop::sample::select(vec!["RUNNING", "KILLED", "x"]).prop_map(str::to_owned).boxed(),
        TextKey::Experiment => prop::sample::select(vec!["0", "1", "x"]).prop_map(str::to_owned).boxed(),
        TextKey::Lifecycle => prop::sample::select(vec!["active", "deleted"]).prop_map(str::to_owned).boxed(),
        TextKey::DatasetName => prop::sample::select(vec!["d0", "d1", "x"]).prop_map(str::to_owned).boxed(),
        TextKey::DatasetDigest => prop::sample::select(vec!["x0", "x1"]).prop_map(str::to_owned).boxed(),
        TextKey::DatasetContext => prop::sample::select(vec!["c0", "c1"]).prop_map(str::to_owned).boxed(),
        _ => any_text().boxed(),
    }
}

fn any_term() -> impl Strategy<Value = Filter> {
    let keys = prop_oneof![
        4 => any_text_key(),
        2 => prop::sample::select(vec![
            TextKey::DatasetName, TextKey::DatasetDigest, TextKey::DatasetContext, TextKey::Experiment, TextKey::Lifecycle,
        ]),
    ];
    let text = keys.prop_flat_map(|key| {
        let texts = prop::collection::vec(any_text_of(&key), 1..4);
        let patterns = prop_oneof!["[01aA%_]{0,4}", any_text_of(&key).prop_map(|text| format!("{text}%"))];
        (Just(key), 0..8u8, texts, patterns).prop_map(|(key, kind, texts, pattern)| match kind {
            0 => key.eq(texts[0].clone()),
            1 => key.ne(texts[0].clone()),
            2 => key.like(pattern),
            3 => key.ilike(pattern),
            4 => key.is_in(texts),
            5 => key.not_in(texts),
            6 => key.is_null(),
            _ => key.is_not_null(),
        })
    });
    use Comparison::*;
    let value = prop_oneof![3 => any_number(), 2 => (0..6i64).prop_map(|t| t as f64), 1 => prop::sample::select(vec![2.5, 1e300, -1e300])];
    let number = (any_number_key(), 0..8u8, value).prop_map(|(key, kind, value)| match kind {
        0 => key.is_null(),
        1 => key.is_not_null(),
        kind => key.compare([Eq, Ne, Lt, Le, Gt, Ge][usize::from(kind - 2)], value),
    });
    prop_oneof![text, number]
}

fn any_filter() -> impl Strategy<Value = Filter> {
    any_term().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|filter| !filter),
        ]
    })
}

fn any_order() -> impl Strategy<Value = Vec<OrderKey>> {
    let key = prop_oneof![any_text_key().prop_map(Key::Text), any_number_key().prop_map(Key::Number)];
    let orders = prop::collection::vec((key, any::<bool>()), 0..3);
    orders.prop_map(|list| {
        let mut out: Vec<OrderKey> = Vec::new();
        for (key, ascending) in list {
            if out.iter().all(|other| other.key != key) {
                out.push(OrderKey { key, ascending });
            }
        }
        out
    })
}

fn any_query() -> impl Strategy<Value = SearchQuery> {
    let views = prop::sample::select(vec![View::ActiveOnly, View::DeletedOnly, View::All]);
    let experiments = prop::sample::select(vec![vec![0], vec![1], vec![0, 1], vec![1, 7]]);
    (experiments, prop::option::of(any_filter()), any_order(), views, 1..12usize, prop::option::of(0..20u64)).prop_map(
        |(experiments, filter, order, view, limit, offset)| SearchQuery {
            experiments: experiments.into_iter().map(ExperimentId).collect(),
            filter,
            order,
            view,
            limit,
            after: offset.map(PageToken::from_offset),
        },
    )
}

fn cases() -> u32 {
    std::env::var("RUNLODE_SEARCH_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(192)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Upserts, updates of metrics, lifecycles and removals, then queries read to their last page: the projection
    /// says what the reference says.
    #[test]
    fn the_projection_says_what_the_reference_says(
        changes in prop::collection::vec((any_change(), 0..12u8), 1..80),
        queries in prop::collection::vec(any_query(), 1..6),
    ) {
        let mut model = Model { keys: vec!["loss", "acc"], ..Model::default() };
        let mut projections: BTreeMap<ExperimentId, Projection> =
            (0..2).map(|id| (ExperimentId(id), Projection::new(ExperimentId(id)))).collect();
        let third = changes.len() / 3;
        for (i, ((run, state, lifecycle, stats), kind)) in changes.into_iter().enumerate() {
            let id = run_id(run);
            let projection = projections.get_mut(&state.experiment).unwrap();
            match kind {
                0 | 1 => prop_assert_eq!(projection.remove(id), model.runs.remove(&id).is_some()),
                2 => {
                    if let Some((_, _, old)) = model.runs.get_mut(&id) {
                        old.retain(|(key, _)| stats.iter().all(|(other, _)| other != key));
                        old.extend(stats.iter().copied());
                        prop_assert!(projection.update_metrics(id, &stats));
                    }
                }
                3 => {
                    projection.set_lifecycle_all(lifecycle);
                    for (state_of, old, _) in model.runs.values_mut() {
                        if state_of.experiment == state.experiment && *old != Lifecycle::Purged {
                            *old = lifecycle;
                        }
                    }
                }
                _ => {
                    projection.upsert(RunRow { run: id, state: &state, lifecycle, stats: &stats }).unwrap();
                    model.runs.insert(id, (state, lifecycle, stats));
                }
            }
            // Some queries early, so that what they prepare meets later changes.
            if i == third {
                for query in &queries {
                    let page = search_prepared(query, &mut projections, &model).unwrap();
                    prop_assert_eq!(page.runs, search_rows(query, model.rows(), &model).unwrap().runs);
                }
            }
        }
        let mut loaded: BTreeMap<ExperimentId, Projection> =
            projections.iter().map(|(id, projection)| (*id, reload(projection))).collect();
        for mut query in queries {
            for _ in 0..60 {
                let page = search_prepared(&query, &mut projections, &model).unwrap();
                prop_assert_eq!(&search_prepared(&query, &mut loaded, &model).unwrap().runs, &page.runs);
                let expected = search_rows(&query, model.rows(), &model).unwrap();
                prop_assert_eq!(&page.runs, &expected.runs, "{:?}", query);
                prop_assert_eq!(page.next.is_some(), expected.next.is_some());
                // Through text, as a client would send it back; and NaN is not equal to itself.
                let text = page.next.map(|token| token.to_string());
                prop_assert_eq!(&text, &expected.next.map(|token| token.to_string()));
                let Some(text) = text else { break };
                query.after = Some(text.parse().unwrap());
            }
        }
    }
}

fn saved(projection: &Projection) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut sink = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    projection.save(Lsn(42), &mut sink).unwrap();
    bytes
}

fn reload(projection: &Projection) -> Projection {
    let bytes = saved(projection);
    let (loaded, position) = Projection::load(std::path::Path::new("search.snap"), &bytes).unwrap();
    assert_eq!((loaded.len(), loaded.experiment(), position), (projection.len(), projection.experiment(), Lsn(42)));
    assert!(saved(&loaded) == bytes);
    loaded
}

#[test]
fn a_damaged_dump_is_refused_and_never_panics() {
    let model = five();
    let projections = project(&model);
    let bytes = saved(&projections[&ExperimentId(1)]);
    let path = std::path::Path::new("search.snap");
    for cut in 0..bytes.len() {
        assert!(Projection::load(path, &bytes[..cut]).is_err(), "{cut}");
    }
    // With a crc that fits, so that the decoder itself is met: it may accept, it must not panic, nor may searches.
    for at in 28..bytes.len() - 12 {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            assert!(Projection::load(path, &bad).is_err(), "{at}");
            let body = bad.len() - 4;
            let crc = crate::checksum::Crc32::of(&bad[..body]).0;
            bad[body..].copy_from_slice(&crc.to_le_bytes());
            if let Ok((projection, _)) = Projection::load(path, &bad) {
                let query = SearchQuery {
                    filter: Some(metric("loss").count().ne(3.0) | TextKey::Name.like("%a%") | tag("kind").eq("abl")),
                    order: vec![OrderKey::ascending(param("lr")), OrderKey::descending(metric("acc"))],
                    ..SearchQuery::new(ExperimentId(1))
                };
                search_prepared(&query, &mut [(ExperimentId(1), projection)].into(), &model).unwrap();
            }
        }
    }
    let mut newer = bytes;
    newer[8] = 3;
    assert!(matches!(Projection::load(path, &newer), Err(crate::Error::UnsupportedFormat { found: 3, .. })));
}

/// A projection that has columns only of metrics that queries asked for.
fn project_asked(model: &Model) -> BTreeMap<ExperimentId, Projection> {
    let mut projections = BTreeMap::new();
    for row in model.rows() {
        let experiment = row.state.experiment;
        let projection = projections.entry(experiment).or_insert_with(|| Projection::of_asked_metrics(experiment));
        projection.upsert(RunRow { stats: &[], ..row }).unwrap();
    }
    projections
}

#[test]
fn columns_of_metrics_that_were_asked_for_answer_as_all_do() {
    let mut model = five();
    let mut projections = project_asked(&model);
    let asked = |projections: &BTreeMap<ExperimentId, Projection>| projections[&ExperimentId(1)].asked_metrics();
    let query = |filter: Filter, order: &str| SearchQuery {
        filter: Some(filter),
        order: vec![OrderKey::descending(metric(order))],
        ..SearchQuery::new(ExperimentId(1))
    };
    let check = |query: &SearchQuery, projections: &mut BTreeMap<ExperimentId, Projection>, model: &Model| {
        let found = search_prepared(query, projections, model).unwrap();
        assert_eq!(found.runs, search_rows(query, model.rows(), model).unwrap().runs, "{query:?}");
    };
    check(&query(metric("acc").gt(0.1), "acc"), &mut projections, &model);
    assert_eq!(asked(&projections), Some(vec![KeyId(1)]));
    // What is saved is what was asked for, and other metrics still come when they are wanted.
    let bytes = saved(&projections[&ExperimentId(1)]);
    assert_eq!(bytes[8], 2);
    let mut loaded: BTreeMap<_, _> = projections.iter().map(|(id, projection)| (*id, reload(projection))).collect();
    assert_eq!(asked(&loaded), Some(vec![KeyId(1)]));
    for projections in [&mut projections, &mut loaded] {
        check(&query(metric("loss").min().lt(1.5), "m/x y"), projections, &model);
        assert_eq!(asked(projections), Some(vec![KeyId(0), KeyId(1), KeyId(2)]));
    }
    // A run is replaced by what it has of these, one goes, and one comes to its row.
    let stats = vec![(KeyId(1), stats_of(&[7.0]))];
    for (id, name) in [(b'B', "B"), (b'Z', "Z")] {
        let id = RunId([id; 16]);
        let (state, lifecycle) = (state(1, name, 9), Lifecycle::Active);
        model.runs.insert(id, (state.clone(), lifecycle, stats.clone()));
        let gone = RunId([b'A'; 16]);
        let had = model.runs.remove(&gone).is_some();
        for projections in [&mut projections, &mut loaded] {
            let projection = projections.get_mut(&ExperimentId(1)).unwrap();
            assert_eq!(projection.remove(gone), had);
            projection.upsert(RunRow { run: id, state: &state, lifecycle, stats: &stats }).unwrap();
        }
    }
    for projections in [&mut projections, &mut loaded] {
        check(&query(metric("acc").ge(0.0), "loss"), projections, &model);
        check(&query(metric("loss").max().ge(-5.0), "acc"), projections, &model);
    }
    // A metric that is first asked for after a run went and its row is free.
    let mut fresh = project_asked(&five());
    fresh.get_mut(&ExperimentId(1)).unwrap().remove(RunId([b'A'; 16]));
    let mut model = five();
    model.runs.remove(&RunId([b'A'; 16]));
    check(&query(metric("loss").ge(-5.0), "acc"), &mut fresh, &model);
}

/// Many rows, so that chunks, blocks, sparse columns and thresholds are met.
#[test]
fn large_projections_agree_with_the_reference() {
    let mut model = Model { keys: vec!["loss", "acc"], ..Model::default() };
    let mut seed = 7u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) % below
    };
    for i in 0..12_000u64 {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&random(u64::MAX).to_be_bytes());
        id[8..].copy_from_slice(&i.to_be_bytes());
        let mut state = state(1, &format!("run-{}", random(20_000)), (i / 3) as i64);
        state.params = pairs(&[("p", &random(10).to_string()), ("wide", &format!("{}", random(30_000)))]);
        if random(500) == 0 {
            state.tags = pairs(&[("rare", &random(4).to_string())]);
        }
        let mut stats = vec![(KeyId(0), stats_of(&[random(1000) as f64 / 7.0, random(1000) as f64]))];
        if random(300) == 0 {
            stats.push((KeyId(1), stats_of(&[if random(5) == 0 { f64::NAN } else { random(8) as f64 }])));
        }
        let lifecycle = if random(20) == 0 { Lifecycle::Deleted } else { Lifecycle::Active };
        model.runs.insert(RunId(id), (state, lifecycle, stats));
    }
    let mut projections = project(&model);
    let filters = [
        None,
        Some(metric("loss").gt(900.0) & param("p").eq("3")),
        Some(!param("p").is_in(["1", "2", "3"]) | tag("rare").eq("1")),
        Some(param_number("wide").lt(500.0) & TextKey::Name.like("run-1%5")),
        Some(TextKey::Name.like("%99%") & metric("acc").is_null()),
        Some(param("wide").ne("5") & metric("acc").ne(3.0)),
        Some(NumberKey::StartTime.gt(3900.5)),
    ];
    let orders: [Vec<OrderKey>; 8] = [
        vec![],
        vec![OrderKey::descending(metric("loss"))],
        vec![OrderKey::ascending(metric("acc"))],
        vec![OrderKey::ascending(param("p")), OrderKey::descending(metric("loss").min())],
        vec![OrderKey::descending(tag("rare"))],
        vec![OrderKey::ascending(param_number("wide"))],
        vec![OrderKey::descending(TextKey::Name)],
        vec![OrderKey::ascending(NumberKey::StartTime)],
    ];
    for filter in &filters {
        for order in &orders {
            for (limit, view) in [(10, View::ActiveOnly), (700, View::All)] {
                let mut query = SearchQuery {
                    filter: filter.clone(),
                    order: order.clone(),
                    view,
                    limit,
                    ..SearchQuery::new(ExperimentId(1))
                };
                let all = SearchQuery { limit: 100_000, ..query.clone() };
                let expected = search_rows(&all, model.rows(), &model).unwrap();
                for page in 0..3 {
                    let found = search_prepared(&query, &mut projections, &model).unwrap();
                    let from = (page * limit).min(expected.runs.len());
                    let to = (from + limit).min(expected.runs.len());
                    assert_eq!(found.runs, expected.runs[from..to], "{query:?}");
                    query.after = found.next;
                    if query.after.is_none() {
                        break;
                    }
                }
            }
        }
    }
    let mut loaded: BTreeMap<ExperimentId, Projection> =
        [(ExperimentId(1), reload(&projections[&ExperimentId(1)]))].into();
    for filter in filters {
        let query = SearchQuery { filter, order: orders[3].clone(), ..SearchQuery::new(ExperimentId(1)) };
        let page = search_prepared(&query, &mut loaded, &model).unwrap();
        assert_eq!(page, search_prepared(&query, &mut projections, &model).unwrap());
    }
    let filter = metric("loss").gt(900.0);
    let matched = model.rows().filter(|row| matches(&filter, row, &model).unwrap()).count();
    assert!(matched > 500);
}

#[test]
fn pages_stay_put_while_runs_come() {
    let model = five();
    let mut projections = project(&model);
    let mut query = SearchQuery { limit: 2, ..SearchQuery::new(ExperimentId(1)) };
    let first = search_prepared(&query, &mut projections, &model).unwrap();
    let newer = state(1, "z", 9_999);
    let row = RunRow { run: RunId([9; 16]), state: &newer, lifecycle: Lifecycle::Active, stats: &[] };
    projections.get_mut(&ExperimentId(1)).unwrap().upsert(row).unwrap();
    query.after = first.next;
    let second = search_prepared(&query, &mut projections, &model).unwrap();
    assert_eq!(second.runs, [RunId([b'D'; 16]), RunId([b'B'; 16])]);
}
