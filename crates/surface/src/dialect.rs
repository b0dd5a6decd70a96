//! The JSON of the systems some methods come from, on the routes that those systems' clients know.
//!
//! It differs from the canonical mapping in three things: fields that a message does not have are ignored, those that
//! it has may be spelled in any case, and 64-bit integers of answers are numbers. The generated converters write them as strings, so an answer is
//! copied once more; which of its fields are concerned is found out at start.

use std::collections::HashMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::shape::UnknownFieldRule;

/// Dialect of JSON that a route speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dialect {
    /// The canonical mapping of protocol buffers.
    Canonical,
    /// That of the system which the method comes from.
    Origin,
}

impl Dialect {
    /// Dialect of a route with this template, where the policy names what the origin's routes begin with.
    pub(super) fn of(template: &str, origin_below: &str) -> Self {
        match !origin_below.is_empty() && template.starts_with(origin_below) {
            true => Self::Origin,
            false => Self::Canonical,
        }
    }

    /// Treatment of fields that a message does not have.
    pub(super) fn unknown(self) -> UnknownFieldRule {
        match self {
            Self::Canonical => UnknownFieldRule::Refuse,
            Self::Origin => UnknownFieldRule::Ignore,
        }
    }
}

/// Whether anything in a message, however deep, is a 64-bit integer.
pub(super) fn holds_numbers(message: &MessageDescriptor) -> bool {
    IntegerFields::of(message).messages.iter().any(|fields| !fields.is_empty())
}

/// Places of the 64-bit integers of a message in its JSON.
pub(super) struct IntegerFields {
    /// The fields to look into by their JSON name in quotes, for each message; the answer itself is the first.
    messages: Vec<Vec<(String, SearchStep)>>,
}

/// Step of the search for integers into one field.
#[derive(Clone, Copy)]
struct SearchStep {
    nesting: Nesting,
    value: Value,
}

#[derive(Clone, Copy)]
enum Nesting {
    One,
    List,
    Map,
}

#[derive(Clone, Copy)]
enum Value {
    Number,
    /// By its index.
    Message(usize),
}

impl IntegerFields {
    pub(super) fn of(answer: &MessageDescriptor) -> Self {
        let mut known = HashMap::from([(answer.full_name().to_owned(), 0)]);
        let mut queue = vec![answer.clone()];
        let mut messages = Vec::new();
        // It grows as it is gone through.
        while let Some(message) = queue.get(messages.len()).cloned() {
            let mut fields = Vec::new();
            for field in message.fields() {
                let index_of = |inner: &MessageDescriptor| {
                    *known.entry(inner.full_name().to_owned()).or_insert_with(|| {
                        queue.push(inner.clone());
                        queue.len() - 1
                    })
                };
                if let Some(step) = SearchStep::of(&field, index_of) {
                    fields.push((format!("\"{}\"", field.json_name()), step));
                }
            }
            messages.push(fields);
        }
        Self { messages: without_dead_ends(messages) }
    }

    /// The same JSON with numbers in the place of the strings; only of one field of it where one is named.
    /// `None` when that is not there.
    ///
    /// # Errors
    /// When it is no JSON as the converters write it: an object, without spaces.
    pub(super) fn rewrite(&self, json: &[u8], only: Option<&str>) -> serde_json::Result<Option<Vec<u8>>> {
        let mut rewriting = JsonRewriter { numbers: self, json, at: 0, kept: 0, into: Vec::new() };
        let found = match only {
            None => rewriting.value(SearchStep::ANSWER).map(|()| true),
            Some(name) => rewriting.only(&format!("\"{name}\"")),
        };
        match found {
            Some(true) => Ok(Some(rewriting.finish())),
            Some(false) => Ok(None),
            None => Err(serde::ser::Error::custom("an answer is not written as its converter writes it")),
        }
    }

    /// How a field is looked into; `None`: it is copied.
    fn step(&self, message: usize, name: &[u8]) -> Option<SearchStep> {
        let fields = self.messages.get(message)?;
        fields.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, step)| *step)
    }
}

impl SearchStep {
    const ANSWER: Self = Self { nesting: Nesting::One, value: Value::Message(0) };

    /// How a field is looked into, if it can hold 64-bit integers at all.
    fn of(field: &FieldDescriptor, mut index_of: impl FnMut(&MessageDescriptor) -> usize) -> Option<Self> {
        let kind = field.kind();
        let entry = kind.as_message().filter(|_| field.is_map());
        let (nesting, kind) = match entry {
            Some(entry) => (Nesting::Map, entry.map_entry_value_field().kind()),
            None if field.is_list() => (Nesting::List, kind),
            None => (Nesting::One, kind),
        };
        let value = match kind {
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64 => Value::Number,
            Kind::Message(inner) => match inner.full_name() {
                "google.protobuf.Int64Value" | "google.protobuf.UInt64Value" => Value::Number,
                // What else has a JSON form of its own has no 64-bit integers in it.
                name if name.starts_with("google.protobuf.") => return None,
                _ => Value::Message(index_of(&inner)),
            },
            Kind::Double
            | Kind::Float
            | Kind::Int32
            | Kind::Uint32
            | Kind::Sint32
            | Kind::Fixed32
            | Kind::Sfixed32
            | Kind::Bool
            | Kind::String
            | Kind::Bytes
            | Kind::Enum(_) => return None,
        };
        Some(Self { nesting, value })
    }
}

/// Takes out the steps that lead to no number, so that what they lead to is copied whole.
fn without_dead_ends(mut messages: Vec<Vec<(String, SearchStep)>>) -> Vec<Vec<(String, SearchStep)>> {
    let mut holds = vec![false; messages.len()];
    // Messages may hold themselves, so it is gone through until nothing more is found.
    loop {
        let leads = |step: &SearchStep| match step.value {
            Value::Number => true,
            Value::Message(index) => holds.get(index).is_some_and(|holds| *holds),
        };
        let found: Vec<bool> =
            messages.iter().map(|fields| fields.iter().any(|(_, step)| leads(step))).collect();
        if found == holds {
            messages.iter_mut().for_each(|fields| fields.retain(|(_, step)| leads(step)));
            return messages;
        }
        holds = found;
    }
}

/// Rewriter that goes through JSON once and leaves out the quotes of numbers. `None` is said of what is no such JSON.
///
/// No parser, because this is done to every list that is answered: it need not find out what the values are.
struct JsonRewriter<'j> {
    numbers: &'j IntegerFields,
    json: &'j [u8],
    at: usize,
    /// From here on nothing was copied yet.
    kept: usize,
    into: Vec<u8>,
}

impl<'j> JsonRewriter<'j> {
    fn finish(mut self) -> Vec<u8> {
        self.copy(self.at);
        self.into
    }

    fn copy(&mut self, end: usize) {
        self.into.extend_from_slice(self.json.get(self.kept..end).unwrap_or_default());
        self.kept = end;
    }

    fn next(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    /// Goes behind the value of one field of the answer, and forgets what is before it. False: there is none.
    fn only(&mut self, name: &str) -> Option<bool> {
        let step = self.numbers.step(0, name.as_bytes());
        self.at += 1;
        while self.next()? != b'}' {
            if self.name()? == name.as_bytes() {
                self.kept = self.at;
                self.field(step)?;
                return Some(true);
            }
            self.skip()?;
            if self.next()? == b',' {
                self.at += 1;
            }
        }
        Some(false)
    }

    /// Goes behind a value that is looked into.
    fn value(&mut self, step: SearchStep) -> Option<()> {
        let one = SearchStep { nesting: Nesting::One, ..step };
        match (step.nesting, step.value, self.next()?) {
            (Nesting::List, _, b'[') => self.each(|list| list.value(one)),
            (Nesting::Map, _, b'{') => self.each(|map| {
                map.name()?;
                map.value(one)
            }),
            (Nesting::One, Value::Message(message), b'{') => self.each(|fields| {
                let name = fields.name()?;
                fields.field(fields.numbers.step(message, name))
            }),
            (Nesting::One, Value::Number, b'"') => {
                self.copy(self.at);
                self.skip()?;
                self.kept += 1;
                self.copy(self.at - 1);
                self.kept = self.at;
                Some(())
            }
            (Nesting::One | Nesting::List | Nesting::Map, Value::Number | Value::Message(_), _) => {
                self.skip()
            }
        }
    }

    fn field(&mut self, step: Option<SearchStep>) -> Option<()> {
        match step {
            Some(step) => self.value(step),
            None => self.skip(),
        }
    }

    /// Goes behind a list or an object, item by item.
    fn each(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        loop {
            match self.next()? {
                b',' => self.at += 1,
                b']' | b'}' => break,
                _ => item(self)?,
            }
        }
        self.at += 1;
        Some(())
    }

    /// Goes behind a name and its colon; the name is in quotes.
    fn name(&mut self) -> Option<&'j [u8]> {
        let begin = self.at;
        self.string()?;
        let name = self.json.get(begin..self.at)?;
        self.at += 1;
        Some(name)
    }

    /// Goes behind a value that is copied as it is.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                _ => self.at += 1,
            }
            if depth == 0 && matches!(self.next()?, b',' | b'}' | b']') {
                return Some(());
            }
        }
    }

    /// Goes behind a string.
    fn string(&mut self) -> Option<()> {
        if self.next()? != b'"' {
            return None;
        }
        self.at += 1;
        loop {
            let rest = self.json.get(self.at..)?;
            self.at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            if self.next()? == b'"' {
                self.at += 1;
                return Some(());
            }
            // What is escaped cannot be the end.
            self.at += 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_converter_writes_is_an_error_and_no_panic() {
        // A message that holds itself, a list, a map and a number.
        let nested = |nesting, value| SearchStep { nesting, value };
        let fields = [
            ("\"n\"", nested(Nesting::One, Value::Number)),
            ("\"m\"", nested(Nesting::One, Value::Message(0))),
            ("\"l\"", nested(Nesting::List, Value::Number)),
            ("\"o\"", nested(Nesting::Map, Value::Message(0))),
        ];
        let fields = fields.map(|(name, step)| (name.to_owned(), step)).to_vec();
        let numbers = IntegerFields { messages: vec![fields] };
        let whole =
            r#"{"n":"1","x":{"n":"\\\"2"},"m":{"n":"-3","l":["4","5"]},"o":{"\",":{"n":"6"}},"y":null}"#;
        let rewritten = r#"{"n":1,"x":{"n":"\\\"2"},"m":{"n":-3,"l":[4,5]},"o":{"\",":{"n":6}},"y":null}"#;
        let shown = |json: &str, only| {
            let shown = numbers.rewrite(json.as_bytes(), only).map_err(|error| error.to_string())?;
            Ok::<_, String>(shown.map(|shown| String::from_utf8(shown).unwrap()))
        };
        assert_eq!(shown(whole, None), Ok(Some(rewritten.to_owned())));
        for (only, expected) in [
            ("n", Some("1")),
            ("x", Some(r#"{"n":"\\\"2"}"#)),
            ("m", Some(r#"{"n":-3,"l":[4,5]}"#)),
            ("y", Some("null")),
            ("z", None),
        ] {
            assert_eq!(shown(whole, Some(only)), Ok(expected.map(str::to_owned)), "{only}");
        }
        for end in 0..whole.len() {
            assert!(shown(&whole[..end], None).is_err(), "{}", &whole[..end]);
            let _ = shown(&whole[..end], Some("z"));
        }
        let nulls = r#"{"n":null,"m":null,"l":null,"o":null}"#;
        assert_eq!(shown(nulls, None), Ok(Some(nulls.to_owned())));
        assert_eq!(shown("{}", None), Ok(Some("{}".to_owned())));
        assert_eq!(shown("{}", Some("n")), Ok(None));
    }
}
