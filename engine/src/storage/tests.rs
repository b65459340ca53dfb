//! What every storage must do: the same checks on real files, in memory, and on the simulated disk.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::ErrorKind;
use std::sync::Arc;

use super::disk::{Disk, FileSystemKind};
use super::lock::{LOCK_TEXT_BYTES, read_lock_text};
use super::memory::Memory;
use super::sim::SimDisk;
use super::*;

/// Runs a check on every storage.
fn on_each(check: impl Fn(&dyn Storage)) {
    let folder = tempfile::tempdir().unwrap();
    check(&Disk::new(folder.path().join("new/store")));
    check(&Memory::new());
    check(&SimDisk::new(1));
}

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("this should have failed"),
        Err(error) => error.kind(),
    }
}

fn names(storage: &dyn Storage, dir: &str) -> Vec<String> {
    storage.list(dir).unwrap().into_iter().map(|entry| entry.name + if entry.is_dir { "/" } else { "" }).collect()
}

#[test]
fn files_are_read_written_cut_and_grown() {
    on_each(|storage| {
        storage.create_dir("").unwrap();
        let file = storage.open("a", OpenMode::CreateNew).unwrap();
        assert!(file.is_empty().unwrap());
        write_all_at(&*file, b"hello", 3).unwrap();
        let mut buf = [9; 10];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 8);
        assert_eq!(&buf[..8], b"\0\0\0hello");
        assert_eq!(file.read_at(&mut buf, 8).unwrap(), 0);
        assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
        assert_eq!(kind(read_exact_at(&*file, &mut buf, 0)), ErrorKind::UnexpectedEof);
        assert_eq!(file.write_at(b"", 100).unwrap(), 0);
        assert_eq!(file.len().unwrap(), 8);
        file.set_len(5).unwrap();
        file.allocate(20_000).unwrap();
        file.allocate(10).unwrap();
        file.allocate(0).unwrap();
        assert_eq!(file.len().unwrap(), 20_000);
        read_exact_at(&*file, &mut buf, 0).unwrap();
        assert_eq!(&buf, b"\0\0\0he\0\0\0\0\0");
        file.sync_data().unwrap();
        file.sync_all().unwrap();
        let reader = storage.open("a", OpenMode::Read).unwrap();
        assert!(reader.write_at(b"x", 0).is_err());
        assert_eq!(reader.len().unwrap(), 20_000);
    });
}

#[test]
fn names_are_made_moved_and_removed() {
    on_each(|storage| {
        storage.create_dir("").unwrap();
        storage.create_dir("log/deep").unwrap();
        storage.create_dir("log").unwrap();
        assert_eq!(kind(storage.open("a", OpenMode::ReadWrite)), ErrorKind::NotFound);
        assert_eq!(kind(storage.open("no/a", OpenMode::CreateNew)), ErrorKind::NotFound);
        let a = storage.open("a", OpenMode::CreateNew).unwrap();
        assert_eq!(kind(storage.open("a", OpenMode::CreateNew)), ErrorKind::AlreadyExists);
        assert!(storage.open("log", OpenMode::Read).is_err());
        a.write_at(b"one", 0).unwrap();
        storage.open("log/b", OpenMode::CreateNew).unwrap();
        assert_eq!(names(storage, ""), ["a", "log/"]);
        assert_eq!(names(storage, "log"), ["b", "deep/"]);
        storage.rename("a", "log/b").unwrap();
        assert_eq!(storage.open("log/b", OpenMode::Read).unwrap().len().unwrap(), 3);
        assert_eq!(kind(storage.rename("a", "c")), ErrorKind::NotFound);
        assert_eq!(kind(storage.list("none")), ErrorKind::NotFound);
        assert_eq!(kind(storage.sync_dir("none")), ErrorKind::NotFound);
        storage.sync_dir("").unwrap();
        storage.sync_dir("log").unwrap();
        storage.remove("log/b").unwrap();
        assert_eq!(kind(storage.remove("log/b")), ErrorKind::NotFound);
        let mut buf = [0; 3];
        read_exact_at(&*a, &mut buf, 0).unwrap();
        assert_eq!(&buf, b"one", "an open file outlives its name");
    });
}

#[test]
fn paths_stay_below_the_root() {
    on_each(|storage| {
        storage.create_dir("").unwrap();
        for path in ["/etc/passwd", "..", "../a", "a/../../b", "./a", "a//b", "a/", "a\\b", "a\0b", "."] {
            assert_eq!(kind(storage.open(path, OpenMode::Read)), ErrorKind::InvalidInput, "{path:?}");
            assert_eq!(kind(storage.open(path, OpenMode::CreateNew)), ErrorKind::InvalidInput, "{path:?}");
            assert_eq!(kind(storage.rename(path, "a")), ErrorKind::InvalidInput, "{path:?}");
            assert_eq!(kind(storage.rename("a", path)), ErrorKind::InvalidInput, "{path:?}");
            assert_eq!(kind(storage.remove(path)), ErrorKind::InvalidInput, "{path:?}");
            assert_eq!(kind(storage.list(path)), ErrorKind::InvalidInput, "{path:?}");
            assert_eq!(kind(storage.create_dir(path)), ErrorKind::InvalidInput, "{path:?}");
            assert_eq!(kind(storage.sync_dir(path)), ErrorKind::InvalidInput, "{path:?}");
            assert_eq!(kind(storage.lock(path, "")), ErrorKind::InvalidInput, "{path:?}");
        }
        assert_eq!(kind(storage.open("", OpenMode::Read)), ErrorKind::InvalidInput);
        assert_eq!(names(storage, ""), Vec::<String>::new());
    });
}

#[test]
fn a_lock_is_held_once_and_given_back() {
    on_each(|storage| {
        storage.create_dir("").unwrap();
        assert_eq!(read_lock_text(storage, "LOCK").unwrap(), None);
        let guard = storage.lock("LOCK", "host a, pid 1").unwrap().unwrap();
        assert!(storage.lock("LOCK", "host b").unwrap().is_none());
        assert_eq!(read_lock_text(storage, "LOCK").unwrap().unwrap(), "host a, pid 1");
        storage.open("LOCK", OpenMode::ReadWrite).unwrap().write_at(b"epoch", LOCK_TEXT_BYTES as u64).unwrap();
        drop(guard);
        let guard = storage.lock("LOCK", &"ä".repeat(LOCK_TEXT_BYTES)).unwrap().unwrap();
        assert_eq!(read_lock_text(storage, "LOCK").unwrap().unwrap(), "ä".repeat(LOCK_TEXT_BYTES / 2));
        let mut epoch = [0; 5];
        let file = storage.open("LOCK", OpenMode::Read).unwrap();
        read_exact_at(&*file, &mut epoch, LOCK_TEXT_BYTES as u64).unwrap();
        assert_eq!(&epoch, b"epoch", "what lies behind the text is not touched");
        drop(guard);
        drop(storage.lock("LOCK", "short").unwrap().unwrap());
        assert_eq!(read_lock_text(storage, "LOCK").unwrap().unwrap(), "short");
    });
}

#[test]
fn maps_and_files_share_their_bytes() {
    on_each(|storage| {
        storage.create_dir("").unwrap();
        let file = storage.open("a", OpenMode::CreateNew).unwrap();
        file.allocate(10_000).unwrap();
        let Some(map) = file.map(10_000, true).unwrap() else {
            assert!(!storage.can_map_writes());
            return;
        };
        map.store_at(4_094, b"mapped");
        let mut buf = [0; 6];
        read_exact_at(&*file, &mut buf, 4_094).unwrap();
        assert_eq!(&buf, b"mapped");
        file.write_at(b"M", 4_094).unwrap();
        map.copy_at(4_094, &mut buf);
        assert_eq!(&buf, b"Mapped");
        assert_eq!(map.len(), 10_000);
        assert_eq!(kind(file.map(10_001, false)), ErrorKind::UnexpectedEof);
        let reader = storage.open("a", OpenMode::Read).unwrap();
        assert!(reader.map(10, true).is_err());
        reader.map(5_000, false).unwrap().unwrap().copy_at(4_994, &mut buf);
        assert_eq!(buf, [0; 6]);
    });
}

#[test]
fn a_read_only_storage_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::new();
    let pairs: [(Box<dyn Storage>, Box<dyn Storage>); 2] = [
        (Box::new(Disk::new(folder.path())), Box::new(Disk::read_only(folder.path()))),
        (Box::new(memory.clone()), Box::new(memory.read_only())),
    ];
    for (writer, reader) in pairs {
        writer.open("a", OpenMode::CreateNew).unwrap().write_at(b"1", 0).unwrap();
        let refused = ErrorKind::ReadOnlyFilesystem;
        assert_eq!(kind(reader.open("a", OpenMode::ReadWrite)), refused);
        assert_eq!(kind(reader.open("b", OpenMode::CreateNew)), refused);
        assert_eq!(kind(reader.rename("a", "b")), refused);
        assert_eq!(kind(reader.remove("a")), refused);
        assert_eq!(kind(reader.create_dir("d")), refused);
        assert_eq!(kind(reader.sync_dir("")), refused);
        assert_eq!(kind(reader.lock("LOCK", "")), refused);
        assert!(!reader.can_map_writes());
        let file = reader.open("a", OpenMode::Read).unwrap();
        assert!(file.write_at(b"2", 0).is_err());
        assert!(file.set_len(0).is_err());
        assert!(file.allocate(10).is_err());
        assert_eq!(names(&*reader, ""), ["a"]);
    }
}

#[test]
fn threads_share_a_file() {
    on_each(|storage| {
        storage.create_dir("").unwrap();
        let file = storage.open("a", OpenMode::CreateNew).unwrap();
        file.allocate(8 * 1_000).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8u8 {
                let file: Arc<dyn StorageFile> = file.clone();
                scope.spawn(move || {
                    for at in 0..100 {
                        write_all_at(&*file, &[thread; 10], u64::from(thread) * 1_000 + at * 10).unwrap();
                    }
                });
            }
        });
        for thread in 0..8u8 {
            let mut buf = [99; 1_000];
            read_exact_at(&*file, &mut buf, u64::from(thread) * 1_000).unwrap();
            assert!(buf.iter().all(|byte| *byte == thread));
        }
    });
}

#[test]
fn a_disk_tells_its_file_system_and_free_space() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path());
    assert!(disk.free_bytes().unwrap().unwrap() > 0);
    let kind = disk.file_system().unwrap();
    assert_eq!(disk.can_map_writes(), kind == FileSystemKind::MapsWritable);
    let without = Disk::new(folder.path()).maps(false);
    assert!(!without.can_map_writes());
    let file = without.open("a", OpenMode::CreateNew).unwrap();
    assert!(file.map(0, false).unwrap().is_none());
    assert!(Disk::new(folder.path().join("none")).file_system().is_err());
    assert!(!Disk::new(folder.path().join("none")).can_map_writes());
}
