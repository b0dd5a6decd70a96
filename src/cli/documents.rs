//! Folder of the documents that messages name: messages name them as this repository does, and packages install them
//! below one folder.

use std::borrow::Cow;
use std::path::Path;

/// Where packages install them.
const FOLDER: &str = "/usr/share/doc/omnirelay";

/// A text in which documents are named by paths that are on this host, where a package has put them there.
pub(crate) fn on_this_host(text: &str) -> Cow<'_, str> {
    match Path::new(FOLDER).join("docs").is_dir() {
        true => Cow::Owned(named_below(text, FOLDER)),
        false => Cow::Borrowed(text),
    }
}

/// The same with each document named below `folder`.
fn named_below(text: &str, folder: &str) -> String {
    let mut told = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("docs/") {
        let (before, path) = rest.split_at(at);
        let is_whole = !before.ends_with(|letter: char| letter.is_alphanumeric() || "/.-_:".contains(letter));
        let ends = path.find(|letter: char| !letter.is_alphanumeric() && !"/.-_".contains(letter));
        let (path, behind) = path.split_at(ends.unwrap_or(path.len()));
        told.push_str(before);
        if is_whole && path.trim_end_matches('.').ends_with(".md") {
            told.push_str(folder);
            told.push('/');
        }
        told.push_str(path);
        rest = behind;
    }
    told.push_str(rest);
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_named_where_they_are() {
        let cases = [
            ("see docs/guides/storage.md.", "see /d/docs/guides/storage.md."),
            ("docs/runbooks/a.md and docs/runbooks/b.md", "/d/docs/runbooks/a.md and /d/docs/runbooks/b.md"),
            ("https://example/docs/guides/storage.md", "https://example/docs/guides/storage.md"),
            ("/d/docs/guides/storage.md", "/d/docs/guides/storage.md"),
            ("docs/ is a folder", "docs/ is a folder"),
            ("nothing", "nothing"),
        ];
        for (text, expected) in cases {
            assert_eq!(named_below(text, "/d"), expected);
        }
    }
}
