//! An earlier launch, and the launch that repeats it.
//!
//! What is repeated is what was recorded: the commit with its changes, the values of the parameters, the packages of the
//! environment. [`Earlier::doubts`] says before anything starts what of it cannot be had again.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::environment::Manager;
use crate::error::{ProjectError, Result};
use crate::kubernetes::Config;
use crate::launcher::{Again, Backend, Request, input};

/// Files larger than this together are compared by their size only.
const DIGESTED_BYTES_MAX: u64 = 1 << 30;

/// A launch that was recorded.
#[derive(Debug, Clone)]
pub struct Earlier {
    launch: Value,
    end: Value,
    lock: Option<String>,
    patch: Option<Vec<u8>>,
}

impl Earlier {
    /// Of the files that a launch kept: `launch.json`, `end.json`, `environment.txt` and `changes.patch`.
    ///
    /// ```
    /// use runlode_projects::rerun::Earlier;
    ///
    /// let launch = r#"{"uri": "https://host/p.git", "commit": "abc", "entry_point": "main", "parameters": {"lr": "0.1"}}"#;
    /// let earlier = Earlier::read(launch, None, None, None).unwrap();
    /// let request = earlier.request("run", &[("lr".to_owned(), "0.2".to_owned())]).unwrap();
    /// assert_eq!(request.version.as_deref(), Some("abc"));
    /// assert_eq!(request.parameters, [("lr".to_owned(), "0.2".to_owned())]);
    /// ```
    ///
    /// # Errors
    /// [`ProjectError::Record`] for a file of another form.
    pub fn read(launch: &str, end: Option<&str>, lock: Option<String>, patch: Option<Vec<u8>>) -> Result<Self> {
        let parse = |name: &str, text: &str| {
            serde_json::from_str::<Value>(text)
                .map_err(|error| ProjectError::Record(format!("{name}: no JSON: {error}")))
        };
        let launch = parse("launch.json", launch)?;
        let end = end.map(|end| parse("end.json", end)).transpose()?.unwrap_or_default();
        match launch["uri"].is_string() && launch["entry_point"].is_string() && launch["parameters"].is_object() {
            true => Ok(Self { launch, end, lock, patch }),
            false => Err(ProjectError::Record("launch.json: not of a launch by runlode".to_owned())),
        }
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.launch[key].as_str().filter(|text| !text.is_empty())
    }

    fn names(&self, key: &str) -> Vec<&str> {
        self.launch[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Where the project is now: where it was, or its remote if that folder has gone.
    fn uri(&self) -> String {
        let subfolder = self.text("subfolder");
        let at = |base: &str| match subfolder {
            Some(subfolder) => format!("{base}#{subfolder}"),
            None => base.to_owned(),
        };
        match (self.text("place"), self.text("repository")) {
            (Some(place), _) if Path::new(place).exists() => at(place),
            (_, Some(repository)) => at(repository),
            (Some(place), None) => at(place),
            (None, None) => self.text("uri").unwrap_or_default().to_owned(),
        }
    }

    /// The launch that repeats it, with other values for some parameters.
    ///
    /// # Errors
    /// [`ProjectError::Environment`] for a backend's configuration that was not kept.
    pub fn request(&self, run: &str, changes: &[(String, String)]) -> Result<Request> {
        let known = self.launch["parameters"].as_object().into_iter().flatten();
        let mut parameters: Vec<(String, String)> =
            known.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
        for (name, value) in changes {
            match parameters.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => known.clone_from(value),
                None => parameters.push((name.clone(), value.clone())),
            }
        }
        let manager = match self.text("environment") {
            Some("virtualenv") => Some(Manager::Virtualenv),
            Some("uv") => Some(Manager::Uv),
            Some("conda") => Some(Manager::Conda),
            Some("local") => Some(Manager::Local),
            _ => None,
        };
        let backend = match self.text("backend") {
            Some("kubernetes") => Backend::Kubernetes(Config::parse(&self.launch["backend_config"])?),
            _ => Backend::Local,
        };
        let options = self.launch["container_options"].as_array().into_iter().flatten();
        let option = |pair: &Value| Some((pair[0].as_str()?.to_owned(), pair[1].as_str().map(str::to_owned)));
        Ok(Request {
            uri: self.uri(),
            entry_point: self.text("entry_point").unwrap_or_default().to_owned(),
            parameters,
            version: self.text("commit").map(str::to_owned),
            manager,
            backend,
            container_options: options.filter_map(option).collect(),
            builds_image: self.launch["builds_image"] == true,
            again: Some(Again {
                of: run.to_owned(),
                uri: self.text("uri").unwrap_or_default().to_owned(),
                attempt: self.launch["attempt"].as_u64().unwrap_or(1) + 1,
                lock: self.lock.clone(),
                patch: self.patch.clone().filter(|patch| !patch.is_empty()),
            }),
            ..Request::default()
        })
    }

    /// What cannot be repeated, a sentence each. Parameters in `changes` have other values now.
    pub fn doubts(&self, changes: &[(String, String)]) -> Vec<String> {
        let mut doubts = Vec::new();
        let list = |names: &[&str]| names.join(", ");
        match self.text("commit") {
            None => match self.text("place").map(|place| (place, Path::new(place).exists())) {
                Some((place, false)) => doubts.push(format!("the project is no longer at {place}")),
                Some((place, true)) if self.launch["archive"].is_object() => {
                    doubts.extend(changed(&format!("the project {place}"), &self.launch["archive"], &mut 0));
                }
                _ => doubts.push("the project is in no git repository: its files are those of today".to_owned()),
            },
            Some(commit) if self.launch["is_dirty"] == true && self.patch.is_none() => {
                doubts.push(format!("files differed from the commit {commit}, and the difference was not kept"));
            }
            Some(_) => {}
        }
        if let (Some(place), Some(_)) =
            (self.text("place").filter(|place| !Path::new(place).exists()), self.text("commit"))
        {
            doubts.push(match self.text("repository") {
                Some(repository) => format!("the repository is no longer at {place}; it is fetched from {repository}"),
                None => format!("the repository is no longer at {place}, and has no remote"),
            });
        }
        match self.names("left_out").as_slice() {
            [] => {}
            names => doubts.push(format!("changes of these files were not kept: {}", list(names))),
        }
        match self.names("untracked").as_slice() {
            [] => {}
            names => doubts.push(format!("these files were not in git, and are missing: {}", list(names))),
        }
        if matches!(self.text("environment"), Some("virtualenv" | "uv")) && self.lock.is_none() {
            doubts.push("the list of its environment was not kept: packages are those of today".to_owned());
        }
        if self.text("environment") == Some("local") {
            doubts.push("it ran in the environment of a shell: packages are those of today".to_owned());
        }
        let mut left_bytes = DIGESTED_BYTES_MAX;
        let inputs = self.launch["inputs"].as_object().into_iter().flatten();
        for (name, then) in inputs.filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == *name)) {
            doubts.extend(changed(&format!("the value of {name}"), then, &mut left_bytes));
        }
        for then in self.end["datasets"].as_array().into_iter().flatten() {
            let name = then["name"].as_str().unwrap_or_default();
            doubts.extend(changed(&format!("the data set {name:?}"), &then["file"], &mut left_bytes));
        }
        doubts
    }
}

/// How a file differs from what it was.
fn changed(what: &str, then: &Value, left_bytes: &mut u64) -> Option<String> {
    let path = PathBuf::from(then["path"].as_str()?);
    if !path.exists() {
        // A download is fetched again.
        let is_temporary = path.starts_with(std::env::temp_dir());
        return (!is_temporary).then(|| format!("{what}: {} is no longer there", path.display()));
    }
    *left_bytes = (*left_bytes).max(then["bytes"].as_u64().unwrap_or(0));
    let now = input(&path, left_bytes);
    let differs = |key: &str| !then[key].is_null() && !now[key].is_null() && then[key] != now[key];
    (differs("sha256") || differs("bytes")).then(|| format!("{what}: {} has changed since", path.display()))
}
