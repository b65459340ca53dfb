//! `runlode diff A B`

use std::path::Path;

use clap::Args;

use super::import::Reading;
use crate::error::{Error, Result};
use crate::import::diff::{Comparison, Kind, Side, compare};
use crate::import::{ImportOptions, ImportSource};
use crate::open::open_to_read;
use crate::output::Output;
use crate::progress::Bar;
use crate::{Answer, format};

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// Folder of a store, or anything that `import` reads
    a: String,
    /// The other one
    b: String,
    #[command(flatten)]
    reading: Reading,
}

impl Diff {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let options = self.reading.options();
        if options.cache.is_some() {
            return Err(Error::usage("--cache is for imports: a comparison fetches what a server has now"));
        }
        let bar = Bar::new("reading");
        let open = |text: &str, output: &mut Output| side(text, &options, &bar, output);
        let (a, b) = (open(&self.a, output)?, open(&self.b, output)?);
        let found = compare(&a, &b, [&self.a, &self.b], &mut |at| bar.set(at.phase, at.done, at.total))?;
        drop(bar);
        print(&found, output)?;
        Ok(if found.equal { Answer::Yes } else { Answer::No })
    }
}

fn side(text: &str, options: &ImportOptions, bar: &Bar, output: &mut Output) -> Result<Side> {
    let path = Path::new(text);
    if path.join("FORMAT").exists() {
        return Ok(Side::Store(open_to_read(path, output)?));
    }
    let source = ImportSource::parse(text)?;
    let opened = source.open(options, &mut |at| bar.set(at.phase, at.done, at.total))?;
    Ok(Side::Source(Box::new(opened), options.workspace.clone()))
}

fn print(found: &Comparison, output: &mut Output) -> Result<()> {
    if output.is_json() {
        return output.document(found);
    }
    let [a, b] = &found.sides;
    output.line(format!("A is {a}"))?;
    output.line(format!("B is {b}"))?;
    let number = |count: u64| if count == 0 { "-".to_owned() } else { format::count(count) };
    let row = |(kind, counts): (&Kind, &crate::import::diff::Counts)| {
        let numbers = [counts.equal, counts.different, counts.only_a, counts.only_b, counts.cannot_be_equal];
        std::iter::once(kind.name().to_owned()).chain(numbers.map(number)).collect()
    };
    let heads = ["", ">EQUAL", ">DIFFERENT", ">ONLY IN A", ">ONLY IN B", ">CANNOT BE EQUAL"];
    output.table(&heads, found.counts.iter().map(row).collect())?;
    for (kind, differences) in &found.differences {
        output.line(format!("{}:", kind.name()))?;
        for difference in differences {
            let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
            let (a, b) = (value(&difference.a), value(&difference.b));
            let why = if difference.cannot_be_equal { " (cannot be equal)" } else { "" };
            output.line(format!("  {}: A {a}, B {b}{why}", difference.what))?;
        }
    }
    output.line(if found.equal { "Equal." } else { "Different." })
}
