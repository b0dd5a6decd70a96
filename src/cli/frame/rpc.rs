//! Call of a method by a command: what goes where in its route; or that it has none and is called over gRPC.

use bytes::Bytes;
use omnirelay_wire::json::{METHODS, MethodJson};
use omnirelay_wire::reasons;
pub use omnirelay_wire::rpc::{HttpVerb, RpcMethod};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Map, Value};

use super::error::CliError;
use super::table::Column;

/// Leaf of the command tree: what it does, and which methods it calls.
#[derive(Clone, Copy, Debug)]
pub struct LeafCommand {
    /// As typed: `mesh peers list`.
    pub path: &'static str,
    pub calls: &'static [&'static RpcMethod],
    /// Why it calls no method; `None` when it does.
    pub local: Option<&'static str>,
    /// The exit codes it may end with, signals apart.
    pub exits: &'static str,
    /// The columns of its table, and the fields that it is filtered by, for completion.
    pub columns: &'static &'static [Column],
    pub filters: &'static [&'static str],
}

impl LeafCommand {
    const NONE: Self =
        Self { path: "", calls: &[], local: None, exits: "", columns: &(&[] as &[Column]), filters: &[] };

    /// A command that reads.
    pub const fn read(path: &'static str, calls: &'static [&'static RpcMethod]) -> Self {
        Self { path, calls, exits: "0 1 2 3 5 6 8 9 11", ..Self::NONE }
    }

    /// A command that changes something.
    pub const fn write(path: &'static str, calls: &'static [&'static RpcMethod]) -> Self {
        Self { path, calls, exits: "0 1 2 3 4 5 6 7 8 9 10 11", ..Self::NONE }
    }

    /// A command that needs no daemon, and why.
    pub const fn local(path: &'static str, reason: &'static str) -> Self {
        Self { path, local: Some(reason), exits: "0 1 2", ..Self::NONE }
    }

    /// One that prints a table with these columns, of what fits these fields.
    #[must_use]
    pub const fn listing(
        mut self,
        columns: &'static &'static [Column],
        filters: &'static [&'static str],
    ) -> Self {
        self.columns = columns;
        self.filters = filters;
        self
    }

    #[must_use]
    pub const fn exiting(mut self, exits: &'static str) -> Self {
        self.exits = exits;
        self
    }
}

/// A request ready to be sent to any address.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    /// Path and query, beginning with `/`.
    pub path: String,
    pub body: Option<String>,
    /// The body as gRPC carries it; `None`: the call goes over HTTP/JSON.
    pub grpc: Option<RpcMessage>,
    /// Sent with mutations; repeating with the same key is safe.
    pub idempotency_key: Option<String>,
    /// The flag, and what to give to it, so that the same command can be sent again safely.
    pub repeat_with: Option<(&'static str, String)>,
    pub headers: Vec<(String, String)>,
    /// Answered only when the work is done, so that silence is no sign of a daemon that hangs.
    pub awaits_work: bool,
}

/// A request in protocol buffers, and how its answer becomes JSON.
#[derive(Clone, Debug)]
pub struct RpcMessage {
    pub json: &'static MethodJson,
    pub bytes: Bytes,
    pub mutates: bool,
}

impl Call {
    /// The call of `rpc` with `request`: path fields into the path, the rest into the query of a
    /// GET or DELETE and into the body of the others. Fields with their default value are left out.
    ///
    /// # Errors
    /// When a path field is empty, or the request cannot be written as JSON.
    pub fn of(rpc: &RpcMethod, request: &impl Serialize) -> Result<Self, CliError> {
        Self::without(rpc, request, is_default)
    }

    /// As [`Call::of`], but a field is left out only when it is null: that another is there says something,
    /// whatever it holds.
    ///
    /// # Errors
    /// As of [`Call::of`].
    pub fn exactly(rpc: &RpcMethod, request: &impl Serialize) -> Result<Self, CliError> {
        Self::without(rpc, request, Value::is_null)
    }

    fn without(
        rpc: &RpcMethod,
        request: &impl Serialize,
        absent: fn(&Value) -> bool,
    ) -> Result<Self, CliError> {
        let fields = serde_json::to_value(request).map_err(|error| {
            CliError::local(reasons::ENCODING, "cannot write the request as JSON", &error)
        })?;
        let Value::Object(mut fields) = fields else {
            return Err(CliError::usage(format!("the request of {} is not an object", rpc.method)));
        };
        if rpc.verb == HttpVerb::Grpc {
            fields.retain(|_, value| !absent(value));
            return Self::over_grpc(rpc, fields);
        }
        let mut path = expand(rpc.path, &mut fields)?;
        fields.retain(|_, value| !absent(value));
        let mut body = None;
        match rpc.verb {
            HttpVerb::Get | HttpVerb::Delete => {
                let query = query_of(&fields);
                if !query.is_empty() {
                    path = format!("{path}?{query}");
                }
            }
            HttpVerb::Post | HttpVerb::Put | HttpVerb::Patch | HttpVerb::Grpc => {
                body = Some(Value::Object(fields).to_string());
            }
        }
        Ok(Self {
            method: rpc.verb.method(),
            path,
            body,
            grpc: None,
            idempotency_key: None,
            repeat_with: None,
            headers: Vec::new(),
            awaits_work: rpc.awaits_work,
        })
    }

    /// The call of a method that has no route.
    fn over_grpc(rpc: &RpcMethod, fields: Map<String, Value>) -> Result<Self, CliError> {
        let found = METHODS.iter().find(|known| known.path.strip_prefix('/') == Some(rpc.method));
        let json = found.ok_or_else(|| {
            CliError::new(reasons::ENCODING, format!("nobody knows the method {}", rpc.method))
        })?;
        let fields = Value::Object(fields);
        Ok(Self {
            method: rpc.verb.method(),
            path: json.path.to_owned(),
            body: Some(fields.to_string()),
            grpc: Some(RpcMessage { json, bytes: encoded(json, fields)?, mutates: rpc.mutates() }),
            idempotency_key: None,
            repeat_with: None,
            headers: Vec::new(),
            awaits_work: rpc.awaits_work,
        })
    }

    /// The same call of a watch over gRPC, resumed after `cursor`.
    ///
    /// # Errors
    /// When the request cannot be written anew.
    pub fn since(&self, cursor: &str) -> Result<Self, CliError> {
        let (Some(message), false) = (&self.grpc, cursor.is_empty()) else { return Ok(self.clone()) };
        let mut fields: Value = serde_json::from_str(self.body.as_deref().unwrap_or("{}"))
            .map_err(|error| CliError::local(reasons::ENCODING, "cannot read the request as JSON", &error))?;
        fields["since"] = Value::from(cursor);
        let body = Some(fields.to_string());
        let message = RpcMessage { bytes: encoded(message.json, fields)?, ..message.clone() };
        Ok(Self { body, grpc: Some(message), ..self.clone() })
    }

    /// The same call with a key of its own, made from `key` and what tells it from the others of its command.
    #[must_use]
    pub fn keyed(mut self, key: &str, part: &str) -> Self {
        self.idempotency_key = Some(format!("{key}{part}"));
        self.repeat_with = Some(("--idempotency-key", key.to_owned()));
        self
    }

    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        match &self.grpc {
            Some(message) => !message.mutates,
            None => self.method == Method::GET || self.method == Method::HEAD,
        }
    }

    /// The protocol's word for it, as in "GET http://...".
    pub fn word(&self) -> &str {
        if self.grpc.is_some() { "gRPC" } else { self.method.as_str() }
    }
}

/// A request in protocol buffers.
fn encoded(json: &MethodJson, fields: Value) -> Result<Bytes, CliError> {
    let bytes = (json.request)(fields);
    bytes.map(Bytes::from).map_err(|error| {
        CliError::local(reasons::ENCODING, "cannot write the request in protocol buffers", &error)
    })
}

/// Puts the fields of the request into the places of `template`, and takes them out of `fields`.
fn expand(template: &str, fields: &mut Map<String, Value>) -> Result<String, CliError> {
    let mut path = String::new();
    let mut rest = template;
    while let Some((before, from)) = rest.split_once('{') {
        let (place, after) = from.split_once('}').unwrap_or((from, ""));
        let (name, pattern) = place.split_once('=').unwrap_or((place, "*"));
        let value = fields.shift_remove(&lower_camel(name));
        let value = value.as_ref().and_then(Value::as_str).unwrap_or_default();
        if value.is_empty() {
            return Err(CliError::usage(format!("`{name}` must not be empty")));
        }
        path.push_str(before);
        path.push_str(&match pattern {
            "**" => segments(name, value)?,
            _ => segment(value),
        });
        rest = after;
    }
    path.push_str(rest);
    Ok(path)
}

/// `value` percent-encoded as one segment of a path or one value of a query.
fn segment(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// `value` as several segments of a path: its slashes stay, the rest is percent-encoded.
fn segments(name: &str, value: &str) -> Result<String, CliError> {
    // Whoever reads a URL takes these out of it, and what is left would name something else.
    if value.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(CliError::usage(format!("`{value}` is no {name}: a part of it is empty, `.` or `..`")));
    }
    Ok(value.split('/').map(segment).collect::<Vec<_>>().join("/"))
}

/// The fields as a query: lists repeat their name.
pub fn query_of(fields: &Map<String, Value>) -> String {
    let mut pairs = Vec::new();
    for (name, value) in fields {
        match value {
            Value::Array(values) => pairs.extend(values.iter().map(|value| (name.as_str(), plain(value)))),
            other => pairs.push((name.as_str(), plain(other))),
        }
    }
    query(&pairs)
}

/// `pairs` as an encoded query.
pub fn query(pairs: &[(&str, String)]) -> String {
    let encoded = pairs.iter().map(|(name, value)| format!("{}={}", segment(name), segment(value)));
    encoded.collect::<Vec<_>>().join("&")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// `node_id` as JSON names it: `nodeId`.
pub fn lower_camel(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::rpc::aero_registry;
    use serde_json::json;

    use super::*;

    const CORDON: RpcMethod = RpcMethod {
        method: "a.B/C",
        verb: HttpVerb::Post,
        path: "/control/peers/{node_id}:cordon",
        scope: "mesh.operate",
        audit_action: "things.cordon",
        awaits_work: false,
    };
    const LIST: RpcMethod = RpcMethod {
        method: "a.B/L",
        verb: HttpVerb::Get,
        path: "/control/peers",
        audit_action: "",
        ..CORDON
    };

    #[test]
    fn path_fields_leave_the_body() {
        let request = json!({"nodeId": "a b/c", "reason": "disk", "dryRun": false, "expectedVersion": "0"});
        let call = Call::of(&CORDON, &request).unwrap();
        assert_eq!(call.path, "/control/peers/a%20b%2Fc:cordon");
        assert_eq!(call.body.as_deref(), Some(r#"{"reason":"disk","expectedVersion":"0"}"#));
    }

    #[test]
    fn field_of_several_segments_keeps_its_slashes_and_no_others() {
        const TRANSFER: RpcMethod = RpcMethod { path: "/control/leaders/{scope=**}:transfer", ..CORDON };
        let cases = [
            ("global-control", Some("/control/leaders/global-control:transfer")),
            ("shard/orders/03", Some("/control/leaders/shard/orders/03:transfer")),
            ("a:b/c?d#e%f", Some("/control/leaders/a%3Ab/c%3Fd%23e%25f:transfer")),
            ("", None),
            ("a//b", None),
            ("/a", None),
            ("a/..", None),
            ("./a", None),
            ("a/..b", Some("/control/leaders/a/..b:transfer")),
        ];
        for (scope, path) in cases {
            let call = Call::of(&TRANSFER, &json!({"scope": scope, "to": "x"})).ok();
            assert_eq!(call.as_ref().map(|call| call.path.as_str()), path, "{scope}");
            assert!(call.is_none_or(|call| call.body.as_deref() == Some(r#"{"to":"x"}"#)), "{scope}");
        }
    }

    #[test]
    fn lists_repeat_their_name_and_defaults_are_left_out() {
        let request = json!({"role": ["a", "b"], "selector": "x in (a,b)", "pageSize": 0, "pageToken": ""});
        let call = Call::of(&LIST, &request).unwrap();
        assert_eq!(call.path, "/control/peers?role=a&role=b&selector=x%20in%20%28a%2Cb%29");
        assert_eq!(call.body, None);
    }

    #[test]
    fn fields_that_are_given_may_have_to_be_sent() {
        let request = json!({"nodeId": "a", "advertise": false, "name": "", "reason": null});
        let call = Call::exactly(&CORDON, &request).unwrap();
        assert_eq!(call.body.as_deref(), Some(r#"{"advertise":false,"name":""}"#));
    }

    const WATCH: RpcMethod = aero_registry::WATCH;

    #[test]
    fn method_without_a_route_is_a_message_that_can_be_resumed() {
        use omnirelay_wire::pb::aeroarc::registry::v1::WatchRequest;
        use prost::Message as _;

        let call = Call::of(&WATCH, &json!({"object": ["relays"], "relayId": ""})).unwrap();
        assert_eq!(call.path, "/aeroarc.registry.v1.AeroRegistry/Watch");
        assert_eq!(call.body.as_deref(), Some(r#"{"object":["relays"]}"#));
        assert!(call.is_read() && call.word() == "gRPC");
        let message = |call: &Call| WatchRequest::decode(call.grpc.clone().unwrap().bytes).unwrap();
        assert_eq!((message(&call).object, message(&call).since.as_str()), (vec![1], ""));
        assert_eq!(message(&call.since("").unwrap()), message(&call));
        let resumed = message(&call.since("1:7").unwrap());
        assert_eq!((resumed.object, resumed.since.as_str()), (vec![1], "1:7"));
        assert!(Call::of(&WATCH, &json!({"nothing": 1})).is_err(), "no field is lost in silence");
        assert!(
            !Call::of(&RpcMethod { audit_action: "things.watch", ..WATCH }, &json!({})).unwrap().is_read()
        );
    }

    #[test]
    fn empty_path_field_is_refused() {
        assert!(Call::of(&CORDON, &json!({"nodeId": ""})).is_err());
    }
}
