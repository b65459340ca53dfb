//! Finds the web pages of an installed mlflow.
//!
//! ```text
//! --ui PATH            the folder itself, or an environment or site-packages that has it
//! $VIRTUAL_ENV, $CONDA_PREFIX     lib/python3.*/site-packages
//! python3 -I           where it would import mlflow from; nothing is imported
//! ```
//!
//! The first line that applies decides. Of several installed versions the newest from 3.11 to 3.17 is taken (by its
//! metadata). Folders are listed and small files are read, but none of their code runs. If nothing readable is found,
//! the server shows a page that says what to do.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Below the package `mlflow`.
const BUILD: &str = "server/js/build";
const OLDEST: (u32, u32) = (3, 11);
const NEWEST: (u32, u32) = (3, 17);
/// How long `python3` may take to answer.
const PYTHON_MAX: Duration = Duration::from_secs(10);

/// Prints the folder of the package, without importing it.
const ASK_PYTHON: &str = "import importlib.util as u\ns = u.find_spec('mlflow')\n\
                          print(s.submodule_search_locations[0] if s and s.submodule_search_locations else '')";

/// The folder of the pages; `asked` is the user's option.
///
/// # Errors
/// A clause that says why there are none.
pub(super) fn pages(asked: Option<&Path>) -> Result<PathBuf, String> {
    match asked {
        Some(path) => named(path),
        None => {
            let environments = ["VIRTUAL_ENV", "CONDA_PREFIX"].map(|name| std::env::var_os(name).map(PathBuf::from));
            installed(&environments.into_iter().flatten().collect::<Vec<_>>(), from_python)
        }
    }
}

/// `--ui PATH`, whatever version it has.
pub(super) fn named(path: &Path) -> Result<PathBuf, String> {
    let direct = [path.to_owned(), path.join(BUILD), path.join("mlflow").join(BUILD)];
    let found = direct.into_iter().find(|folder| is_build(folder));
    let found = found.or_else(|| newest(site_packages(path), |_| true));
    found.ok_or_else(|| {
        format!(
            "--ui {} {}: it is neither a folder mlflow/{BUILD} nor an environment with mlflow",
            path.display(),
            if path.exists() { "has no pages" } else { "does not exist" }
        )
    })
}

fn installed(environments: &[PathBuf], python: impl FnOnce() -> Option<PathBuf>) -> Result<PathBuf, String> {
    let mut sites: Vec<PathBuf> = environments.iter().flat_map(|environment| site_packages(environment)).collect();
    if let Some(found) = newest(sites.clone(), supported) {
        return Ok(found);
    }
    sites.extend(python());
    newest(sites.clone(), supported).ok_or_else(|| match sites.iter().find_map(|site| version(site)) {
        Some((major, minor, _)) => format!(
            "the mlflow {major}.{minor} that is installed has none that Runlode knows ({}.{} to {}.{})",
            OLDEST.0, OLDEST.1, NEWEST.0, NEWEST.1
        ),
        None => "no installed mlflow was found".to_owned(),
    })
}

fn supported((major, minor, _): (u32, u32, u32)) -> bool {
    (OLDEST..=NEWEST).contains(&(major, minor))
}

fn newest(sites: Vec<PathBuf>, wanted: impl Fn((u32, u32, u32)) -> bool) -> Option<PathBuf> {
    let versions = sites.into_iter().filter_map(|site| {
        let version = version(&site)?;
        let build = site.join("mlflow").join(BUILD);
        (wanted(version) && is_build(&build)).then_some((version, build))
    });
    versions.max_by_key(|(version, _)| *version).map(|(_, build)| build)
}

fn is_build(folder: &Path) -> bool {
    folder.join("index.html").is_file()
}

/// The folders of packages in an environment.
fn site_packages(environment: &Path) -> Vec<PathBuf> {
    let mut sites: Vec<PathBuf> = ["lib", "lib64"]
        .iter()
        .flat_map(|lib| fs::read_dir(environment.join(lib)).into_iter().flatten().flatten())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
        .map(|entry| entry.path().join("site-packages"))
        .collect();
    sites.push(environment.to_owned());
    sites
}

/// The version of the mlflow that is installed in a folder of packages.
fn version(site: &Path) -> Option<(u32, u32, u32)> {
    let infos = fs::read_dir(site).ok()?.flatten().filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // mlflow_skinny-... and others have no pages.
        name.starts_with("mlflow-") && name.ends_with(".dist-info")
    });
    infos.filter_map(|info| version_of_metadata(&info.path().join("METADATA"))).max()
}

fn version_of_metadata(path: &Path) -> Option<(u32, u32, u32)> {
    let mut head = Vec::new();
    fs::File::open(path).ok()?.take(4096).read_to_end(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head);
    let text = head.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix("Version:"))?;
    let mut numbers = text.trim().split('.').map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

/// The folder of packages that `python3` would import mlflow from.
fn from_python() -> Option<PathBuf> {
    let mut child = Command::new("python3")
        .args(["-I", "-c", ASK_PYTHON])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let begun = Instant::now();
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if begun.elapsed() < PYTHON_MAX => std::thread::sleep(Duration::from_millis(5)),
            _ => break false,
        }
    };
    if !ended {
        // It may have ended meanwhile; then there is nothing to kill.
        let _ = child.kill();
        let _ = child.wait();
        return None;
    }
    let mut said = String::new();
    child.stdout.take()?.take(8192).read_to_string(&mut said).ok()?;
    let package = said.trim();
    if package.is_empty() { None } else { Path::new(package).parent().map(Path::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(environment: &Path, python: &str, version: &str, pages: bool) -> PathBuf {
        let site = environment.join("lib").join(python).join("site-packages");
        let info = site.join(format!("mlflow-{version}.dist-info"));
        fs::create_dir_all(&info).unwrap();
        fs::write(info.join("METADATA"), format!("Metadata-Version: 2.4\nName: mlflow\nVersion: {version}\n\nText"))
            .unwrap();
        let skinny = site.join("mlflow_skinny-9.9.9.dist-info");
        fs::create_dir_all(&skinny).unwrap();
        fs::write(skinny.join("METADATA"), "Version: 9.9.9\n").unwrap();
        let build = site.join("mlflow").join(BUILD);
        if pages {
            fs::create_dir_all(&build).unwrap();
            fs::write(build.join("index.html"), "<html>").unwrap();
        }
        build
    }

    #[test]
    fn the_newest_that_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let old = install(&one, "python3.10", "3.11.1", true);
        let good = install(&one, "python3.12", "3.17.2rc1", true);
        install(&two, "python3.12", "3.18.0", true);
        install(&two, "python3.13", "3.17.9", false);
        let environments = [one.clone(), two.clone()];
        assert_eq!(installed(&environments, || panic!("not asked")).unwrap(), good);
        let none = installed(std::slice::from_ref(&two), || None).unwrap_err();
        assert!(none.contains("mlflow 3.1") && none.contains("3.11 to 3.17"), "{none}");
        assert_eq!(installed(&[], || None).unwrap_err(), "no installed mlflow was found");
        let site = one.join("lib/python3.10/site-packages");
        assert_eq!(installed(&[], || Some(site.clone())).unwrap(), old);

        for asked in [old.clone(), site.clone(), site.join("mlflow")] {
            assert_eq!(pages(Some(&asked)).unwrap(), old);
        }
        assert_eq!(pages(Some(&one)).unwrap(), good);
        assert!(pages(Some(&two)).is_ok(), "what was asked for is taken");
        assert!(pages(Some(&dir.path().join("nowhere"))).unwrap_err().contains("--ui"));
    }
}
