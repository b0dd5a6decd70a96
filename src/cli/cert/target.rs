//! Holder of a certificate, as commands are told.

use crate::frame::prelude::*;

/// One holder.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct HolderTarget {
    /// A node, by its id
    #[arg(long, value_name = "ID")]
    pub node: Option<String>,
    /// A service, by its name
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// A person or a program that operates the mesh, by name
    #[arg(long, value_name = "NAME")]
    pub operator: Option<String>,
}

impl HolderTarget {
    /// The fields of a request.
    pub(super) fn request(&self) -> Value {
        json!({"node": self.node, "service": self.service, "operator": self.operator})
    }

    /// `node/node-1`.
    pub(super) fn shown(&self) -> String {
        shown([("node", &self.node), ("service", &self.service), ("operator", &self.operator)])
    }
}

/// `KIND/NAME` of the one that is given.
pub(super) fn shown<const N: usize>(all: [(&str, &Option<String>); N]) -> String {
    let given = all.into_iter().find_map(|(kind, name)| Some(format!("{kind}/{}", name.as_ref()?)));
    given.unwrap_or_default()
}
