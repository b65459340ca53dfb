//! Every answer against a naive model: a vector of points, sorted and merged anew for each question.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::id::{KeyId, RunId, SeriesId, StoreId};
use crate::series::tests::{Random, cases, made_points};
use crate::series::{ROLLUP_POINTS, SeriesCache, SeriesFile, SeriesFileWriter, Summary, ValueHint};
use crate::storage::Storage;
use crate::storage::memory::Memory;

const STORE: StoreId = StoreId([5; 16]);
const SERIES: SeriesId = SeriesId { run: RunId([1; 16]), key: KeyId(1) };

/// Seals the points in these portions (by order of position), the last one staying hot.
fn source(points: &Columns, portions: &[usize], up_to: Lsn) -> SeriesSource {
    let disk = Memory::new();
    disk.create_dir("series").unwrap();
    let mut refs = Vec::new();
    let mut hint = ValueHint::default();
    let mut start = 0;
    for (id, portion) in portions.iter().enumerate() {
        let mut end = (start + portion).min(points.len());
        // A batch is sealed whole or not at all.
        while (1..points.len()).contains(&end) && points.lsns[end] == points.lsns[end - 1] {
            end += 1;
        }
        let mut part = Columns::default();
        part.append_range(points, start, end, true);
        start = end;
        let path = format!("series/1-{id}.ser");
        let covered = (Lsn::ZERO, Lsn::MAX);
        let mut writer = SeriesFileWriter::create(&disk, &path, STORE, id as u64, covered).unwrap();
        writer.push(SERIES, &part, &mut hint).unwrap();
        writer.finish().unwrap();
        let file = SeriesFile::open(&disk, &path, STORE).unwrap();
        refs.extend(file.directory().map(|item| ChunkRef::new(Arc::clone(&file), item.unwrap().1)));
    }
    let mut hot = Columns::default();
    hot.append_range(points, start, points.len(), true);
    SeriesSource { chunks: Arc::new(ChunkList::new(refs)), hot, up_to }
}

/// Indexes of the visible points in history order.
fn model_history(points: &Columns, up_to: Lsn) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).filter(|i| points.lsns[*i] <= up_to.0).collect();
    // Positions rise with the index, and a stable sort keeps the first logged one in front.
    order.sort_by(|a, b| points.point(*a).history_order(&points.point(*b)));
    order
}

fn rows(columns: &Columns) -> Vec<(i64, i64, u64, u64, u32)> {
    let row = |i| {
        let point = columns.point(i);
        (point.step, point.time.0, point.value.to_bits(), columns.lsns[i], columns.context(i).0)
    };
    (0..columns.len()).map(row).collect()
}

fn within(points: &Columns, order: &[usize], steps: (i64, i64), times: (i64, i64)) -> Vec<usize> {
    let fits = |i: &&usize| {
        (steps.0..=steps.1).contains(&points.steps[**i]) && (times.0..=times.1).contains(&points.times[**i])
    };
    order.iter().filter(fits).copied().collect()
}

fn check_history(points: &Columns, source: &SeriesSource, query: HistoryQuery, what: &str) {
    let model = within(points, &model_history(points, source.up_to), query.steps, query.times_ms);
    let all = rows(&points.gather(&model));
    let mut got = Vec::new();
    let mut query = HistoryQuery { columns: ColumnSet::ALL, ..query };
    let offset = usize::try_from(query.offset).unwrap_or(usize::MAX).min(all.len());
    loop {
        let page = history(source, &query).unwrap();
        assert!(page.columns.len() <= query.limit);
        got.extend(rows(&page.columns));
        let Some(next) = page.next else { break };
        query.after = HistoryPosition::from_bytes(&next.to_bytes());
        query.offset = 0;
    }
    assert_eq!(got, all[offset..], "{what}");
    let values = history(
        source,
        &HistoryQuery { columns: ColumnSet::VALUES, after: None, limit: usize::MAX, offset: 0, ..query },
    )
    .unwrap()
    .columns;
    assert!(values.steps.is_empty() && values.times.is_empty() && values.lsns.is_empty());
    let values: Vec<u64> = values.values.iter().map(|v| v.to_bits()).collect();
    assert_eq!(values, all.iter().map(|row| row.2).collect::<Vec<_>>(), "{what}");
}

/// `model` holds the points of the range in latest order.
pub(super) fn check_thinned(model: &[Point], got: &[Point], most: usize, what: &str) {
    let bits = |point: &Point| (point.step, point.time.0, point.value.to_bits());
    assert!(got.len() <= most, "{what}: {} of {most}", got.len());
    if model.len() <= most {
        assert!(got.iter().map(bits).eq(model.iter().map(bits)), "{what}: all of {}", model.len());
        return;
    }
    // All are points of the series, each once and in order.
    let mut ranks = Vec::new();
    for point in got {
        let from = ranks.last().map_or(0, |rank| rank + 1);
        let found = (from..model.len()).find(|at| bits(&model[*at]) == bits(point));
        ranks.push(found.unwrap_or_else(|| panic!("{what}: {point:?} is no point, or out of order")));
    }
    assert_eq!(got.last().map(bits), model.last().map(bits), "{what}");
    assert!(most == 1 || got.first().map(bits) == model.first().map(bits), "{what}");
    let parts = most.saturating_sub(2) / 2;
    let mut exact = vec![0, model.len() - 1];
    for part in 0..parts {
        let begin = |part: usize| (part * model.len()).div_ceil(parts);
        let (low, high) = (begin(part), begin(part + 1));
        let extremes = |range: Range<usize>| {
            let values = model[range.clone()].iter().map(|point| point.value);
            let (least, greatest) =
                values.fold((f64::NAN, f64::NAN), |(a, b), value| (least(a, value), greatest(b, value)));
            (range, least, greatest)
        };
        if model.len() / parts < 3 * ROLLUP_POINTS {
            let (range, least, greatest) = extremes(low..high);
            let first = |such: &dyn Fn(f64) -> bool| range.clone().find(|at| such(model[*at].value));
            match least.is_nan() {
                true => exact.extend(first(&f64::is_nan)),
                false => exact
                    .extend([first(&|value| value == least), first(&|value| value == greatest)].into_iter().flatten()),
            }
        } else {
            // An edge may have moved by less than a rollup.
            let (_, least, greatest) = extremes(low + ROLLUP_POINTS - 1..high);
            let near = low..high + ROLLUP_POINTS;
            let mut values = ranks.iter().filter(|rank| near.contains(rank)).map(|rank| model[*rank].value);
            assert!(least.is_nan() || values.clone().any(|value| value <= least), "{what}: part {part} of {parts}");
            assert!(least.is_nan() || values.any(|value| value >= greatest), "{what}: part {part} of {parts}");
        }
    }
    if parts == 0 || model.len() / parts < 3 * ROLLUP_POINTS {
        exact.sort_unstable();
        exact.dedup();
        if most == 1 {
            exact.remove(0);
        }
        // Evenly spread ones fill what is left.
        let (short, longer) = (model.len() / most, model.len() % most);
        let spread = (0..most).map(|part| part * short + part.min(longer));
        let missing: Vec<usize> = spread.filter(|at| !exact.contains(at)).collect();
        let left = (most - exact.len()).min(missing.len());
        exact.extend((0..left).map(|at| missing[at * missing.len() / left]));
        exact.sort_unstable();
        let exact: Vec<_> = exact.into_iter().map(|at| bits(&model[at])).collect();
        assert_eq!(got.iter().map(bits).collect::<Vec<_>>(), exact, "{what}: {most} of {}", model.len());
    }
}

fn check_downsample(points: &Columns, source: &SeriesSource, steps: (i64, i64), buckets: usize, what: &str) {
    let all = ALL_STEPS;
    let mut model = within(points, &model_history(points, source.up_to), steps, all);
    model.sort_by(|a, b| points.point(*a).latest_order(&points.point(*b)));
    let cache = SeriesCache::new(1 << 20);
    let sorted: Vec<Point> = model.iter().map(|i| points.point(*i)).collect();
    for most in [1, 2, 3, 4, buckets, 2 * buckets + 2, 320, sorted.len().max(1)] {
        check_thinned(&sorted, &thinned(source, steps, most, &cache).unwrap(), most, what);
    }
    for _ in 0..2 {
        let got = downsample(source, steps, buckets, &cache).unwrap();
        assert_eq!(got.count, model.len() as u64, "{what}");
        assert!(got.buckets.len() <= buckets);
        let mut start = 0;
        for bucket in &got.buckets {
            let s = &bucket.summary;
            let inside = &model[start..start + s.count as usize];
            start += inside.len();
            let values: Vec<f64> = inside.iter().map(|i| points.values[*i]).collect();
            let mut want = Summary::default();
            values.iter().for_each(|value| want.push(*value));
            let ends = (points.steps[inside[0]], points.steps[*inside.last().unwrap()]);
            assert_eq!((bucket.step_first, bucket.step_last), ends, "{what}");
            assert_eq!((s.first.to_bits(), s.last.to_bits()), (want.first.to_bits(), want.last.to_bits()), "{what}");
            assert_eq!((s.nan, s.pos_inf, s.neg_inf), (want.nan, want.pos_inf, want.neg_inf), "{what}");
            let same = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan();
            assert!(same(s.min, want.min) && same(s.max, want.max), "{what}: {s:?} {want:?}");
            let scale: f64 = values.iter().filter(|v| v.is_finite()).map(|v| v.abs()).sum();
            assert!(!scale.is_finite() || (s.sum - want.sum).abs() <= scale * 1e-9, "{what}: {s:?} {want:?}");
        }
        assert_eq!(start, model.len(), "{what}: every point is in one bucket");
        if let (true, Some(first), Some(last)) = (got.exact_edges, model.first(), model.last()) {
            let (low, high) = (i128::from(points.steps[*first]), i128::from(points.steps[*last]));
            let index = |step: i64| (i128::from(step) - low) * buckets as i128 / (high - low + 1);
            for bucket in &got.buckets {
                assert_eq!(index(bucket.step_first), index(bucket.step_last), "{what}");
            }
            let indexes: Vec<_> = got.buckets.iter().map(|b| index(b.step_first)).collect();
            assert!(indexes.is_sorted_by(|a, b| a < b), "{what}");
        }
    }
}

fn check_all(points: &Columns, portions: &[usize], random: &mut Random, what: &str) {
    let up_to = match random.below(3) {
        0 => Lsn(points.lsns[random.below(points.len() as u64) as usize]),
        _ => Lsn::MAX,
    };
    let source = source(points, portions, up_to);
    let exact = model_history(points, up_to);
    assert_eq!(count_exact(&source).unwrap(), exact.len() as u64, "{what}");
    let mut pick = |column: &[i64]| {
        let at = |random: &mut Random| column[random.below(column.len() as u64) as usize];
        let (a, b) = (at(random), at(random));
        (a.min(b), a.max(b))
    };
    let (steps, times) = (pick(&points.steps), pick(&points.times));
    let base = HistoryQuery::default();
    check_history(points, &source, base, what);
    let limit = 1 + random.below(points.len() as u64) as usize;
    let offset = random.below(points.len() as u64);
    check_history(points, &source, HistoryQuery { limit, ..base }, what);
    check_history(points, &source, HistoryQuery { limit, offset, steps, ..base }, what);
    check_history(points, &source, HistoryQuery { limit, times_ms: times, ..base }, what);
    check_history(points, &source, HistoryQuery { limit: points.len(), offset, steps, times_ms: times, ..base }, what);
    for buckets in [1, 2, 7, 1000] {
        check_downsample(points, &source, ALL_STEPS, buckets, what);
        check_downsample(points, &source, steps, buckets, what);
    }
    let stats = stats_at(&source).unwrap();
    let visible: Vec<usize> = (0..points.len()).filter(|i| points.lsns[*i] <= up_to.0).collect();
    assert_eq!(stats.is_some(), !visible.is_empty());
    let Some(stats) = stats else { return };
    assert_eq!(stats.count_raw, visible.len() as u64, "{what}");
    let mut latest = exact.clone();
    latest.sort_by(|a, b| points.point(*a).latest_order(&points.point(*b)));
    assert_eq!(stats.unordered, latest != exact, "{what}");
    assert!(stats.first().repeats(&points.point(latest[0])), "{what}");
    assert!(stats.last().repeats(&points.point(*latest.last().unwrap())), "{what}");
    assert_eq!(stats.time_max_ms, visible.iter().map(|i| points.times[*i]).max().unwrap(), "{what}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(96)))]
    #[test]
    fn answers_are_the_model_s(seed: u64, count in 1usize..700, portions in prop::collection::vec(0usize..300, 0..4)) {
        let points = made_points(seed, count);
        check_all(&points, &portions, &mut Random(seed), &format!("seed {seed} count {count} portions {portions:?}"));
    }
}

/// Long enough for several chunks and for snapped edges.
#[test]
fn long_series_answer_as_the_model_does() {
    for seed in 0..8 {
        let points = made_points(seed * 7 + 1, 30_000);
        check_all(&points, &[20_000, 3_000], &mut Random(seed), &format!("seed {seed}"));
    }
}

fn regular(count: i64) -> Columns {
    Columns {
        steps: (0..count).collect(),
        times: (0..count).map(|i| 1_000_000 + i * 10).collect(),
        values: (0..count).map(|i| (i * 7919 % 10_007) as f64).collect(),
        lsns: (0..count as u64).map(|i| 1 + i / 100).collect(),
        contexts: Vec::new(),
    }
}

#[test]
fn snapped_edges_move_by_less_than_a_rollup() {
    let points = regular(100_000);
    let source = source(&points, &[50_000, 50_000], Lsn::MAX);
    check_downsample(&points, &source, ALL_STEPS, 13, "regular");
    let cache = SeriesCache::new(1 << 20);
    let got = downsample(&source, ALL_STEPS, 13, &cache).unwrap();
    assert!(!got.exact_edges && got.buckets.len() == 13);
    for (index, bucket) in got.buckets.iter().enumerate() {
        let edge = (index as i64 * 100_000 + 12) / 13;
        assert!((bucket.step_first - edge).abs() < 256, "{index}: {bucket:?}");
    }
    let fine = downsample(&source, ALL_STEPS, 1000, &cache).unwrap();
    assert!(fine.exact_edges && fine.buckets.len() == 1000);
}

/// One late point used to make a whole series slow elsewhere; here only its neighbourhood is decoded, and all is exact.
#[test]
fn a_late_point_and_an_equal_one_come_where_they_lie() {
    let mut points = regular(40_000);
    points.push(Point { step: 20_000, time: TimestampMs(7), value: 1e9 }, Lsn(500), crate::id::ContextId(1));
    points.push(points.point(11), Lsn(501), crate::id::ContextId(0));
    for portions in [&[40_000, 2][..], &[40_000], &[40_001, 1]] {
        let source = source(&points, portions, Lsn::MAX);
        assert_eq!(count_exact(&source).unwrap(), 40_002);
        check_downsample(&points, &source, ALL_STEPS, 20, "late");
        check_history(&points, &source, HistoryQuery { limit: 9_999, ..HistoryQuery::default() }, "late");
        let before = SeriesSource { up_to: Lsn(499), ..source };
        assert_eq!(count_exact(&before).unwrap(), 40_000);
        assert!(!stats_at(&before).unwrap().unwrap().unordered);
    }
}

/// A late point in a chunk of new ones made that chunk overlap all between, and every chart decoded the whole series.
#[test]
fn late_points_get_chunks_of_their_own() {
    let mut points = regular(60_000);
    let mut late = Columns::default();
    for (at, step) in [(45_000, 5), (50_000, 20_003), (55_000, 20_004)] {
        late.push(
            Point { step, time: TimestampMs(points.times[at]), value: -1.0 },
            Lsn(points.lsns[at]),
            Default::default(),
        );
    }
    let mut all = Columns::default();
    let mut start = 0;
    for (index, at) in [45_000, 50_000, 55_000].into_iter().enumerate() {
        all.append_range(&points, start, at, true);
        all.append_range(&late, index, index + 1, true);
        start = at;
    }
    all.append_range(&points, start, points.len(), true);
    points = all;
    let source = source(&points, &[40_000, 20_003], Lsn::MAX);
    let spans: Vec<_> = source.chunks.refs().iter().map(|r| (r.entry.step_first, r.entry.step_last)).collect();
    assert!(spans.contains(&(5, 5)) && spans.contains(&(20_003, 20_004)), "{spans:?}");
    assert!(spans.iter().all(|(first, last)| last - first < 12_288), "{spans:?}");
    check_downsample(&points, &source, ALL_STEPS, 20, "late");
    let whole =
        pieces(&source, ALL_STEPS, ColumnSet::POINTS).unwrap().iter().filter(|p| matches!(p, Piece::Chunk(_))).count();
    assert_eq!(whole, spans.len() - 4, "only the two chunks that late points fall into are decoded");
    check_history(&points, &source, HistoryQuery { limit: 7_000, ..HistoryQuery::default() }, "late");
}

/// A run that is resumed from a checkpoint logs some steps again, later.
#[test]
fn a_resumed_run_is_read_in_its_order() {
    let mut points = regular(30_000);
    let again = regular(50_000);
    for i in 25_000..50_000 {
        let mut point = again.point(i);
        point.time.0 += 100_000;
        points.push(point, Lsn(301 + i as u64 / 100), Default::default());
    }
    for portions in [&[30_000, 25_000][..], &[55_000], &[40_000], &[30_000]] {
        let source = source(&points, portions, Lsn::MAX);
        check_downsample(&points, &source, ALL_STEPS, 20, "resumed");
        check_history(&points, &source, HistoryQuery { limit: 20_000, ..HistoryQuery::default() }, "resumed");
        check_history(&points, &source, HistoryQuery { steps: (24_000, 31_000), ..HistoryQuery::default() }, "resumed");
    }
}

#[test]
fn nothing_is_answered_of_nothing() {
    let empty = SeriesSource { chunks: Arc::default(), hot: Columns::default(), up_to: Lsn::MAX };
    assert!(history(&empty, &HistoryQuery::default()).unwrap().columns.is_empty());
    assert!(downsample(&empty, ALL_STEPS, 10, &SeriesCache::new(0)).unwrap().buckets.is_empty());
    assert!(stats_at(&empty).unwrap().is_none());
    let points = regular(10);
    let source = source(&points, &[5], Lsn::MAX);
    assert!(history(&source, &HistoryQuery { limit: 0, ..HistoryQuery::default() }).unwrap().columns.is_empty());
    assert!(history(&source, &HistoryQuery { steps: (3, 2), ..HistoryQuery::default() }).unwrap().columns.is_empty());
    assert!(downsample(&source, (3, 2), 10, &SeriesCache::new(0)).unwrap().buckets.is_empty());
    assert!(downsample(&source, ALL_STEPS, 0, &SeriesCache::new(0)).unwrap().buckets.is_empty());
    for (steps, most) in [((3, 2), 10), (ALL_STEPS, 0)] {
        assert!(thinned(&source, steps, most, &SeriesCache::new(0)).unwrap().is_empty());
    }
    assert!(thinned(&empty, ALL_STEPS, 10, &SeriesCache::new(0)).unwrap().is_empty());
}

/// Points that are logged without steps all have step 0.
#[test]
fn a_series_of_one_step_is_thinned_too() {
    let mut points = regular(40_000);
    points.steps.iter_mut().for_each(|step| *step = 0);
    points.values[12_345] = 1e9;
    for portions in [&[40_000][..], &[20_000, 10_000], &[]] {
        let source = source(&points, portions, Lsn::MAX);
        let got = thinned(&source, ALL_STEPS, 320, &SeriesCache::new(1 << 20)).unwrap();
        let model: Vec<Point> = (0..points.len()).map(|at| points.point(at)).collect();
        check_thinned(&model, &got, 320, "one step");
        assert!(got.iter().any(|point| point.value == 1e9));
    }
}

/// Of a metric that is logged without steps, all chunks have step 0: each chart decoded and sorted all of them.
#[test]
fn chunks_that_meet_within_a_step_stand_for_themselves() {
    const SEALED: u64 = 150_000;
    let mut points = Columns::default();
    for at in 0..SEALED + 1_000 {
        let point = Point { step: 0, time: TimestampMs(at as i64), value: (at % 977) as f64 };
        points.push(point, Lsn(at + 1), crate::id::ContextId(0));
    }
    let source = source(&points, &[SEALED as usize], Lsn::MAX);
    let found = pieces(&source, ALL_STEPS, ColumnSet::POINTS).unwrap();
    let chunks = found.iter().filter(|piece| matches!(piece, Piece::Chunk(_))).count();
    let decoded: u64 = found.iter().filter(|piece| matches!(piece, Piece::Points(_))).map(Piece::count).sum();
    assert!(chunks >= 2, "{chunks}");
    assert_eq!(decoded, 1_000, "only what is not sealed");
    let all: Vec<Point> = (0..points.len()).map(|at| points.point(at)).collect();
    let thin = thinned(&source, ALL_STEPS, 320, &SeriesCache::new(1 << 20)).unwrap();
    check_thinned(&all, &thin, 320, "one step");
}
