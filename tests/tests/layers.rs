//! The files of each crate have levels, and imports only point down: each table below is the picture of a crate, the
//! lowest level first. Files of one level never import one another, except those of one folder that stands in the table
//! as a whole; nowhere do files import one another in a circle.
//!
//! An import is any path that begins with `crate`, `super`, `self` or a child module, in `use` lines and in code. It
//! leads to the file that defines the name: through `pub use` of a `mod.rs` to the file behind it. Test code does not
//! count.
//!
//! The files themselves have at most so many lines of code, or say at their top why they need more.
//!
//! Long, because the tables of all crates stand together, with the reader of imports and its own tests.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A crate whose files have levels.
struct Crate {
    /// Its folder, from that of the tests.
    src: &'static str,
    /// Files by level, the lowest first; `folder/` is all files in it that are not named themselves.
    levels: &'static [&'static [&'static str]],
    /// A search that finds fewer imports is broken.
    imports_min: usize,
}

const ENGINE: Crate = Crate {
    src: "../engine/src",
    levels: &[
        &["checksum/", "error.rs", "fork.rs", "summary.rs", "time.rs", "varint.rs"],
        &["checksum.rs", "id.rs"],
        &["storage/"],
        &["missing.rs", "options.rs", "pins.rs", "point.rs"],
        // Facts and bytes; what facts make.
        &["event/", "log/", "series/"],
        &["entity/"],
        &["branch.rs", "index/", "search/"],
        &["core/", "hot/"],
        &["ingest/"],
        &["core.rs"],
        // Verbs: they look down on the core.
        &["checkpoint.rs", "inbox/", "query/", "replay.rs", "seal.rs"],
        &["compaction/", "fork_run.rs", "rewind.rs", "usage.rs"],
        &["heal.rs", "tail/", "verify/"],
        &["background.rs", "tail.rs", "verify.rs"],
        &["store.rs"],
        &["open.rs"],
        &["copy.rs", "freeze.rs", "repair.rs"],
        &["lib.rs"],
    ],
    imports_min: 900,
};

/// What decides on entities; MLflow's rules on it; two stores that come together; one store in several processes; the
/// handle on all of it.
const API: Crate = Crate {
    src: "../api/src",
    levels: &[
        &[
            "beneath.rs",
            "changes.rs",
            "imported.rs",
            "key.rs",
            "lease.rs",
            "os_user.rs",
            "random.rs",
            "uri.rs",
            "wire.rs",
        ],
        &["filter/", "run_name.rs"],
        &["experiment.rs"],
        &["local.rs", "local/"],
        &["audit.rs", "logged_model.rs", "registry.rs", "run.rs", "run/"],
        &["promote.rs"],
        &["local_run.rs"],
        &["info.rs", "find/"],
        &["find.rs"],
        &["mlflow/"],
        &["gc/", "sync/"],
        &["shared/"],
        &["store/"],
        &["cookbook.rs"],
        &["lib.rs"],
    ],
    imports_min: 280,
};

const REST: Crate = Crate {
    src: "../api/rest/src",
    levels: &[
        &["json.rs", "kept_keys.rs", "memory.rs", "client.rs", "body.rs"],
        &["request.rs", "long.rs"],
        &["answer.rs"],
        &["guard.rs", "reader.rs", "artifacts/", "pages/"],
        &["door.rs"],
        &["route.rs"],
        &["routes/"],
        &["again.rs"],
        &["server.rs"],
        &["lib.rs"],
    ],
    imports_min: 130,
};

const SERVING: Crate = Crate {
    src: "../api/serving/src",
    levels: &[
        &[
            "engine.rs",
            "gather.rs",
            "batch/chunk.rs",
            "onnx/library.rs",
            "onnx/matrix.rs",
            "onnx/port.rs",
            "onnx/promote.rs",
            "onnx/settings.rs",
            "onnx/shared.rs",
            "onnx/text.rs",
        ],
        &[
            "worker/wire/",
            "batch/answer.rs",
            "batch/cast.rs",
            "batch/error.rs",
            "batch/guess.rs",
            "batch/values.rs",
            "onnx/answer.rs",
            "onnx/error.rs",
            "onnx/feed.rs",
        ],
        &["batch/form.rs", "batch/plan.rs", "onnx/runtime.rs", "onnx/tract.rs"],
        &["batch/folder.rs", "batch/read/", "batch/write/", "onnx/mod.rs"],
        &["batch/pipeline.rs"],
        &["batch/mod.rs"],
        &["worker/process.rs"],
        &["worker/supervisor.rs"],
        &["worker/mod.rs"],
        &["server/answer.rs", "server/metrics.rs", "server/model.rs", "server/options.rs", "server/sample.rs"],
        &["server/body.rs", "server/content_type.rs", "server/parquet.rs", "server/queue.rs"],
        &["server/input.rs"],
        &["server/once.rs", "server/route.rs"],
        &["server/mod.rs"],
        &["lib.rs"],
    ],
    imports_min: 30,
};

const MODELS: Crate = Crate {
    src: "../api/models/src",
    levels: &[
        &["data.rs"],
        &["text.rs"],
        &["json.rs"],
        &["folder.rs", "schema.rs"],
        &["enforce/"],
        &["signature.rs"],
        &["file/"],
        &["uri/"],
        &["lib.rs"],
    ],
    imports_min: 60,
};

const PYTHON: Crate = Crate {
    src: "../api/python/src",
    levels: &[
        &["exit.rs", "optional.rs", "plain.rs", "similar.rs"],
        &["arrow.rs", "entities.rs", "errors.rs"],
        &["arguments.rs", "open.rs"],
        &["registry.rs", "tracking.rs"],
        &["native/"],
        &["native.rs"],
        &["lib.rs"],
    ],
    imports_min: 45,
};

const PROJECTS: Crate = Crate {
    src: "../api/projects/src",
    levels: &[
        &["error.rs", "git.rs", "launch.rs", "quote.rs"],
        &["tool.rs", "file.rs", "source.rs"],
        &["command/", "container/", "environment/", "kubernetes/"],
        &["launcher/"],
        &["rerun.rs"],
        &["lib.rs"],
    ],
    imports_min: 60,
};

const CLIENT: Crate = Crate {
    src: "../api/client/src",
    levels: &[
        &["address.rs", "call.rs", "error.rs", "local.rs"],
        &["curl.rs", "login.rs"],
        &["client.rs", "download.rs"],
        &["lib.rs"],
    ],
    imports_min: 8,
};

const YAML: Crate = Crate {
    src: "../api/yaml/src",
    levels: &[&["error.rs", "value.rs"], &["text.rs", "scalar.rs", "strict.rs"], &["dump.rs", "load.rs"], &["lib.rs"]],
    imports_min: 4,
};

const INSPECT: Crate = Crate {
    src: "../tools/inspect/src",
    levels: &[
        &["bytes.rs", "fact.rs"],
        &["file.rs", "payload.rs", "snap.rs"],
        &["codec.rs", "segment.rs"],
        &["chunk.rs"],
        &["series.rs"],
        &["lib.rs"],
    ],
    imports_min: 12,
};

const TOOLS: Crate = Crate {
    src: "../tools/src",
    levels: &[
        &["artifacts.rs", "error.rs", "examples.rs", "json.rs", "measure.rs", "progress.rs", "workload.rs"],
        &["disk.rs", "format.rs", "remote.rs"],
        &["chart/", "http.rs", "output.rs", "picture.rs", "sync_artifacts.rs"],
        &["find.rs", "interrupt.rs", "keeper.rs", "list.rs"],
        &["columns.rs"],
        &["v1.rs"],
        &["moment.rs", "open.rs"],
        &["import/"],
        &["commands/"],
        &["demo/"],
        &["commands/demo.rs"],
        &["lib.rs"],
    ],
    imports_min: 180,
};

/// What of a store is read, and in which order; then the targets, of which none imports another one.
const EXPORT: Crate = Crate {
    src: "../tools/export/src",
    levels: &[
        &["error.rs", "progress.rs", "report.rs", "tags.rs", "parquet/columns.rs", "parquet/repeats.rs"],
        &["manifest.rs", "moment.rs", "target.rs", "tensorboard/message.rs", "tensorboard/record.rs"],
        &["folder.rs", "history.rs", "select.rs", "series.rs"],
        &["parquet/entities.rs", "parquet/events.rs", "parquet/file.rs", "parquet/group.rs", "parquet/registry.rs"],
        &["parquet/encode.rs", "sqlite/database.rs", "sqlite/points.rs"],
        &["parquet/points.rs", "sqlite/registry.rs"],
        &["parquet/mod.rs", "sqlite/mod.rs", "tensorboard/mod.rs"],
        &["lib.rs"],
    ],
    imports_min: 60,
};

/// Where bytes lie; what a backup is made of; the place of all; the verbs.
const BACKUP: Crate = Crate {
    src: "../tools/backup/src",
    levels: &[
        &["error.rs"],
        &["target/"],
        &["blob.rs"],
        &["manifest.rs"],
        &["place.rs"],
        &["check.rs", "make.rs", "restore.rs"],
        &["lib.rs"],
    ],
    imports_min: 20,
};

const BENCHES: Crate = Crate {
    src: "../benches/src",
    levels: &[
        &["lib.rs", "machine.rs", "rng.rs", "scratch.rs", "timing.rs"],
        &["bar.rs", "stream.rs", "floor/"],
        &["engine.rs", "peer/", "report.rs"],
        &["group/"],
        &["bars.rs"],
    ],
    imports_min: 90,
};

const TESTS: Crate = Crate {
    src: "src",
    levels: &[
        &["create.rs", "lib.rs", "python.rs", "scoring.rs", "write.rs"],
        &["model/"],
        &["work.rs"],
        &["facts.rs"],
        &["fuzz.rs", "fuzz_foreign.rs", "fuzz_models.rs", "sim.rs"],
    ],
    imports_min: 12,
};

/// A file's own module paths and names, cut out of its text.
#[derive(Debug, Default)]
struct Parsed {
    /// Modules that it declares in files of their own.
    children: BTreeSet<String>,
    /// Those that only tests have.
    test_children: BTreeSet<String>,
    /// Names that `use` lines bind, and the paths that they stand for.
    bound: BTreeMap<String, Vec<String>>,
    /// Paths that begin with `crate`, `super`, `self` or a child.
    paths: Vec<Vec<String>>,
}

/// The files of a crate by module path (`a::b`; the root is the empty one), and what each imports.
struct Imports {
    files: BTreeMap<String, String>,
    edges: BTreeMap<String, BTreeSet<String>>,
}

/// The code without comments, and without what stands in quotes.
fn without_texts(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let find = |from: usize, end: &[char]| {
        let found = chars.get(from..).unwrap_or(&[]).windows(end.len()).position(|window| window == end);
        found.map_or(chars.len(), |found| from + found + end.len())
    };
    while let Some(&c) = chars.get(at) {
        let rest = &chars[at..];
        let word_before = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
        let hashes = rest.iter().skip(1).take_while(|c| **c == '#').count();
        if rest.starts_with(&['/', '/']) {
            at = find(at, &['\n']) - usize::from(find(at, &['\n']) < chars.len());
        } else if rest.starts_with(&['/', '*']) {
            at = find(at + 2, &['*', '/']);
        } else if c == 'r' && !word_before && rest.get(1 + hashes) == Some(&'"') {
            let mut end = vec!['"'];
            end.extend(std::iter::repeat_n('#', hashes));
            at = find(at + 2 + hashes, &end);
            out.push_str("\"\"");
        } else if c == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
            out.push_str("\"\"");
        } else if c == '\'' && rest.get(1) == Some(&'\\') {
            at = find(at + 3, &['\'']);
        } else if c == '\'' && rest.get(2) == Some(&'\'') {
            at += 3;
        } else {
            out.push(c);
            at += 1;
        }
    }
    out
}

/// The code without what only tests have: whatever follows `#[cfg(test)]`, up to its end.
fn without_tests(code: &str) -> (String, BTreeSet<String>) {
    const TEST: &str = "#[cfg(test)]";
    let (mut out, mut rest, mut test_modules) = (String::new(), code, BTreeSet::new());
    while let Some(at) = rest.find(TEST) {
        out.push_str(&rest[..at]);
        let item = &rest[at + TEST.len()..];
        let mut depth = 0usize;
        let end = item.char_indices().find_map(|(at, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            let ends = depth == 0 && matches!(c, ';' | '}') || depth == 0 && c == ',' && !item[..at].contains('(');
            ends.then_some(at + 1)
        });
        let item = &item[..end.unwrap_or(item.len())];
        if let [.., "mod", name, ";"] = words(item).as_slice() {
            test_modules.insert((*name).to_owned());
        }
        rest = &rest[at + TEST.len() + item.len()..];
    }
    out.push_str(rest);
    (out, test_modules)
}

/// Identifiers and the signs between them.
fn words(code: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let end = match first {
            _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        words.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    words
}

/// The paths of a tree (`a::{b, c::d as e}`) that begins at a word, each with the name that it binds, and where the tree ends.
fn tree(words: &[&str], mut at: usize, before: &[String], out: &mut Vec<(Vec<String>, String)>) -> usize {
    let mut path = before.to_vec();
    loop {
        match words.get(at) {
            Some(&"{") => {
                at += 1;
                while words.get(at).is_some_and(|word| *word != "}") {
                    at = tree(words, at, &path, out);
                    at += usize::from(words.get(at) == Some(&","));
                }
                return at + 1;
            }
            Some(word) if word.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '*') => {
                if *word != "self" || path.is_empty() {
                    path.push((*word).to_owned());
                }
                at += 1;
            }
            _ => break,
        }
        if words.get(at) != Some(&"::") {
            break;
        }
        at += 1;
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if words.get(at) == Some(&"as") {
        name = words.get(at + 1).copied().unwrap_or_default().to_owned();
        at += 2;
    }
    out.push((path, name));
    at
}

fn parse(text: &str) -> Parsed {
    let (code, test_children) = without_tests(&without_texts(text));
    let words = words(&code);
    let mut parsed = Parsed { test_children, ..Parsed::default() };
    for window in words.windows(3) {
        if window[0] == "mod" && window[2] == ";" {
            parsed.children.insert(window[1].to_owned());
        }
    }
    // `use` lines first: paths in code begin with what these bind.
    let mut in_code = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let starts_path = at == 0 || words[at - 1] != "::";
        if words[at] != "use" || !starts_path {
            in_code.push(at);
            at += 1;
            continue;
        }
        let is_public = at > 0 && matches!(words[at - 1], "pub" | ")");
        let mut found = Vec::new();
        at = tree(&words, at + 1, &[], &mut found);
        for (path, name) in found {
            let is_used = words.iter().filter(|word| **word == name).count() > 1;
            if !is_public || is_used {
                parsed.paths.push(path.clone());
            }
            parsed.bound.insert(name, path);
        }
    }
    for at in in_code {
        let word = words[at];
        let is_root = matches!(word, "crate" | "super" | "self") || parsed.children.contains(word);
        let starts_path = at == 0 || words[at - 1] != "::";
        if !starts_path || words.get(at + 1) != Some(&"::") || !(is_root || parsed.bound.contains_key(word)) {
            continue;
        }
        let mut found = Vec::new();
        let end = tree(&words, at, &[], &mut found);
        // A macro of the crate has no place.
        if words.get(end) != Some(&"!") {
            parsed.paths.extend(found.into_iter().map(|(path, _)| path));
        }
    }
    parsed
}

impl Imports {
    /// Of sources by their paths in the crate.
    fn of(sources: &BTreeMap<String, String>) -> Self {
        let module = |file: &str| {
            let path = file.trim_end_matches(".rs").replace('/', "::");
            let own = path.strip_suffix("::mod").unwrap_or(&path);
            if matches!(own, "lib" | "main" | "mod") { String::new() } else { own.to_owned() }
        };
        // Binaries beside a `lib.rs` are crates of their own.
        let is_binary = |file: &str| file == "main.rs" || file.starts_with("bin/");
        let is_in = |file: &str| !is_binary(file) || !sources.contains_key("lib.rs");
        let mut parsed: BTreeMap<String, Parsed> = BTreeMap::new();
        let mut files = BTreeMap::new();
        for (file, text) in sources.iter().filter(|(file, _)| is_in(file)) {
            parsed.insert(module(file), parse(text));
            files.insert(module(file), file.clone());
        }
        // What only tests have is left out, and all below it.
        let test_only = |name: &str| {
            let parts: Vec<&str> = name.split("::").collect();
            (0..parts.len()).any(|length| {
                parsed.get(&parts[..length].join("::")).is_some_and(|above| above.test_children.contains(parts[length]))
            })
        };
        let names: Vec<String> = files.keys().filter(|name| !test_only(name)).cloned().collect();
        files.retain(|name, _| names.contains(name));
        let mut edges = BTreeMap::new();
        for name in &names {
            let targets = parsed[name].paths.iter().filter_map(|path| resolve(&parsed, name, path, 0));
            // A file may use what the modules hold that it is a part of.
            let is_above = |target: &str| target == name || name.starts_with(&format!("{target}::"));
            let targets = targets.filter(|target| !is_above(target) && files.contains_key(target));
            edges.insert(name.clone(), targets.collect::<BTreeSet<_>>());
        }
        Self { files, edges }
    }

    fn count(&self) -> usize {
        self.edges.values().map(BTreeSet::len).sum()
    }

    /// Circles of imports, each as the files on it.
    fn circles(&self) -> Vec<Vec<String>> {
        // Files that reach one another are on a circle.
        let reach: BTreeMap<&String, BTreeSet<&String>> = self
            .edges
            .keys()
            .map(|from| {
                let mut seen = BTreeSet::new();
                let mut open = vec![from];
                while let Some(at) = open.pop() {
                    open.extend(self.edges[at].iter().filter(|to| seen.insert(*to)));
                }
                (from, seen)
            })
            .collect();
        let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
        for (from, reached) in &reach {
            let circle: Vec<String> =
                reached.iter().filter(|to| reach[**to].contains(*from)).map(|to| self.files[*to].clone()).collect();
            if !circle.is_empty() {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }
}

/// The module whose file defines what a path in a module leads to; `None` if that is another crate's.
fn resolve(parsed: &BTreeMap<String, Parsed>, from: &str, path: &[String], depth: usize) -> Option<String> {
    let join = |at: &str, name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}::{name}") };
    if depth > 16 {
        return None;
    }
    let mut at = from.to_owned();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            at = String::new();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {}
        child if parsed.contains_key(&join(from, child)) => {}
        name => {
            let bound = parsed.get(from)?.bound.get(name).filter(|bound| bound.as_slice() != path)?;
            let whole: Vec<String> = bound.iter().chain(&path[1..]).cloned().collect();
            return resolve(parsed, from, &whole, depth + 1);
        }
    }
    while let Some((name, more)) = rest.split_first() {
        if name == "super" {
            at = at.rsplit_once("::").map_or_else(String::new, |(above, _)| above.to_owned());
        } else if parsed.contains_key(&join(&at, name)) {
            at = join(&at, name);
        } else {
            // Defined here, or bound here to what is defined elsewhere.
            return match parsed.get(&at)?.bound.get(name) {
                Some(bound) if bound.as_slice() != path || at != from => {
                    let whole: Vec<String> = bound.iter().chain(more).cloned().collect();
                    resolve(parsed, &at, &whole, depth + 1)
                }
                _ => Some(at),
            };
        }
        rest = more;
    }
    Some(at)
}

fn sources(src: &Path) -> BTreeMap<String, String> {
    fn read(dir: &Path, src: &Path, out: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, src, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(src).unwrap().to_string_lossy().replace('\\', "/");
                out.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut out = BTreeMap::new();
    read(src, src, &mut out);
    out
}

/// What is wrong with the imports of a crate: files without a level, places without a file, and imports
/// upwards.
fn faults(levels: &[&[&str]], imports: &Imports) -> Vec<String> {
    let mut faults = Vec::new();
    let places: Vec<(&str, usize)> =
        levels.iter().enumerate().flat_map(|(level, places)| places.iter().map(move |place| (*place, level))).collect();
    // The place that names a file best.
    let place_of = |file: &str| {
        let holds = |place: &str| place == file || place.ends_with('/') && file.starts_with(place);
        places.iter().filter(|(place, _)| holds(place)).max_by_key(|(place, _)| place.len()).copied()
    };
    for (place, _) in &places {
        if !imports.files.values().any(|file| place_of(file).is_some_and(|(of, _)| of == *place)) {
            faults.push(format!("no file is at `{place}`: take it from the table"));
        }
    }
    for file in imports.files.values().filter(|file| place_of(file).is_none()) {
        faults.push(format!("{file} has no level: give it one in the table"));
    }
    for (from, targets) in &imports.edges {
        for to in targets {
            let (from, to) = (&imports.files[from], &imports.files[to]);
            let (Some((from_place, from_level)), Some((to_place, to_level))) = (place_of(from), place_of(to)) else {
                continue;
            };
            if to_level > from_level || to_level == from_level && from_place != to_place {
                faults.push(format!("{from} (level {from_level}) imports {to} (level {to_level})"));
            }
        }
    }
    faults
}

fn circles(imports: &Imports) -> Vec<String> {
    imports.circles().iter().map(|circle| format!("in a circle of imports: {}", circle.join(", "))).collect()
}

fn imports_of(of: &Crate) -> Imports {
    Imports::of(&sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(of.src)))
}

fn check_levels(of: &Crate) {
    let imports = imports_of(of);
    assert!(imports.count() >= of.imports_min, "only {} imports were seen in {}", imports.count(), of.src);
    let faults = faults(of.levels, &imports);
    assert!(faults.is_empty(), "imports of {}:\n{}", of.src, faults.join("\n"));
}

fn check_circles(of: &Crate) {
    let circles = circles(&imports_of(of));
    assert!(circles.is_empty(), "imports of {}:\n{}", of.src, circles.join("\n"));
}

fn check(of: &Crate) {
    check_levels(of);
    check_circles(of);
}

#[test]
fn imports_of_the_engine_only_point_down() {
    check(&ENGINE);
}

#[test]
fn imports_of_the_crate_above_it_only_point_down() {
    check_levels(&API);
}

#[test]
fn imports_of_the_crate_above_it_have_no_circles() {
    check_circles(&API);
}

#[test]
fn imports_of_the_server_only_point_down() {
    check(&REST);
    check(&MODELS);
}

#[test]
fn imports_of_the_model_server_only_point_down() {
    check(&SERVING);
}

#[test]
fn imports_of_the_python_extension_only_point_down() {
    check(&PYTHON);
}

#[test]
fn imports_of_projects_only_point_down() {
    check(&PROJECTS);
}

#[test]
fn imports_of_the_client_reader_only_point_down() {
    check(&CLIENT);
}

#[test]
fn imports_of_the_yaml_reader_only_point_down() {
    check(&YAML);
}

#[test]
fn imports_of_the_tool_only_point_down() {
    check(&TOOLS);
    check(&EXPORT);
}

#[test]
fn imports_of_backups_only_point_down() {
    check(&BACKUP);
}

#[test]
fn imports_of_the_reader_of_files_only_point_down() {
    check(&INSPECT);
}

#[test]
fn imports_of_the_benches_only_point_down() {
    check(&BENCHES);
}

#[test]
fn imports_of_what_tests_share_only_point_down() {
    check(&TESTS);
}

/// Folders of files, from that of the tests.
const FOLDERS: &[&str] = &[
    "../engine/src",
    "../engine/pages/src",
    "../engine/examples",
    "../api/src",
    "../api/projects/src",
    "../api/rest/src",
    "../api/serving/src",
    "../api/yaml/src",
    "../api/python/src",
    "../tools",
    "../benches",
    "../fuzz/fuzz_targets",
    "src",
    "tests",
];
/// Most lines of code in a file. Comments, blank lines and tests at a file's end or in a file beside it do not count.
const LINES_MAX: usize = 600;
/// Most lines of code in a file of the crate `runlode`.
const API_LINES_MAX: usize = 400;
/// A longer file says why at its top, in a line that begins with this.
const REASON: &str = "//! Long, because ";

fn lines_of_code(text: &str) -> usize {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    code.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//")).count()
}

fn is_too_long(text: &str, lines_max: usize) -> bool {
    lines_of_code(text) > lines_max
        && !text.lines().take_while(|line| line.starts_with("//!")).any(|l| l.starts_with(REASON))
}

#[test]
fn no_file_is_long_without_a_reason() {
    let mut long = Vec::new();
    for folder in FOLDERS {
        let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        assert!(!files.is_empty(), "{folder} has no files");
        let lines_max = if *folder == "../api/src" { API_LINES_MAX } else { LINES_MAX };
        let too_long = files.iter().filter(|(file, text)| !file.ends_with("tests.rs") && is_too_long(text, lines_max));
        long.extend(too_long.map(|(file, text)| format!("{folder}/{file}: {} lines", lines_of_code(text))));
    }
    assert!(long.is_empty(), "split them, or say at the top why not (`{REASON}...`):\n{}", long.join("\n"));
}

#[test]
fn a_long_file_is_found() {
    let code = "//! Doc.\n\nfn f() {}\n// why\nfn g() {}\n#[cfg(test)]\nmod tests {\n    fn h() {}\n}\n";
    assert_eq!(lines_of_code(code), 2);
    assert!(is_too_long(code, 1) && !is_too_long(code, 2));
    assert!(!is_too_long(&format!("//! Doc.\n{REASON}it is a table.\n{code}"), 1));
    assert!(is_too_long(&format!("{code}{REASON}it is a table.\n"), 1), "not at the top");
}

fn crate_of(files: &[(&str, &str)]) -> Imports {
    Imports::of(&files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
}

/// A crate of three levels, and what it imports if one of its files has another text.
fn with(file: &str, text: &str) -> Vec<String> {
    const LEVELS: &[&[&str]] = &[&["id.rs", "time.rs"], &["log/"], &["store.rs"], &["lib.rs"]];
    let mut files = vec![
        ("lib.rs", "mod id; mod log; mod store; mod time; pub use store::Store;"),
        ("id.rs", "pub struct Id;"),
        ("time.rs", "pub struct Time;"),
        ("log/mod.rs", "mod frame; mod writer; pub use writer::Writer; use crate::id::Id; pub struct Log(Id);"),
        ("log/frame.rs", "use super::Log; use crate::time::Time;"),
        ("log/writer.rs", "use super::frame; use crate::id::Id; pub struct Writer;"),
        ("store.rs", "use crate::log::{Log, Writer}; pub struct Store;"),
    ];
    files.retain(|(name, _)| *name != file);
    files.push((file, text));
    let imports = crate_of(&files);
    [faults(LEVELS, &imports), circles(&imports)].concat()
}

#[test]
fn an_import_upwards_is_found() {
    assert_eq!(with("id.rs", "pub struct Id;"), [""; 0]);
    let upwards = ["id.rs (level 0) imports store.rs (level 2)"];
    for text in [
        "use crate::store::Store;",
        "use crate::{store::Store as S, time};",
        "use crate::Store;",
        "use super::store;",
        "use super::{store::{self, Store}};",
        "fn f() -> crate::store::Store { todo!() }",
        "fn f(x: super::store::Store) {}",
        "use crate::store as s; fn f(x: s::Store) {}",
    ] {
        let found = with("id.rs", text);
        assert!(found.iter().any(|fault| fault == upwards[0]), "{text}: {found:?}");
    }
    let frame = with("log/frame.rs", "use crate::store::*;");
    assert_eq!(frame[0], "log/frame.rs (level 1) imports store.rs (level 2)");
    assert_eq!(with("id.rs", "use crate::time::Time;"), ["id.rs (level 0) imports time.rs (level 0)"]);
}

#[test]
fn a_circle_is_found() {
    let circle = ["in a circle of imports: log/frame.rs, log/writer.rs"];
    assert_eq!(with("log/frame.rs", "use super::writer::Writer;"), circle);
    assert_eq!(with("log/frame.rs", "use super::Writer;"), circle, "through a re-export");
    assert_eq!(with("log/frame.rs", "fn f() { crate::log::Writer::new() }"), circle);
}

#[test]
fn a_file_without_a_level_is_found() {
    assert_eq!(with("new.rs", ""), ["new.rs has no level: give it one in the table"]);
    assert_eq!(faults(&[&["gone.rs"]], &crate_of(&[])), ["no file is at `gone.rs`: take it from the table"]);
}

#[test]
fn what_is_no_import_is_passed_over() {
    for text in [
        "//! See [`crate::store::Store`].",
        "/* use crate::store::Store; */",
        "const TEXT: &str = \"use crate::store::Store;\";",
        "const TEXT: &str = r#\"\" crate::store::Store \"#;",
        "const QUOTE: char = '\"'; // crate::store::Store \"",
        "#[cfg(test)]\nmod tests { use crate::store::Store; }",
        "#[cfg(test)]\nuse crate::store::Store;",
        "#[cfg(test)]\n#[allow(unused, reason = \"none\")]\nmod tests { fn f() { crate::store::f(\"}\") } }",
        "fn f<'a>(x: &'a str) -> &'a str { x }",
        "use std::store::Store; use other::crate_::store;",
    ] {
        assert_eq!(with("id.rs", text), [""; 0], "{text}");
    }
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "#[cfg(test)]\npub(super) mod tests;"),
        ("a/tests.rs", "use crate::b::B;"),
        ("b.rs", "use crate::a::A;"),
    ];
    assert_eq!(faults(&[&["a.rs"], &["b.rs"], &["lib.rs"]], &crate_of(&files)), [""; 0]);
}
