//! `omnirelay api`: any request, with address, retries and errors done for you.

use futures_util::StreamExt as _;
use omnirelay_wire::fault::Code;
use reqwest::Method;
use serde_json::Map;

use super::entry::{CommandEntry, entry};
use super::frame::client::fresh_key;
use super::frame::failure::CallFailure;
use super::frame::global::token;
use super::frame::output::OutputFormat;
use super::frame::rpc::query;
use super::schema::documents::message;
use crate::frame::prelude::*;

const LEAF: LeafCommand =
    LeafCommand::local("api", "sends whatever request it is given").exiting("0 1 2 3 4 5 6 8 9 11");
pub(crate) static ENTRY: CommandEntry = entry!(
    "api",
    ApiArgs,
    asking,
    &[LEAF],
    &[message("node", "api GET /control/node", "omnirelay.mesh.control.v1.GetNodeResponse"),]
);

const EXAMPLES: &str = "\
Examples:
  omnirelay api GET /control/peers -F status=suspect
  omnirelay api POST /control/peers/node-2:cordon -F reason=\"disk errors\"
  omnirelay api POST /control/peers/node-2:cordon -f body.json
  omnirelay api GET /control/peers -H 'accept: text/event-stream'";

const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Send a request to the API and print what it answers
///
/// The answer is printed as it comes, whatever --output says, except for yaml. Requests that
/// change something carry an idempotency key.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct ApiArgs {
    /// GET, POST, PATCH, PUT or DELETE
    #[arg(value_name = "METHOD", value_parser = method)]
    method: Method,
    /// Path and query, such as /control/peers
    #[arg(value_name = "PATH", value_parser = path)]
    path: String,
    /// A field: into the query of GET and DELETE, else into the JSON body; true, false, null and numbers keep their type
    #[arg(short = 'F', long = "field", value_name = "KEY=VALUE", value_parser = field)]
    fields: Vec<(String, String)>,
    /// File that holds the body; - is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE", conflicts_with = "fields")]
    file: Option<String>,
    /// A header
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Key under which repeating this request is safe [default: a fresh one]
    #[arg(long, value_name = "KEY", value_parser = token)]
    idempotency_key: Option<String>,
}

fn method(text: &str) -> Result<Method, String> {
    match text.to_ascii_uppercase().as_str() {
        "GET" => Ok(Method::GET),
        "POST" => Ok(Method::POST),
        "PATCH" => Ok(Method::PATCH),
        "PUT" => Ok(Method::PUT),
        "DELETE" => Ok(Method::DELETE),
        _ => Err(format!("`{text}` is not one of GET, POST, PATCH, PUT, DELETE")),
    }
}

fn path(text: &str) -> Result<String, String> {
    let good = text.starts_with('/') && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no path: it begins with / and has no spaces"))
    }
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is no KEY=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("`{text}` is no NAME: VALUE"))?;
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
    let good_name = reqwest::header::HeaderName::try_from(name.as_str()).is_ok();
    let good_value = reqwest::header::HeaderValue::try_from(value.as_str()).is_ok();
    if good_name && good_value { Ok((name, value)) } else { Err(format!("`{text}` is no header")) }
}

/// Sends the request.
///
/// # Errors
/// The daemon's fault; what kept the answer away; a body that cannot be read.
async fn run(args: &ApiArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let call = call(args)?;
    if !call.is_read() {
        session.announce_target()?;
    }
    let streams = call.headers.iter().any(|(name, value)| name == "accept" && value.contains("event-stream"));
    if streams {
        return stream(session, &call).await;
    }
    let answer = session.client()?.send(&call).await?;
    let document: Option<Value> = serde_json::from_slice(&answer.body).ok();
    match (session.format(), document) {
        (OutputFormat::Yaml, Some(document)) => session.out.yaml(&document)?,
        (_, Some(document)) if session.out.screen().tty => {
            let text = serde_json::to_string_pretty(&document).unwrap_or_default();
            session.out.write_line(&text)?;
        }
        (_, Some(_)) => {
            session.out.write(&answer.body)?;
            session.out.write(b"\n")?;
        }
        (_, None) => session.out.write(&answer.body)?,
    }
    session.out.flush()?;
    Ok(Exit::Ok)
}

fn call(args: &ApiArgs) -> Result<Call, CliError> {
    let mut path = args.path.clone();
    let mut body = match &args.file {
        Some(file) => Some(read_body(file)?),
        None => None,
    };
    let reads = args.method == Method::GET || args.method == Method::DELETE;
    if reads && !args.fields.is_empty() {
        let pairs: Vec<(&str, String)> = args.fields.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(&query(&pairs));
    } else if !args.fields.is_empty() {
        let fields: Map<String, Value> =
            args.fields.iter().map(|(name, value)| (name.clone(), typed(value))).collect();
        body = Some(Value::Object(fields).to_string());
    } else if body.is_none() && !reads {
        body = Some("{}".to_owned());
    }
    let idempotency_key = match &args.idempotency_key {
        Some(key) => Some(key.clone()),
        None if args.method == Method::GET => None,
        None => Some(fresh_key()?),
    };
    Ok(Call {
        method: args.method.clone(),
        path,
        body,
        grpc: None,
        repeat_with: idempotency_key.clone().map(|key| ("--idempotency-key", key)),
        idempotency_key,
        headers: args.headers.clone(),
        awaits_work: false,
    })
}

/// `true`, `null` and numbers as such, everything else as text.
fn typed(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Bool(_) | Value::Null | Value::Number(_))) => value,
        Ok(Value::String(_) | Value::Array(_) | Value::Object(_)) | Err(_) => Value::String(text.to_owned()),
    }
}

fn read_body(file: &str) -> Result<String, CliError> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = if file == "-" {
        std::io::stdin().lock().take(BODY_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(BODY_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| {
        CliError::local(reasons::INPUT, format!("cannot read the body from `{file}`"), &error)
    })?;
    Ok(text)
}

/// Prints a stream as it comes, until it ends.
async fn stream(session: &mut CommandSession, call: &Call) -> Result<Exit, CliError> {
    let response = session.client()?.open(call).await?;
    if !response.status().is_success() {
        // Asked again the usual way, the refusal is told the usual way.
        session.client()?.send(call).await?;
    }
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            let failure = CallFailure::of(&error);
            CliError::new(failure.kind.reason(), "the stream was cut off")
                .with_code(Code::Unavailable)
                .cause(failure.cause)
        })?;
        session.out.write(&chunk)?;
        session.out.flush()?;
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn args(method: Method, fields: &[(&str, &str)]) -> ApiArgs {
        ApiArgs {
            method,
            path: "/control/peers?a=1".into(),
            fields: fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            file: None,
            headers: Vec::new(),
            idempotency_key: None,
        }
    }

    #[test]
    fn fields_go_into_the_query_or_the_body() {
        let fields = [("dryRun", "true"), ("reason", "a b"), ("n", "3"), ("quoted", "\"x\"")];
        let read = call(&args(Method::GET, &fields)).unwrap();
        assert_eq!(read.path, "/control/peers?a=1&dryRun=true&reason=a%20b&n=3&quoted=%22x%22");
        assert_eq!((read.body, read.idempotency_key), (None, None));
        let write = call(&args(Method::POST, &fields)).unwrap();
        let body: Value = serde_json::from_str(&write.body.unwrap()).unwrap();
        assert_eq!(body, json!({"dryRun": true, "reason": "a b", "n": 3, "quoted": "\"x\""}));
        assert!(write.idempotency_key.is_some());
    }

    #[test]
    fn path_and_header_are_checked() {
        assert!(path("control/peers").is_err());
        assert!(path("/a b").is_err());
        assert!(header("no colon").is_err());
        assert!(header("a b: c").is_err());
        assert_eq!(header("Accept:  x").unwrap(), ("accept".to_owned(), "x".to_owned()));
    }
}
