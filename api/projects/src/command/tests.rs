//! Commands against a real bash, and against what MLflow writes.

use std::fs;
use std::process::Command as Process;

use proptest::prelude::*;

use super::*;

fn project(file: &str) -> (tempfile::TempDir, Project) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("MLproject"), file).unwrap();
    let project = Project::load(folder.path()).unwrap();
    (folder, project)
}

/// A project with one entry point of parameters a and b, and this command.
fn with_command(line: &str) -> (tempfile::TempDir, Project) {
    let indented = line.replace('\n', "\n      ");
    project(&format!(
        "entry_points:\n  main:\n    parameters: {{a: string, b: {{default: x}}}}\n    command: |-\n      {indented}\n"
    ))
}

fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn line_of(template: &str, given: &[(&str, &str)]) -> Result<String> {
    let (_folder, project) = with_command(template);
    let main = project.entry_point("main").unwrap();
    command(&project, &main, &pairs(given), &|uri, _| Err(format!("no {uri}"))).map(|command| command.line)
}

/// What bash prints for the command.
fn bash(line: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = Process::new("bash").arg("-c").arg(line).current_dir(folder.path()).output().unwrap();
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "the command made files: {line}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_plain_value_stands_as_it_is_everywhere() {
    let command = line_of("p {a} \"{a}\" '{a}' `p {a}` $(p {a}) $(({a})) # {a}", &[("a", "0.5")]).unwrap();
    assert_eq!(command, "p 0.5 \"0.5\" '0.5' `p 0.5` $(p 0.5) $((0.5)) # 0.5");
}

#[test]
fn values_reach_the_program_as_they_are() {
    let value = "it's a \"$HOME\" `id` \\ * ; x\n  end";
    for template in [
        "printf %s {a}",
        "printf %s \"{a}\"",
        "printf %s '{a}'",
        "printf %s \"$(printf %s {a})\"",
        "x={a}; printf %s \"$x\"",
    ] {
        let line = line_of(template, &[("a", value)]).unwrap();
        assert_eq!(bash(&line), value, "{template} became {line}");
    }
}

#[test]
fn where_a_shell_acts_on_any_quoting_the_value_is_refused() {
    let refused = [
        "echo `echo {a}`",
        "echo $(({a}))",
        "((x={a}))",
        "echo ${x:-{a}}",
        "eval echo {a}",
        "bash -c {a}",
        "bash -c \"echo {a}\"",
        "env X=1 bash -lc 'echo {a}'",
        "python3 -c 'print({a})'",
        "uv run python -u -W ignore -c 'print({a})'",
        "echo \\{a}",
        "echo \"\\{a}\"",
        "echo $'{a}'",
        "echo ${a}",
        "[[ {a} -eq 1 ]]",
        "[[ x || {a} -eq 1 ]]",
        "x[{a}]=1",
        "cat <<E\n{a}\nE",
        "# {a}\necho",
        "echo $(case x in x) echo {a};; esac)",
        "echo \"${x:-it's}\" {a}",
        "ssh host run {a}",
        "x={a}; echo $((x))",
        "export x={a}; eval echo $x",
        "{b} {a}",
    ];
    for template in refused {
        let template = template.replace("${x:-", "${{x:-").replace("}\" {a}", "}}\" {a}").replace("{a}}", "{a}}}");
        let error = line_of(&template, &[("a", "$(touch x) y"), ("b", "eval")]).unwrap_err().to_string();
        assert!(error.contains("entry_points.main.command") && error.contains("the value of a"), "{template}: {error}");
    }
}

#[test]
fn a_program_s_own_options_are_no_scripts() {
    for template in
        ["python train.py -c {a}", "python -m train -c {a}", "tar -c {a}", "bash run.sh -c {a}", "cat <<E\nE\necho {a}"]
    {
        line_of(template, &[("a", "two words")]).unwrap();
    }
}

#[test]
fn undeclared_parameters_are_appended_to_the_last_command() {
    let given = [("a", "1"), ("lr rate", "it's"), ("n", "2")];
    assert_eq!(line_of("p {a}", &given).unwrap(), r#"p 1 --'lr rate' 'it'"'"'s' --n 2"#);
    let (_folder, project) = project("entry_points:\n  main:\n    command: |\n      p\n      q\n");
    let main = project.entry_point("main").unwrap();
    let made = command(&project, &main, &pairs(&[("n", "2")]), &|uri, _| Err(uri.to_owned())).unwrap();
    assert_eq!(made.line, "p\nq --n 2");
    for template in ["p {a} # why", "p \"{a}", "cat <<E\n{a}\nE", "p {a} \\", "p $(q {a}"] {
        let error = line_of(template, &given).unwrap_err().to_string();
        assert!(error.contains("is not declared"), "{template}: {error}");
    }
}

#[test]
fn placeholders_are_those_of_str_format() {
    assert_eq!(line_of("p ${{HOME}} {a} }}", &[("a", "1")]).unwrap(), "p ${HOME} 1 }");
    for template in ["{c}", "{}", "{0}", "{a.b}", "{a[0]}", "{a!r}", "{a:x}", "{a", "a}", "{a{b}}"] {
        let error = line_of(template, &[("a", "1"), ("c", "2")]).unwrap_err().to_string();
        assert!(error.contains("MLproject:5: entry_points.main.command"), "{template}: {error}");
    }
}

#[test]
fn what_is_recorded_is_quoted_and_what_is_raw_is_not() {
    let (_folder, project) = with_command("p {a}");
    let main = project.entry_point("main").unwrap();
    let made = command(&project, &main, &pairs(&[("a", "it's"), ("k k", "")]), &|uri, _| Err(uri.to_owned())).unwrap();
    assert_eq!(made.recorded, pairs(&[("a", r#"'it'"'"'s'"#), ("b", "x"), ("'k k'", "''")]));
    assert_eq!(made.raw, pairs(&[("a", "it's"), ("b", "x"), ("k k", "")]));
}

#[test]
fn missing_parameters_are_all_named() {
    let error = line_of("p {a}", &[]).unwrap_err().to_string();
    assert_eq!(error, "entry point \"main\" needs a value for a; give each as -P NAME=VALUE");
}

#[test]
fn paths_are_absolute_and_uris_have_schemes() {
    let (folder, project) =
        project("entry_points: {main: {parameters: {data: path, link: uri}, command: 'p {data} {link}'}}");
    let main = project.entry_point("main").unwrap();
    let fetch = |uri: &str, position: usize| match uri {
        "s3://b/k" => Ok(PathBuf::from(format!("/storage/param_{position}/k"))),
        uri => Err(format!("no {uri}")),
    };
    let made = |data: &str, link: &str| {
        command(&project, &main, &pairs(&[("data", data), ("link", link)]), &fetch).map(|command| command.line)
    };
    let here = folder.path().display().to_string();
    let error = made(&format!("{here}/./x/../MLproject"), "s3:x").unwrap_err().to_string();
    assert!(error.contains("there is no"), "{error}");
    assert_eq!(made(&format!("file://{here}"), "s3:x").unwrap(), format!("p {here} s3:x"));
    assert_eq!(made("s3://b/k", "http://x/y").unwrap(), "p /storage/param_0/k http://x/y");
    for (data, link) in [("", "s3:x"), ("s3://other", "s3:x"), (here.as_str(), "nowhere")] {
        assert!(matches!(made(data, link), Err(ProjectError::Parameter { .. })), "{data} {link}");
    }
}

/// Texts that a shell may act on.
fn nasty() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("$(touch x)".to_owned()),
        Just("`touch x`".to_owned()),
        Just("; touch x; ".to_owned()),
        Just("\n touch x\n".to_owned()),
        Just("' ; touch x; '".to_owned()),
        Just("\" ; touch x; \"".to_owned()),
        Just("\\".to_owned()),
        Just("a[$(touch x)]".to_owned()),
        Just("${y:=$(touch x)}".to_owned()),
        Just("EOF\n".to_owned()),
        "[ -~]{0,6}",
    ];
    proptest::collection::vec(pieces, 0..5).prop_map(|pieces| pieces.concat())
}

/// Pieces of commands, in any order: many are no valid shell.
fn template() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        6 => Just("{a}"), 3 => Just("{b}"), 3 => Just(" "), 2 => Just("\""), 2 => Just("'"), 1 => Just("`"), 1 => Just("$("), 1 => Just(")"),
        1 => Just("("), 1 => Just("\\"), 1 => Just("$"), 1 => Just("${{y:-"), 1 => Just("}}"), 1 => Just("echo "), 1 => Just("true "), 1 => Just("; "),
        1 => Just("#"), 1 => Just("<<EOF\n"), 1 => Just("\nEOF\n"), 1 => Just("$(("), 1 => Just("))"), 1 => Just("[[ "), 1 => Just(" -eq 1 ]]"), 1 => Just("case x in x)"),
        1 => Just(";; esac"), 1 => Just("\n"), 1 => Just("eval "), 1 => Just("x="), 1 => Just("$((x))"), 1 => Just(" $x"), 1 => Just("bash -c "), 1 => Just("x["), 1 => Just("]=1"), 1 => Just("| cat"), 1 => Just("&& "),
    ];
    proptest::collection::vec(pieces, 1..12).prop_map(|pieces| format!("echo {}", pieces.concat()))
}

/// Cases of the property; RUNLODE_PROJECT_CASES sets another number.
fn cases() -> u32 {
    std::env::var("RUNLODE_PROJECT_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn no_value_is_ever_executed(template in template(), a in nasty(), b in nasty(), extra in nasty()) {
        let parts = match template::parse(&template) { Ok(parts) => parts, Err(_) => return Ok(()) };
        let file = PathBuf::from("MLproject");
        let (places, _) = shell::places(&parts, &|_| "1");
        prop_assert_eq!(places.len(), parts.iter().filter(|part| matches!(part, Part::Placeholder(_))).count());
        let parameter = |name: &str| Parameter { name: name.to_owned(), kind: "string".to_owned(), default: None, line: 1 };
        let entry = EntryPoint { name: "main".to_owned(), parameters: vec![parameter("a"), parameter("b")], command: None, line: 1 };
        let template = Template { parts, file, line: 1 };
        for extras in [vec![], vec![("k".to_owned(), extra)]] {
            if let Ok(line) = template.line(&entry, &[a.clone(), b.clone()], &extras) {
                // A file named x would be the work of a value: no command of the template makes one.
                bash(&line);
            }
        }
    }
}
