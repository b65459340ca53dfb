//! The simulated disk does what its fault model says, and the same each time.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;

use super::*;
use crate::storage::{OpenMode, Storage, StorageFile, read_exact_at, write_all_at};

fn create(disk: &SimDisk, path: &str, bytes: &[u8]) -> Arc<dyn StorageFile> {
    let file = disk.open(path, OpenMode::CreateNew).unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
    file
}

/// A file whose name and bytes are durable.
fn create_durable(disk: &SimDisk, path: &str, bytes: &[u8]) -> Arc<dyn StorageFile> {
    let file = create(disk, path, bytes);
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    file
}

fn nothing(seed: u64) -> PowerCut {
    PowerCut { keep: Keep::Nothing, seed }
}

#[test]
fn only_what_was_synced_must_survive() {
    let disk = SimDisk::new(1);
    let file = create_durable(&disk, "a", b"durable");
    write_all_at(&*file, b"PENDING..", 0).unwrap();
    create(&disk, "b", b"no name");
    assert_eq!(disk.after_process_crash().file_bytes("a").unwrap(), b"PENDING..");
    let image = disk.after_power_cut(nothing(1));
    assert_eq!(image.file_bytes("a").unwrap(), b"durable");
    assert_eq!(image.file_bytes("b").unwrap_err().kind(), io::ErrorKind::NotFound);
    let image = disk.after_power_cut(PowerCut { keep: Keep::Everything, seed: 1 });
    assert_eq!(image.file_bytes("a").unwrap(), b"PENDING..");
    assert_eq!(image.file_bytes("b").unwrap(), b"no name");
    let image = disk.after_power_cut(PowerCut { keep: Keep::LengthOnly, seed: 1 });
    assert_eq!(image.file_bytes("a").unwrap(), b"durable\0\0");
    let image = disk.after_power_cut(PowerCut { keep: Keep::DataOnly, seed: 1 });
    assert_eq!(image.file_bytes("a").unwrap(), b"PENDING");
    // What was pending is still pending in the next life.
    let next = disk.after_process_crash();
    assert_eq!(next.after_power_cut(nothing(1)).file_bytes("a").unwrap(), b"durable");
    next.open("a", OpenMode::Read).unwrap().sync_data().unwrap();
    assert_eq!(next.after_power_cut(nothing(1)).file_bytes("a").unwrap(), b"PENDING..");
    assert_eq!(disk.after_power_cut(nothing(1)).file_bytes("a").unwrap(), b"durable", "a life changes no other one");
}

#[test]
fn sectors_are_old_or_new_and_every_mixture_is_seen() {
    let disk = SimDisk::new(1);
    let file = create_durable(&disk, "a", &[1; 2_048]);
    write_all_at(&*file, &[2; 2_048], 0).unwrap();
    write_all_at(&*file, &[3; 1_024], 0).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let bytes = disk.after_power_cut(PowerCut { keep: Keep::Sectors512, seed }).file_bytes("a").unwrap();
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        assert!(sectors[2] < 3 && sectors[3] < 3);
        seen.insert(sectors);
    }
    assert!(seen.len() > 25, "of 36 mixtures only {} were seen", seen.len());
}

#[test]
fn a_cut_that_is_lost_brings_the_old_bytes_back() {
    let disk = SimDisk::new(1);
    let file = create_durable(&disk, "a", &[1; 1_024]);
    file.set_len(0).unwrap();
    file.set_len(1_024).unwrap();
    assert_eq!(disk.file_bytes("a").unwrap(), [0; 1_024]);
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let bytes = disk.after_power_cut(PowerCut { keep: Keep::Sectors512, seed }).file_bytes("a").unwrap();
        seen.insert(bytes.chunks(512).map(|sector| sector[0]).collect::<Vec<u8>>());
    }
    assert_eq!(Vec::from_iter(seen), [vec![], vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]]);
}

#[test]
fn names_are_durable_one_by_one_and_a_rename_is_whole() {
    let disk = SimDisk::new(1);
    disk.create_dir("d").unwrap();
    disk.sync_dir("").unwrap();
    create_durable(&disk, "a", b"old");
    create(&disk, "a.tmp", b"new").sync_data().unwrap();
    disk.rename("a.tmp", "a").unwrap();
    create(&disk, "d/x", b"x").sync_data().unwrap();
    disk.rename("d/x", "y").unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let image = disk.after_power_cut(PowerCut { keep: Keep::Operations, seed });
        let bytes = image.file_bytes("a").unwrap();
        assert!(bytes == b"old" || bytes == b"new");
        seen.insert((bytes, image.file_bytes("d/x").is_ok(), image.file_bytes("y").is_ok()));
    }
    assert!(seen.iter().all(|(_, x, y)| !(*x && *y)), "a rename is whole");
    assert_eq!(seen.len(), 6);
    disk.sync_dir("d").unwrap();
    let image = disk.after_power_cut(nothing(1));
    assert_eq!(image.file_bytes("a").unwrap(), b"old");
    assert_eq!(image.file_bytes("y").unwrap(), b"x", "a move is durable with either folder");
    disk.sync_dir("").unwrap();
    let image = disk.after_power_cut(nothing(1));
    assert_eq!(image.file_bytes("a").unwrap(), b"new");
    let names: Vec<String> = image.list("").unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["a", "d", "y"]);
    assert_eq!(image.list("d").unwrap(), []);
}

#[test]
fn a_removed_name_comes_back_unless_its_folder_was_synced() {
    let disk = SimDisk::new(1);
    create_durable(&disk, "a", b"1");
    disk.remove("a").unwrap();
    assert_eq!(disk.after_power_cut(nothing(1)).file_bytes("a").unwrap(), b"1");
    disk.sync_dir("").unwrap();
    assert!(disk.after_power_cut(nothing(1)).file_bytes("a").is_err());
}

#[test]
fn a_crash_stops_everything_and_cuts_the_store() {
    let mut lengths = BTreeSet::new();
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let file = create(&disk, "a", b"");
        file.allocate(100).unwrap();
        let map = file.map(100, true).unwrap().unwrap();
        assert_eq!(disk.operations(), 2);
        disk.crash_at(4);
        map.store_at(0, &[1; 10]);
        assert!(!disk.crashed());
        map.store_at(10, &[2; 10]);
        assert!(disk.crashed());
        map.store_at(20, &[3; 10]);
        assert!(is_simulated_crash(&file.sync_data().unwrap_err()));
        assert!(is_simulated_crash(&file.read_at(&mut [0; 1], 0).unwrap_err()));
        assert!(is_simulated_crash(&disk.list("").unwrap_err()));
        assert!(is_simulated_crash(&disk.create_dir("d").unwrap_err()));
        let bytes = disk.after_process_crash().file_bytes("a").unwrap();
        assert_eq!(bytes[..10], [1; 10]);
        let stored = bytes.iter().filter(|byte| **byte == 2).count();
        assert!(bytes[10..10 + stored].iter().all(|byte| *byte == 2) && bytes[10 + stored..] == vec![0; 90 - stored]);
        lengths.insert(stored);
    }
    assert_eq!(lengths.len(), 11);
}

#[test]
fn a_failed_sync_loses_for_good_what_readers_go_on_seeing() {
    for drop_pages in [false, true] {
        let mut outcomes = BTreeSet::new();
        for seed in 0..50 {
            let disk = SimDisk::new(seed);
            let file = create_durable(&disk, "a", b"old!");
            disk.inject(Fault::new(&[Call::Sync], Failure::LostSync { drop_pages }));
            write_all_at(&*file, b"lost", 0).unwrap();
            file.sync_data().unwrap_err();
            file.sync_data().unwrap();
            let durable = disk.after_power_cut(PowerCut { keep: Keep::Everything, seed: 1 }).file_bytes("a").unwrap();
            assert_eq!(disk.file_bytes("a").unwrap(), if drop_pages { durable.clone() } else { b"lost".to_vec() });
            outcomes.insert(durable == b"lost");
            // Written again, it is as durable as anything.
            write_all_at(&*file, b"lost", 0).unwrap();
            file.sync_data().unwrap();
            assert_eq!(disk.after_power_cut(nothing(1)).file_bytes("a").unwrap(), b"lost");
        }
        assert_eq!(outcomes.len(), 2, "a failed sync may have written all the same");
    }
}

#[test]
fn a_full_disk_refuses_and_freed_space_is_used_again() {
    let disk = SimDisk::new(1);
    disk.set_space(Some(4 * 4_096));
    let a = create(&disk, "a", &[1; 8_192]);
    let b = create(&disk, "b", b"b");
    assert_eq!(disk.free_bytes().unwrap(), Some(4_096));
    assert_eq!(b.write_at(&[2; 10_000], 0).unwrap(), 8_192, "a short write up to the limit");
    let full = |error: io::Error| error.kind() == io::ErrorKind::StorageFull;
    assert!(full(b.write_at(&[2; 10], 8_192).unwrap_err()));
    assert!(full(disk.open("c", OpenMode::CreateNew).unwrap_err()));
    assert!(full(b.allocate(12_288).unwrap_err()));
    assert_eq!(b.write_at(&[3; 10], 8_000).unwrap(), 10, "written pages need no space");
    assert_eq!((a.len().unwrap(), b.len().unwrap()), (8_192, 8_192));
    a.set_len(4_096).unwrap();
    assert_eq!(disk.used_bytes(), 3 * 4_096);
    b.allocate(12_288).unwrap();
    b.map(12_288, true).unwrap().unwrap().store_at(12_000, &[4; 200]);
    disk.remove("a").unwrap();
    disk.open("c", OpenMode::CreateNew).unwrap();
}

#[test]
#[should_panic(expected = "SIGBUS: a store into a hole")]
fn a_store_into_a_hole_of_a_full_disk_is_fatal() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", b"");
    file.set_len(4_096).unwrap();
    let map = file.map(4_096, true).unwrap().unwrap();
    disk.set_space(Some(0));
    map.store_at(0, b"a");
}

#[test]
#[should_panic(expected = "SIGBUS: a was cut")]
fn a_cut_file_is_fatal_to_its_maps() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a", &[0; 4_096]);
    let map = file.map(4_096, true).unwrap().unwrap();
    file.set_len(10).unwrap();
    map.copy_at(9, &mut [0; 2]);
}

#[test]
fn faults_strike_by_kind_path_and_count() {
    let disk = SimDisk::new(1);
    let a = create(&disk, "a", b"123");
    let b = create(&disk, "b", b"123");
    disk.inject(Fault::new(&[Call::Write], Failure::Io).at("a").skip(1).times(2));
    disk.inject(Fault::new(Call::READS, Failure::Io).at("b").for_ever());
    a.write_at(b"1", 0).unwrap();
    assert_eq!(a.write_at(b"2", 0).unwrap_err().raw_os_error(), Some(5));
    b.write_at(b"2", 0).unwrap();
    a.write_at(b"2", 0).unwrap_err();
    a.write_at(b"2", 0).unwrap();
    for _ in 0..10 {
        b.read_at(&mut [0; 1], 0).unwrap_err();
    }
    disk.clear_faults();
    b.read_at(&mut [0; 1], 0).unwrap();
    disk.inject(Fault::new(&[Call::Read], Failure::WrongBit));
    let mut buf = [0; 3];
    a.read_at(&mut buf, 0).unwrap();
    let wrong: u32 = buf.iter().zip(b"223").map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!(wrong, 1);
    a.read_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"223");
}

#[test]
fn rough_calls_are_short_or_interrupted_but_loops_get_through() {
    let disk = SimDisk::new(3);
    disk.set_rough(300);
    let bytes: Vec<u8> = (0..10_000u32).map(|at| (at % 251) as u8).collect();
    let file = create(&disk, "a", b"");
    for (at, part) in bytes.chunks(500).enumerate() {
        write_all_at(&*file, part, at as u64 * 500).unwrap();
    }
    assert!(disk.operations() > 21, "some took several writes");
    let mut buf = vec![0; bytes.len()];
    read_exact_at(&*file, &mut buf, 0).unwrap();
    assert_eq!(buf, bytes);
}

#[test]
fn rot_changes_what_is_read_and_what_is_durable() {
    let disk = SimDisk::new(1);
    let file = create_durable(&disk, "a", &[1; 2_000]);
    write_all_at(&*file, &[2; 2_000], 0).unwrap();
    file.sync_data().unwrap();
    disk.flip_bit("a", 5, 7).unwrap();
    disk.zero_sector("a", 600).unwrap();
    disk.stale_sector("a", 1_999).unwrap();
    disk.copy_sector("a", 0, 1_024).unwrap();
    for bytes in [disk.file_bytes("a").unwrap(), disk.after_power_cut(nothing(1)).file_bytes("a").unwrap()] {
        assert_eq!(bytes.len(), 2_000);
        assert_eq!((bytes[4], bytes[5], bytes[1_029]), (2, 130, 130));
        assert_eq!((bytes[512], bytes[1_023], bytes[1_536], bytes[1_999]), (0, 0, 1, 1));
    }
}

#[test]
fn lying_syncs_keep_nothing() {
    let disk = SimDisk::new(1);
    disk.set_lie(true);
    create_durable(&disk, "a", b"1");
    assert!(disk.after_power_cut(nothing(1)).file_bytes("a").is_err());
}

#[test]
fn locks_die_with_the_process() {
    let disk = SimDisk::new(1);
    let guard = disk.lock("LOCK", "first").unwrap();
    assert!(guard.is_some());
    assert!(disk.lock("LOCK", "second").unwrap().is_none());
    assert!(disk.after_process_crash().lock("LOCK", "third").unwrap().is_some());
}

/// A workload of all kinds of calls, driven by a seed.
fn workload(disk: &SimDisk, seed: u64) -> io::Result<()> {
    let mut rng = SimRng::new(seed);
    disk.create_dir("log/x")?;
    for round in 0..20 {
        let path = format!("log/{}", rng.below(4));
        let file = match disk.open(&path, OpenMode::ReadWrite) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.open(&path, OpenMode::CreateNew)?,
            Err(error) => return Err(error),
        };
        match rng.below(8) {
            0 => file.set_len(rng.below(5_000))?,
            1 => file.sync_data()?,
            2 => disk.sync_dir("log")?,
            3 => disk.rename(&path, &format!("log/{}", rng.below(4)))?,
            4 => disk.remove(&path)?,
            5 => {
                file.allocate(6_000)?;
                file.map(6_000, true)?.unwrap().store_at(rng.below(5_000), &[round; 900]);
            }
            _ => write_all_at(&*file, &vec![round; 1 + rng.below(3_000) as usize], rng.below(5_000))?,
        }
    }
    Ok(())
}

/// All files of a disk, with their bytes.
fn all_bytes(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in disk.list("log").unwrap_or_default().into_iter().filter(|entry| !entry.is_dir) {
        all.insert(entry.name.clone(), disk.file_bytes(&format!("log/{}", entry.name)).unwrap());
    }
    all
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..20 {
        let run = |seed| {
            let disk = SimDisk::new(seed);
            disk.set_rough(100);
            let result = workload(&disk, seed).map_err(|error| error.to_string());
            let images: Vec<_> =
                (0..9).map(|cut| all_bytes(&disk.after_power_cut(PowerCut::seeded(seed * 9 + cut)))).collect();
            (result, disk.trace(), disk.operations(), images)
        };
        assert_eq!(run(seed), run(seed));
        assert_ne!(run(seed).1, run(seed + 1).1);
    }
}

#[test]
fn a_recording_gives_what_crashing_at_each_operation_gives() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        disk.record();
        workload(&disk, seed).unwrap();
        let last = disk.operations();
        let recording = disk.recording().unwrap();
        assert_eq!(recording.last(), last);
        let mut count = 0;
        for (number, recorded) in recording.crashes(7) {
            let rerun = SimDisk::new(seed);
            rerun.crash_at(number);
            let result = workload(&rerun, seed);
            assert_eq!(result.is_err() || rerun.crashed(), number <= last);
            let (a, b) = (all_bytes(&rerun.after_process_crash()), all_bytes(&recorded.after_process_crash()));
            assert_eq!(Vec::from_iter(a.keys()), Vec::from_iter(b.keys()));
            let durable = |disk: &SimDisk| all_bytes(&disk.after_power_cut(nothing(1)));
            assert_eq!(durable(&rerun), durable(&recorded));
            count += 1;
        }
        assert_eq!(count, last + 1);
    }
}

#[test]
fn crashes_are_cheap() {
    let disk = SimDisk::new(1);
    let file = create_durable(&disk, "a", &vec![1; 1 << 20]);
    disk.record();
    for at in 0..2_000u64 {
        write_all_at(&*file, &[2; 300], at * 400 % (1 << 20)).unwrap();
        if at % 50 == 0 {
            file.sync_data().unwrap();
        }
    }
    let start = std::time::Instant::now();
    let recording = disk.recording().unwrap();
    let mut images = 0;
    for (number, crashed) in recording.crashes(1) {
        assert_eq!(crashed.after_power_cut(PowerCut::seeded(number)).used_bytes(), 1 << 20);
        images += 1;
    }
    // A generous bound: it is some 20 us each when optimised.
    assert!(start.elapsed().as_secs() < 20, "{images} images took {:?}", start.elapsed());
}
