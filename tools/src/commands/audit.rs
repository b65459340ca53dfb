//! `runlode audit head|verify|list STORE`: a hash over everything that was done to the registry, and over all deletions.
//!
//! Exit status of `verify`: 0 unchanged, 1 changed, 2 an error.

use clap::{Args, Subcommand};
use runlode::audit::{Head, Verdict};
use serde_json::json;

use crate::Answer;
use crate::error::Result;
use crate::format;
use crate::list::{Cell, csv_line};
use crate::open::Source;
use crate::output::Output;

/// Arguments of `audit`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlode audit head ./store >> /elsewhere/heads.txt
  runlode audit verify ./store --head \"$(tail -n 1 /elsewhere/heads.txt)\"")]
pub struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the head: keep it outside of the store
    #[command(after_help = "\
Examples:
  runlode audit head ./store >> /elsewhere/heads.txt
  runlode audit head ./store --json")]
    Head {
        #[command(flatten)]
        store: Source,
    },
    /// Check that nothing up to a head was changed since
    #[command(after_help = "\
Examples:
  runlode audit verify ./store --head \"$(tail -n 1 /elsewhere/heads.txt)\"
  runlode audit verify ./copy --head runlode-audit-1:STORE:POSITION:EVENTS:HASH --json")]
    Verify {
        #[command(flatten)]
        store: Source,
        /// A head that `runlode audit head` printed earlier
        #[arg(long, value_parser = head)]
        head: Head,
    },
    /// List the audited events with the hash after each: the lists of two copies show where they differ
    #[command(after_help = "\
Examples:
  runlode audit list ./store
  runlode audit list ./store --csv > then.csv")]
    List {
        #[command(flatten)]
        store: Source,
        /// Print CSV: times in UTC
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
}

fn head(text: &str) -> std::result::Result<Head, String> {
    text.parse().map_err(|error: runlode::Error| error.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Audit {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        match self.command {
            Command::Head { store } => print_head(&store, output),
            Command::Verify { store, head } => verify(&store, &head, output),
            Command::List { store, csv } => list(&store, csv, output),
        }
    }
}

fn print_head(store: &Source, output: &mut Output) -> Result<Answer> {
    let head = store.open(output)?.audit_head()?;
    if output.is_json() {
        output.document(&json!({
            "head": head.to_string(), "store": hex(&head.store), "position": head.position, "events": head.events,
            "hash": hex(&head.hash),
        }))?;
    } else {
        output.line(head)?;
    }
    Ok(Answer::Yes)
}

fn verify(store: &Source, head: &Head, output: &mut Output) -> Result<Answer> {
    let verdict = store.open(output)?.audit_verify(head)?;
    let (position, events) = (head.position, format::count(head.events));
    let (unchanged, why, since) = match &verdict {
        Verdict::Unchanged { events_since } => {
            let since = format::count(*events_since);
            let why =
                format!("the {events} audited events up to position {position} are unchanged; {since} came since");
            (true, why, Some(*events_since))
        }
        Verdict::Behind { position: end } => {
            let why = format!(
                "the store ends at position {end}, before the head's {position}: it is an older copy, or was cut"
            );
            (false, why, None)
        }
        Verdict::OtherStore { store } => {
            (false, format!("the head is of store {}, this is store {}", hex(&head.store), hex(store)), None)
        }
        Verdict::Changed { events: now, .. } => {
            let now = format::count(*now);
            let why = format!(
                "changed: up to position {position} there were {events} audited events and now are {now}, with another \
                 hash; compare `runlode audit list` of this store and of a copy of that time"
            );
            (false, why, None)
        }
        _ => (false, "this version cannot tell".to_owned(), None),
    };
    if output.is_json() {
        output.document(&json!({
            "unchanged": unchanged, "why": why, "position": position, "events": head.events, "events_since": since,
        }))?;
    } else {
        output.line(why)?;
    }
    Ok(if unchanged { Answer::Yes } else { Answer::No })
}

fn list(store: &Source, csv: bool, output: &mut Output) -> Result<Answer> {
    let mut entries = Vec::new();
    store.open(output)?.audit_each(|entry| entries.push(entry.clone()))?;
    if output.is_json() {
        let entries = entries.iter().map(|entry| {
            json!({
                "position": entry.position, "index": entry.index, "time_ms": entry.time_ms, "actor": entry.actor,
                "event": entry.event, "hash": hex(&entry.hash),
            })
        });
        output.document(&entries.collect::<Vec<_>>())?;
        return Ok(Answer::Yes);
    }
    if csv {
        output.raw_line("position,index,time,actor,event,hash")?;
    }
    for entry in &entries {
        let hash = hex(&entry.hash);
        if csv {
            let (position, index) = (Cell::Count(entry.position), Cell::Count(entry.index.into()));
            let (time, actor) = (Cell::Time(entry.time_ms), Cell::text(Some(&entry.actor)));
            let cells = [position, index, time, actor, Cell::text(Some(&entry.event)), Cell::Text(hash)];
            output.raw_line(&csv_line(&cells))?;
        } else {
            let actor = if entry.actor.is_empty() { "-" } else { &entry.actor };
            let time = format::time(entry.time_ms);
            let short = hash.get(..16).unwrap_or_default();
            output.line(format!("{:>8}  {time}  {actor}  {}  {short}", entry.position, entry.event))?;
        }
    }
    Ok(Answer::Yes)
}
