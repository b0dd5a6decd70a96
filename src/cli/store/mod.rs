//! `omnirelay mesh store`: the store of the mesh.

mod switch;

use super::verbs::verbs;

verbs! {
    StoreArgs {
        Switch: switch::SwitchArgs,
    }
}
