//! Path templates of `google.api.http`: literals, `{field}` and a verb at the end.

/// A parsed template. Two that differ only in the names of their fields are equal in shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    segments: Vec<Segment>,
    /// `cordon` of `/control/peers/{node_id}:cordon`.
    verb: Option<String>,
}

/// Literals sort before variables, so that the more exact template is tried first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    Variable,
}

impl Template {
    /// Parses a template into its shape and the fields its variables fill, in order.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(text: &str) -> Result<(Self, Vec<String>), &'static str> {
        let path = text.strip_prefix('/').ok_or("it does not start with `/`")?;
        // A colon inside braces would belong to a pattern, which is refused below.
        let (path, verb) = match path.rsplit_once(':') {
            Some((path, verb)) if !verb.contains(['/', '}']) => (path, Some(verb)),
            _ => (path, None),
        };
        if verb == Some("") {
            return Err("its verb is empty");
        }
        let mut fields = Vec::new();
        let mut segments = Vec::new();
        for segment in path.split('/') {
            segments.push(match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(field) if field.contains(['=', '*', '{']) => {
                    return Err("patterns inside braces are not supported");
                }
                Some(field) => {
                    fields.push(field.to_owned());
                    Segment::Variable
                }
                None if segment.is_empty() => return Err("it has an empty segment"),
                None if segment.contains(['{', '}', '*']) => return Err("a field must fill its segment"),
                None => Segment::Literal(segment.to_owned()),
            });
        }
        Ok((Self { segments, verb: verb.map(str::to_owned) }, fields))
    }

    /// What the variables stand for in `path`, still percent-encoded; `None` when it does not match.
    ///
    /// A variable is never empty. An encoded colon is part of a value, never the start of a verb.
    pub(super) fn matches<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let mut path = path.strip_prefix('/')?;
        if let Some(verb) = &self.verb {
            path = path.strip_suffix(verb.as_str())?.strip_suffix(':')?;
        }
        let mut values = Vec::new();
        let mut given = path.split('/');
        for segment in &self.segments {
            let part = given.next()?;
            match segment {
                Segment::Literal(literal) if literal == part => {}
                Segment::Variable if !part.is_empty() => values.push(part),
                Segment::Literal(_) | Segment::Variable => return None,
            }
        }
        given.next().is_none().then_some(values)
    }

    /// Sorts a more exact template before one that matches more.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        (self.verb.is_none(), self.segments.clone(), self.verb.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_verbs_are_split_from_the_path() {
        let cases = [
            ("/control/peers", "/control/peers", Some(vec![])),
            ("/control/peers/{id}", "/control/peers/a", Some(vec!["a"])),
            ("/control/peers/{id}", "/control/peers/a:b", Some(vec!["a:b"])),
            ("/control/peers/{id}", "/control/peers/", None),
            ("/control/peers/{id}", "/control/peers", None),
            ("/control/peers/{id}", "/control/peers/a/b", None),
            ("/control/peers/{id}:cordon", "/control/peers/a:cordon", Some(vec!["a"])),
            ("/control/peers/{id}:cordon", "/control/peers/a:b:cordon", Some(vec!["a:b"])),
            ("/control/peers/{id}:cordon", "/control/peers/:cordon", None),
            ("/control/peers/{id}:cordon", "/control/peers/a%3Acordon", None),
            ("/control/peers/{id}:cordon", "/control/peers/acordon", None),
            ("/a/{x}/b/{y.z}", "/a/1/b/2", Some(vec!["1", "2"])),
            ("/control/keys:rotate", "/control/keys:rotate", Some(vec![])),
        ];
        for (template, path, expected) in cases {
            let (template, _) = Template::parse(template).unwrap();
            assert_eq!(template.matches(path), expected, "{template:?} {path}");
        }
    }

    #[test]
    fn unsupported_templates_are_refused() {
        for text in ["control", "/a//b", "/a/{x=**}", "/a/x{y}", "/a/*", "/a/{x}:"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        assert_eq!(Template::parse("/a/{x}/{y.z}:go").unwrap().1, ["x", "y.z"]);
    }

    #[test]
    fn exact_templates_come_first() {
        let mut templates: Vec<_> = ["/a/{x}", "/a/{x}:go", "/a/b", "/{x}/b"]
            .iter()
            .map(|text| (Template::parse(text).unwrap().0.rank(), *text))
            .collect();
        templates.sort_by(|a, b| a.0.cmp(&b.0));
        let order: Vec<_> = templates.into_iter().map(|(_, text)| text).collect();
        assert_eq!(order, ["/a/{x}:go", "/a/b", "/a/{x}", "/{x}/b"]);
    }
}
