//! The comments of the protos, by what they stand before.

use std::collections::HashMap;

use prost_reflect::FileDescriptor;
use prost_reflect::prost::Message;
use prost_reflect::prost_types::FileDescriptorSet;

use super::ServiceDefinition;

/// Comments by file and by the path of their element in the file's descriptor.
#[derive(Default)]
pub(super) struct ProtoComments {
    files: HashMap<String, HashMap<Vec<i32>, String>>,
}

impl ProtoComments {
    /// Reads the comments of every file.
    pub(super) fn of_files(definitions: &[ServiceDefinition]) -> Self {
        let mut files = HashMap::new();
        for definition in definitions {
            // Their methods were read from the same bytes.
            let set = FileDescriptorSet::decode(definition.descriptors).unwrap_or_default();
            for file in set.file {
                let located = file.source_code_info.map(|info| info.location).unwrap_or_default();
                let comments = located.into_iter().filter_map(|location| {
                    let text = location.leading_comments.or(location.trailing_comments)?;
                    Some((location.path, tidy(&text)))
                });
                files.insert(file.name.unwrap_or_default(), comments.collect());
            }
        }
        Self { files }
    }

    /// Comment of the proto on an element; `None` when there is none.
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
