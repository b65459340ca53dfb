//! The command of a launch: an entry point's template with the parameters put in.
//!
//! `template` reads the placeholders of Python's `str.format`; `shell` finds what the shell does where each of them
//! stands; this module checks the parameters and quotes each value for its place. A value that the shell would take
//! unchanged is put in as it is, so such commands are equal to MLflow's, letter by letter. Where no quoting can keep a
//! shell from executing a part of the value (backticks, `eval`, arithmetic, ...), the launch is refused.

mod shell;
mod template;
mod words;

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use runlode_client::local::{self, scheme};

use crate::error::{ProjectError, Result};
use crate::file::{EntryPoint, Parameter, Project, file_error};
use crate::quote::{is_plain, quote};

pub(crate) use words::container_words;

use shell::{End, Place};
use template::Part;

/// A launch that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// For `bash -c`, in the project's folder.
    pub line: String,
    /// Values as given or by default, in the order of the file, then undeclared ones in the order given.
    pub raw: Vec<(String, String)>,
    /// The same as MLflow records them: quoted for a shell.
    pub recorded: Vec<(String, String)>,
    /// Local files and folders that parameters of type `path` name, as the command gets them.
    pub files: Vec<(String, PathBuf)>,
}

/// Brings the value of a parameter of type `path` that names something remote into a folder; gets the URI and the
/// parameter's place in the entry point, from 0.
pub type Fetch<'a> = &'a dyn Fn(&str, usize) -> std::result::Result<PathBuf, String>;

/// The command of an entry point for these values.
///
/// ```
/// use runlode_projects::command::command;
/// use runlode_projects::Project;
///
/// let folder = tempfile::tempdir().unwrap();
/// std::fs::write(
///     folder.path().join("MLproject"),
///     "entry_points: {main: {parameters: {note: string}, command: 'echo {note}'}}",
/// )
/// .unwrap();
/// let project = Project::load(folder.path()).unwrap();
/// let main = project.entry_point("main").unwrap();
/// let given = [("note".to_owned(), "it's $HOME".to_owned()), ("lr".to_owned(), "0.1".to_owned())];
///
/// let command = command(&project, &main, &given, &|uri, _| Err(format!("{uri} is not here"))).unwrap();
/// assert_eq!(command.line, r#"echo 'it'"'"'s $HOME' --lr 0.1"#);
/// ```
///
/// # Errors
/// [`ProjectError::MissingParameters`], [`ProjectError::Parameter`] for a value that its type or the shell cannot take,
/// [`ProjectError::File`] for a command that cannot be used.
pub fn command(project: &Project, entry: &EntryPoint, given: &[(String, String)], fetch: Fetch<'_>) -> Result<Command> {
    let template = Template::of(project, entry)?;
    let value_of = |name: &str| given.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let missing: Vec<_> = entry
        .parameters
        .iter()
        .filter(|parameter| parameter.default.is_none() && value_of(&parameter.name).is_none())
        .map(|parameter| parameter.name.clone())
        .collect();
    if !missing.is_empty() {
        return Err(ProjectError::MissingParameters { entry_point: entry.name.clone(), names: missing });
    }
    let mut raw = Vec::new();
    let mut used = Vec::new();
    let mut files = Vec::new();
    for (position, parameter) in entry.parameters.iter().enumerate() {
        let value = value_of(&parameter.name).or(parameter.default.as_deref()).unwrap_or_default();
        check_text(&parameter.name, value)?;
        raw.push((parameter.name.clone(), value.to_owned()));
        let value = used_value(parameter, value, position, fetch)?;
        if parameter.kind == "path" {
            files.push((parameter.name.clone(), PathBuf::from(&value)));
        }
        used.push(value);
    }
    let is_declared = |name: &str| entry.parameters.iter().any(|parameter| parameter.name == name);
    let extras: Vec<_> = given.iter().filter(|(name, _)| !is_declared(name)).cloned().collect();
    for (name, value) in &extras {
        check_text(name, value)?;
        check_text(name, name)?;
    }
    let line = template.line(entry, &used, &extras)?;
    let mut recorded: Vec<_> = raw.iter().map(|(name, value)| (name.clone(), quote(value))).collect();
    recorded.extend(extras.iter().map(|(name, value)| (quote(name), quote(value))));
    raw.extend(extras);
    Ok(Command { line, raw, recorded, files })
}

fn refused(name: &str, reason: impl Into<String>) -> ProjectError {
    ProjectError::Parameter { name: name.to_owned(), reason: reason.into() }
}

fn check_text(name: &str, text: &str) -> Result<()> {
    match text.contains('\0') {
        true => Err(refused(name, "contains a NUL character, which no command can be given")),
        false => Ok(()),
    }
}

/// The value that the command gets: local paths are made absolute, remote ones are fetched.
fn used_value(parameter: &Parameter, value: &str, position: usize, fetch: Fetch<'_>) -> Result<String> {
    let name = &parameter.name;
    match parameter.kind.as_str() {
        "uri" if scheme(value).is_none() => Err(refused(name, format!("{value:?} is no URI; begin it with a scheme"))),
        "path" if value.is_empty() => Err(refused(name, "the path is empty")),
        "path" => match local_path(value) {
            Some(path) if !Path::new(&path).exists() => {
                let here = std::env::current_dir().unwrap_or_default();
                let reason = format!("there is no {value:?}, looked for from {}", here.display());
                Err(refused(name, reason))
            }
            Some(path) => {
                let path =
                    std::path::absolute(&path).map_err(|source| ProjectError::Io { path: path.into(), source })?;
                Ok(normal(&path).to_string_lossy().into_owned())
            }
            None => {
                let path = fetch(value, position).map_err(|reason| refused(name, reason))?;
                Ok(path.to_string_lossy().into_owned())
            }
        },
        _ => Ok(value.to_owned()),
    }
}

/// The path of this machine that a value names. MLflow decodes percent signs of any; a path that exists as it is written
/// stays.
fn local_path(value: &str) -> Option<String> {
    let path = local::path(value)?;
    let is_plain = scheme(value).is_none() && Path::new(path).exists();
    Some(if is_plain { path.to_owned() } else { percent_decoded(path) })
}

fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The path without `.` and `..`, by its text alone as Python's `abspath`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// An entry point's command, read.
struct Template {
    parts: Vec<Part>,
    file: PathBuf,
    line: usize,
}

impl Template {
    fn of(project: &Project, entry: &EntryPoint) -> Result<Self> {
        let file = project.place();
        let keys = ["entry_points", entry.name.as_str(), "command"];
        let wrong = |line: usize, reason: String| file_error(&file, line, &keys, reason);
        let Some(node) = &entry.command else {
            return Err(wrong(entry.line, "missing; write the command that the entry point runs".to_owned()));
        };
        let Some(text) = node.as_text() else {
            return Err(wrong(node.line, format!("{} where a text is expected; quote it", node.value.kind())));
        };
        let parts = template::parse(text).map_err(|reason| wrong(node.line, reason))?;
        for part in &parts {
            if let Part::Placeholder(name) = part
                && !entry.parameters.iter().any(|parameter| parameter.name == *name)
            {
                let reason = format!(
                    "{{{name}}} names no parameter of the entry point; declare it, or write {{{{{name}}}}} if the shell should see the braces"
                );
                return Err(wrong(node.line, reason));
            }
        }
        Ok(Self { parts, line: node.line, file })
    }

    /// The command with these values, of the entry point's parameters in their order.
    fn line(&self, entry: &EntryPoint, values: &[String], extras: &[(String, String)]) -> Result<String> {
        let refused = |name: &str, why: &str| {
            let keys = ["entry_points", entry.name.as_str(), "command"];
            let reason = format!(
                "the value of {name} is empty or has characters that a shell acts on, and the command uses it {why}, where they cannot be quoted; move the parameter elsewhere, or give a value of letters, digits and @%+=:,./_-"
            );
            file_error(&self.file, self.line, &keys, reason)
        };
        let value_of = |name: &str| {
            let index = entry.parameters.iter().position(|parameter| parameter.name == name);
            index.and_then(|index| values.get(index)).map_or("", String::as_str)
        };
        let (places, end) = shell::places(&self.parts, &value_of);
        let mut line = String::new();
        let mut places = places.into_iter();
        for part in &self.parts {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Placeholder(name) => {
                    // The scan finds a place for each; without one nothing is known.
                    let place = places.next().unwrap_or(Place::Executed("at a place that was not found"));
                    line.push_str(&quoted(value_of(name), place).map_err(|why| refused(name, why))?);
                }
            }
        }
        if let Some((first, _)) = extras.first() {
            let is_plain_all = extras.iter().all(|(name, value)| is_plain(name) && is_plain(value));
            let keys = ["entry_points", entry.name.as_str(), "command"];
            match end {
                End::Words => {}
                End::Executed(_) if is_plain_all => {}
                End::Executed(why) => return Err(refused(first, why)),
                End::Lost(why) => {
                    let reason = format!(
                        "{first} is not declared, so it would be appended to the command, which ends {why}; declare it, or mend the end"
                    );
                    return Err(file_error(&self.file, self.line, &keys, reason));
                }
            }
            // A block of lines ends with a line break, which would make a command of its own of what is appended.
            line.truncate(line.trim_end_matches('\n').len());
            for (name, value) in extras {
                line.push_str(&format!(" --{} {}", quote(name), quote(value)));
            }
        }
        Ok(line)
    }
}

/// The value for its place, or why there is no way to write it there.
fn quoted(value: &str, place: Place) -> std::result::Result<String, &'static str> {
    if is_plain(value) {
        return Ok(value.to_owned());
    }
    match place {
        Place::Word => Ok(quote(value)),
        Place::Double => {
            let mut out = String::new();
            for letter in value.chars() {
                if matches!(letter, '"' | '\\' | '$' | '`') {
                    out.push('\\');
                }
                out.push(letter);
            }
            Ok(out)
        }
        Place::Single => Ok(value.replace('\'', r"'\''")),
        Place::Executed(why) => Err(why),
    }
}

#[cfg(test)]
mod tests;
