//! Specification of a list: where its items are in an answer, and how they are printed.

use omnirelay_core::text::count;
use omnirelay_wire::fault::Exit;
use serde_json::Value;

use super::args::{PageArgs, TableArgs};
use super::document::{items, text};
use super::error::CliError;
use super::list::{self, ListPage};
use super::output::{CommandOutput, TextForm};
use super::rpc::Call;
use super::session::CommandSession;
use super::table::{Column, TextTable};
use super::time;

/// Specification of a list: how it is fetched and printed, as a table with a line below that counts its rows.
pub(crate) struct ListSpec {
    /// In which field of the answer it is.
    pub field: &'static str,
    pub columns: &'static [Column],
    /// `KIND/ID` of an item.
    pub name: fn(&Value) -> String,
    /// What is said when it is empty.
    pub none: String,
    /// The lines below it, of the answer and its items.
    pub footer: fn(&Value, &[Value]) -> String,
}

/// `3 bindings, rev 7f2c:48213`
pub(crate) fn counted(document: &Value, listed: &[Value], noun: &str) -> String {
    format!("{}, rev {}", count(listed.len() as u64, noun), text(document, "cursor"))
}

impl ListSpec {
    /// Fetches page after page, up to the limit. With `sorts_here` all of them: the daemon does not sort by that column.
    ///
    /// # Errors
    /// When there is no such column; as of [`CommandSession::call`].
    pub(crate) async fn pages(
        &self,
        session: &CommandSession,
        (page, table): (&PageArgs, &TableArgs),
        sorts_here: bool,
        request: impl Fn(&ListPage) -> Result<Call, CliError>,
    ) -> Result<Value, CliError> {
        table.check_order(self.columns)?;
        let mut document = list::fetch(session, self.field, page, sorts_here, request).await?;
        if sorts_here {
            table.order(self.columns, &mut document, self.field)?;
        }
        list::limit(session, &mut document, self.field, page);
        Ok(document)
    }

    /// Sorts the list of an answer that has all of it, and prints it.
    ///
    /// # Errors
    /// As of [`Self::print`].
    pub(crate) fn show(
        &self,
        mut document: Value,
        args: &TableArgs,
        session: &mut CommandSession,
    ) -> Result<Exit, CliError> {
        args.order(self.columns, &mut document, self.field)?;
        self.print(document, args, false, session)
    }

    /// Prints the list of an answer. With `fail_empty` an empty one is a negative answer.
    ///
    /// # Errors
    /// When a column is asked for that there is not, or the output cannot be written.
    pub(crate) fn print(
        &self,
        document: Value,
        args: &TableArgs,
        fail_empty: bool,
        session: &mut CommandSession,
    ) -> Result<Exit, CliError> {
        let listed = items(&document, self.field).to_vec();
        let moment = time::moment(&document, args.absolute);
        // Made before the emptiness check, so that a wrong --columns is an error in any case.
        let table = TextTable::of(self.columns, &listed, moment, &args.layout())?;
        let is_empty = listed.is_empty();
        if is_empty && session.format().is_text() {
            session.notes().say(&self.none);
        } else {
            let names = listed.iter().map(self.name).collect();
            let footer = (self.footer)(&document, &listed);
            let text = TextForm::Table(table);
            session.show(&CommandOutput { document: document.clone(), items: Some(listed), names, text })?;
            if session.format().is_text() {
                footer.lines().for_each(|line| session.notes().say(line));
            }
        }
        session.warn_if_stale(&document);
        Ok(if is_empty && fail_empty { Exit::Negative } else { Exit::Ok })
    }
}
