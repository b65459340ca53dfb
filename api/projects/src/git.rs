//! The user's `git`, asked and never changed.
//!
//! No call takes an optional lock of the user's repository, and nothing is fetched into it. URLs and versions that begin
//! with a dash are refused before they come here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Schemes of git URLs that are fetched. Others, such as `ext::`, run programs that the URL names.
pub const TRANSPORTS: [&str; 5] = ["https", "http", "ssh", "git", "file"];
/// Files that git does not know, listed at most.
const NAMES_MAX: usize = 1_000;

/// A commit, and whether the files are those of the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// Root of the working tree.
    pub root: PathBuf,
    /// Hash of HEAD, in full.
    pub commit: String,
    /// Whether a file that git knows differs from the commit.
    pub is_dirty: bool,
    /// URL of the first remote, without login.
    pub url: Option<String>,
}

impl Checkout {
    /// The tag `mlflow.source.git.commit`: never the bare commit if the files are not those of the commit.
    pub fn recorded_commit(&self) -> String {
        if self.is_dirty { format!("{}-dirty", self.commit) } else { self.commit.clone() }
    }
}

/// What differs from the commit of a working tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// A patch for `git apply`.
    pub patch: Vec<u8>,
    /// Changed files that the patch leaves out, since they look like secrets or are too large.
    pub left_out: Vec<String>,
    /// Files that git does not know and does not ignore.
    pub untracked: Vec<String>,
}

fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    // Variables that would point git at another repository.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    // Settings of a repository may name programs; of these none is needed.
    command.args(["-c", "core.fsmonitor=false"]);
    command.env("GIT_OPTIONAL_LOCKS", "0").arg("-C").arg(folder).stdin(Stdio::inherit());
    command
}

/// Standard output of a call, or what it says on standard error.
fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    let made = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "git is not installed".to_owned(),
        _ => format!("git: {error}"),
    })?;
    if made.status.success() {
        return Ok(made.stdout);
    }
    let said = String::from_utf8_lossy(&made.stderr);
    let said: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(format!("git: {}", said.join("; ")))
}

fn line(folder: &Path, arguments: &[&str]) -> Option<String> {
    let bytes = output(git(folder).args(arguments)).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned()).filter(|line| !line.is_empty())
}

/// The commit of a folder's repository. `None` outside of one, without a commit, or if the repository ignores the folder.
pub(crate) fn checkout(folder: &Path) -> Option<Checkout> {
    let facts = line(folder, &["rev-parse", "--show-toplevel", "HEAD"])?;
    let (root, commit) = facts.split_once('\n')?;
    if output(git(folder).args(["check-ignore", "-q", "."])).is_ok() {
        return None;
    }
    let root = PathBuf::from(root);
    let is_dirty = output(git(&root).args(["diff", "--quiet", "HEAD", "--"])).is_err();
    let url = line(&root, &["remote"])
        .and_then(|remotes| line(&root, &["config", "--get", &format!("remote.{}.url", remotes.lines().next()?)]))
        .map(|url| without_login(&url));
    Some(Checkout { commit: commit.to_owned(), is_dirty, url, root })
}

/// The URL without user and password. What has no scheme, such as `git@host:path`, stays as it is.
pub(crate) fn without_login(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

pub(crate) fn is_branch(folder: &Path, version: &str) -> bool {
    line(folder, &["rev-parse", "--verify", "--quiet", &format!("refs/heads/{version}")]).is_some()
}

fn check_out(folder: &Path, commit: &str) -> Result<(), String> {
    output(git(folder).args(["checkout", "--quiet", "--detach", commit, "--"]))?;
    // A submodule's URL is of the repository's author: nothing of this machine is copied for it.
    let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
    output(git(folder).env("GIT_ALLOW_PROTOCOL", "https:http:ssh:git").args(update))?;
    Ok(())
}

/// Checks a version of a local repository out into an empty folder, which shares its objects.
pub(crate) fn clone_local(root: &Path, version: &str, into: &Path) -> Result<(), String> {
    let found = [version.to_owned(), format!("refs/remotes/origin/{version}")]
        .iter()
        .find_map(|name| line(root, &["rev-parse", "--verify", "--quiet", &format!("{name}^{{commit}}")]));
    let Some(commit) = found else {
        return Err(format!("the repository has no version {version:?}; fetch it first"));
    };
    let mut clone = git(into);
    clone.args(["clone", "--quiet", "--shared", "--no-checkout", "--"]).arg(root).arg(".");
    output(&mut clone)?;
    check_out(into, &commit)
}

/// Checks a version, or the remote's HEAD, out into an empty folder. Says whether the version is a branch.
pub(crate) fn clone_remote(url: &str, version: Option<&str>, into: &Path) -> Result<bool, String> {
    let allowed = |arguments: &[&str]| {
        let mut command = git(into);
        output(command.env("GIT_ALLOW_PROTOCOL", TRANSPORTS.join(":")).args(arguments))
    };
    allowed(&["init", "--quiet"])?;
    allowed(&["remote", "add", "--", "origin", url])?;
    let wanted = version.unwrap_or("HEAD");
    match allowed(&["fetch", "--quiet", "--depth", "1", "--", "origin", wanted]) {
        Ok(_) => check_out(into, "FETCH_HEAD")?,
        // A short hash, or a server that gives no single commits.
        Err(reason) if version.is_some() => {
            let all = ["fetch", "--quiet", "--tags", "--", "origin", "+refs/heads/*:refs/remotes/origin/*"];
            allowed(&all).map_err(|_| reason.clone())?;
            let name = format!("{wanted}^{{commit}}");
            let Some(commit) = line(into, &["rev-parse", "--verify", "--quiet", &name]) else {
                return Err(format!("there is no version {wanted:?} ({reason})"));
            };
            check_out(into, &commit)?;
        }
        Err(reason) => return Err(reason),
    }
    let Some(version) = version else { return Ok(false) };
    let heads = allowed(&["ls-remote", "--heads", "--", "origin", &format!("refs/heads/{version}")])?;
    Ok(!heads.is_empty())
}

/// Applies a patch to a working tree, which must be a temporary one.
pub(crate) fn apply(root: &Path, patch: &[u8]) -> Result<(), String> {
    let file = tempfile::NamedTempFile::new().map_err(|error| format!("a temporary file: {error}"))?;
    std::fs::write(file.path(), patch).map_err(|error| format!("{}: {error}", file.path().display()))?;
    output(git(root).args(["apply", "--whitespace=nowarn"]).arg(file.path())).map(drop)
}

/// Whether a file's name is one under which people keep secrets.
fn looks_secret(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let ends = [".pem", ".key", ".p12", ".pfx", ".keystore", ".jks", ".kdbx", ".env"];
    let holds = ["secret", "credential", "password", "token"];
    let begins = [".env", "id_rsa", "id_ed25519", "id_ecdsa", ".netrc", ".pypirc", ".npmrc", "kubeconfig"];
    ends.iter().any(|end| name.ends_with(end))
        || holds.iter().any(|part| name.contains(part))
        || begins.iter().any(|start| name.starts_with(start))
}

/// The changes of a working tree. Files whose patches would exceed `bytes_max` together are left out and listed.
///
/// # Errors
/// What git says.
pub fn diff(checkout: &Checkout, bytes_max: usize) -> Result<Diff, String> {
    let root = checkout.root.as_path();
    let names = |arguments: &[&str]| -> Result<Vec<String>, String> {
        let bytes = output(git(root).args(arguments))?;
        let names = bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    };
    let mut untracked = names(&["ls-files", "--others", "--exclude-standard", "-z"])?;
    if untracked.len() > NAMES_MAX {
        let more = untracked.len() - NAMES_MAX;
        untracked.truncate(NAMES_MAX);
        untracked.push(format!("and {more} more"));
    }
    let mut diff = Diff { untracked, ..Diff::default() };
    if !checkout.is_dirty {
        return Ok(diff);
    }
    for name in names(&["diff", "--name-only", "--no-renames", "-z", "HEAD", "--"])? {
        let patch = match looks_secret(&name) {
            true => None,
            false => {
                let file = format!(":(literal){name}");
                let arguments =
                    ["diff", "--binary", "--no-renames", "--no-ext-diff", "--no-textconv", "HEAD", "--", &file];
                Some(output(git(root).args(arguments))?).filter(|patch| diff.patch.len() + patch.len() <= bytes_max)
            }
        };
        match patch {
            Some(patch) => diff.patch.extend(patch),
            None => diff.left_out.push(name),
        }
    }
    Ok(diff)
}
