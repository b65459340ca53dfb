//! Two examples for the help of each command that has none of its own beside its arguments.
//!
//! A command of a command stands here with both names. Names that the tool does not have are passed over.

use clap::Command;

const EXAMPLES: &[(&str, [&str; 2])] = &[
    ("demo", ["runlode demo", "runlode demo --help"]),
    (
        "import",
        ["runlode import sqlite:///mlflow.db ./store", "runlode import sqlite:////data/mlflow.db ./store --json"],
    ),
    ("export", ["runlode export ./store --to parquet:./out", "runlode export ./store --to sqlite:///back.db"]),
    ("diff", ["runlode diff sqlite:///mlflow.db ./store", "runlode diff ./store ./copy --json"]),
    ("serve", ["runlode serve ./store --port 5000", "runlode serve ./store --host 0.0.0.0 --allow-sync"]),
    ("ui", ["runlode ui ./store", "runlode ui ./store --help"]),
    (
        "run",
        [
            "runlode run ./project -P alpha=0.5 --store ./store",
            "runlode run https://git.example/team/project.git -e train",
        ],
    ),
    ("rerun", ["runlode rerun trial-17 --store ./store", "runlode rerun trial-17 --store ./store --check"]),
    (
        "runs",
        [
            "runlode runs ./store \"metrics.val_acc.max > 0.9 and params.lr < 0.01\" -o \"metrics.val_acc desc\"",
            "runlode runs ./store --csv --columns run_name,metrics.loss.min --as-of \"2026-03-03 09:00\"",
        ],
    ),
    ("experiments", ["runlode experiments ./store", "runlode experiments ./store --all --json"]),
    ("models", ["runlode models ./store", "runlode models inspect models:/fraud@champion --store ./store"]),
    (
        "models predict",
        [
            "runlode models predict models:/fraud/2 --store ./store -i data.csv -o scores.csv",
            "runlode models predict ./model -i data.parquet -o scores.parquet",
        ],
    ),
    (
        "models generate-dockerfile",
        [
            "runlode models generate-dockerfile -m ./model -d ./image",
            "runlode models generate-dockerfile -m ./model --engine onnxruntime",
        ],
    ),
    (
        "models build-docker",
        [
            "runlode models build-docker -m ./model -n fraud",
            "runlode models build-docker -m ./model -n fraud --builder buildah",
        ],
    ),
    (
        "models serve",
        [
            "runlode models serve models:/fraud@champion --store ./store --port 5001",
            "runlode models serve ./model --port 5001 --env-manager local",
        ],
    ),
    (
        "models inspect",
        ["runlode models inspect models:/fraud@champion --store ./store", "runlode models inspect ./model --json"],
    ),
    (
        "models diff",
        ["runlode models diff models:/fraud/6 models:/fraud/7 --store ./store", "runlode models diff ./a ./b --json"],
    ),
    (
        "models register",
        [
            "runlode models register fraud runs:/RUN/model --store ./store",
            "runlode models register fraud ./model --store ./store --json",
        ],
    ),
    (
        "models describe",
        [
            "runlode models describe models:/fraud \"card payments\" --store ./store",
            "runlode models describe models:/fraud/7 \"trained on May's data\" --store ./store",
        ],
    ),
    (
        "models tag",
        [
            "runlode models tag models:/fraud team=risk --store ./store",
            "runlode models tag models:/fraud/7 checked=yes --store ./store",
        ],
    ),
    (
        "models alias",
        [
            "runlode models alias fraud champion 7 --store ./store",
            "runlode promote ./store models:/fraud/7 --to champion --if-champion 6   (runlode models alias, with care)",
        ],
    ),
    (
        "models stage",
        [
            "runlode models stage models:/fraud/7 Production --store ./store",
            "runlode models stage models:/fraud/6 Archived --store ./store",
        ],
    ),
    (
        "models wait",
        [
            "runlode models wait models:/fraud/7 --store ./store",
            "runlode models wait models:/fraud/7 --store http://tracking:5000",
        ],
    ),
    (
        "lineage",
        [
            "runlode lineage models:/fraud/7 --store ./store",
            "runlode lineage models:/fraud@champion --store ./store --json",
        ],
    ),
    ("logged-models", ["runlode logged-models ./store", "runlode logged-models ./store -e vision --json"]),
    ("show", ["runlode show ./store trial-17", "runlode show ./store models:/fraud --as-of \"2026-03-03 09:00\""]),
    ("history", ["runlode history ./store models:/fraud", "runlode history ./store trial-17 --csv"]),
    ("verify", ["runlode verify ./store", "runlode verify ./store --repair"]),
    (
        "replay",
        [
            "runlode replay ./store --until 120034 --into ./then",
            "runlode replay ./store --until \"2026-03-03 09:00\" --into ./then",
        ],
    ),
    ("sync", ["runlode sync ./offline ./store", "runlode sync ./store http://tracking:5000"]),
    ("merge", ["runlode merge ./store", "runlode merge ./store --json"]),
    ("compact", ["runlode compact ./store", "runlode compact ./store --json"]),
    ("gc", ["runlode gc ./store --older-than 90d --plan", "runlode gc ./store --older-than 90d"]),
    ("du", ["runlode du ./store --by experiment", "runlode du ./store --by run --json"]),
    ("backup list", ["runlode backup list ./backup", "runlode backup list s3://bucket/exp --json"]),
    ("backup check", ["runlode backup check ./backup", "runlode backup check ./backup nightly --json"]),
    (
        "backup restore",
        ["runlode backup restore ./backup ./copy", "runlode backup restore ./backup ./copy --at nightly"],
    ),
    (
        "rewind",
        ["runlode rewind ./store trial-17 --to-step 900", "runlode rewind ./store trial-17 --to-step 900 --json"],
    ),
    ("tail", ["runlode tail ./store --from 0 --json", "runlode tail ./store --follow"]),
    ("bench", ["runlode bench ./scratch", "runlode bench ./scratch --json"]),
];

/// The commands, each with examples below its help.
pub(crate) fn added_to(mut command: Command) -> Command {
    for (path, examples) in EXAMPLES {
        let path: Vec<&str> = path.split(' ').collect();
        command = add(command, &path, examples);
    }
    command
}

fn add(command: Command, path: &[&str], examples: &[&str; 2]) -> Command {
    let Some((name, rest)) = path.split_first() else {
        // Its own ones are better: they stand beside its arguments.
        if command.get_after_help().is_some() || command.get_after_long_help().is_some() {
            return command;
        }
        return command.after_help(format!("Examples:\n  {}\n  {}", examples[0], examples[1]));
    };
    if command.get_subcommands().all(|known| known.get_name() != *name) {
        return command;
    }
    command.mut_subcommand(name, |found| add(found, rest, examples))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of an example up to what the shell does with them.
    fn words(example: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
        for c in example.chars() {
            match c {
                '"' => quoted = !quoted,
                '|' | '>' | '&' | '(' if !quoted => break,
                ' ' if !quoted => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
                c => word.push(c),
            }
        }
        words.extend(Some(word).filter(|word| !word.is_empty()));
        words
    }

    fn check(command: &Command, wrong: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines().filter(|line| line.starts_with("  runlode ")) {
            // A head of an audit must be a real one.
            let line = line.replace("$(tail -n 1 /elsewhere/heads.txt)", HEAD);
            let line = line.replace("runlode-audit-1:STORE:POSITION:EVENTS:HASH", HEAD);
            let arguments = crate::rewritten(words(&line).into_iter().map(Into::into));
            if let Err(error) = crate::parsed(arguments)
                && error.use_stderr()
            {
                wrong.push(format!("{line}: {error}"));
            }
        }
        command.get_subcommands().for_each(|command| check(command, wrong));
    }

    const HEAD: &str = "runlode-audit-1:00000000000000000000000000000000:1:0:\
                        0000000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn every_example_of_a_help_is_one_that_the_tool_takes() {
        let mut wrong = Vec::new();
        check(&crate::described(), &mut wrong);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn own_examples_stay_and_absent_commands_are_passed_over() {
        let command = Command::new("runlode")
            .subcommand(Command::new("show"))
            .subcommand(Command::new("gc").after_help("own"))
            .subcommand(Command::new("models").subcommand(Command::new("tag")));
        let command = added_to(command);
        let help = |path: &[&str]| {
            let found = path.iter().fold(&command, |at, name| at.find_subcommand(name).unwrap());
            found.get_after_help().map(ToString::to_string).unwrap_or_default()
        };
        assert!(help(&["show"]).contains("--as-of"));
        assert_eq!(help(&["gc"]), "own");
        assert!(help(&["models", "tag"]).contains("checked=yes"));
    }
}
