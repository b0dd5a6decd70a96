//! Prelude: what nearly every command names.

pub use clap::Args;
pub use omnirelay_core::text::count;
pub use omnirelay_wire::fault::Exit;
pub use omnirelay_wire::reasons;
pub use serde_json::{Value, json};

pub use super::args::{PageArgs, TableArgs, WatchArgs, WriteArgs};
pub use super::batch::BatchOutcomes;
pub use super::document::{field, flag, items, number, pairs, plain, text};
pub use super::error::CliError;
pub use super::list::ListPage;
pub use super::list_spec::{ListSpec, counted};
pub use super::listing::listing;
pub use super::output::{CommandOutput, TextForm};
pub use super::rpc::{Call, LeafCommand, RpcMethod};
pub use super::screen::printable;
pub use super::session::CommandSession;
pub use super::table::{CellContext, Column, TextTable};
pub use super::watch::{KeptObjects, WatchFeed};
pub use super::{changed, ids, time};
