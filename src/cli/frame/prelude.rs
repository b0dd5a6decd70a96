//! Prelude: what nearly every command names.

pub(crate) use clap::Args;
pub(crate) use omnirelay_core::text::count;
pub(crate) use omnirelay_wire::fault::Exit;
pub(crate) use omnirelay_wire::reasons;
pub(crate) use serde_json::{Value, json};

pub(crate) use super::args::{AtArgs, PageArgs, TableArgs, WatchArgs, WriteArgs, id_in, id_of};
pub(crate) use super::batch::BatchOutcomes;
pub(crate) use super::document::{field, flag, items, joined, number, pairs, plain, text};
pub(crate) use super::error::CliError;
pub(crate) use super::list::ListPage;
pub(crate) use super::list_spec::{ListSpec, counted};
pub(crate) use super::listing::listing;
pub(crate) use super::output::{CommandOutput, TextForm};
pub(crate) use super::rpc::{Call, LeafCommand, RpcMethod};
pub(crate) use super::screen::printable;
pub(crate) use super::session::CommandSession;
pub(crate) use super::table::{CellContext, Column, TextTable};
pub(crate) use super::watch::{KeptObjects, WatchFeed};
pub(crate) use super::{changed, ids, time};
