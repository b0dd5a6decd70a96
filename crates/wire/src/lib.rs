//! Things that both sides of the wire share: messages, descriptors, the JSON mapping, faults and their reasons, TLS of clients,
//! bytes that are passed on as they came.

pub mod bounded;
pub mod change;
pub mod code;
pub mod codec;
pub mod descriptors;
pub mod encoded;
pub mod envelope;
pub mod fault;
pub mod fields;
pub mod json;
pub mod pb;
pub mod pem_file;
pub mod problem;
pub mod raw;
pub mod reasons;
pub mod rpc;
pub mod telemetry;
pub mod timestamp;
pub mod tls;
pub mod unknown_fields;
