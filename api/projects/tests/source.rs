//! Projects from folders, zip files and git repositories; what is the user's stays as it is.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use runlode_projects::git;
use runlode_projects::source::Source;

fn find(uri: &str, version: Option<&str>) -> Result<Source, String> {
    Source::find(uri, version, &|url, _| Err(format!("{url} was asked for"))).map_err(|error| error.to_string())
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let login =
        ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"];
    let output = Command::new("git").arg("-C").arg(folder).args(login).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository of two commits, a branch and a tag; its folder `sub` holds a project.
fn repository() -> (tempfile::TempDir, [String; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    git(root, &["init", "-q", "-b", "main"]);
    git(root, &["remote", "add", "origin", "https://me:token@example.com/a/b.git"]);
    fs::create_dir(root.join("sub")).unwrap();
    let mut commits = Vec::new();
    for text in ["one", "two"] {
        fs::write(root.join("sub/file"), text).unwrap();
        git(root, &["add", "."]);
        git(root, &["commit", "-q", "-m", text]);
        commits.push(git(root, &["rev-parse", "HEAD"]));
    }
    git(root, &["branch", "old", &commits[0]]);
    git(root, &["tag", "v1", &commits[0]]);
    (folder, [commits[0].clone(), commits[1].clone()])
}

/// Every file below a folder, with its content.
fn listing(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path)
            } else {
                out.push((path.display().to_string(), fs::read(&path).unwrap()))
            }
        }
    }
    out.sort();
    out
}

#[test]
fn a_folder_is_used_in_place_and_recorded_by_its_repository() {
    let (folder, [_, second]) = repository();
    let root = folder.path().canonicalize().unwrap();
    let shown = root.display();
    let source = find(&format!("{shown}/sub"), None).unwrap();
    assert_eq!((source.folder, source.name), (root.join("sub"), format!("file://{shown}#sub")));
    let checkout = source.checkout.unwrap();
    assert_eq!((checkout.commit.as_str(), checkout.is_dirty), (second.as_str(), false));
    assert_eq!(checkout.url.as_deref(), Some("https://example.com/a/b.git"));
    assert_eq!(find(&format!("file://{shown}"), None).unwrap().name, format!("file://{shown}"));
    assert_eq!(find(&format!("{shown}#sub"), None).unwrap().name, format!("{shown}#sub"));
    let plain = tempfile::tempdir().unwrap();
    let source = find(&plain.path().display().to_string(), None).unwrap();
    assert_eq!((source.name, source.checkout), (plain.path().canonicalize().unwrap().display().to_string(), None));
}

#[test]
fn a_changed_tree_is_not_recorded_as_its_commit() {
    let (folder, [_, second]) = repository();
    let root = folder.path();
    fs::write(root.join("sub/file"), "three").unwrap();
    for (name, bytes) in [(".env", "A=1"), ("big", "x"), ("new file", "y")] {
        fs::write(root.join(name), bytes).unwrap();
    }
    git(root, &["add", "-f", ".env", "big"]);
    fs::write(root.join("big"), vec![b'x'; 5000]).unwrap();
    let before = listing(root);
    let checkout = find(&root.display().to_string(), None).unwrap().checkout.unwrap();
    assert_eq!(checkout.recorded_commit(), format!("{second}-dirty"));
    let diff = git::diff(&checkout, 2000).unwrap();
    assert_eq!(
        (diff.left_out, diff.untracked),
        (vec![".env".to_owned(), "big".to_owned()], vec!["new file".to_owned()])
    );
    assert_eq!(listing(root), before);
    let (copy, _) = repository();
    let patch = copy.path().join("patch");
    fs::write(&patch, diff.patch).unwrap();
    git(copy.path(), &["apply", &patch.display().to_string()]);
    assert_eq!(fs::read(copy.path().join("sub/file")).unwrap(), b"three");
}

#[test]
fn a_version_is_checked_out_elsewhere() {
    let (folder, [first, second]) = repository();
    let root = folder.path();
    fs::write(root.join("sub/file"), "not committed").unwrap();
    let before = listing(root);
    for (version, commit, branch) in [
        ("v1", &first, None),
        ("old", &first, Some("old")),
        (&first[..7], &first, None),
        (second.as_str(), &second, None),
    ] {
        let source = find(&format!("{}/sub", root.display()), Some(version)).unwrap();
        let checkout = source.checkout.as_ref().unwrap();
        assert_eq!(
            (&checkout.commit, checkout.is_dirty, source.branch.as_deref()),
            (commit, false, branch),
            "{version}"
        );
        let text = if *commit == first { "one" } else { "two" };
        assert_eq!(fs::read_to_string(source.folder.join("file")).unwrap(), text);
        assert!(!source.folder.starts_with(root));
        let kept = source.folder.clone();
        drop(source);
        assert!(!kept.exists());
    }
    assert!(find(&root.display().to_string(), Some("v9")).unwrap_err().contains("no version \"v9\""));
    assert!(find(&root.display().to_string(), Some("--upload-pack=touch x")).unwrap_err().contains("no version"));
    assert_eq!(listing(root), before);
}

/// `git daemon` on this machine, for one repository.
struct Daemon {
    uri: String,
    process: std::process::Child,
}

impl Daemon {
    fn serve(repository: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("git")
            .args(["daemon", "--export-all", "--listen=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", repository.display()))
            .arg(repository)
            .spawn()
            .unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Self { uri: format!("git://127.0.0.1:{port}/"), process }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // `git` started the daemon as a child, which it ends with itself.
        let _ended = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ended = self.process.wait();
    }
}

#[test]
fn a_repository_is_fetched_at_a_version_or_at_its_head() {
    let (folder, [first, second]) = repository();
    let bare = tempfile::tempdir().unwrap();
    let source = folder.path().display().to_string();
    git(bare.path(), &["clone", "-q", "--bare", &source, "."]);
    let daemon = Daemon::serve(bare.path());
    let uri = daemon.uri.clone();
    for (version, commit, branch) in [
        (None, &second, None),
        (Some("old"), &first, Some("old")),
        (Some("v1"), &first, None),
        (Some(&first[..8]), &first, None),
        (Some(first.as_str()), &first, None),
    ] {
        let source = find(&format!("{uri}#sub"), version).unwrap();
        assert_eq!(
            (&source.checkout.as_ref().unwrap().commit, source.branch.as_deref()),
            (commit, branch),
            "{version:?}"
        );
        assert_eq!(source.name, format!("{uri}#sub"));
    }
    assert!(find(&uri, Some("gone")).unwrap_err().contains("no version \"gone\""));
}

#[test]
fn urls_that_run_programs_are_refused() {
    for uri in [
        "ext::sh -c touch% x",
        "fd::17",
        "ftp://example.com/x",
        "--upload-pack=x",
        "gone",
        "",
        "#sub",
        "s3://b/k",
        "::",
    ] {
        let error = find(uri, None).unwrap_err();
        assert!(error.starts_with("project "), "{uri}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    for below in ["..", "a.b", "/etc", "gone"] {
        assert!(find(&format!("{}#{below}", folder.path().display()), None).unwrap_err().contains("subfolder"));
    }
    std::os::unix::fs::symlink("/etc", folder.path().join("link")).unwrap();
    assert!(find(&format!("{}#link", folder.path().display()), None).unwrap_err().contains("leads out"));
}

#[test]
fn zip_files_are_unpacked_and_stay_in_their_folder() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, member: &str| {
        let path = folder.path().join(name);
        let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        zip.start_file(member, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(b"entry_points: {}").unwrap();
        zip.finish().unwrap();
        path.display().to_string()
    };
    let good = make("good.zip", "sub/MLproject");
    let source = find(&format!("{good}#sub"), None).unwrap();
    assert!(source.folder.join("MLproject").is_file());
    assert_eq!(source.name, format!("{good}#sub"));
    for member in ["../out", "/tmp/out", "a/../../out"] {
        assert!(find(&make("bad.zip", member), None).unwrap_err().contains("leads out"), "{member}");
    }
    fs::write(folder.path().join("no.zip"), "text").unwrap();
    assert!(find(&folder.path().join("no.zip").display().to_string(), None).unwrap_err().contains("not a zip file"));
    assert!(find("http://127.0.0.1:1/x.zip", None).unwrap_err().contains("was asked for"));
    assert!(find(&good, Some("v1")).unwrap_err().contains("git repository only"));
}
