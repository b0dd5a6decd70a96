//! Files that are built into the program, written into a folder.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use omnirelay_store::whole_file::write_whole;

use super::prelude::*;

/// Where the runbooks are, as files that are built in name them.
pub(crate) const RUNBOOKS: &str = "docs/runbooks/";

/// Letters that would end or change the text that an address is written into, or the address of a page and a heading in it.
const REFUSED: &str = "\"'\\`<>{}$#";

/// The base address of an operator's copy of the runbooks; ends with `/`.
#[derive(Clone, Debug)]
pub(crate) struct RunbooksAddress(String);

impl FromStr for RunbooksAddress {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let is_refused = |c: char| c.is_whitespace() || c.is_control() || REFUSED.contains(c);
        match given.find(is_refused) {
            _ if given.is_empty() => Err("it is empty".to_owned()),
            Some(at) => {
                Err(format!("there must be no {:?} in it", &given[at..].chars().next().unwrap_or_default()))
            }
            None => Ok(Self(format!("{}/", given.trim_end_matches('/')))),
        }
    }
}

impl RunbooksAddress {
    /// The text with this in place of [`RUNBOOKS`].
    pub(crate) fn within(&self, text: &str) -> String {
        text.replace(RUNBOOKS, &self.0)
    }
}

/// Files to write, and how to tell of it.
pub(crate) struct FileExport<'a> {
    /// The noun of the command.
    pub noun: &'static str,
    /// The folder; it is made if it is not there.
    pub dir: &'a Path,
    /// Whether files that are there are written over.
    pub force: bool,
    /// Names and texts.
    pub files: Vec<(&'static str, String)>,
    /// An object that tells of them in JSON; `files` is added to it.
    pub document: Value,
    /// What is to be done with them.
    pub note: &'a str,
}

impl FileExport<'_> {
    /// Writes the files, each of them whole, and tells which.
    ///
    /// # Errors
    /// A usage error when one of them is there already and must not be written over, `FILE` when one cannot be written; those before it
    /// have been then.
    pub(crate) fn write(self, session: &mut CommandSession) -> Result<Exit, CliError> {
        let files: Vec<(PathBuf, String)> =
            self.files.into_iter().map(|(name, text)| (self.dir.join(name), text)).collect();
        if let Some((there, _)) = files.iter().find(|(path, _)| !self.force && path.exists()) {
            return Err(CliError::not_written_over(there));
        }
        let cannot = |path: &Path, error| {
            CliError::local(reasons::FILE, format!("cannot write {}", path.display()), &error)
        };
        std::fs::create_dir_all(self.dir).map_err(|error| cannot(self.dir, error))?;
        for (path, text) in &files {
            write_whole(path, text.as_bytes()).map_err(|error| cannot(path, error))?;
        }
        let paths: Vec<String> = files.iter().map(|(path, _)| path.display().to_string()).collect();
        let lines = paths.iter().map(|path| format!("{path}\n")).collect::<String>();
        let mut document = self.document;
        document["files"] = json!(paths);
        session.show(&CommandOutput::lines(
            document,
            format!("{}/{}", self.noun, self.dir.display()),
            lines,
        ))?;
        session.notes().say(&format!("{} written; {}", count(paths.len() as u64, "file"), self.note));
        Ok(Exit::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_runbooks_is_one_that_pages_can_be_added_to() {
        for (given, expected) in [
            ("https://wiki.example/books", "see https://wiki.example/books/a.md#b"),
            ("https://wiki.example/books//", "see https://wiki.example/books/a.md#b"),
            ("/usr/share/doc/omnirelay/docs/runbooks", "see /usr/share/doc/omnirelay/docs/runbooks/a.md#b"),
        ] {
            let address: RunbooksAddress = given.parse().unwrap();
            assert_eq!(address.within("see docs/runbooks/a.md#b"), expected, "{given}");
        }
        for given in
            ["", "https://a.example/\" x", "https://a.example/b c", "https://a.example/#b", "a\nb", "{{b}}"]
        {
            assert!(given.parse::<RunbooksAddress>().is_err(), "{given}");
        }
    }
}
