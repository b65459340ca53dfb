//! `bars`: measures every promise and says which are kept.
//!
//! ```text
//! bars [--only NAME]... [--json FILE] [--markdown FILE] [--list]
//! ```
//! `NAME` is a group, a bar, or the beginning of one. Exit status: 0 all kept, 1 some short, 2 wrong usage.
//! `RUNLODE_BENCH_DIR` says where scratch stores go (default: beside the build).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use runlode_benches::bars::{Bar, Context, GROUPS, Group};
use runlode_benches::report::{self, Measured};
use runlode_benches::scratch::Scratch;
use runlode_benches::{Result, group, machine, timing};

#[derive(Default)]
struct Arguments {
    only: Vec<String>,
    json: Option<PathBuf>,
    markdown: Option<PathBuf>,
    list: bool,
}

/// The name under which a group's process tells why it ended early; no bar has it.
const FAILURE: &str = "failure";
/// Where a measured table begins and ends in a Markdown file.
const BEGIN: &str = "<!-- measured: written by bars --markdown -->";
const END: &str = "<!-- end of what was measured -->";

const USAGE: &str = "usage: bars [--only NAME]... [--json FILE] [--markdown FILE] [--list]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.first().map(String::as_str) {
        // Processes of our own: a group, or a writer that is there to be killed.
        Some("run-group") => run_group(&words[1..]).map(|()| ExitCode::SUCCESS),
        Some("run-child") => group::child(&words[1..]).map(|()| ExitCode::SUCCESS),
        _ => match parse(&words) {
            Ok(arguments) => measure(&arguments),
            Err(why) => {
                eprintln!("{why}\n{USAGE}");
                return ExitCode::from(2);
            }
        },
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("bars: {error}");
        ExitCode::from(2)
    })
}

fn parse(words: &[String]) -> std::result::Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--only" => arguments.only.push(value()?),
            "--json" => arguments.json = Some(value()?.into()),
            "--markdown" => arguments.markdown = Some(value()?.into()),
            "--list" => arguments.list = true,
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    Ok(arguments)
}

fn chosen<'a>(group: &'a Group, only: &[String]) -> Vec<&'a Bar> {
    // The name of a group means that group, not what begins like it elsewhere.
    let is_group = |name: &String| GROUPS.iter().any(|group| group.name == name);
    let wanted = |bar: &Bar, name: &String| {
        if is_group(name) { group.name == name } else { bar.name.starts_with(name.as_str()) }
    };
    group.bars.iter().filter(|bar| only.is_empty() || only.iter().any(|name| wanted(bar, name))).collect()
}

fn measure(arguments: &Arguments) -> Result<ExitCode> {
    let plan: Vec<(&Group, Vec<&Bar>)> = GROUPS
        .iter()
        .map(|group| (group, chosen(group, &arguments.only)))
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    if plan.is_empty() {
        return Err(format!("no bar is called {}; --list shows all", arguments.only.join(", ")).into());
    }
    if arguments.list {
        for (group, bars) in plan {
            bars.iter().for_each(|bar| println!("{:<8} {:<22} {}", group.name, bar.name, bar.what));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let root = scratch_root()?;
    let machine = describe(&root);
    for (name, value) in &machine {
        println!("# {name}: {value}");
    }
    let start = Instant::now();
    let mut rows: Vec<(&Bar, Measured)> = Vec::new();
    for (group, bars) in plan {
        let scratch = Scratch::new(&root, group.name)?;
        let (results, failure) = in_process_of_its_own(group, scratch.path())?;
        for bar in bars {
            let found = results.iter().find(|measured| measured.name == bar.name).cloned();
            let measured =
                found.unwrap_or_else(|| Measured::new(bar.name, f64::NAN).note(format!("not measured: {failure}")));
            println!("{}", report::line(bar, &measured));
            rows.push((bar, measured));
        }
    }
    println!("# took {:.0} s", start.elapsed().as_secs_f64());
    let command = std::iter::once("benches/bars.sh".to_owned()).chain(std::env::args().skip(1)).collect::<Vec<_>>();
    if let Some(path) = &arguments.json {
        std::fs::write(path, report::to_json(&machine, &command.join(" "), &rows))?;
    }
    if let Some(path) = &arguments.markdown {
        write_markdown(path, &report::to_markdown(&machine, &command.join(" "), &rows))?;
    }
    let short = rows.iter().filter(|(bar, measured)| !report::reaches(bar.bound, measured.value)).count();
    println!("# {} of {} bars reached", rows.len() - short, rows.len());
    Ok(if short == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the table, or replaces the one in a text around it, between [`BEGIN`] and [`END`].
fn write_markdown(path: &Path, table: &str) -> Result {
    let text = if path.exists() { std::fs::read_to_string(path)? } else { String::new() };
    let text = match (text.find(BEGIN), text.find(END)) {
        (Some(begin), Some(end)) if begin < end => {
            format!("{}{BEGIN}\n\n{table}\n{}", &text[..begin], &text[end..])
        }
        _ => format!("{BEGIN}\n\n{table}\n{END}\n"),
    };
    Ok(std::fs::write(path, text)?)
}

/// `RUNLODE_BENCH_DIR`, else beside the running program; never in memory, where syncs cost nothing.
fn scratch_root() -> Result<PathBuf> {
    let root = match std::env::var_os("RUNLODE_BENCH_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => {
            let program = std::env::current_exe()?;
            program.parent().unwrap_or(Path::new(".")).join("bars-scratch")
        }
    };
    std::fs::create_dir_all(&root)?;
    if machine::is_in_memory(&root) {
        return Err(format!("{} is in memory; set RUNLODE_BENCH_DIR to a folder on a disk", root.display()).into());
    }
    Ok(root)
}

fn describe(root: &Path) -> Vec<(&'static str, String)> {
    let mut machine = machine::describe(root);
    let (p50, p99) = timing::timer_overhead_ns();
    machine.push(("timer", format!("{p50:.0} ns a reading pair, p99 {p99:.0} ns; part of every latency")));
    machine
}

/// Runs a group so that neither a panic nor a hang, nor what it leaves in memory, touches the others.
/// What was measured, and why the rest was not.
fn in_process_of_its_own(group: &Group, dir: &Path) -> Result<(Vec<Measured>, String)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["run-group", group.name])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take().ok_or("no pipe to the group's process")?;
    let (send, receive) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(std::result::Result::ok) {
            if let Some(measured) = Measured::from_line(&line) {
                // The receiver is gone only when the group was given up.
                let _ = send.send(measured);
            }
        }
    });
    let deadline = Instant::now() + Duration::from_secs(group.seconds_max);
    let mut results = Vec::new();
    let mut failure = None;
    loop {
        match receive.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(measured) if measured.name == FAILURE => failure = Some(measured.note),
            Ok(measured) => results.push(measured),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                failure = Some(format!("given up after {} s", group.seconds_max));
                child.kill()?;
                break;
            }
        }
    }
    let status = child.wait()?;
    let failure = failure.unwrap_or_else(|| format!("the group's process ended, {status}"));
    drop(receive);
    // A grandchild may still hold the pipe for a moment: it ends when its own standard input does.
    drop(reader);
    Ok((results, failure))
}

fn run_group(words: &[String]) -> Result {
    let [name, dir] = words else { return Err("run-group NAME DIR".into()) };
    let group = GROUPS.iter().find(|group| group.name == name).ok_or("no such group")?;
    let context = Context { dir: Path::new(dir) };
    (group.run)(&context).map_err(|error| {
        context.tell(Measured::new(FAILURE, f64::NAN).note(error.to_string()));
        format!("{name}: {error}").into()
    })
}
