//! `omnirelay mesh store`: the store of the mesh.

mod give_up;
mod planned;
mod reset_clock;
mod switch;

use super::entry::verbs;

verbs! {
    /// The store that the mesh shares
    #[command(arg_required_else_help = true)]
    "store" StoreArgs {
        GiveUp: give_up::StoreGiveUpArgs,
        ResetClock: reset_clock::StoreResetClockArgs,
        Switch: switch::StoreSwitchArgs,
    }
    &[]
}
