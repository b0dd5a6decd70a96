//! Path templates of `google.api.http`: literals, `{field}`, a last `{field=**}` and a verb at the end.

/// A parsed template. Two that differ only in the names of their fields are equal in shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathTemplate {
    segments: Vec<Segment>,
    /// `cordon` of `/control/peers/{node_id}:cordon`.
    verb: Option<String>,
}

/// Segment of a template. What matches less sorts first, so that the more exact template is tried first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    Variable,
    /// One segment or more, with the slashes between them: always the last.
    Rest,
}

impl PathTemplate {
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
            if segments.last() == Some(&Segment::Rest) {
                return Err("a `{field=**}` must be its last segment");
            }
            segments.push(match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(variable) => {
                    let (field, segment) = Segment::of_variable(variable)?;
                    fields.push(field.to_owned());
                    segment
                }
                None if segment.is_empty() => return Err("it has an empty segment"),
                None if segment.contains(['{', '}', '*']) => return Err("a field must fill its segment"),
                None => Segment::Literal(segment.to_owned()),
            });
        }
        Ok((Self { segments, verb: verb.map(str::to_owned) }, fields))
    }

    /// Values of the variables in `path`, still percent-encoded; `None` when it does not match.
    ///
    /// A variable is never empty, nor is a segment of the last one. An encoded colon is part of a value, never
    /// the start of a verb.
    pub(super) fn matches<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let mut path = path.strip_prefix('/')?;
        if let Some(verb) = &self.verb {
            path = path.strip_suffix(verb.as_str())?.strip_suffix(':')?;
        }
        let mut values = Vec::new();
        let mut left = Some(path);
        for segment in &self.segments {
            let given = left?;
            let (part, after) =
                given.split_once('/').map_or((given, None), |(part, after)| (part, Some(after)));
            left = after;
            match segment {
                Segment::Literal(literal) if literal == part => {}
                Segment::Variable if !part.is_empty() => values.push(part),
                Segment::Rest if !has_gap(given) => {
                    values.push(given);
                    left = None;
                }
                Segment::Literal(_) | Segment::Variable | Segment::Rest => return None,
            }
        }
        left.is_none().then_some(values)
    }

    /// Whether the last variable may hold slashes.
    pub(super) fn takes_slashes(&self) -> bool {
        self.segments.last() == Some(&Segment::Rest)
    }

    /// Whether the two would be one if slashes were no part of values.
    pub(super) fn reads_like(&self, other: &Self) -> bool {
        let plain = |segment: &Segment| match segment {
            Segment::Literal(_) | Segment::Variable => segment.clone(),
            Segment::Rest => Segment::Variable,
        };
        self.verb == other.verb && self.segments.iter().map(plain).eq(other.segments.iter().map(plain))
    }

    /// Sorts a more exact template before one that matches more.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        (self.verb.is_none(), self.takes_slashes(), self.segments.clone(), self.verb.clone())
    }
}

impl Segment {
    /// Reads what stands in braces: the field, and how much of a path it takes.
    fn of_variable(variable: &str) -> Result<(&str, Self), &'static str> {
        let (field, segment) = match variable.split_once('=').unwrap_or((variable, "*")) {
            (field, "*") => (field, Self::Variable),
            (field, "**") => (field, Self::Rest),
            _ => return Err("no patterns inside braces are supported but `*` and `**`"),
        };
        if field.contains(['*', '{']) {
            return Err("a field in braces has a name and nothing else");
        }
        Ok((field, segment))
    }
}

/// Whether a segment of a value is empty; its slashes may be encoded.
fn has_gap(value: &str) -> bool {
    value.split('/').flat_map(|part| part.split("%2F")).flat_map(|part| part.split("%2f")).any(str::is_empty)
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
            ("/a/{x=*}", "/a/1", Some(vec!["1"])),
            ("/a/{x=*}", "/a/1/2", None),
            ("/a/{x=**}", "/a/1", Some(vec!["1"])),
            ("/a/{x=**}", "/a/1/2/3", Some(vec!["1/2/3"])),
            ("/a/{x=**}", "/a/1%2F2/3", Some(vec!["1%2F2/3"])),
            ("/a/{x=**}", "/a/1/b:go", Some(vec!["1/b:go"])),
            ("/a/{x=**}", "/a", None),
            ("/a/{x=**}", "/a/", None),
            ("/a/{x=**}", "/a/1/", None),
            ("/a/{x=**}", "/a//1", None),
            ("/a/{x=**}", "/a/1//2", None),
            ("/a/{x=**}", "/a/1%2F", None),
            ("/a/{x=**}", "/a/%2f1", None),
            ("/a/{x=**}", "/a/1%2F/2", None),
            ("/a/{x}/{y=**}", "/a/1/2/3", Some(vec!["1", "2/3"])),
            ("/a/{x=**}:go", "/a/1/2:go", Some(vec!["1/2"])),
            ("/a/{x=**}:go", "/a/1:b/2:go", Some(vec!["1:b/2"])),
            ("/a/{x=**}:go", "/a/1/2%3Ago", None),
            ("/a/{x=**}:go", "/a/1/2", None),
            ("/a/{x=**}:go", "/a/1/:go", None),
            ("/a/{x=**}:go", "/a/:go", None),
        ];
        for (template, path, expected) in cases {
            let (template, _) = PathTemplate::parse(template).unwrap();
            assert_eq!(template.matches(path), expected, "{template:?} {path}");
        }
    }

    #[test]
    fn unsupported_templates_are_refused() {
        let texts = [
            "control",
            "/a//b",
            "/a/x{y}",
            "/a/*",
            "/a/**",
            "/a/{x}:",
            "/a/{x=b/*}",
            "/a/{x=b}",
            "/a/{x=***}",
            "/a/{x=*=*}",
            "/a/{x*}",
            "/a/{x=**}/b",
            "/a/{x=**}/{y}",
            "/a/{x=**}/{y=**}",
            "/a/x{y=**}",
        ];
        for text in texts {
            assert!(PathTemplate::parse(text).is_err(), "{text}");
        }
        assert_eq!(PathTemplate::parse("/a/{x}/{y.z}:go").unwrap().1, ["x", "y.z"]);
        assert_eq!(PathTemplate::parse("/a/{x=*}/{y.z=**}:go").unwrap().1, ["x", "y.z"]);
    }

    #[test]
    fn exact_templates_come_first() {
        let expected = [
            "/a/{x}:go",
            "/a/b/{x=**}:go",
            "/a/{x=**}:go",
            "/a/b",
            "/a/{x}",
            "/a/{x}/b",
            "/{x}/b",
            "/a/b/{x=**}",
            "/a/{x=**}",
            "/{x=**}",
        ];
        let mut templates: Vec<_> =
            expected.iter().rev().map(|text| (PathTemplate::parse(text).unwrap().0.rank(), *text)).collect();
        templates.sort_by(|a, b| a.0.cmp(&b.0));
        let order: Vec<_> = templates.into_iter().map(|(_, text)| text).collect();
        assert_eq!(order, expected);
    }
}
