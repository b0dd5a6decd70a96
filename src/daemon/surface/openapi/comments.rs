//! The comments of the protos, by what they stand before.

use std::collections::HashMap;

use prost_reflect::FileDescriptor;

/// Comments by file and by the path of their element in the file's descriptor.
#[derive(Default)]
pub(super) struct Comments {
    files: HashMap<String, HashMap<Vec<i32>, String>>,
}

impl Comments {
    /// Reads the comments of a file and of all it imports; a file is read once.
    pub(super) fn read(&mut self, file: &FileDescriptor) {
        if self.files.contains_key(file.name()) {
            return;
        }
        let info = file.file_descriptor_proto().source_code_info.as_ref();
        let located = info.map(|info| info.location.as_slice()).unwrap_or_default();
        let comments = located.iter().filter_map(|location| {
            let text = location.leading_comments.as_deref().or(location.trailing_comments.as_deref())?;
            Some((location.path.clone(), tidy(text)))
        });
        self.files.insert(file.name().to_owned(), comments.collect());
        for imported in file.dependencies() {
            self.read(&imported);
        }
    }

    /// What the proto says of an element; `None` when it says nothing.
    pub(super) fn of(&self, file: &FileDescriptor, path: &[i32]) -> Option<&str> {
        self.files.get(file.name())?.get(path).map(String::as_str).filter(|text| !text.is_empty())
    }
}

/// Joins the lines of a paragraph; an empty line still separates two.
fn tidy(text: &str) -> String {
    let mut tidied = String::new();
    for line in text.lines().map(str::trim) {
        let separator = match (tidied.is_empty(), line.is_empty()) {
            (true, _) => "",
            (false, true) => "\n\n",
            (false, false) if tidied.ends_with('\n') => "",
            (false, false) => " ",
        };
        tidied.push_str(separator);
        tidied.push_str(line);
    }
    tidied.trim_end().to_owned()
}

/// The first sentence of the first paragraph.
pub(super) fn summary(text: &str) -> &str {
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    paragraph.split_once(". ").map_or(paragraph, |(sentence, _)| sentence).trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_paragraph_are_joined() {
        assert_eq!(tidy(" One\n two.\n\n Three\n"), "One two.\n\nThree");
        assert_eq!(summary("Lists peers. All of them."), "Lists peers");
        assert_eq!(summary("Lists peers.\n\nMore"), "Lists peers");
    }
}
