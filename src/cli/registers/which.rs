//! Selection of the registers that a change is of: those that are named, or all with some labels.

use super::{KIND, LIST};
use crate::complete;
use crate::frame::list;
use crate::frame::prelude::*;

#[derive(Args, Clone, Debug)]
pub(super) struct RegistersWhichArgs {
    /// Ids or register/ID, in full, at most 100000; - reads them from standard input
    #[arg(required_unless_present = "selector", value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    /// All registers of the node with these labels, such as tier=std,!legacy
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "ids")]
    selector: Option<String>,
}

impl RegistersWhichArgs {
    /// Their ids, each once. None, which is said, when no register has the labels.
    ///
    /// # Errors
    /// Usage, when an id is none; those of the list.
    pub(super) async fn ids(
        &self,
        node: &str,
        write: &WriteArgs,
        session: &CommandSession,
    ) -> Result<Vec<String>, CliError> {
        let Some(selector) = &self.selector else { return ids::expand(&self.ids, KIND) };
        if write.idempotency_key.is_some() {
            return Err(CliError::usage("which registers have the labels may differ when this is repeated")
                .hint("name them: omnirelay registers list -l SELECTOR -o name")
                .hint("or leave --idempotency-key out: what is done already is not done again"));
        }
        let request = |page: &ListPage| {
            let ListPage { size, token } = page;
            Call::of(
                &LIST,
                &json!({"nodeId": node, "selector": selector, "pageSize": size, "pageToken": token}),
            )
        };
        let document = list::fetch(session, "registers", &PageArgs::default(), true, request).await?;
        let of = |register: &Value| text(register, "registerId").to_owned();
        let found: Vec<String> = items(&document, "registers").iter().map(of).collect();
        if found.is_empty() {
            session.notes().say(&format!("No registers match {selector}."));
        }
        Ok(found)
    }
}
