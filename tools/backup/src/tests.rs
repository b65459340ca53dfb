//! Backups that die at every call, and damage in every byte.

use std::path::Path;

use runlode::{LocalStore, RunSpec, Store};

use crate::target::unreliable::{Unreliable, Values};
use crate::{At, Backups, MakeOptions};

/// A small store with a few runs, points and artifacts.
fn made(path: &Path, runs: std::ops::Range<i32>) {
    let store = LocalStore::open(path).unwrap();
    let experiment = store.get_or_create_experiment("digits").unwrap();
    for number in runs {
        let run = store.create_run(experiment, RunSpec::named(format!("trial-{number}"))).unwrap();
        for step in 0..20 {
            run.log_metrics(step, &[("loss", f64::from(number) + step as f64)]).unwrap();
        }
        let folder = path.join(format!("artifacts/{experiment}/{}/artifacts", run.id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("notes.txt"), format!("run {number}")).unwrap();
        std::os::unix::fs::symlink("notes.txt", folder.join("link")).unwrap();
    }
    store.close().unwrap();
}

/// Everything that a store answers about its runs.
fn answers(path: &Path) -> Vec<String> {
    let store = Store::open(path).unwrap();
    let mut all = Vec::new();
    for run in store.search_runs("").find().unwrap() {
        let points = store.run(run.id).unwrap().latest("loss").unwrap().unwrap();
        let folder = path.join(format!("artifacts/{}/{}/artifacts", run.experiment, run.id));
        let notes = std::fs::read_to_string(folder.join("link")).unwrap();
        let (count, last) = (points.count, points.last);
        all.push(format!("{} {} {count} {} {} {notes}", run.id, run.name, last.step, last.value));
    }
    store.close().unwrap();
    all.sort();
    all
}

fn options(name: &str) -> MakeOptions {
    MakeOptions { name: Some(name.to_owned()), chunk_bytes: 4 << 10, ..MakeOptions::default() }
}

fn backups(values: &Values) -> Backups {
    Backups::of(Box::new(Unreliable::with(values, None))).unwrap()
}

fn restored(backups: &Backups, name: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    backups.restore(&At::Name(name.into()), &copy, &mut |_| {}).unwrap();
    answers(&copy)
}

#[test]
fn a_backup_that_dies_at_any_call_leaves_the_previous_one_whole_and_is_completed_by_a_rerun() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("exp");
    made(&store, 0..3);
    let first = Unreliable::default();
    Backups::of(Box::new(first.clone())).unwrap().make(&store, &options("first"), &mut |_| {}).unwrap();
    let of_first = answers(&store);
    let values = first.values.lock().unwrap().clone();
    made(&store, 3..6);
    let of_second = answers(&store);
    assert_ne!(of_first, of_second);
    let whole = Unreliable::with(&values, None);
    Backups::of(Box::new(whole.clone())).unwrap().make(&store, &options("second"), &mut |_| {}).unwrap();
    let calls = whole.calls();
    assert!(calls >= 12, "{calls}");
    for dies_at in 1..=calls {
        let target = Unreliable::with(&values, Some(dies_at));
        let died = Backups::of(Box::new(target.clone())).and_then(|b| b.make(&store, &options("second"), &mut |_| {}));
        assert!(died.is_err(), "call {dies_at}");
        // What a power cut at that moment leaves.
        for keeps in [|_| true, |_| false, |at: usize| at.is_multiple_of(2)] {
            let left = target.after_power_cut(keeps);
            let there = backups(&left);
            let names: Vec<String> = there.list().unwrap().into_iter().map(|manifest| manifest.name).collect();
            assert!(names.contains(&"first".to_owned()), "call {dies_at}");
            assert!(there.check(&[], &mut |_| {}).unwrap().problems.is_empty(), "call {dies_at}");
            assert_eq!(restored(&there, "first"), of_first, "call {dies_at}");
            if names.len() == 1 {
                there.make(&store, &options("second"), &mut |_| {}).unwrap();
            }
            assert_eq!(restored(&there, "second"), of_second, "call {dies_at}");
        }
    }
}

#[test]
fn every_flipped_byte_of_a_backup_is_found_without_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("exp");
    made(&store, 0..1);
    let target = Unreliable::default();
    Backups::of(Box::new(target.clone())).unwrap().make(&store, &options("only"), &mut |_| {}).unwrap();
    std::fs::remove_dir_all(&store).unwrap();
    let values = target.values.lock().unwrap().clone();
    let sound = Backups { target: Box::new(Unreliable::with(&values, None)) }.check(&[], &mut |_| {}).unwrap();
    assert!(sound.problems.is_empty() && sound.unnamed_count == 0, "{sound:?}");
    // Every byte of every value: one bit each, another one from byte to byte.
    let mut flips = 0;
    for (name, bytes) in &values {
        for at in 0..bytes.len() {
            let mut value = bytes.clone();
            value[at] ^= 1 << (at % 8);
            // A check of the whole place for each flip would be slow: only the changed value is replaced.
            let mut changed = values.clone();
            changed.insert(name.clone(), value);
            let place = Backups { target: Box::new(Unreliable::with(&changed, None)) };
            let report = place.check(&[], &mut |_| {}).unwrap();
            assert!(report.problems.iter().any(|problem| problem.path == *name), "byte {at} of {name}");
            flips += 1;
        }
        let mut missing = values.clone();
        missing.remove(name);
        let place = Backups { target: Box::new(Unreliable::with(&missing, None)) };
        let problems = place.check(&[], &mut |_| {}).unwrap().problems;
        // Without its manifest a backup is not there; its blobs are named by nothing.
        assert!(!problems.is_empty() || name.starts_with("backups/"), "{name}");
    }
    assert!(flips > 2_000, "{flips}");
}

#[test]
fn a_second_backup_copies_what_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("exp");
    made(&store, 0..1);
    let big = store.join("artifacts/1/big");
    std::fs::create_dir_all(&big).unwrap();
    for file in 0..100u8 {
        std::fs::write(big.join(format!("{file}.bin")), vec![file; 40_000 + usize::from(file)]).unwrap();
    }
    let place = Backups::of(Box::new(Unreliable::default())).unwrap();
    let options = |name: &str| MakeOptions { chunk_bytes: 32 << 10, ..options(name) };
    let first = place.make(&store, &options("first"), &mut |_| {}).unwrap();
    std::fs::write(big.join("new.bin"), (0..40_000u32).map(|at| (at * 31 % 251) as u8).collect::<Vec<_>>()).unwrap();
    let mut last = crate::Progress::default();
    let second = place.make(&store, &options("second"), &mut |progress| last = progress).unwrap();
    assert!(first.copied_bytes > 40_000, "{first:?}");
    assert!(second.copied_bytes < second.bytes / 40, "{second:?}");
    assert_eq!(last.done_bytes, second.bytes);
    let reread = MakeOptions { reread: true, ..options("third") };
    let third = place.make(&store, &reread, &mut |_| {}).unwrap();
    assert_eq!((third.unread_bytes, third.bytes), (0, second.bytes));
    assert!(matches!(place.make(&store, &options("third"), &mut |_| {}), Err(crate::Error::Exists { .. })));
    assert!(matches!(place.make(&store, &options("a/b"), &mut |_| {}), Err(crate::Error::Name { .. })));
    let positions: Vec<u64> = place.list().unwrap().iter().map(|manifest| manifest.position).collect();
    assert!(positions.windows(2).all(|pair| pair[0] <= pair[1]), "{positions:?}");
}

#[test]
fn a_restore_is_there_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("exp");
    made(&store, 0..2);
    let expected = answers(&store);
    let target = Unreliable::default();
    let place = Backups::of(Box::new(target.clone())).unwrap();
    let made = place.make(&store, &options("only"), &mut |_| {}).unwrap();
    let copy = dir.path().join("copy");
    // Dies at every call.
    let values = target.values.lock().unwrap().clone();
    let counted = Unreliable::with(&values, None);
    Backups::of(Box::new(counted.clone())).unwrap().restore(&At::Newest, &dir.path().join("x"), &mut |_| {}).unwrap();
    for dies_at in 3..=counted.calls() {
        let dying = Backups { target: Box::new(Unreliable::with(&values, Some(dies_at))) };
        if dying.restore(&At::Newest, &copy, &mut |_| {}).is_ok() {
            std::fs::remove_dir_all(&copy).unwrap();
        }
        assert!(!copy.exists(), "call {dies_at}");
    }
    // Killed before the first file, or behind the last one.
    for (name, mark) in [("early", false), ("late", true)] {
        let half = dir.path().join(format!("{name}.restoring"));
        std::fs::create_dir(&half).unwrap();
        if mark {
            std::fs::write(half.join("RUNLODE-RESTORING"), "only").unwrap();
        }
        place.restore(&At::Newest, &dir.path().join(name), &mut |_| {}).unwrap();
        assert_eq!(answers(&dir.path().join(name)), expected);
        assert!(!half.exists());
    }
    // What a killed restore leaves is removed; what somebody else put there is not.
    let half = dir.path().join("copy.restoring");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("precious"), "x").unwrap();
    assert!(matches!(place.restore(&At::Newest, &copy, &mut |_| {}), Err(crate::Error::NotEmpty { .. })));
    std::fs::write(half.join("RUNLODE-RESTORING"), "only").unwrap();
    place.restore(&At::Position(made.position), &copy, &mut |_| {}).unwrap();
    assert_eq!(answers(&copy), expected);
    assert!(matches!(place.restore(&At::Newest, &copy, &mut |_| {}), Err(crate::Error::NotEmpty { .. })));
    let none = place.restore(&At::Position(1), &dir.path().join("y"), &mut |_| {}).unwrap_err();
    assert!(none.to_string().contains("only at") && none.to_string().contains("replay"), "{none}");
    assert!(matches!(
        place.restore(&At::Name("x".into()), &copy, &mut |_| {}),
        Err(crate::Error::NotEmpty { .. } | crate::Error::NoBackup { .. })
    ));
}

#[test]
fn a_folder_of_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.tex"), "x").unwrap();
    assert!(matches!(Backups::open(dir.path().to_str().unwrap()), Err(crate::Error::NoTarget { .. })));
}

/// A target that version 1 wrote, in `tests/golden/backup-1`, and what its store answered.
#[test]
fn a_target_of_version_1_is_checked_and_restored_forever() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/backup-1");
    let said = golden.with_extension("txt");
    if std::env::var("RUNLODE_GOLDEN_WRITE").is_ok() && !golden.exists() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("exp");
        made(&store, 0..2);
        let backups = Backups::open(golden.to_str().unwrap()).unwrap();
        backups.make(&store, &options("golden"), &mut |_| {}).unwrap();
        std::fs::remove_dir_all(golden.join("tmp")).unwrap();
        std::fs::write(&said, answers(&store).join("\n")).unwrap();
    }
    let backups = Backups::open(golden.to_str().unwrap()).unwrap();
    let report = backups.check(&[], &mut |_| {}).unwrap();
    assert_eq!((report.backups_count, report.unnamed_count, report.problems.len()), (1, 0, 0), "{report:?}");
    assert_eq!(restored(&backups, "golden").join("\n"), std::fs::read_to_string(&said).unwrap());
}
