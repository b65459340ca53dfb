//! Results: what a group sends, and how it is shown (a line each, JSON, a table).

use serde_json::{Value, json};

pub use crate::bar::Measured;
use crate::bar::{Bar, Bound};

/// Whether a number reaches a bar. Not a number never does.
pub fn reaches(bound: Bound, value: f64) -> bool {
    match bound {
        Bound::AtLeast(least) => value >= least,
        Bound::AtMost(most) => value <= most,
    }
}

fn verdict(bar: &Bar, measured: &Measured) -> &'static str {
    if reaches(bar.bound, measured.value) { "ok" } else { "short" }
}

/// A number with three digits that mean something.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".into();
    }
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 || v == 0.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

fn bound_text(bar: &Bar) -> String {
    let (sign, limit) = match bar.bound {
        Bound::AtLeast(least) => (">=", least),
        Bound::AtMost(most) => ("<=", most),
    };
    format!("{sign} {limit} {}", bar.unit)
}

/// The line of one bar.
pub fn line(bar: &Bar, measured: &Measured) -> String {
    let mut details: Vec<&str> = Vec::new();
    details.extend([&*measured.own, &*measured.beside, &*measured.note].into_iter().filter(|text| !text.is_empty()));
    let details = if details.is_empty() { String::new() } else { format!("  ({})", details.join("; ")) };
    format!(
        "{:<24} {:>8} {:<7} {:<16} {:<5}{details}",
        bar.name,
        number(measured.value),
        bar.unit,
        bound_text(bar),
        verdict(bar, measured),
    )
}

/// All results as JSON: the machine, the command, one object a bar.
pub fn to_json(machine: &[(&'static str, String)], command: &str, rows: &[(&Bar, Measured)]) -> String {
    let rows: Vec<Value> = rows
        .iter()
        .map(|(bar, measured)| {
            let (at_least, at_most) = match bar.bound {
                Bound::AtLeast(least) => (Some(least), None),
                Bound::AtMost(most) => (None, Some(most)),
            };
            json!({
                "name": bar.name, "what": bar.what, "unit": bar.unit, "measured": measured.value,
                "at_least": at_least, "at_most": at_most, "ok": reaches(bar.bound, measured.value),
                "own": measured.own, "beside": measured.beside, "note": measured.note,
            })
        })
        .collect();
    let machine: serde_json::Map<String, Value> =
        machine.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let all = json!({ "machine": machine, "command": command, "bars": rows });
    format!("{all:#}\n")
}

/// All results as a Markdown table below a list of what they were measured on.
pub fn to_markdown(machine: &[(&'static str, String)], command: &str, rows: &[(&Bar, Measured)]) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut out = String::new();
    for (name, value) in machine {
        out += &format!("- {name}: {value}\n");
    }
    out += &format!("- command: `{command}`\n\n");
    out += "| what | measured | Runlode | floor or peer | bar | |\n|---|---:|---|---|---|---|\n";
    for (bar, measured) in rows {
        out += &format!(
            "| {} (`{}`) | {} {} | {} | {} | {} | {} |\n",
            cell(bar.what),
            bar.name,
            number(measured.value),
            bar.unit,
            cell(&measured.own),
            cell(&measured.beside),
            bound_text(bar),
            verdict(bar, measured),
        );
    }
    let notes: Vec<_> = rows.iter().filter(|(_, measured)| !measured.note.is_empty()).collect();
    if !notes.is_empty() {
        out += "\nHow, where it is not obvious:\n\n";
        for (bar, measured) in notes {
            out += &format!("- `{}`: {}\n", bar.name, measured.note);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_a_number_never_reaches_a_bar() {
        assert!(!reaches(Bound::AtLeast(1.0), f64::NAN) && !reaches(Bound::AtMost(1.0), f64::NAN));
        assert!(reaches(Bound::AtLeast(1.0), 1.0) && reaches(Bound::AtMost(1.0), 1.0));
    }

    #[test]
    fn results_pass_through_a_line() {
        let sent = Measured::new("a", 1.5).own("b").beside("c").note("d \"quoted\"");
        let read = Measured::from_line(&sent.to_line()).expect("a result");
        assert_eq!((read.name, read.value, read.own, read.beside), ("a".into(), 1.5, "b".into(), "c".into()));
        assert!(Measured::from_line(&Measured::new("a", f64::NAN).to_line()).expect("a result").value.is_nan());
        assert!(Measured::from_line("warning: something").is_none());
    }
}
