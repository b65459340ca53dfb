//! The promises: what is measured, and the number that must be reached.

pub use crate::bar::{Bar, Bound, Context, Group};
use crate::group;
use Bound::{AtLeast, AtMost};

const fn bar(name: &'static str, what: &'static str, unit: &'static str, bound: Bound) -> Bar {
    Bar { name, what, unit, bound }
}

/// All groups, in the order in which they run.
pub const GROUPS: &[Group] = &[
    Group {
        name: "ingest",
        seconds_max: 120,
        run: group::ingest::run,
        bars: &[
            bar(
                "ingest.burst",
                "burst of 20 M points, batches of 1,000 over 10 keys, Buffered, one thread, against a bare loop that copies the same frames",
                "x",
                AtLeast(0.5),
            ),
            bar(
                "ingest.prepared",
                "the same inside prepared segments (no roll, no wait for the disk)",
                "Mpts/s",
                AtLeast(50.0),
            ),
            bar("ingest.paced_worst", "worst call at 10 M points/s", "ms", AtMost(50.0)),
        ],
    },
    Group {
        name: "single",
        seconds_max: 120,
        run: group::single::run,
        bars: &[
            bar("single.p50", "single points, Buffered, one thread: median call", "us", AtMost(0.3)),
            bar("single.p99", "the same: p99", "us", AtMost(1.0)),
            bar("single.p999", "the same: p99.9", "us", AtMost(20.0)),
            bar("row5.p50", "a row of 5 keys at one step, Buffered: median call", "us", AtMost(0.4)),
            bar("row5.p99", "the same: p99", "us", AtMost(3.0)),
            bar("wide.p50", "one step of 100,000 keys in one call: median call", "ms", AtMost(8.0)),
            bar("wide.worst", "the same: worst call", "ms", AtMost(40.0)),
            bar("wide.latest", "latest values of all 100,000 keys", "ms", AtMost(50.0)),
            bar("wide.history", "history of one of them, 1,000 points", "us", AtMost(100.0)),
        ],
    },
    Group {
        name: "sync",
        seconds_max: 120,
        run: group::sync::run,
        bars: &[
            bar(
                "sync.group64",
                "Sync, 64 threads, batches of 1,000 points, against a bare group commit of the same frames",
                "x",
                AtLeast(0.5),
            ),
            bar(
                "sync.one_p50",
                "Sync, one thread, 100 points, checkpoint running: median against 4 KiB pwrite + fdatasync on a zero-filled file",
                "x",
                AtMost(1.3),
            ),
            bar("sync.one_p99", "the same: p99 against that loop's p99", "x", AtMost(2.5)),
            bar(
                "sync.param_beside",
                "Sync of one param beside 10 M points/s Buffered: median against the idle one",
                "x",
                AtMost(6.0),
            ),
            bar("sync.acks64", "Sync, one point a batch: acks/s of 64 threads against one thread", "x", AtLeast(10.0)),
        ],
    },
    Group {
        name: "sqlite",
        seconds_max: 120,
        run: group::sqlite::run,
        bars: &[
            bar(
                "sqlite.buffered",
                "Buffered against SQLite, WAL, synchronous=NORMAL, 1,000-row transactions",
                "x",
                AtLeast(25.0),
            ),
            bar("sqlite.sync64", "64 Sync writers against SQLite, WAL, synchronous=FULL", "x", AtLeast(25.0)),
            bar("sqlite.sync1", "one Sync writer against SQLite, WAL, synchronous=FULL", "x", AtLeast(4.0)),
            bar("sqlite.size", "size on disk of SQLite's file against the store", "x", AtLeast(7.0)),
        ],
    },
    Group {
        name: "hundred",
        seconds_max: 300,
        run: group::hundred::run,
        bars: &[
            bar(
                "ingest.sustained",
                "100 M points, batches of 1,000 over 10 keys, Buffered, until all are sealed",
                "Mpts/s",
                AtLeast(6.0),
            ),
            bar(
                "size.log",
                "bytes a point in the log before sealing (step, jittered ms, loss in f32)",
                "B",
                AtMost(8.0),
            ),
            bar(
                "reopen.frames_1000",
                "first answer after kill -9: 64 MiB not checkpointed in frames of 1,000 points, 100 M points stored; against a read, check, write and sync of 64 MiB",
                "x",
                AtMost(4.0),
            ),
            bar("reopen.frames_1", "the same, frames of one point", "x", AtMost(8.0)),
            bar("rebuild.points_100m", "index and series of 100 M points rebuilt from the log", "s", AtMost(20.0)),
            bar(
                "size.loss",
                "bytes a point of the whole store after compact (step, jittered ms, loss in f32)",
                "B",
                AtMost(4.0),
            ),
        ],
    },
    Group {
        name: "enforce",
        seconds_max: 60,
        run: group::enforce::run,
        bars: &[
            bar(
                "enforce.arrow",
                "enforcement of a signature, 20 M cells of Arrow, half of them widened",
                "Mcells/s",
                AtLeast(5.0),
            ),
            bar("enforce.json", "the same of 1 M cells of JSON that was read, both stages", "Mcells/s", AtLeast(5.0)),
        ],
    },
    Group {
        name: "size",
        seconds_max: 120,
        run: group::size::run,
        bars: &[
            bar(
                "size.decimals",
                "whole store after compact, decimals, against pco alone over the same columns",
                "x",
                AtMost(1.25),
            ),
            bar("size.constant", "bytes a point of the whole store after compact, constant values", "B", AtMost(1.2)),
            bar("size.cosine", "bytes a point of the whole store after compact, a cosine schedule", "B", AtMost(1.75)),
        ],
    },
    Group {
        name: "read",
        seconds_max: 180,
        run: group::read::run,
        bars: &[
            bar(
                "read.two_columns",
                "full history of 1 M sealed points, step and value, against a bare decode of the same chunks",
                "x",
                AtLeast(0.7),
            ),
            bar("read.three_columns", "the same with the times", "x", AtLeast(0.85)),
            bar("downsample.320", "1 M points to 320 buckets, true extremes: median", "us", AtMost(50.0)),
            bar(
                "window.large",
                "a window of at least 2 M points of a 100 M-point series to 1,000 buckets: median",
                "ms",
                AtMost(1.0),
            ),
            bar("window.small", "a smaller window of it: median", "ms", AtMost(6.0)),
            bar("window.million", "a window of 1 M points of it: median", "ms", AtMost(2.0)),
            bar(
                "latest.hot",
                "latest values of a run with 1,000 metrics, just logged: median, against a copy of the same answer",
                "x",
                AtMost(25.0),
            ),
            bar("latest.reopened", "the same after checkpoint and reopen", "x", AtMost(35.0)),
        ],
    },
    Group {
        name: "search",
        seconds_max: 400,
        run: group::search::run,
        bars: &[
            bar(
                "search.million",
                "1 M runs: m0 > 0.9 and p1 = '3' order by m0 desc limit 100: median, against a bare scan of two such columns",
                "x",
                AtMost(1.2),
            ),
            bar("search.worst", "1 M runs: slowest of nine predicates against the median one", "x", AtMost(3.0)),
            bar("search.100k", "100,000 runs, the same search", "x", AtMost(2.0)),
        ],
    },
    Group {
        name: "asof",
        seconds_max: 300,
        run: group::asof::run,
        bars: &[
            bar(
                "asof.one",
                "one run as of a random position among 1 M changes of 2,000 runs: median",
                "ms",
                AtMost(1.0),
            ),
            bar(
                "asof.search",
                "the first search of a moment, a filter on one metric, 60,000 runs that all changed since: median",
                "s",
                AtMost(2.0),
            ),
        ],
    },
    Group {
        name: "events",
        seconds_max: 300,
        run: group::events::run,
        bars: &[bar(
            "rebuild.events_28m",
            "index rebuilt from 28 M small events (100,000 runs: params, tags, status, one-point batches)",
            "s",
            AtMost(60.0),
        )],
    },
    Group {
        name: "memory",
        seconds_max: 120,
        run: group::memory::run,
        bars: &[bar(
            "memory.series_1m",
            "private memory (RssAnon), greatest, 1 M series, each written twice, default budget",
            "MiB",
            AtMost(256.0),
        )],
    },
    Group {
        name: "shell",
        seconds_max: 1_800,
        run: group::shell::run,
        bars: &[
            bar(
                "shell.runs",
                "`runlode runs -n 1` as a cold process, 20,000 runs and 10 M points (promise: 100,000 and 100 M)",
                "ms",
                AtMost(50.0),
            ),
            bar("shell.show", "the same: `show ID`", "ms", AtMost(50.0)),
            bar("shell.tail", "the same: `tail --from END`", "ms", AtMost(50.0)),
            bar("shell.plot", "the same: `plot` of one curve", "ms", AtMost(50.0)),
            bar("shell.filter", "the same: `runs` with a filter on a metric and the name", "ms", AtMost(150.0)),
            bar("shell.memory", "greatest memory of the first four", "MiB", AtMost(40.0)),
            bar("shell.beside", "the slowest of the first four beside a server", "ms", AtMost(50.0)),
            bar(
                "shell.training_p99",
                "two metrics a call at full speed: p99 beside a server with a browser that asks for 20 charts a second, against p99 alone",
                "x",
                AtMost(2.0),
            ),
            bar("shell.charts", "these charts: p99", "ms", AtMost(20.0)),
        ],
    },
    Group {
        name: "compact",
        seconds_max: 600,
        run: group::compact::run,
        bars: &[
            bar(
                "compact.ingest",
                "ingest at full speed beside a compaction, against the same without it",
                "x",
                AtLeast(0.6),
            ),
            bar(
                "compact.history",
                "10,000 points of history beside both: p99, against the same without the compaction",
                "x",
                AtMost(3.0),
            ),
        ],
    },
    Group {
        name: "many",
        seconds_max: 3_600,
        run: group::many::run,
        bars: &[
            bar(
                "many.live_chart",
                "1 M points just logged, none sealed, to 320 buckets: median of the slowest of three ways to log",
                "ms",
                AtMost(1.0),
            ),
            bar(
                "many.zoom_unsealed",
                "a window to 1,000 buckets while 30 M points (promise: 300 M) are not sealed and up to 15 M a second come: median",
                "ms",
                AtMost(20.0),
            ),
            bar(
                "many.log_worst",
                "a row of 1,500 keys while 300,000 series (promise: 11.25 M) are made: worst call",
                "ms",
                AtMost(50.0),
            ),
            bar("many.series_bytes", "index after compact: bytes a series of 20 points", "B", AtMost(80.0)),
            bar("many.point_bytes", "whole store after compact, random f64 values: bytes a point", "B", AtMost(13.0)),
            bar("many.open", "open of that store: median", "ms", AtMost(100.0)),
            bar("many.first_search", "the first search after it, a filter on one metric: median", "ms", AtMost(100.0)),
            bar(
                "many.memory",
                "private memory (RssAnon), greatest, from the first run to the first search, default budget",
                "MiB",
                AtMost(256.0),
            ),
        ],
    },
    Group {
        name: "export",
        seconds_max: 300,
        run: group::export::run,
        bars: &[
            bar("export.parquet", "40 M sealed points of 20 runs to Parquet, two encoders", "Mpts/s", AtLeast(20.0)),
            bar("export.parquet_size", "bytes of the tables against the compacted store", "x", AtMost(1.3)),
        ],
    },
    Group {
        name: "import",
        seconds_max: 240,
        run: group::import::run,
        bars: &[
            bar(
                "import.sqlite",
                "import of an MLflow SQLite database of 1,000 runs and 5 M points",
                "Mpts/s",
                AtLeast(1.5),
            ),
            bar("import.select", "the same, against a bare SELECT of these rows", "x", AtLeast(0.5)),
            bar("import.memory", "private memory (RssAnon) meanwhile, greatest", "MiB", AtMost(256.0)),
            bar(
                "import.tensorboard",
                "import of 4 M scalars from TensorBoard's event files",
                "Mevents/s",
                AtLeast(1.0),
            ),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::GROUPS;

    #[test]
    fn names_are_used_once() {
        let mut names: Vec<_> = GROUPS.iter().flat_map(|group| group.bars).map(|bar| bar.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
