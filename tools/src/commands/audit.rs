//! `runlode audit head|verify|list STORE`: a hash over everything that was done to the registry, and over all deletions.
//! STORE is a folder, or the address of a Runlode server, which then is who tells.
//!
//! Exit status of `verify`: 0 unchanged, 1 changed, 2 an error.

use clap::{Args, Subcommand};
use runlode::audit::{Entry, Head, Verdict};
use serde_json::{Value, json};

use crate::Answer;
use crate::error::{Error, Result};
use crate::format;
use crate::list::{Cell, csv_line};
use crate::open::{Cache, Source};
use crate::output::Output;
use crate::v1::{Server, Where, place};

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

/// The store that is audited.
#[derive(Debug, Args)]
struct Audited {
    /// Folder of the store, or http(s)://HOST:PORT of a Runlode server
    #[arg(value_name = "STORE", value_parser = place)]
    place: Where,
    #[command(flatten)]
    cache: Cache,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the head: keep it outside of the store
    #[command(after_help = "\
Examples:
  runlode audit head ./store >> /elsewhere/heads.txt
  runlode audit head http://tracking:5000 --json")]
    Head {
        #[command(flatten)]
        store: Audited,
    },
    /// Check that nothing up to a head was changed since
    #[command(after_help = "\
Examples:
  runlode audit verify ./store --head \"$(tail -n 1 /elsewhere/heads.txt)\"
  runlode audit verify ./copy --head runlode-audit-1:STORE:POSITION:EVENTS:HASH --json")]
    Verify {
        #[command(flatten)]
        store: Audited,
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
        store: Audited,
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
            Command::Head { store } => print_head(store, output),
            Command::Verify { store, head } => verify(store, &head, output),
            Command::List { store, csv } => list(store, csv, output),
        }
    }
}

impl Audited {
    fn head(self, output: &mut Output) -> Result<Head> {
        match self.place {
            Where::Folder(path) => Ok(Source::at(Where::Folder(path), self.cache).open(output)?.audit_head()?),
            Where::Server(url) => {
                let head = Server::new(&url)?.get("audit", &[])?;
                Ok(head["head"].as_str().unwrap_or_default().parse()?)
            }
        }
    }

    fn verdict(self, head: &Head, output: &mut Output) -> Result<Verdict> {
        let url = match self.place {
            Where::Folder(path) => {
                return Ok(Source::at(Where::Folder(path), self.cache).open(output)?.audit_verify(head)?);
            }
            Where::Server(url) => url,
        };
        let said = Server::new(&url)?.get("audit", &[("head", &head.to_string())])?;
        let number = |field: &str| said[field].as_u64().ok_or_else(|| unclear(&url));
        Ok(match said["verdict"].as_str().unwrap_or_default() {
            "unchanged" => Verdict::Unchanged { events_since: number("events_since")? },
            "behind" => Verdict::Behind { position: number("position")? },
            "other_store" => Verdict::OtherStore { store: bytes(&said["store"]).ok_or_else(|| unclear(&url))? },
            "changed" => {
                Verdict::Changed { events: number("events")?, hash: bytes(&said["hash"]).ok_or_else(|| unclear(&url))? }
            }
            _ => return Err(unclear(&url)),
        })
    }

    fn entries(self, output: &mut Output) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let url = match self.place {
            Where::Folder(path) => {
                let store = Source::at(Where::Folder(path), self.cache).open(output)?;
                store.audit_each(|entry| entries.push(entry.clone()))?;
                return Ok(entries);
            }
            Where::Server(url) => url,
        };
        let said = Server::new(&url)?.get("audit/events", &[])?;
        for event in said["events"].as_array().ok_or_else(|| unclear(&url))? {
            entries.push(read_entry(event).ok_or_else(|| unclear(&url))?);
        }
        Ok(entries)
    }
}

fn unclear(url: &str) -> Error {
    Error::Source(format!("{url} is no Runlode server of this version: its answer is another one"))
}

/// Bytes that a server gives in hex.
fn bytes<const N: usize>(text: &Value) -> Option<[u8; N]> {
    let text = text.as_str().filter(|text| text.len() == 2 * N && text.is_ascii())?;
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn read_entry(event: &Value) -> Option<Entry> {
    Some(Entry {
        position: event["position"].as_u64()?,
        index: u16::try_from(event["index"].as_u64()?).ok()?,
        time_ms: event["time_ms"].as_i64()?,
        actor: event["actor"].as_str()?.to_owned(),
        event: event["event"].as_str()?.to_owned(),
        hash: bytes(&event["hash"])?,
    })
}

fn print_head(store: Audited, output: &mut Output) -> Result<Answer> {
    let head = store.head(output)?;
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

fn verify(store: Audited, head: &Head, output: &mut Output) -> Result<Answer> {
    let verdict = store.verdict(head, output)?;
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

fn list(store: Audited, csv: bool, output: &mut Output) -> Result<Answer> {
    let entries = store.entries(output)?;
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
