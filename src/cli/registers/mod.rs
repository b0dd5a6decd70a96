//! `omnirelay registers`: the registers that nodes host, and who advertises them.

mod advertise;
mod advertisements;
mod available;
mod change;
mod columns;
mod create;
mod delete;
mod export;
mod file;
mod get;
pub mod import;
mod labels;
mod list;
mod plan;
mod push;
mod resync;
mod status;
mod synced;
mod unadvertise;
mod update;
mod watch;
mod which;
mod withdraw;

use super::complete::{CompletedKind, KnownObject};
use super::entry::verbs;
use super::schema::documents::{message, own};
use super::schema::schemas;
use crate::frame::prelude::*;

pub(crate) use available::LIST as AVAILABLE;
pub use list::LIST;
pub use status::SYNC_STATE;

/// The kind in `register/ID`.
pub const KIND: &str = "register";

/// What a shell completes.
pub static OBJECTS: CompletedKind = CompletedKind {
    name: KIND,
    list: "registers",
    rpc: &LIST,
    paged: true,
    of_node: true,
    known,
    signs: b"-._:",
};

fn known(register: &Value) -> KnownObject {
    let status = if flag(register, "advertise") { "advertised" } else { "hidden" };
    KnownObject { id: text(register, "registerId").to_owned(), status: status.to_owned() }
}

verbs! {
    /// The registers that nodes host, and who advertises them
    #[command(visible_alias = "reg", alias = "register", arg_required_else_help = true)]
    "registers" RegistersArgs (node) {
        List: list::RegistersListArgs,
        Get: get::RegistersGetArgs,
        Create: create::RegistersCreateArgs,
        Update: update::RegistersUpdateArgs,
        Delete: delete::RegistersDeleteArgs,
        Advertise: advertise::RegistersAdvertiseArgs,
        Unadvertise: unadvertise::RegistersUnadvertiseArgs,
        Import: import::RegistersImportArgs,
        Export: export::RegistersExportArgs,
        Available: available::RegistersAvailableArgs,
        Advertisements: advertisements::RegistersAdvertisementsArgs,
        Push: push::RegistersPushArgs,
        Withdraw: withdraw::RegistersWithdrawArgs,
        Watch: watch::RegistersWatchArgs,
        Status: status::RegistersStatusArgs,
        Resync: resync::RegistersResyncArgs,
    }
    &[
        message("advertisement-event", "registers watch, available --watch", "omnirelay.registers.v1.AdvertisementEvent"),
        message("advertisement-change", "registers push, withdraw", "omnirelay.registers.v1.AdvertiseResponse"),
        message("advertisements", "registers advertisements", "omnirelay.registers.v1.ListAdvertisementsResponse"),
        message("bulk-advertisement", "registers push --file", "omnirelay.registers.v1.BulkAdvertiseResponse"),
        message("register", "registers get", "omnirelay.registers.v1.GetRegisterResponse"),
        message("register-change", "registers create, update, delete, advertise, unadvertise", "omnirelay.registers.v1.RegisterChange"),
        message("register-import", "registers import", "omnirelay.registers.v1.ImportRegistersResponse"),
        message("registers", "registers list", "omnirelay.registers.v1.ListRegistersResponse"),
        message("registers-available", "registers available", "omnirelay.registers.v1.ListAvailableResponse"),
        message("registers-status", "registers status", "omnirelay.registers.v1.GetSyncStateResponse"),
        own("resync", "registers resync", schemas::resync),
        message("resync-plan", "registers resync --dry-run, --no-wait", "omnirelay.registers.v1.ResyncResponse"),
    ]
}
