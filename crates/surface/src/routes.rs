//! The HTTP routes, made once from the descriptors.

use std::sync::Arc;

use omnirelay_wire::json::MethodJson;
use prost_reflect::{FieldDescriptor, MessageDescriptor};

use super::SurfaceError;
use super::dialect::{Dialect, IntegerFields};
use super::method::{DescribedMethod, HttpBinding, MethodPolicy, ServedMethod};
use super::query::{FieldPath, resolve};
use super::required::RequiredFields;
use super::shape::{ReadingRules, UnknownFieldRule};
use super::sse::EventFields;
use super::template::PathTemplate;

/// The prefix under which every `/control` route stands as well.
const ALIAS: &str = "/omnirelay";

/// Every route, the most exact first.
#[derive(Default)]
pub(super) struct RouteTable {
    places: Vec<RoutePath>,
}

/// Path with its template, and what stands there for each verb.
struct RoutePath {
    template: PathTemplate,
    verbs: Vec<(http::Method, RouteChoice)>,
}

impl RoutePath {
    fn has(&self, verb: &http::Method) -> bool {
        self.verbs.iter().any(|(known, _)| known == verb)
    }
}

/// The methods that share a path and a verb: `Accept` says which is meant.
#[derive(Clone, Default)]
pub(super) struct RouteChoice {
    pub unary: Option<Arc<RouteBinding>>,
    pub stream: Option<Arc<RouteBinding>>,
}

/// Binding of HTTP to one method.
pub(super) struct RouteBinding {
    pub method: Arc<ServedMethod>,
    pub policy: MethodPolicy,
    pub json: &'static MethodJson,
    pub input: MessageDescriptor,
    pub path_fields: Vec<FieldPath>,
    pub body: BodyRule,
    /// How the body is read.
    pub reading: ReadingRules,
    /// The only field of the answer that is shown, if not the whole.
    pub response_body: Option<FieldDescriptor>,
    /// Where answers have 64-bit integers, on a route that shows them as numbers.
    pub numbers: Option<IntegerFields>,
    /// Where a stream's messages hold what an event needs.
    pub event: EventFields,
}

/// Rule on what the body of a request fills.
pub(super) enum BodyRule {
    Nothing,
    Whole,
    Field(FieldDescriptor),
}

/// Match of a path and a verb.
pub(super) enum RouteMatch<'r, 'p> {
    Route {
        choice: &'r RouteChoice,
        values: Vec<&'p str>,
    },
    /// The path has these verbs only, where it means what it says most exactly.
    WrongVerb(Vec<http::Method>),
    Nothing,
}

impl RouteTable {
    pub(super) fn of(methods: &[DescribedMethod]) -> Result<Self, SurfaceError> {
        let mut routes = Self::default();
        for method in methods {
            for http in &method.bindings {
                routes.add(method, http)?;
            }
        }
        routes.places.sort_by_cached_key(|place| place.template.rank());
        Ok(routes)
    }

    /// Finds what `verb` means at `path`. A `HEAD` is served by the `GET` of its path.
    pub(super) fn find<'p>(&self, verb: &http::Method, path: &'p str) -> RouteMatch<'_, 'p> {
        let path = canonical(path);
        let verb = if verb == http::Method::HEAD { &http::Method::GET } else { verb };
        let mut allowed = Vec::new();
        for place in &self.places {
            let Some(values) = place.template.matches(path) else { continue };
            if let Some((_, choice)) = place.verbs.iter().find(|(known, _)| known == verb) {
                return RouteMatch::Route { choice, values };
            }
            // A path such as `a:cordon` could also be an id to a wider route, but is none to who calls it.
            if allowed.is_empty() {
                allowed.extend(place.verbs.iter().map(|(known, _)| known.clone()));
            }
        }
        if allowed.is_empty() { RouteMatch::Nothing } else { RouteMatch::WrongVerb(allowed) }
    }

    fn add(&mut self, method: &DescribedMethod, http: &HttpBinding) -> Result<(), SurfaceError> {
        let (template, fields) =
            PathTemplate::parse(&http.template).map_err(|why| refused(method, http, why))?;
        let binding = Arc::new(RouteBinding::of(method, http, &fields)?);
        // They would be one path in the OpenAPI document, and `Accept` could not choose between them.
        let alike = |place: &RoutePath| place.template != template && place.template.reads_like(&template);
        if self.places.iter().any(|place| alike(place) && place.has(&http.verb)) {
            return Err(refused(method, http, "another route differs only in whether it takes slashes"));
        }
        let index = match self.places.iter().position(|place| place.template == template) {
            Some(index) => index,
            None => {
                self.places.push(RoutePath { template, verbs: Vec::new() });
                self.places.len() - 1
            }
        };
        let Some(place) = self.places.get_mut(index) else { return Ok(()) };
        let choice = match place.verbs.iter_mut().position(|(verb, _)| *verb == http.verb) {
            Some(known) => &mut place.verbs[known].1,
            None => &mut place.verbs.push_mut((http.verb.clone(), RouteChoice::default())).1,
        };
        let slot = if method.method.streams { &mut choice.stream } else { &mut choice.unary };
        if slot.replace(binding).is_some() {
            return Err(refused(method, http, "another method has the same route"));
        }
        Ok(())
    }
}

/// The path without the alias.
pub(super) fn canonical(path: &str) -> &str {
    path.strip_prefix(ALIAS).filter(|rest| rest.starts_with("/control/")).unwrap_or(path)
}

impl RouteBinding {
    fn of(method: &DescribedMethod, http: &HttpBinding, fields: &[String]) -> Result<Self, SurfaceError> {
        let input = method.input();
        let path_fields = fields
            .iter()
            .map(|field| {
                resolve(&input, field).filter(|path| path.last().is_some_and(|field| !field.is_list()))
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| refused(method, http, "it names a field that no text can fill"))?;
        let body = match http.body.as_str() {
            "" => BodyRule::Nothing,
            "*" => BodyRule::Whole,
            name => BodyRule::Field(
                input
                    .get_field_by_name(name)
                    .ok_or_else(|| refused(method, http, "its body is no field of the request"))?,
            ),
        };
        let response_body = match http.response_body.as_str() {
            "" => None,
            name => Some(
                method
                    .output()
                    .get_field_by_name(name)
                    .ok_or_else(|| refused(method, http, "its response_body is no field of the answer"))?,
            ),
        };
        let unknown = match method.policy.ignore_unknown_fields {
            true => UnknownFieldRule::Ignore,
            false => http.dialect.unknown(),
        };
        let any_case = http.dialect == Dialect::Origin;
        Ok(Self {
            method: Arc::clone(&method.method),
            policy: method.policy,
            json: method.json,
            path_fields,
            body,
            reading: ReadingRules { unknown, any_case, required: RequiredFields::of(&input) },
            response_body,
            numbers: (http.dialect == Dialect::Origin).then(|| IntegerFields::of(&method.output())),
            event: EventFields::of(&method.output()),
            input,
        })
    }
}

fn refused(method: &DescribedMethod, http: &HttpBinding, why: &'static str) -> SurfaceError {
    SurfaceError::Template { method: method.method.path.to_owned(), template: http.template.clone(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{OMNIRELAY, describe};

    fn found(routes: &RouteTable, verb: &str, path: &str) -> String {
        match routes.find(&verb.parse().unwrap(), path) {
            RouteMatch::Route { choice, values } => {
                let name = |binding: &Option<Arc<RouteBinding>>| {
                    binding.as_ref().map_or("-", |binding| binding.method.path.rsplit('/').next().unwrap())
                };
                format!("{} {} {values:?}", name(&choice.unary), name(&choice.stream))
            }
            RouteMatch::WrongVerb(verbs) => format!("only {verbs:?}"),
            RouteMatch::Nothing => "nothing".to_owned(),
        }
    }

    /// The daemon's methods, after a change of one rule of the peers' service.
    fn changed(method: &str, change: impl Fn(&mut HttpBinding)) -> Vec<DescribedMethod> {
        let mut methods = describe(&[OMNIRELAY], |_| true).unwrap();
        let path = format!("/omnirelay.mesh.control.v1.PeerControlService/{method}");
        let found = methods.iter_mut().find(|known| known.method.path == path).unwrap();
        change(&mut found.bindings[0]);
        methods
    }

    #[test]
    fn rules_that_cannot_be_served_are_refused() {
        type Change = fn(&mut HttpBinding);
        let cases: [(&str, &str, Change, &str); 7] = [
            ("a template", "Get", |rule| rule.template = "peers".to_owned(), "does not start with `/`"),
            ("a field", "Get", |rule| rule.template = "/a/{nobody=**}".to_owned(), "no text can fill"),
            ("a body", "Cordon", |rule| rule.body = "nothing".to_owned(), "no field of the request"),
            (
                "a unary answer",
                "Get",
                |rule| rule.response_body = "nothing".to_owned(),
                "no field of the answer",
            ),
            (
                "a streamed answer",
                "Watch",
                |rule| rule.response_body = "nothing".to_owned(),
                "no field of the answer",
            ),
            (
                "a route twice",
                "Get",
                |rule| rule.template = "/control/peers".to_owned(),
                "has the same route",
            ),
            (
                "a route but for slashes",
                "Watch",
                |rule| rule.template = "/control/peers/{since=**}".to_owned(),
                "whether it takes slashes",
            ),
        ];
        for (what, method, change, says) in cases {
            let refused = RouteTable::of(&changed(method, change)).err().map(|error| error.to_string());
            let refused = refused.unwrap_or_else(|| panic!("{what}"));
            assert!(refused.contains(says) && refused.contains(method), "{what}: {refused}");
        }
    }

    #[test]
    fn an_exact_route_goes_before_one_that_takes_the_rest() {
        let methods = changed("Cordon", |rule| rule.template = "/control/{node_id=**}:cordon".to_owned());
        let routes = RouteTable::of(&methods).unwrap();
        let cases = [
            ("POST", "/control/peers/a:cordon", "Cordon - [\"peers/a\"]"),
            ("POST", "/control/peers/a:uncordon", "Uncordon - [\"a\"]"),
            ("POST", "/omnirelay/control/x/y%2Fz:cordon", "Cordon - [\"x/y%2Fz\"]"),
            ("PUT", "/control/x/y:cordon", "only [POST]"),
            ("GET", "/control/x/y", "nothing"),
        ];
        for (verb, path, expected) in cases {
            assert_eq!(found(&routes, verb, path), expected, "{verb} {path}");
        }
    }

    #[test]
    fn the_daemons_own_routes_are_found() {
        let routes = RouteTable::of(&describe(&[OMNIRELAY], |_| true).unwrap()).unwrap();
        let cases = [
            ("GET", "/control/peers", "List Watch []"),
            ("GET", "/omnirelay/control/peers", "List Watch []"),
            ("HEAD", "/control/peers/a", "Get - [\"a\"]"),
            ("POST", "/control/peers/a:cordon", "Cordon - [\"a\"]"),
            ("POST", "/omnirelay/control/peers/a.b:uncordon", "Uncordon - [\"a.b\"]"),
            ("PATCH", "/control/peers/a/labels", "UpdateLabels - [\"a\"]"),
            ("PUT", "/control/peers/a", "only [GET, DELETE]"),
            ("PUT", "/control/peers/a:cordon", "only [POST]"),
            ("GET", "/control/peers/", "nothing"),
            ("GET", "/omnirelay/omnirelay/control/peers", "nothing"),
            ("GET", "/omnirelay", "nothing"),
        ];
        for (verb, path, expected) in cases {
            assert_eq!(found(&routes, verb, path), expected, "{verb} {path}");
        }
    }
}
