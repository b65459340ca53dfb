//! What is opened, made and locked in a folder, and what is refused.

use super::*;
use crate::storage::read_exact_at;

#[test]
fn zeros_are_written_if_blocks_cannot_be_allocated() {
    let file = DiskFile { file: tempfile::tempfile().unwrap(), kind: FileSystemKind::Local };
    write_all_at(&file, b"kept", 0).unwrap();
    file.allocate_by_writing(4, 150_000).unwrap();
    file.allocate_by_writing(150_000, 10).unwrap();
    let mut bytes = vec![9; 150_000];
    assert_eq!(file.len().unwrap(), 150_000);
    read_exact_at(&file, &mut bytes, 0).unwrap();
    assert!(bytes.starts_with(b"kept") && bytes[4..].iter().all(|byte| *byte == 0));
}

#[test]
fn stored_bytes_count_as_data_and_allocated_blocks_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path());
    let file = disk.open("a", OpenMode::CreateNew).unwrap();
    file.allocate(1 << 20).unwrap();
    let maps = disk.can_map_writes();
    let is_data = |place: u64| {
        let mut at = 0;
        while let Some((start, end)) = file.next_data(at).unwrap() {
            assert!(start >= at && end > start, "{start}..{end} behind {at}");
            if (start..end).contains(&place) {
                return true;
            }
            at = end;
        }
        false
    };
    write_all_at(&*file, b"x", 300_000).unwrap();
    assert!(is_data(300_000));
    assert_eq!(is_data(900_000), !maps);
    if let Some(map) = file.map(1 << 20, maps).unwrap().filter(|_| maps) {
        map.store_at(700_000, b"y");
        assert!(is_data(700_000));
    }
    assert_eq!(file.next_data(1 << 20).unwrap(), None);
    assert_eq!(file.next_data(u64::MAX).unwrap(), None);
}

/// Everything that is not a regular file, by name, with its word.
fn oddities(folder: &Path) -> Vec<(&'static str, &'static str)> {
    fs::write(folder.join("victim"), b"precious").unwrap();
    std::os::unix::fs::symlink("victim", folder.join("link")).unwrap();
    std::os::unix::fs::symlink("nothing", folder.join("dangling")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.join("far")).unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    let fifo = FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, folder.join("pipe"), fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    let link = "a symbolic link";
    let all = [("link", link), ("dangling", link), ("far", link), ("folder", "a folder"), ("pipe", "a pipe")];
    all.into_iter().chain([("socket", "a socket")]).collect()
}

#[test]
fn only_regular_files_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path());
    for (name, found) in oddities(folder.path()) {
        let check = |what: &str, error: io::Error| {
            let path = folder.path().join(name);
            let expected = format!("{} is {found}, not a regular file", path.display());
            assert_eq!(error.to_string(), expected, "{what}");
            let error = crate::Error::io("open", "somewhere", error);
            assert!(matches!(error, crate::Error::NotAFile { path: told, .. } if told == path), "{what}");
        };
        check("read", disk.open(name, OpenMode::Read).unwrap_err());
        check("write", disk.open(name, OpenMode::ReadWrite).unwrap_err());
        check("lock", disk.lock(name, "pid 1").err().unwrap());
        check("mark", disk.mark(name).unwrap_err());
        check("copied", disk.is_copied(name).unwrap_err());
        let made = disk.open(name, OpenMode::CreateNew).unwrap_err();
        assert_eq!(made.kind(), io::ErrorKind::AlreadyExists, "{name}");
        if found != "a folder" {
            disk.remove(name).unwrap();
        }
    }
    assert_eq!(fs::read(folder.path().join("victim")).unwrap(), b"precious");
}

#[test]
fn no_link_is_followed_in_a_path() {
    let folder = tempfile::tempdir().unwrap();
    let (store, away) = (folder.path().join("store"), folder.path().join("away"));
    fs::create_dir_all(store.join("inbox")).unwrap();
    fs::create_dir(&away).unwrap();
    fs::write(away.join("a"), b"precious").unwrap();
    for link in ["log", "inbox/x"] {
        std::os::unix::fs::symlink(&away, store.join(link)).unwrap();
    }
    fs::write(store.join("file"), b"").unwrap();
    let disk = Disk::new(&store);
    for (dir, kind) in [("log", "a symbolic link"), ("inbox/x", "a symbolic link"), ("file", "a regular file")] {
        let a = format!("{dir}/a");
        let errors = [
            disk.open(&a, OpenMode::Read).err(),
            disk.open(&a, OpenMode::ReadWrite).err(),
            disk.open(&format!("{dir}/b"), OpenMode::CreateNew).err(),
            disk.remove(&a).err(),
            disk.rename("file", &a).err(),
            disk.rename(&a, "file").err(),
            disk.remove_dir(&a).err(),
            disk.list(dir).err(),
            disk.sync_dir(dir).err(),
            disk.create_dir(dir).err(),
            disk.create_dir(&format!("{dir}/deep")).err(),
            disk.lock(&a, "pid 1").err(),
        ];
        for (number, error) in errors.into_iter().enumerate() {
            let expected = format!("{} is {kind}, not a folder", store.join(dir).display());
            assert_eq!(error.unwrap().to_string(), expected, "call {number}");
        }
    }
    assert_eq!(fs::read_dir(&away).unwrap().count(), 1);
    assert_eq!(fs::read(away.join("a")).unwrap(), b"precious");
    // The store's folder itself may be a link.
    std::os::unix::fs::symlink(&store, folder.path().join("here")).unwrap();
    let disk = Disk::new(folder.path().join("here"));
    disk.open("b", OpenMode::CreateNew).unwrap();
    assert!(store.join("b").is_file() && disk.list("").unwrap().iter().any(|entry| entry.name == "b"));
}

fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn only_users_who_may_write_the_folder_can_open_its_lock() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path());
    let lock = folder.path().join("LOCK");
    let modes = [(0o700, 0o600), (0o755, 0o600), (0o770, 0o660), (0o775, 0o660), (0o777, 0o666), (0o1777, 0o600)];
    for (of_folder, of_lock) in modes {
        set_mode(folder.path(), of_folder);
        drop(disk.lock("LOCK", "pid 1").unwrap().unwrap());
        assert_eq!(mode_of(&lock), of_lock, "made in a folder of mode {of_folder:o}");
        // That of an older version, and one of a folder that has another mode by now.
        for before in [0o644, 0o666, 0o600] {
            set_mode(&lock, before);
            drop(disk.lock("LOCK", "pid 1").unwrap().unwrap());
            assert_eq!(mode_of(&lock), of_lock, "{before:o} in a folder of mode {of_folder:o}");
        }
        disk.remove("LOCK").unwrap();
    }
}

#[test]
fn files_in_a_shared_folder_are_shared() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path());
    for (of_folder, group_and_others) in [(0o770, 0o060), (0o777, 0o066)] {
        set_mode(folder.path(), of_folder);
        disk.create_dir("log").unwrap();
        disk.open("log/a", OpenMode::CreateNew).unwrap();
        assert_eq!(mode_of(&folder.path().join("log/a")) & group_and_others, group_and_others);
        assert_eq!(mode_of(&folder.path().join("log")) & of_folder, of_folder);
        disk.remove("log/a").unwrap();
        disk.remove_dir("log").unwrap();
    }
}

#[test]
fn files_that_root_creates_belong_to_the_folders_owner() {
    use std::os::unix::fs::MetadataExt;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    fs::create_dir(&store).unwrap();
    // As an older version left it.
    fs::write(store.join("LOCK"), b"").unwrap();
    set_mode(&store, 0o2750);
    std::os::unix::fs::chown(&store, Some(4_321), Some(8_765)).unwrap();
    set_mode(&store, 0o2750);
    let disk = Disk::new(&store);
    drop(disk.lock("LOCK", "pid 1").unwrap().unwrap());
    disk.create_dir("inbox/x").unwrap();
    drop(disk.lock("inbox/x/lock", "pid 1").unwrap().unwrap());
    disk.open("inbox/x/a", OpenMode::CreateNew).unwrap();
    disk.open("a.tmp", OpenMode::CreateNew).unwrap();
    disk.rename("a.tmp", "a").unwrap();
    let expected = [
        ("LOCK", 0o600),
        ("inbox", 0o2750),
        ("inbox/x", 0o2750),
        ("inbox/x/lock", 0o600),
        ("inbox/x/a", 0o640),
        ("a", 0o640),
    ];
    for (name, mode) in expected {
        let found = fs::metadata(store.join(name)).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (4_321, 8_765, mode), "{name}");
    }
    assert_eq!(disk.list("").unwrap().len(), 3, "the trial left nothing");
}

#[test]
fn allocated_bytes_take_space() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path());
    disk.open("a", OpenMode::CreateNew).unwrap().allocate(1 << 20).unwrap();
    assert!(fs::metadata(folder.path().join("a")).unwrap().blocks() * 512 >= 1 << 20);
    assert!(disk.open("a", OpenMode::ReadWrite).unwrap().allocate(1 << 62).is_err());
    assert_eq!(fs::metadata(folder.path().join("a")).unwrap().len(), 1 << 20, "a refused growth leaves nothing");
}

#[test]
fn the_root_is_made_with_its_parents() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path().join("a/b/c"));
    assert!(disk.list("").is_err());
    disk.create_dir("d/e").unwrap();
    disk.create_dir("").unwrap();
    assert!(folder.path().join("a/b/c/d/e").is_dir());
    assert_eq!(disk.display_path("d/x"), folder.path().join("a/b/c/d/x"));
    fs::write(folder.path().join("file"), b"").unwrap();
    assert!(Disk::new(folder.path().join("file")).create_dir("").is_err());
}
