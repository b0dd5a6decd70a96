//! The methods this daemon serves, each with what the pipeline must know of it before it is called.

use std::collections::HashMap;
use std::sync::Arc;

use omnirelay_identity::caller::Scope;
use omnirelay_wire::descriptors::without_source_info;
use omnirelay_wire::json::MethodJson;
use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};

use super::SurfaceError;
use super::dialect::Dialect;
use super::own_node::OwnNodeRule;

/// The descriptors of some services, and the JSON converters of their methods.
#[derive(Clone, Copy)]
pub struct ServiceDefinition {
    /// An encoded `FileDescriptorSet` with options, imports and source information.
    pub descriptors: &'static [u8],
    pub methods: &'static [MethodJson],
}

/// The daemon's own services.
pub static OMNIRELAY: ServiceDefinition = ServiceDefinition {
    descriptors: omnirelay_wire::descriptors::ENCODED,
    methods: omnirelay_wire::json::METHODS,
};

/// What a method declares that anybody may call.
pub(super) const NO_SCOPE: &str = "none";

/// The largest HTTP body or gRPC message of a method that sets no limit of its own, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// One method of a service that is defined in our descriptors.
pub(super) struct ServedMethod {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// `None` for health and reflection, which anyone may call.
    pub policy: Option<MethodPolicy>,
    /// What the audit trail calls it; `None`: it changes nothing.
    pub audit_action: Option<Arc<str>>,
    /// Whether the answer is a stream.
    pub streams: bool,
    /// Whether the request is one.
    pub client_streams: bool,
    /// Which node a call concerns, where that can be the one that is asked and no other.
    pub own_node: Option<OwnNodeRule>,
}

impl ServedMethod {
    /// Whether it changes state.
    pub(super) fn mutates(&self) -> bool {
        self.audit_action.is_some()
    }

    /// Whether nodes of other clusters of the trust domain reach it.
    pub(super) fn is_for_siblings(&self) -> bool {
        self.policy.is_some_and(|policy| policy.sibling)
    }

    /// Whether it is of the exchange of advertisements, which nodes of federated clusters reach.
    pub(super) fn is_exchange(&self) -> bool {
        self.policy.is_some_and(|policy| policy.exchange)
    }

    /// Whether its operation hears from the client's stream that the daemon drains, and ends by itself.
    pub(super) fn hears_of_drain(&self) -> bool {
        self.client_streams && self.policy.is_some()
    }

    /// The largest message it takes over gRPC, in bytes.
    pub(super) fn message_bytes_max(&self) -> usize {
        self.policy.map_or(BODY_BYTES_MAX, |policy| policy.body_bytes_max)
    }
}

/// The `omnirelay.api.v1.policy` option of a method.
#[derive(Clone, Copy, Debug)]
pub(super) struct MethodPolicy {
    /// `None`: anybody may call it.
    pub scope: Option<Scope>,
    pub body_bytes_max: usize,
    pub ignore_unknown_fields: bool,
    /// Whether its answers have an ETag and `If-None-Match` is heard.
    pub cacheable: bool,
    /// Whether nodes of federated clusters may call it, without any scope.
    pub exchange: bool,
    /// Whether nodes of other clusters of the trust domain may call it, without any scope.
    pub sibling: bool,
    /// Whether nodes may call it at each other's mesh port.
    pub mesh: bool,
    /// Whether it is answered once its work is done, which may take seconds.
    pub awaits_work: bool,
}

/// A method with its descriptor: what routes and the OpenAPI document are made of.
#[derive(Clone)]
pub(super) struct DescribedMethod {
    pub method: Arc<ServedMethod>,
    pub policy: MethodPolicy,
    pub json: &'static MethodJson,
    pub descriptor: MethodDescriptor,
    pub bindings: Vec<HttpBinding>,
}

impl DescribedMethod {
    /// Whether it is of the service with this name.
    pub(super) fn is_of(&self, service: &str) -> bool {
        self.descriptor.parent_service().full_name() == service
    }

    pub(super) fn input(&self) -> MessageDescriptor {
        self.descriptor.input()
    }

    pub(super) fn output(&self) -> MessageDescriptor {
        self.descriptor.output()
    }
}

/// One `google.api.http` rule.
#[derive(Clone, Debug)]
pub(super) struct HttpBinding {
    pub verb: http::Method,
    pub template: String,
    /// Empty: no body. `*`: the whole message. Else the name of a field.
    pub body: String,
    /// Empty: the whole message.
    pub response_body: String,
    pub dialect: Dialect,
}

/// Reads every method of `definitions` whose service `is_served`, in the order of the descriptors.
///
/// # Errors
/// [`SurfaceError`] naming the method whose definition cannot be served.
pub(super) fn describe(
    definitions: &[ServiceDefinition],
    is_served: impl Fn(&str) -> bool,
) -> Result<Vec<DescribedMethod>, SurfaceError> {
    let mut pool = DescriptorPool::new();
    let mut converters = HashMap::new();
    for definition in definitions {
        let descriptors = without_source_info(definition.descriptors).map_err(SurfaceError::Unreadable)?;
        pool.decode_file_descriptor_set(&*descriptors).map_err(SurfaceError::Descriptors)?;
        converters.extend(definition.methods.iter().map(|json| (json.path, json)));
    }
    let options = OptionExtensions::of(&pool)?;
    let mut methods = Vec::new();
    for service in pool.services().filter(|service| is_served(service.full_name())) {
        for descriptor in service.methods() {
            methods.push(describe_one(descriptor, &converters, &options)?);
        }
    }
    Ok(methods)
}

fn describe_one(
    descriptor: MethodDescriptor,
    converters: &HashMap<&'static str, &'static MethodJson>,
    options: &OptionExtensions,
) -> Result<DescribedMethod, SurfaceError> {
    let path = format!("/{}/{}", descriptor.parent_service().full_name(), descriptor.name());
    let Some(json) = converters.get(path.as_str()).copied() else {
        return Err(SurfaceError::NoConverter { method: path });
    };
    let policy = options.policy(&descriptor, &path)?;
    let method = ServedMethod {
        path: json.path,
        policy: Some(policy),
        audit_action: options.audit_action(&descriptor),
        streams: descriptor.is_server_streaming(),
        client_streams: descriptor.is_client_streaming(),
        own_node: options.own_node(&descriptor, &path)?,
    };
    let bindings = options.bindings(&descriptor, &path)?;
    if let Some(binding) = bindings.first().filter(|_| method.client_streams) {
        let (template, why) = (binding.template.clone(), "what its client streams has no JSON");
        return Err(SurfaceError::Template { method: path, template, why });
    }
    Ok(DescribedMethod { method: Arc::new(method), policy, json, descriptor, bindings })
}

/// The two extensions of method options that we read.
struct OptionExtensions {
    http: ExtensionDescriptor,
    policy: ExtensionDescriptor,
}

impl OptionExtensions {
    fn of(pool: &DescriptorPool) -> Result<Self, SurfaceError> {
        let find = |name: &'static str| {
            pool.get_extension_by_name(name).ok_or(SurfaceError::NoOption { option: name })
        };
        Ok(Self { http: find("google.api.http")?, policy: find("omnirelay.api.v1.policy")? })
    }

    fn policy(&self, method: &MethodDescriptor, path: &str) -> Result<MethodPolicy, SurfaceError> {
        let options = method.options();
        let value = options.get_extension(&self.policy);
        let message = value.as_message();
        let scope = message.map(|policy| text(policy, "scope")).unwrap_or_default();
        let scope = match (scope.as_str(), Scope::from_word(&scope)) {
            (NO_SCOPE, None) => None,
            (_, Some(scope)) => Some(scope),
            (_, None) => return Err(SurfaceError::UnknownScope { method: path.to_owned(), scope }),
        };
        let flag = |name| message.and_then(|policy| policy.get_field_by_name(name)?.as_bool());
        let limit = message.and_then(|policy| policy.get_field_by_name("body_bytes_max")?.as_u32());
        Ok(MethodPolicy {
            scope,
            body_bytes_max: match limit {
                None | Some(0) => BODY_BYTES_MAX,
                Some(limit) => usize::try_from(limit).unwrap_or(BODY_BYTES_MAX),
            },
            ignore_unknown_fields: flag("ignore_unknown_fields").unwrap_or(false),
            cacheable: flag("cacheable").unwrap_or(false),
            exchange: flag("exchange").unwrap_or(false),
            sibling: flag("sibling").unwrap_or(false),
            mesh: flag("mesh").unwrap_or(false),
            awaits_work: flag("awaits_work").unwrap_or(false),
        })
    }

    fn audit_action(&self, method: &MethodDescriptor) -> Option<Arc<str>> {
        let options = method.options();
        let policy = options.get_extension(&self.policy);
        let action = policy.as_message().map(|policy| text(policy, "audit_action"))?;
        (!action.is_empty()).then(|| action.into())
    }

    fn own_node(&self, method: &MethodDescriptor, path: &str) -> Result<Option<OwnNodeRule>, SurfaceError> {
        let options = method.options();
        let policy = options.get_extension(&self.policy);
        let field = policy.as_message().map(|policy| text(policy, "own_node")).unwrap_or_default();
        match field.as_str() {
            "" => Ok(None),
            "*" => Ok(Some(OwnNodeRule::Always)),
            _ => match method.input().get_field_by_name(&field) {
                Some(named) if named.kind() == Kind::String && !method.is_client_streaming() => {
                    Ok(Some(OwnNodeRule::Field(named)))
                }
                Some(_) | None => Err(SurfaceError::OwnNodeRule { method: path.to_owned(), field }),
            },
        }
    }

    fn bindings(&self, method: &MethodDescriptor, path: &str) -> Result<Vec<HttpBinding>, SurfaceError> {
        let options = method.options();
        let policy = options.get_extension(&self.policy);
        let below = policy.as_message().map(|policy| text(policy, "origin_json_below")).unwrap_or_default();
        let value = options.get_extension(&self.http);
        let rule = value.as_message().filter(|_| options.has_extension(&self.http));
        let more = rule.and_then(|rule| rule.get_field_by_name("additional_bindings"));
        let more = more.as_deref().and_then(Value::as_list).unwrap_or_default();
        let bindings = rule
            .into_iter()
            .chain(more.iter().filter_map(Value::as_message))
            .map(|rule| binding(rule, path, &below))
            .collect::<Result<Vec<_>, _>>()?;
        match useless(&below, &bindings) {
            Some(why) => Err(SurfaceError::OriginJson { method: path.to_owned(), below, why }),
            None => Ok(bindings),
        }
    }
}

/// What is wrong with the beginning of the routes that speak the origin's JSON.
fn useless(origin_below: &str, bindings: &[HttpBinding]) -> Option<&'static str> {
    match origin_below {
        "" => None,
        below if !below.starts_with('/') => Some("it does not start with `/`"),
        _ if bindings.iter().any(|binding| binding.dialect == Dialect::Origin) => None,
        _ => Some("none of the method's routes begins with it"),
    }
}

fn binding(rule: &DynamicMessage, method: &str, origin_below: &str) -> Result<HttpBinding, SurfaceError> {
    let named = [
        ("get", http::Method::GET),
        ("put", http::Method::PUT),
        ("post", http::Method::POST),
        ("delete", http::Method::DELETE),
        ("patch", http::Method::PATCH),
    ];
    let (verb, template) = named
        .into_iter()
        .find(|(field, _)| rule.has_field_by_name(field))
        .map(|(field, verb)| (verb, text(rule, field)))
        .ok_or_else(|| SurfaceError::Template {
            method: method.to_owned(),
            template: String::new(),
            why: "its http rule has no verb we serve",
        })?;
    let dialect = Dialect::of(&template, origin_below);
    let (body, response_body) = (text(rule, "body"), text(rule, "response_body"));
    Ok(HttpBinding { verb, template, body, response_body, dialect })
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
