//! The files of this repository, and what a check found in them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};

use crate::tokens::Token;

/// A text file.
#[derive(Clone)]
pub(crate) struct File {
    /// Relative to the root of the repository, with `/`.
    pub path: String,
    pub text: String,
    /// Its tokens, once a rule has asked; the copies of a file share them.
    pub code: Arc<OnceLock<Vec<Token>>>,
}

/// A place where a rule does not hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub path: String,
    /// From 1; 0 stands for the whole file.
    pub line: usize,
    /// What is wrong, and what to do instead.
    pub what: String,
}

impl File {
    /// A file that exists only in a test.
    pub(crate) fn planted(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: Arc::default() }
    }

    /// A finding at `line` of this file.
    pub(crate) fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, what: what.into() }
    }

    /// Whether the file stands below `folder`, which ends with `/`.
    pub(crate) fn is_below(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Where the repository is.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the repository, in the order of their paths; what is built is left out. They are read once.
pub(crate) fn files() -> Result<Vec<File>> {
    static READ: OnceLock<Vec<File>> = OnceLock::new();
    if let Some(files) = READ.get() {
        return Ok(files.clone());
    }
    let files = read_files()?;
    Ok(READ.get_or_init(|| files).clone())
}

fn read_files() -> Result<Vec<File>> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_symlink() || is_left_out(&root, &path) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "png") {
                // Pages lead to it, and there is nothing to read.
                found.push(File { path: relative(&root, &path), text: String::new(), code: Arc::default() });
            } else if let Ok(text) = String::from_utf8(std::fs::read(&path)?) {
                found.push(File { path: relative(&root, &path), text, code: Arc::default() });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The Rust files below `folder`, which must hold some: a check of nothing proves nothing.
pub(crate) fn rust_files(folder: &str) -> Result<Vec<File>> {
    let found = some_rust_files(folder)?;
    anyhow::ensure!(!found.is_empty(), "no Rust file below {folder}: was it moved?");
    Ok(found)
}

/// The Rust files of the program itself: the daemon, the command line, and the crates they stand on.
pub(crate) fn program() -> Result<Vec<File>> {
    let mut found = rust_files("src/")?;
    found.extend(rust_files("crates/")?);
    Ok(found)
}

/// The Rust files below `folder`, if any.
pub(crate) fn some_rust_files(folder: &str) -> Result<Vec<File>> {
    Ok(files()?.into_iter().filter(|file| file.is_below(folder) && file.path.ends_with(".rs")).collect())
}

/// What tools make, and git ignores.
const BUILT: [&str; 7] = [
    ".git",
    "target",
    "fuzz/Cargo.lock",
    "fuzz/artifacts",
    "fuzz/corpus",
    "fuzz/target",
    "tests/page/node_modules",
];

fn is_left_out(root: &Path, path: &Path) -> bool {
    BUILT.iter().any(|name| path == root.join(name))
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// Fails with all findings, one a line.
pub(crate) fn refuse(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "the rule does not hold here:\n{}", lines.join("\n"));
}

/// Runs a check on planted files, one at a time: `(what, path, text, findings expected)`.
pub(crate) fn expect_findings(check: impl Fn(&File) -> Vec<Finding>, cases: &[(&str, &str, &str, usize)]) {
    for (what, path, text, expected) in cases {
        let found = check(&File::planted(path, text));
        assert_eq!(found.len(), *expected, "{what}: {found:?}");
    }
}
