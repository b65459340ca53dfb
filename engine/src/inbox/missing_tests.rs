//! Segments of inboxes that somebody removes or cuts: every reader says so, no merge goes past them or removes the rest,
//! and once they are back everything is merged. What a holder merged and removed is missed by nobody, nor is what a copy
//! of a store in use or a power cut may lack.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::Arc;

use super::note::{self, NOTES_DIR};
use super::segment::{LOCK_NAME, dir_of, path_of};
use super::tests::{World, run_id, values};
use super::{InboxProblemKind, InboxWriter};
use crate::id::WriterId;
use crate::ingest::batch::Durability;
use crate::ingest::encode::KeyedPoint;
use crate::missing::MissingKind;
use crate::point::Point;
use crate::storage::sim::{SimDisk, mix};
use crate::storage::{OpenMode, Storage, write_all_at};
use crate::store::Store;
use crate::time::TimestampMs;
use crate::{FindingKind, VerifyOptions};

const POINTS: usize = 30_000;

struct Case {
    disk: Arc<SimDisk>,
    world: World,
    store: Store,
    id: WriterId,
    writer: Option<InboxWriter>,
    /// The path of each segment.
    paths: Vec<String>,
}

/// A store, and a process with at least three segments of unmerged points.
fn case(maps: bool) -> Case {
    let disk = Arc::new(SimDisk::new(1));
    disk.set_maps(maps);
    let (world, store) = World::create(disk.clone(), 1);
    let writer = world.writer(&store, 1);
    let key = writer.metric_key("m").unwrap();
    for from in (0..POINTS).step_by(100) {
        let value = |step: usize| f64::from_bits(mix(step as u64) >> 2);
        let point = |step: usize| Point { step: step as i64, time: TimestampMs(step as i64), value: value(step) };
        let points: Vec<_> = (from..from + 100).map(|step| KeyedPoint { key, point: point(step) }).collect();
        writer.log_points(run_id(1), &points, Durability::Buffered).unwrap();
    }
    let paths: Vec<String> = (1..)
        .map(|ordinal| path_of(writer.id(), ordinal))
        .take_while(|path| disk.open(path, OpenMode::Read).is_ok())
        .collect();
    assert!(paths.len() >= 3, "{paths:?}");
    Case { disk, world, store, id: writer.id(), writer: Some(writer), paths }
}

impl Case {
    /// Removes a segment; returns what was in it.
    fn take(&self, at: usize) -> Vec<u8> {
        let bytes = self.disk.file_bytes(&self.paths[at]).unwrap();
        self.disk.remove(&self.paths[at]).unwrap();
        bytes
    }

    fn put_back(&self, at: usize, bytes: &[u8]) {
        let _ = self.disk.remove(&self.paths[at]);
        let file = self.disk.open(&self.paths[at], OpenMode::CreateNew).unwrap();
        write_all_at(&*file, bytes, 0).unwrap();
    }

    fn read_only(&self) -> Store {
        let options = Store::options("unused").storage(self.disk.clone()).read_only(true);
        options.clock(self.world.clock.clone()).open().unwrap()
    }

    /// What an open for reading and a verification say of inboxes.
    fn told(&self) -> (usize, usize) {
        let store = self.read_only();
        let missing = &store.open_notes().missing;
        assert!(missing.iter().all(|missing| missing.kind == MissingKind::Inbox), "{missing:?}");
        let findings = store.verify(&VerifyOptions::default()).unwrap().findings;
        assert!(findings.iter().all(|finding| finding.kind == FindingKind::Inbox), "{findings:?}");
        (missing.len(), findings.len())
    }

    /// The kinds of problems after everything was tried.
    fn merge(&self) -> Vec<InboxProblemKind> {
        self.store.merge_inboxes().unwrap();
        self.store.flush().unwrap();
        self.world.later();
        let report = self.store.merge_inboxes().unwrap();
        report.problems.iter().map(|problem| problem.kind).collect()
    }

    fn notes(&self) -> usize {
        self.disk.list(NOTES_DIR).unwrap().len()
    }

    /// The note carries the inode of another file.
    fn be_copied(&self) {
        let path = format!("{NOTES_DIR}/{}", self.id);
        let file = self.disk.open(&path, OpenMode::ReadWrite).unwrap();
        write_all_at(&*file, &[0xff; 8], 0).unwrap();
    }

    fn points(&self) -> usize {
        values(&self.store, 1, "m").len()
    }

    fn reopen(self) -> Self {
        let Self { disk, world, store, id, writer, paths } = self;
        drop(store);
        let store = world.open();
        Self { disk, world, store, id, writer, paths }
    }
}

#[test]
fn a_missing_segment_is_told_and_waited_for() {
    for (maps, alive) in [(true, true), (true, false), (false, true), (false, false)] {
        let count = case(maps).paths.len();
        for at in 0..count {
            let what = format!("maps {maps}, alive {alive}, segment {} of {count}", at + 1);
            let mut case = case(maps);
            if !alive {
                case.writer = None;
            }
            assert_eq!(case.told(), (0, 0), "{what}");
            let bytes = case.take(at);
            assert_eq!(case.told(), (1, 1), "{what}");
            assert_eq!(case.merge(), [InboxProblemKind::Gap], "{what}");
            let merged = case.points();
            assert!(merged < POINTS && (at == 0) == (merged == 0), "{what}: {merged}");
            case.world.clock.advance_ms(120_000);
            assert_eq!(case.merge(), [InboxProblemKind::Gap], "{what}, after two minutes");
            assert_eq!((case.points(), case.told()), (merged, (1, 1)), "{what}");
            case.put_back(at, &bytes);
            // A gap before the first frame is looked at again by the next holder.
            let case = if at == 0 { case.reopen() } else { case };
            assert_eq!(case.merge(), [], "{what}, back again");
            assert_eq!((case.points(), case.told()), (POINTS, (0, 0)), "{what}");
            assert_eq!((case.world.inboxes().len(), case.notes()), [(0, 0), (1, 1)][usize::from(alive)], "{what}");
        }
    }
}

#[test]
fn segments_that_are_all_missing_are_told() {
    for alive in [true, false] {
        let mut case = case(true);
        if !alive {
            case.writer = None;
        }
        let kept: Vec<_> = (0..case.paths.len()).map(|at| case.take(at)).collect();
        assert_eq!(case.told(), (1, 1));
        assert_eq!(case.merge(), [InboxProblemKind::Gap]);
        case.world.clock.advance_ms(120_000);
        assert_eq!(case.merge(), [InboxProblemKind::Gap]);
        kept.iter().enumerate().for_each(|(at, bytes)| case.put_back(at, bytes));
        assert_eq!(case.merge(), []);
        assert_eq!((case.points(), case.told()), (POINTS, (0, 0)));
    }
}

#[test]
fn a_cut_or_emptied_segment_is_told() {
    for (at_last, keep) in [(false, 0), (false, 64), (false, 4_096), (true, 0), (true, 64), (true, 4_096)] {
        let mut case = case(true);
        case.writer = None;
        let at = if at_last { case.paths.len() - 1 } else { 1 };
        let bytes = case.disk.file_bytes(&case.paths[at]).unwrap();
        case.disk.open(&case.paths[at], OpenMode::ReadWrite).unwrap().set_len(keep).unwrap();
        let what = format!("segment {}, {keep} bytes left", at + 1);
        assert_eq!(case.told(), (1, 1), "{what}");
        assert_eq!(case.merge().len(), 1, "{what}");
        assert!(case.points() < POINTS && case.world.inboxes().len() == 1, "{what}");
        case.put_back(at, &bytes);
        let case = case.reopen();
        assert_eq!((case.merge(), case.points()), (vec![], POINTS), "{what}");
    }
}

#[test]
fn an_inbox_of_which_nothing_is_left_is_told() {
    let mut case = case(true);
    case.writer = None;
    let id = case.id;
    let kept: Vec<_> = (0..case.paths.len()).map(|at| case.take(at)).collect();
    case.disk.remove(&format!("{}/{LOCK_NAME}", dir_of(id))).unwrap();
    case.disk.remove_dir(&dir_of(id)).unwrap();
    assert_eq!(case.told(), (1, 1));
    assert_eq!(case.merge(), [InboxProblemKind::Gap]);
    let mut case = case.reopen();
    assert_eq!(case.merge(), [InboxProblemKind::Gap]);
    case.disk.create_dir(&dir_of(id)).unwrap();
    kept.iter().enumerate().for_each(|(at, bytes)| case.put_back(at, bytes));
    case.world.later();
    assert_eq!(case.merge(), []);
    assert_eq!((case.points(), case.told()), (POINTS, (0, 0)));
    assert_eq!((case.world.inboxes().len(), case.notes()), (0, 0));
    // The same, and given up.
    case = self::case(true);
    case.writer = None;
    (0..case.paths.len()).for_each(|at| drop(case.take(at)));
    case.disk.remove(&format!("{}/{LOCK_NAME}", dir_of(id))).unwrap();
    case.disk.remove_dir(&dir_of(id)).unwrap();
    let Case { disk, world, store, .. } = case;
    drop(store);
    let options = Store::options("unused").storage(disk.clone()).clock(world.clock.clone()).accept_loss(true);
    let report = options.repair().unwrap();
    assert!(report.inbox_batches_lost == 1 && report.verified.is_sound(), "{report:?}");
    assert_eq!(disk.list(NOTES_DIR).unwrap(), []);
    assert_eq!(world.open().merge_inboxes().unwrap().problems, []);
}

#[test]
fn after_a_power_cut_a_missing_segment_is_lost() {
    for at in [1, 2] {
        let mut case = case(true);
        case.writer = None;
        case.disk.mount_again();
        case.take(at);
        let (is_last, mut lost) = (at + 1 == case.paths.len(), 0);
        // A reader that can take the lock, as here, knows that the writer is gone.
        assert_eq!(case.told().0, 0);
        for _ in 0..3 {
            let report = case.store.merge_inboxes().unwrap();
            assert_eq!(report.problems, []);
            lost += report.frames_lost;
            case.store.flush().unwrap();
            case.world.later();
        }
        assert_eq!(lost > 0, !is_last, "segment {}", at + 1);
        assert_eq!((case.world.inboxes().len(), case.notes(), case.told()), (0, 0, (0, 0)));
    }
}

#[test]
fn after_a_power_cut_a_note_without_its_inbox_is_removed() {
    let mut case = case(true);
    case.writer = None;
    (0..case.paths.len()).for_each(|at| drop(case.take(at)));
    case.disk.remove(&format!("{}/{LOCK_NAME}", dir_of(case.id))).unwrap();
    case.disk.remove_dir(&dir_of(case.id)).unwrap();
    case.disk.mount_again();
    assert_eq!((case.told(), case.notes()), ((0, 0), 1));
    assert_eq!((case.merge(), case.notes()), (vec![], 0));
}

#[test]
fn a_copy_may_lack_the_end_and_nothing_else() {
    let count = case(true).paths.len();
    for at in 0..count {
        let mut case = case(true);
        case.writer = None;
        case.be_copied();
        assert_eq!(case.told(), (0, 0));
        let bytes = case.take(at);
        let is_last = at + 1 == count;
        assert_eq!(case.told(), if is_last { (0, 0) } else { (1, 1) }, "segment {}", at + 1);
        if !is_last {
            assert_eq!(case.merge(), [InboxProblemKind::Gap], "segment {}", at + 1);
            assert!(case.points() < POINTS);
            case.put_back(at, &bytes);
            case = case.reopen();
        }
        assert_eq!(case.merge(), [], "segment {}", at + 1);
        assert_eq!(case.points() < POINTS, is_last);
        assert_eq!((case.world.inboxes().len(), case.notes()), (0, 0));
    }
    // A copy that was begun before the inbox was made has its note at most.
    let mut case = case(true);
    case.writer = None;
    case.be_copied();
    (0..count).for_each(|at| drop(case.take(at)));
    assert_eq!(case.told(), (0, 0));
    case.disk.remove(&format!("{}/{LOCK_NAME}", dir_of(case.id))).unwrap();
    case.disk.remove_dir(&dir_of(case.id)).unwrap();
    assert_eq!((case.told(), case.merge(), case.notes()), ((0, 0), vec![], 0));
}

#[test]
fn a_copy_lacks_nothing_that_the_holder_merged_meanwhile() {
    let mut case = case(true);
    case.writer = None;
    assert!(case.paths.len() >= 3);
    // The first one was copied, the next ones were merged and removed before their turn, and so was their log.
    let first = case.disk.file_bytes(&case.paths[0]).unwrap();
    let last = case.disk.file_bytes(case.paths.last().unwrap()).unwrap();
    case.store.merge_inboxes().unwrap();
    case.be_copied();
    (0..case.paths.len()).for_each(|at| {
        let _ = case.disk.remove(&case.paths[at]);
    });
    case.put_back(0, &first);
    case.put_back(case.paths.len() - 1, &last);
    let case = case.reopen();
    assert_eq!((case.told(), case.merge()), ((0, 0), vec![]));
    assert_eq!((case.points(), case.world.inboxes().len()), (POINTS, 0));
}

#[test]
fn accepting_the_loss_merges_what_is_left() {
    for at in [0, 1, 2] {
        let mut case = case(true);
        case.writer = None;
        case.take(at);
        let left: usize = case.paths.len();
        assert_eq!(case.merge(), [InboxProblemKind::Gap]);
        let before = case.points();
        let Case { disk, world, store, id, paths, .. } = case;
        drop(store);
        let options = Store::options("unused").storage(disk.clone()).clock(world.clock.clone()).accept_loss(true);
        let report = options.repair().unwrap();
        assert!(report.inbox_batches_lost >= 1 && report.verified.is_sound(), "{report:?}");
        let store = world.open();
        let case = Case { disk, world, store, id, writer: None, paths };
        assert_eq!((case.merge(), case.told()), (vec![], (0, 0)));
        assert!(case.points() > before || at + 1 == left, "{} points, before {before}", case.points());
    }
}

#[test]
fn what_a_holder_merged_and_removed_is_missed_by_nobody() {
    let case = case(true);
    assert_eq!(case.merge(), []);
    assert_eq!((case.points(), case.told()), (POINTS, (0, 0)));
    // All but the last segment are gone.
    assert!(case.paths.iter().filter(|path| case.disk.open(path, OpenMode::Read).is_ok()).count() == 1);
    // The holder dies between the removal of segments and that of the folder.
    let mut case = case;
    case.writer = None;
    note::remove(&*case.disk, case.id).unwrap();
    case.take(case.paths.len() - 1);
    let case = case.reopen();
    assert_eq!((case.merge(), case.told()), (vec![], (0, 0)));
    case.world.clock.advance_ms(61_000);
    assert_eq!(case.merge(), []);
    assert!(case.world.inboxes().is_empty());
}
