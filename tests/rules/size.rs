//! A file holds one subject. A long one is reported, a very long one refused.

use anyhow::Result;

use crate::repository::{File, Finding, program, refuse};

/// Past this, look for the second subject.
const LINES_AIM: usize = 400;
const LINES_MAX: usize = 600;

fn lines(file: &File) -> usize {
    file.text.lines().count()
}

fn too_long(file: &File) -> Option<Finding> {
    let lines = lines(file);
    (lines > LINES_MAX)
        .then(|| file.finding(0, format!("{lines} lines, at most {LINES_MAX}: divide its subject")))
}

#[test]
fn no_file_is_too_long() -> Result<()> {
    let files = program()?;
    for file in files.iter().filter(|file| lines(file) > LINES_AIM) {
        println!("{}: {} lines; is there a second subject in it?", file.path, lines(file));
    }
    refuse(&files.iter().filter_map(too_long).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_long_file_is_found() {
    let of = |lines: usize| too_long(&File::planted("src/a.rs", &"a\n".repeat(lines)));
    assert_eq!(of(LINES_MAX), None);
    assert!(of(LINES_MAX + 1).is_some());
}
