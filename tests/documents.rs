//! The documents: what they name is there.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All documents, with their texts.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in [root().to_owned(), root().join("docs"), root().join("clients")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 10);
    found
}

/// What a text has between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether `a::b::c` is a test or a module of `tests/`; `a::` is a module.
fn is_test(name: &str) -> bool {
    let (module, test) = name.rsplit_once("::").unwrap_or((name, ""));
    let file = root().join("tests").join(module.replace("::", "/"));
    let texts = [file.with_extension("rs"), file.join("mod.rs")];
    let Some(text) = texts.iter().find_map(|file| fs::read_to_string(file).ok()) else { return false };
    test.is_empty() || text.contains(&format!("fn {test}("))
}

/// Whether something in backticks is written as tests are: `rotation::a_current_jti_is_swapped`.
fn looks_like_a_test(word: &str) -> bool {
    let first = word.split("::").next().unwrap_or_default();
    word.contains("::")
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c))
        && root().join("tests").read_dir().unwrap().any(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".rs").unwrap_or(&name) == first
        })
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut named = 0;
    let mut missing = Vec::new();
    for (path, text) in documents() {
        for word in quoted(&text) {
            let there = if looks_like_a_test(word) {
                is_test(word)
            } else if word.starts_with("tests/") && !word.contains(char::is_whitespace) {
                root().join(word).exists()
            } else {
                continue;
            };
            named += 1;
            if !there {
                missing.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(named > 100, "{named} were found: are they written as before?");
}

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    let mut lost = Vec::new();
    for (path, text) in documents() {
        // Outside of code.
        let links = text.split("```").step_by(2).flat_map(|prose| prose.split("](").skip(1));
        for link in links {
            let target = link.split([')', '#']).next().unwrap_or_default();
            let elsewhere =
                target.is_empty() || target.contains("://") || target.contains(char::is_whitespace);
            if !elsewhere && !path.parent().unwrap().join(target).exists() {
                lost.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(lost.is_empty(), "{lost:#?}");
}
