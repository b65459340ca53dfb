//! The layouts on the pages of docs/format are those of the code: each block marked `<!-- from FILE -->` is a copy of a
//! text block in the module documentation of that file, so that a layout is written once and cannot drift.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// Pages that would be broken without a layout.
const PAGES: [&str; 6] = ["events.md", "inbox.md", "index.md", "log.md", "series.md", "socket.md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The blocks between "```text" and "```" of some lines.
fn blocks<'l>(lines: impl Iterator<Item = &'l str>) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<Vec<&str>> = None;
    for line in lines {
        match open.take() {
            None if line == "```text" => open = Some(Vec::new()),
            None => {}
            Some(block) if line == "```" => found.push(block.join("\n")),
            Some(mut block) => {
                block.push(line);
                open = Some(block);
            }
        }
    }
    found
}

/// The layouts in a module's documentation.
fn layouts(code: &str) -> Vec<String> {
    let doc = code.lines().map_while(|line| line.strip_prefix("//!"));
    blocks(doc.map(|line| line.strip_prefix(' ').unwrap_or(line)))
}

/// Files and blocks that a page quotes.
fn quotes(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in page.split("<!-- from ").skip(1) {
        let (mark, rest) = part.split_once(" -->\n").unwrap();
        let file = mark.split(' ').next().unwrap();
        assert!(rest.starts_with("```text\n"), "no block follows the mark of {file}");
        found.push((file.to_owned(), blocks(rest.lines()).remove(0)));
    }
    found
}

#[test]
fn layouts_on_the_pages_are_those_of_the_module_docs() {
    let mut wrong = Vec::new();
    for name in PAGES {
        let page = std::fs::read_to_string(root().join("docs/format").join(name)).unwrap();
        let quotes = quotes(&page);
        assert!(!quotes.is_empty(), "docs/format/{name} quotes no layout");
        for (file, block) in quotes {
            let Ok(code) = std::fs::read_to_string(root().join(&file)) else {
                wrong.push(format!("docs/format/{name} quotes {file}, which does not exist"));
                continue;
            };
            if !layouts(&code).contains(&block) {
                wrong.push(format!("docs/format/{name}: copy the layout from the module doc of {file} again"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_changed_layout_is_noticed() {
    let code = "//! Title.\n//!\n//! ```text\n//! a u8\n//!\n//! b u16\n//! ```\nconst A: u8 = 1;\n//! ```text\n//! c\n//! ```\n";
    assert_eq!(layouts(code), ["a u8\n\nb u16"]);
    let page = "Words.\n\n<!-- from a.rs 2 -->\n```text\na u8\n\nb u16\n```\nMore.\n";
    assert_eq!(quotes(page), [("a.rs".to_owned(), "a u8\n\nb u16".to_owned())]);
    assert!(!layouts(&code.replace("u16", "u32")).contains(&quotes(page)[0].1));
}
