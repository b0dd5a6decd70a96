//! `mesh peers explain`: what has happened to a peer by gossip, and who says so.

use omnirelay_core::text::some_of;
use omnirelay_wire::rpc::peer_control_service;

use super::{KIND, resolve};
use crate::complete;
use crate::frame::output::OutputFormat;
use crate::frame::prelude::*;
use crate::node::bare;

pub(super) const EXPLAIN: RpcMethod = peer_control_service::EXPLAIN;
pub(super) const LEAF: LeafCommand = LeafCommand::read("mesh peers explain", &[&EXPLAIN]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers explain node-2
  omnirelay mesh peers why node-2 --absolute
  omnirelay mesh peers explain node-2 -o json | jq -r '.chapters[] | select(.verdict == \"suspected\") | .by'";

/// Explain how a peer came to be as it is: who suspected it, and why
#[derive(Args, Debug)]
#[command(visible_alias = "why", before_long_help = EXAMPLES)]
pub(super) struct PeersExplainArgs {
    /// An id or peer/ID, or its first letters if unique
    #[arg(value_name = "ID", add = complete::ids(&super::OBJECTS))]
    id: String,
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("when", |chapter, moment| time::ago(field(chapter, "time"), moment)).keep(),
    Column::new("seen-by", |chapter, _| text(chapter, "observer").to_owned()).titled("SEEN-BY").keep(),
    Column::new("verdict", |chapter, _| text(chapter, "verdict").to_owned()).keep(),
    Column::new("by", |chapter, _| text(chapter, "by").to_owned()).keep(),
    Column::new("why", |chapter, _| why(field(chapter, "evidence"))).keep(),
    Column::new("incarnation", |chapter, _| plain(field(chapter, "incarnation"))).wide(),
    Column::new("correlation", |chapter, _| text(chapter, "correlationId").to_owned()).wide(),
];

/// Tells why a node suspects it: `no answer in 1000 ms; asked n3, n4: 1 does not reach it either; 0.4 ms before`.
pub(crate) fn why(evidence: &Value) -> String {
    if evidence.is_null() {
        return String::new();
    }
    let number = |path: &str| field(evidence, path).as_f64().unwrap_or(0.0);
    let mut parts = vec![format!("no answer in {:.0} ms, nor over a stream", number("waitedMs"))];
    let helpers: Vec<&str> = items(evidence, "helpers").iter().filter_map(Value::as_str).collect();
    if !helpers.is_empty() {
        let nacks = number("nacks");
        let said = if nacks == 1.0 {
            "1 does not reach it either".to_owned()
        } else {
            format!("{nacks:.0} do not reach it either")
        };
        parts.push(format!("asked {}: {said}", some_of(&helpers, 4)));
    }
    if let Some(rtt) = field(evidence, "rttMs").as_f64() {
        parts.push(format!("{rtt:.1} ms before"));
    }
    if number("unwell") > 0.0 {
        parts.push(format!("the observer was unwell itself ({:.0})", number("unwell")));
    }
    parts.join("; ")
}

pub(super) async fn run(args: &PeersExplainArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let id = bare(&args.id);
    let call = |id: &str| Call::of(&EXPLAIN, &json!({ "nodeId": id }));
    let mut document = resolve::ask(session, id, call).await?;
    args.table.order(COLUMNS, &mut document, "chapters")?;
    let moment = time::moment(&document, args.table.absolute);
    let table = TextTable::of(COLUMNS, items(&document, "chapters"), moment, &args.table.layout())?;
    let rows = table.render(session.format() == OutputFormat::Wide, session.out.screen()).lines;
    let id = text(&document, "nodeId").to_owned();
    let head = headline(&document, &id);
    let silent: Vec<&str> = items(&document, "silent").iter().filter_map(Value::as_str).collect();
    if !silent.is_empty() && session.format().is_text() {
        session.notes().say(&format!("not heard, though they took part: {}", some_of(&silent, 8)));
    }
    let text = match items(&document, "chapters") {
        [] => format!("{head}\nNothing has happened to it that is remembered.\n"),
        _ => format!("{head}\n\n{rows}"),
    };
    session.show(&CommandOutput::lines(document, format!("{KIND}/{id}"), text))?;
    Ok(Exit::Ok)
}

/// `node-2 is suspect by node-1, node-4 (as node-1 has it)`.
fn headline(document: &Value, id: &str) -> String {
    let (health, local) = (field(document, "health"), text(document, "localNodeId"));
    let by: Vec<&str> = items(health, "by").iter().filter_map(Value::as_str).collect();
    let by = if by.is_empty() { String::new() } else { format!(" by {}", some_of(&by, 4)) };
    let flaps = match field(health, "flaps").as_u64().unwrap_or(0) {
        0 => String::new(),
        1 => "; it came back once".to_owned(),
        flaps => format!("; it came back {flaps} times"),
    };
    printable(&format!("{id} is {}{by}, as {local} has it{flaps}", text(health, "state")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_names_who_was_asked() {
        let evidence =
            json!({"waitedMs": 1000.4, "helpers": ["n3", "n4"], "nacks": 1, "rttMs": 0.44, "unwell": 2});
        assert_eq!(
            why(&evidence),
            "no answer in 1000 ms, nor over a stream; asked n3, n4: 1 does not reach it either; 0.4 ms before; \
             the observer was unwell itself (2)"
        );
        assert_eq!(why(&json!({"waitedMs": 700})), "no answer in 700 ms, nor over a stream");
        assert_eq!(why(&Value::Null), "");
    }

    #[test]
    fn the_headline_says_who_says_so() {
        let document =
            json!({"localNodeId": "a", "health": {"state": "suspect", "by": ["c", "d"], "flaps": 2}});
        assert_eq!(headline(&document, "b"), "b is suspect by c, d, as a has it; it came back 2 times");
    }
}
