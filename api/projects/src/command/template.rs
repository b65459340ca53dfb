//! The placeholders of a command: Python's `str.format`, without what it would evaluate.

/// A part of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// As it stands.
    Text(String),
    /// The value of a parameter.
    Placeholder(String),
}

/// The parts of a template, or what is wrong with it.
pub(super) fn parse(template: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut letters = template.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '{' | '}' if letters.next_if_eq(&letter).is_some() => text.push(letter),
            '}' => return Err("a single }; write }} for a brace that the shell should see".to_owned()),
            '{' => {
                let mut name = String::new();
                loop {
                    match letters.next() {
                        Some('}') => break,
                        Some('{') | None => {
                            return Err("a { without its }; write {{ for a brace that the shell should see".to_owned());
                        }
                        Some(letter) => name.push(letter),
                    }
                }
                check_name(&name)?;
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Placeholder(name));
            }
            letter => text.push(letter),
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{{{name}}} names no parameter; write {{NAME}}"));
    }
    match name.chars().find(|letter| ".[!:".contains(*letter)) {
        Some(letter) => Err(format!(
            "{{{name}}}: {letter:?} in a placeholder is evaluated by Python and not supported; write {{NAME}} alone"
        )),
        None => Ok(()),
    }
}
