//! What commands are made of: flags, settings, sessions, output, lists and watches. It needs none of them.

pub mod address;
pub mod args;
pub mod bar;
pub mod batch;
pub mod changed;
pub mod client;
pub mod context_file;
pub mod document;
pub mod env;
pub mod error;
pub mod failure;
pub mod global;
pub mod ids;
pub mod keys;
pub mod list;
pub mod listing;
pub mod output;
pub mod rpc;
pub mod screen;
pub mod session;
pub mod settings;
pub mod signals;
pub mod table;
pub mod time;
pub mod tls_files;
pub mod watch;
