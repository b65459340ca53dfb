//! A command as the words of a program's call, for places that start programs and no shells.

/// Words that only a shell understands where a program's name stands.
const SHELL_WORDS: [&str; 36] = [
    "!", ".", ":", "[[", "alias", "bg", "break", "builtin", "case", "cd", "command", "continue", "declare", "eval",
    "exec", "exit", "export", "fg", "for", "function", "if", "jobs", "local", "read", "return", "select", "set",
    "shift", "source", "time", "trap", "ulimit", "umask", "unset", "until", "while",
];

/// The shell of a container: bash where it is, since commands of projects are written for it.
const START: &str = "if command -v bash >/dev/null 2>&1; then exec bash -c \"$0\"; else exec sh -c \"$0\"; fi";

/// The command as words. A call of one program is its words, as MLflow passes it on; what needs a shell is given to one.
pub(crate) fn container_words(line: &str) -> Vec<String> {
    call(line).unwrap_or_else(|| ["sh", "-c", START, line].map(str::to_owned).to_vec())
}

/// The words of a call of one program, if a shell would do nothing but start it.
fn call(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    let mut letters = line.trim().chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => {
                is_quoted |= words.is_empty();
                let word = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '\'' => break,
                        letter => word.push(letter),
                    }
                }
            }
            '"' => {
                is_quoted |= words.is_empty();
                let word = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '"' => break,
                        '$' | '`' | '\\' | '!' => return None,
                        letter => word.push(letter),
                    }
                }
            }
            letter if letter.is_alphanumeric() || "_@%+=:,./-^".contains(letter) => {
                word.get_or_insert_default().push(letter);
            }
            _ => return None,
        }
    }
    words.extend(word);
    let program = words.first()?;
    let is_of_shell = !is_quoted && (program.contains('=') || SHELL_WORDS.contains(&program.as_str()));
    (!is_of_shell).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_one_program_is_its_words() {
        for (line, words) in [
            ("python train.py --lr 0.1", &["python", "train.py", "--lr", "0.1"][..]),
            ("  echo 'it'\"'\"'s' '' \"a b\" x=1\n", &["echo", "it's", "", "a b", "x=1"]),
            ("'a b' é", &["a b", "é"]),
        ] {
            assert_eq!(
                call(line).as_deref(),
                Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>().as_slice()),
                "{line}"
            );
        }
    }

    #[test]
    fn what_needs_a_shell_gets_one() {
        for line in [
            "a && b", "a; b", "a | b", "a > b", "a $X", "a `b`", "a \"$X\"", "X=1 a", "cd x", "a *", "a ~", "a {b,c}",
            "a\nb", "if a", "exit 7", "a \\b", "(a)", "a 'b", "", "a # b", "a?",
        ] {
            assert_eq!(call(line), None, "{line}");
        }
        assert_eq!(container_words("a && b")[3], "a && b");
    }
}
