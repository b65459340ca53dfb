//! What bash does at each placeholder of a command.
//!
//! A scan of the command with the values as letters of their words. It knows quotes, escapes, comments, substitutions,
//! arithmetic, here documents and commands that execute their arguments. Where it is not sure, the place counts as
//! executed, and only values that need no quoting are put there. What a program does with its arguments is the program's.
//!
//! Source: the bash reference manual, "Shell Operation" and "Shell Expansions".

use super::template::Part;

/// Where a placeholder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a word outside quotes.
    Word,
    /// Between double quotes.
    Double,
    /// Between single quotes.
    Single,
    /// Where a shell, or an interpreter, acts on a quoted value too; says how.
    Executed(&'static str),
}

#[derive(Clone, Copy)]
enum Unit<'a> {
    Letter(char),
    /// A placeholder and its value.
    Hole(&'a str),
}

/// The place of each placeholder, and what appended words would be. Values count as letters of their words: a value can
/// name the program that gets the next one.
pub(super) fn places<'a>(parts: &'a [Part], value_of: &dyn Fn(&str) -> &'a str) -> (Vec<Place>, End) {
    let mut units = Vec::new();
    for part in parts {
        match part {
            Part::Text(text) => units.extend(text.chars().map(Unit::Letter)),
            Part::Placeholder(name) => units.push(Unit::Hole(value_of(name))),
        }
    }
    // Words are appended before the line breaks at the end.
    while matches!(units.last(), Some(Unit::Letter('\n'))) {
        units.pop();
    }
    let mut scan = Scan {
        units: &units,
        at: 0,
        stack: vec![Mode::Command(Words::default())],
        documents: Vec::new(),
        evaluates: evaluates(parts),
        unsure: None,
        lost: None,
        places: Vec::new(),
    };
    scan.run();
    let end = match (scan.lost, scan.place_here()) {
        (Some(why), _) => End::Lost(why),
        (None, Place::Word) if scan.stack.len() == 1 => End::Words,
        (None, Place::Executed(why)) if scan.stack.len() == 1 => End::Executed(why),
        _ => End::Lost("inside an open quote or bracket"),
    };
    (scan.places, end)
}

/// Whether there is anything by which bash evaluates the values of variables: a value that was quoted well is then
/// executed where the variable is used.
fn evaluates(parts: &[Part]) -> bool {
    const EVALUATING: [&str; 10] = ["((", "$[", "[[", "eval", "let ", " -c", "declare -", "typeset -", "local -", ":$"];
    let is_subscript = |pair: &[u8]| pair[0].is_ascii_alphanumeric() && pair[1] == b'[';
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text),
        Part::Placeholder(_) => None,
    });
    texts
        .into_iter()
        .any(|text| EVALUATING.iter().any(|word| text.contains(word)) || text.as_bytes().windows(2).any(is_subscript))
}

/// What words that are appended to a command are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Words of its last command.
    Words,
    /// Arguments of a command that executes them; says how.
    Executed(&'static str),
    /// No words: in a comment, a quote or a document.
    Lost(&'static str),
}

/// The words of a simple command so far.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    current: String,
    /// The current word has begun, if only with an empty quote.
    has_current: bool,
}

impl Words {
    fn push(&mut self, letter: char) {
        self.current.push(letter);
        self.has_current = true;
    }

    fn end_word(&mut self) {
        if self.has_current {
            self.done.push(std::mem::take(&mut self.current));
            self.has_current = false;
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        // In `[[ ]]` the operators ( ) && || belong to the expression.
        if self.program() != "[[" || self.done.last().is_some_and(|word| word == "]]") {
            self.done.clear();
        }
    }

    /// The complete words from the program on: after assignments, keywords and programs that start another one.
    fn call(&self) -> &[String] {
        const BEFORE: [&str; 21] = [
            "!", "if", "then", "else", "elif", "while", "until", "do", "{", "time", "exec", "command", "builtin",
            "env", "nohup", "sudo", "nice", "setsid", "stdbuf", "timeout", "xargs",
        ];
        let is_before = |word: &String| {
            let is_assignment = word.split_once('=').is_some_and(|(name, _)| !name.is_empty() && !name.contains('/'));
            let is_number = word.starts_with(|letter: char| letter.is_ascii_digit());
            BEFORE.contains(&base(word)) || is_assignment || word.starts_with('-') || is_number
        };
        let start = self.done.iter().position(|word| !is_before(word)).unwrap_or(self.done.len());
        &self.done[start..]
    }

    fn program(&self) -> &str {
        self.call().first().map_or("", |word| base(word))
    }

    /// Whether the current word gives a variable its value.
    fn is_assignment(&self) -> bool {
        let gives = matches!(self.program(), "" | "export" | "declare" | "typeset" | "local" | "readonly");
        gives && self.current.contains('=')
    }

    /// Whether a `[` now begins the subscript of an assignment.
    fn begins_subscript(&self) -> bool {
        let is_name = self.current.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        self.call().is_empty() && !self.current.is_empty() && is_name
    }

    /// How the value of a placeholder in the current word is executed, if it is.
    fn executes(&self) -> Option<&'static str> {
        const EVALUATING: [&str; 13] = [
            "eval",
            "let",
            "trap",
            "source",
            ".",
            "alias",
            "unset",
            "read",
            "mapfile",
            "readarray",
            "ssh",
            "watch",
            "parallel",
        ];
        let last = self.done.last().map_or("", String::as_str);
        match self.program() {
            "[[" => return Some("in [[ ]]"),
            "test" | "[" | "printf" if last == "-v" => return Some("as the name of a variable"),
            "declare" | "typeset" | "local"
                if self.done.iter().any(|word| word.starts_with('-') && word.contains('i')) =>
            {
                return Some("in arithmetic");
            }
            program if EVALUATING.contains(&program) => return Some("as an argument of a command that evaluates it"),
            _ => {}
        }
        self.is_script().then_some("in a script that an interpreter executes")
    }

    /// Whether the current word is a script: the argument of `-c` or the like of an interpreter.
    fn is_script(&self) -> bool {
        let Some((option, before)) = self.done.split_last() else { return false };
        if !option.starts_with('-') || option.starts_with("--") {
            return false;
        }
        let mut before = before.iter().rev().peekable();
        let mut program = "";
        while let Some(word) = before.next() {
            // Python's -W and -X take a word.
            let is_argument = before.peek().is_some_and(|word| matches!(word.as_str(), "-W" | "-X"));
            if !word.starts_with('-') && !is_argument {
                program = base(word);
                break;
            }
        }
        match program {
            "bash" | "sh" | "dash" | "zsh" | "ksh" | "su" => option.ends_with('c'),
            "perl" | "ruby" | "node" | "lua" | "Rscript" | "R" => option.ends_with(['e', 'E']),
            "php" => option.ends_with('r'),
            program => (program.starts_with("python") || program.starts_with("pypy")) && option.ends_with('c'),
        }
    }
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

enum Mode {
    /// Commands: the whole text, `$( )`, `( )`, `<( )`, or between backticks.
    Command(Words),
    Substitution(Words),
    Backticks(Words),
    Single,
    Double,
    /// `$'...'`, where backslashes escape.
    Ansi,
    /// `${...}`.
    Expansion,
    /// `$((...))`, `((...))` or `$[...]`: parentheses or brackets open inside it.
    Arithmetic {
        close: char,
        open: u32,
    },
}

/// A here document that begins after the line.
struct Document {
    delimiter: String,
    /// Of `<<-`: tabs before the delimiter do not count.
    takes_tabs: bool,
}

struct Scan<'a> {
    units: &'a [Unit<'a>],
    at: usize,
    stack: Vec<Mode>,
    documents: Vec<Document>,
    /// Whether the text evaluates expressions somewhere: then it may evaluate its variables.
    evaluates: bool,
    /// Why the scan no longer knows what follows.
    unsure: Option<&'static str>,
    /// Why words at the end would be lost.
    lost: Option<&'static str>,
    places: Vec<Place>,
}

impl<'a> Scan<'a> {
    fn peek(&self, ahead: usize) -> Option<Unit<'a>> {
        self.units.get(self.at + ahead).copied()
    }

    fn next_is(&self, ahead: usize, letter: char) -> bool {
        matches!(self.peek(ahead), Some(Unit::Letter(found)) if found == letter)
    }

    fn words(&mut self) -> Option<&mut Words> {
        self.stack.iter_mut().rev().find_map(|mode| match mode {
            Mode::Command(words) | Mode::Substitution(words) | Mode::Backticks(words) => Some(words),
            _ => None,
        })
    }

    fn run(&mut self) {
        while let Some(unit) = self.peek(0) {
            match unit {
                Unit::Hole(value) => {
                    let place = self.place_here();
                    self.places.push(place);
                    self.push_value(value);
                    self.at += 1;
                }
                Unit::Letter(letter) => self.letter(letter),
            }
        }
    }

    /// Records a placeholder that follows at once, at a place where it would be executed.
    fn executed_if_hole(&mut self, ahead: usize, why: &'static str) -> bool {
        let Some(Unit::Hole(value)) = self.peek(ahead) else { return false };
        self.places.push(Place::Executed(why));
        self.push_value(value);
        true
    }

    fn place_here(&mut self) -> Place {
        if let Some(why) = self.unsure {
            return Place::Executed(why);
        }
        for mode in &self.stack {
            match mode {
                Mode::Backticks(_) => return Place::Executed("in backticks"),
                Mode::Ansi => return Place::Executed("in $'...'"),
                Mode::Expansion => return Place::Executed("in ${...}"),
                Mode::Arithmetic { .. } => return Place::Executed("in arithmetic"),
                _ => {}
            }
        }
        if let Some(why) = self.words().and_then(|words| words.executes()) {
            return Place::Executed(why);
        }
        if self.evaluates && self.words().is_some_and(|words| words.is_assignment()) {
            return Place::Executed("in a variable of a command that evaluates expressions");
        }
        match self.stack.last() {
            Some(Mode::Single) => Place::Single,
            Some(Mode::Double) => Place::Double,
            _ => Place::Word,
        }
    }

    fn letter(&mut self, letter: char) {
        match self.stack.last_mut() {
            Some(Mode::Single) => {
                if letter == '\'' {
                    self.stack.pop();
                } else {
                    self.push_word(letter);
                }
                self.at += 1;
            }
            Some(Mode::Ansi) => match letter {
                '\\' => self.escape("in $'...'"),
                '\'' => self.close(),
                _ => self.at += 1,
            },
            Some(Mode::Double) => match letter {
                '"' => self.close(),
                _ => self.shared(letter),
            },
            Some(Mode::Expansion) => match letter {
                '}' => self.close(),
                '\'' => {
                    // Between double quotes it depends on the operator whether this begins a quote.
                    if self.stack.iter().any(|mode| matches!(mode, Mode::Double)) {
                        self.unsure = Some("after a quote in ${...}");
                        self.at += 1;
                    } else {
                        self.open(Mode::Single, 1);
                    }
                }
                '"' => self.open(Mode::Double, 1),
                _ => self.shared(letter),
            },
            Some(Mode::Arithmetic { close, open }) => {
                if letter == *close {
                    *open -= 1;
                    if *open == 0 {
                        self.stack.pop();
                    }
                } else if (*close == ')' && letter == '(') || (*close == ']' && letter == '[') {
                    *open += 1;
                }
                self.at += 1;
            }
            _ => self.command(letter),
        }
    }

    /// What double quotes leave to the shell.
    fn shared(&mut self, letter: char) {
        match letter {
            '\\' => self.escape("after a backslash"),
            '$' => self.dollar(),
            '`' => self.backtick(),
            _ => {
                self.push_word(letter);
                self.at += 1;
            }
        }
    }

    fn command(&mut self, letter: char) {
        let words_begun = self.words().is_some_and(|words| words.has_current);
        match letter {
            '\'' => self.quote(Mode::Single),
            '"' => self.quote(Mode::Double),
            '#' if !words_begun => self.comment(),
            '\n' => {
                self.end_command();
                self.at += 1;
                for document in std::mem::take(&mut self.documents) {
                    self.skip_document(&document);
                }
            }
            ' ' | '\t' => {
                self.end_word();
                self.at += 1;
            }
            ';' | '&' | '|' => {
                self.end_command();
                self.at += 1;
            }
            '(' => {
                if self.next_is(1, '(') {
                    self.open(Mode::Arithmetic { close: ')', open: 2 }, 2);
                } else {
                    self.open(Mode::Substitution(Words::default()), 1);
                }
            }
            ')' => {
                // A `)` that nothing opened ends a pattern of a case.
                match self.stack.last() {
                    Some(Mode::Substitution(_)) => self.close(),
                    _ => {
                        self.end_command();
                        self.at += 1;
                    }
                }
            }
            '<' if self.next_is(1, '<') => {
                self.end_word();
                if self.next_is(2, '<') {
                    self.at += 3;
                } else {
                    self.document();
                }
            }
            '[' if self.words().is_some_and(|words| words.begins_subscript()) => {
                // It goes on to its bracket, over spaces and lines, and is evaluated.
                self.unsure = Some("in or after a subscript");
                self.at += 1;
            }
            _ => self.shared(letter),
        }
    }

    fn push_word(&mut self, letter: char) {
        if let Some(words) = self.words() {
            words.push(letter);
        }
    }

    fn push_value(&mut self, value: &str) {
        if let Some(words) = self.words() {
            words.has_current = true;
            words.current.push_str(value);
        }
    }

    fn end_word(&mut self) {
        let in_substitution = self.stack.len() > 1;
        let Some(words) = self.words() else { return };
        // The patterns of a case have a `)` that nothing opened.
        let is_case = in_substitution && words.current == "case";
        words.end_word();
        if is_case {
            self.unsure = Some("after a case in a substitution");
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        if let Some(words) = self.words() {
            words.end_command();
        }
    }

    /// Reads `<<` and its delimiter.
    fn document(&mut self) {
        self.at += 2;
        let takes_tabs = self.next_is(0, '-');
        self.at += usize::from(takes_tabs);
        while self.next_is(0, ' ') || self.next_is(0, '\t') {
            self.at += 1;
        }
        let mut delimiter = String::new();
        loop {
            match self.peek(0) {
                Some(Unit::Letter(' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')')) | None => break,
                Some(Unit::Letter('\'' | '"' | '\\')) => {}
                Some(Unit::Letter(letter)) => delimiter.push(letter),
                Some(Unit::Hole(_)) => {
                    self.places.push(Place::Executed("as the end of a here document"));
                    self.unsure = Some("in a here document");
                }
            }
            self.at += 1;
        }
        self.documents.push(Document { delimiter, takes_tabs });
    }

    /// Goes to the line after the document.
    fn skip_document(&mut self, document: &Document) {
        loop {
            let mut line = String::new();
            loop {
                match self.peek(0) {
                    Some(Unit::Letter('\n')) | None => break,
                    Some(Unit::Letter(letter)) => line.push(letter),
                    Some(Unit::Hole(_)) => {
                        self.places.push(Place::Executed("in a here document"));
                        line.push('\0');
                    }
                }
                self.at += 1;
            }
            let found = if document.takes_tabs { line.trim_start_matches('\t') } else { line.as_str() };
            let is_end = found == document.delimiter;
            // It may join the line with the next one, which then does not end the document.
            if line.ends_with('\\') {
                self.unsure = Some("after a here document with a backslash");
                self.lost = self.unsure;
            }
            if self.peek(0).is_none() {
                // Words that are appended would stand in the last line, which then no longer ends the document.
                self.lost = Some("in a here document");
                return;
            }
            self.at += 1;
            if is_end {
                return;
            }
        }
    }

    fn quote(&mut self, mode: Mode) {
        if let Some(words) = self.words() {
            words.has_current = true;
        }
        self.open(mode, 1);
    }

    fn open(&mut self, mode: Mode, letters: usize) {
        self.stack.push(mode);
        self.at += letters;
    }

    fn close(&mut self) {
        self.stack.pop();
        self.at += 1;
    }

    fn escape(&mut self, why: &'static str) {
        if !self.executed_if_hole(1, why)
            && let Some(Unit::Letter(letter)) = self.peek(1)
            && letter != '\n'
        {
            self.push_word(letter);
        }
        if self.peek(1).is_none() {
            self.lost = Some("after a backslash");
        }
        self.at += 2;
    }

    fn backtick(&mut self) {
        // Inside quotes of a backticked command it ends that command as well.
        match self.stack.iter().rposition(|mode| matches!(mode, Mode::Backticks(_))) {
            Some(index) => self.stack.truncate(index),
            None => self.stack.push(Mode::Backticks(Words::default())),
        }
        self.at += 1;
    }

    fn dollar(&mut self) {
        let in_double = matches!(self.stack.last(), Some(Mode::Double));
        if self.executed_if_hole(1, "after a $") {
            self.at += 2;
        } else if self.next_is(1, '(') && self.next_is(2, '(') {
            self.open(Mode::Arithmetic { close: ')', open: 2 }, 3);
        } else if self.next_is(1, '(') {
            self.open(Mode::Substitution(Words::default()), 2);
        } else if self.next_is(1, '{') {
            self.open(Mode::Expansion, 2);
        } else if self.next_is(1, '[') {
            self.open(Mode::Arithmetic { close: ']', open: 1 }, 2);
        } else if self.next_is(1, '\'') && !in_double {
            self.quote(Mode::Ansi);
            self.at += 1;
        } else {
            self.push_word('$');
            self.at += 1;
        }
    }

    fn comment(&mut self) {
        while let Some(unit) = self.peek(0) {
            match unit {
                Unit::Letter('\n') => return,
                Unit::Letter('`') if self.stack.iter().any(|mode| matches!(mode, Mode::Backticks(_))) => return,
                Unit::Letter(_) => {}
                Unit::Hole(_) => self.places.push(Place::Executed("in a comment, which a line break ends")),
            }
            self.at += 1;
        }
        self.lost = Some("in a comment");
    }
}
