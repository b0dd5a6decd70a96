//! Lists that come whole in one answer: sorted, printed as a table, with a line below that counts them.

use omnirelay_wire::fault::Exit;
use serde_json::Value;

use super::args::TableArgs;
use super::document::items;
use super::error::CliError;
use super::output::{CommandOutput, TextForm};
use super::session::CommandSession;
use super::table::{Column, TextTable};
use super::time;

/// How such a list is printed.
pub struct WholeList {
    /// In which field of the answer it is.
    pub field: &'static str,
    pub columns: &'static [Column],
    /// `KIND/ID` of an item.
    pub name: fn(&Value) -> String,
    /// What is said when it is empty.
    pub none: &'static str,
    /// What is said below it, of the answer and the number of its items.
    pub footer: fn(&Value, u64) -> String,
}

impl WholeList {
    /// Prints the list of an answer.
    ///
    /// # Errors
    /// When a column is asked for that there is not, or the output cannot be written.
    pub fn show(
        &self,
        mut document: Value,
        args: &TableArgs,
        session: &mut CommandSession,
    ) -> Result<Exit, CliError> {
        args.order(self.columns, &mut document, self.field)?;
        let listed = items(&document, self.field).to_vec();
        let moment = time::moment(&document, args.absolute);
        // Made before the emptiness check, so that a wrong --columns is an error in any case.
        let table = TextTable::of(self.columns, &listed, moment, &args.layout())?;
        if listed.is_empty() && session.format().is_text() {
            session.notes().say(self.none);
        } else {
            let names = listed.iter().map(self.name).collect();
            let footer = (self.footer)(&document, listed.len() as u64);
            let text = TextForm::Table(table);
            session.show(&CommandOutput { document: document.clone(), items: Some(listed), names, text })?;
            if session.format().is_text() {
                session.notes().say(&footer);
            }
        }
        session.warn_if_stale(&document);
        Ok(Exit::Ok)
    }
}
