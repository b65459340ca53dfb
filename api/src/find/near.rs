//! The names that come nearest to one that was mistyped.

/// Most names that are suggested.
const NEAR_MAX: usize = 3;
/// Longer names are not compared letter by letter.
const CHARS_MAX: usize = 250;

/// At most three of the names that come nearest to a text, best first: few letters are wrong, or one contains the other.
/// Case does not count.
///
/// ```
/// assert_eq!(runlode::find::near("los", ["loss", "acc", "val/loss"]), ["loss", "val/loss"]);
/// assert!(runlode::find::near("precision", ["loss", "acc"]).is_empty());
/// ```
pub fn near<'n>(text: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let wanted = letters(text);
    let allowed = (wanted.len() / 3).max(1);
    let mut found: Vec<(usize, &str)> = Vec::new();
    for name in names {
        let given = letters(name);
        if name == text || wanted.is_empty() || given.is_empty() || given.len() > CHARS_MAX {
            continue;
        }
        let within =
            |long: &[char], short: &[char]| short.len() >= 3 && long.windows(short.len()).any(|part| part == short);
        if let Some(wrong) = wrong_letters(&wanted, &given, allowed) {
            found.push((wrong, name));
        } else if within(&given, &wanted) || within(&wanted, &given) {
            found.push((allowed + 1, name));
        }
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(NEAR_MAX).map(|(_, name)| name.to_owned()).collect()
}

fn letters(text: &str) -> Vec<char> {
    text.trim().chars().take(CHARS_MAX + 1).flat_map(char::to_lowercase).collect()
}

/// How many letters are missing, too many, wrong, or swapped with their neighbour; `None`: more than `most`.
fn wrong_letters(a: &[char], b: &[char], most: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    // Rows of the table of edit distances between the beginnings of both.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = changed.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        if row.iter().all(|wrong| *wrong > most) {
            return None;
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|wrong| *wrong <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_names_are_found() {
        let names = ["loss", "val/loss", "accuracy", "lr", "learning_rate", "digits-sgd", "Größe"];
        for (text, nearest) in [
            ("los", "loss"),
            ("lsos", "loss"),
            ("LOSS", "loss"),
            ("acuracy", "accuracy"),
            ("accuracy2", "accuracy"),
            ("rl", "lr"),
            ("learning-rate", "learning_rate"),
            ("digits", "digits-sgd"),
            ("größe", "Größe"),
        ] {
            assert_eq!(near(text, names).first().map(String::as_str), Some(nearest), "{text}");
        }
        assert_eq!(near("f1", names), Vec::<String>::new());
        assert_eq!(near("", names), Vec::<String>::new());
        assert_eq!(near("loss", ["loss"]), Vec::<String>::new(), "it is there");
        assert_eq!(near("x1", ["x2", "x3", "x4", "x5"]).len(), 3);
    }
}
