//! Canonical JSON of the messages: one pair of converters per method, generated with the services.

use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The two converters between the messages of one method and JSON.
#[derive(Clone, Copy, Debug)]
pub struct MethodJson {
    /// `/package.Service/Method`, as in a gRPC request.
    pub path: &'static str,
    /// Makes the wire bytes of the request from JSON.
    pub request: fn(Value) -> Result<Vec<u8>, JsonError>,
    /// Makes JSON from the wire bytes of the response.
    pub response: fn(&[u8]) -> Result<Vec<u8>, JsonError>,
}

/// A message that could not be converted.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The JSON does not fit the message.
    #[error("field `{field}`")]
    Request {
        /// The path of the field at fault, `.` for the whole document.
        field: String,
        source: serde_json::Error,
    },
    /// The method has no JSON.
    #[error("what its client streams has no JSON")]
    None,
    /// The bytes are not the message.
    #[error("the answer is not the message that was declared")]
    Decode(#[source] prost::DecodeError),
    /// The message cannot be written as JSON.
    #[error("the answer cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
}

impl MethodJson {
    /// The converters of a method whose messages are these; `path` is `/package.Service/Method`.
    pub const fn new<Request, Response>(path: &'static str) -> Self
    where
        Request: Message + DeserializeOwned,
        Response: Message + Serialize + Default,
    {
        Self { path, request: request_from_json::<Request>, response: response_to_json::<Response> }
    }

    /// A method that is gRPC only, because its client streams.
    pub const fn none(path: &'static str) -> Self {
        Self { path, request: |_| Err(JsonError::None), response: |_| Err(JsonError::None) }
    }
}

fn request_from_json<M: Message + DeserializeOwned>(json: Value) -> Result<Vec<u8>, JsonError> {
    let message: M = serde_path_to_error::deserialize(json).map_err(|error| JsonError::Request {
        field: error.path().to_string(),
        source: error.into_inner(),
    })?;
    Ok(message.encode_to_vec())
}

fn response_to_json<M: Message + Serialize + Default>(bytes: &[u8]) -> Result<Vec<u8>, JsonError> {
    let message = M::decode(bytes).map_err(JsonError::Decode)?;
    serde_json::to_vec(&message).map_err(JsonError::Encode)
}

/// Every method of the daemon's own services.
pub static METHODS: &[MethodJson] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));
