//! `mesh peers label`.

use std::collections::BTreeMap;

use omnirelay_wire::rpc::peer_control_service;

use super::LIST;
use super::change::{PeersChange, meant};
use crate::complete;
use crate::frame::prelude::*;

pub(super) const UPDATE_LABELS: RpcMethod = peer_control_service::UPDATE_LABELS;
pub(super) const LEAF: LeafCommand = LeafCommand::write("mesh peers label", &[&UPDATE_LABELS, &LIST]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers label node-1 tier=std
  omnirelay mesh peers label node-1 node-2 tier=gold canary- --overwrite
  omnirelay mesh peers label -l zone=a maintenance=true --dry-run";

/// Set and remove labels of peers
///
/// KEY=VALUE sets a label, KEY- removes it. A label that has another value is changed with
/// --overwrite only.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct PeersLabelArgs {
    /// Ids (- reads them from standard input), and labels as KEY=VALUE or KEY-
    #[arg(required = true, value_name = "ID|KEY=VALUE|KEY-", add = complete::ids(&super::OBJECTS))]
    words: Vec<String>,
    /// The peers with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Change labels that have another value
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    write: WriteArgs,
}

/// Words of the command line by what they mean. No id contains `=` or ends in `-`.
#[derive(Debug, Default, PartialEq, Eq)]
struct LabelWords {
    ids: Vec<String>,
    set: BTreeMap<String, String>,
    remove: Vec<String>,
}

fn sort_out(words: &[String]) -> Result<LabelWords, CliError> {
    let mut sorted = LabelWords::default();
    for word in words {
        if let Some((key, value)) = word.split_once('=') {
            if sorted.set.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(CliError::usage(format!("label `{key}` is set twice")));
            }
        } else if let Some(key) = word.strip_suffix('-').filter(|key| !key.is_empty()) {
            sorted.remove.push(key.to_owned());
        } else {
            sorted.ids.push(word.clone());
        }
    }
    if let Some(key) = sorted.remove.iter().find(|key| sorted.set.contains_key(*key)) {
        return Err(CliError::usage(format!("label `{key}` is both set and removed")));
    }
    if sorted.set.is_empty() && sorted.remove.is_empty() {
        return Err(
            CliError::usage("no label was named").hint("add KEY=VALUE to set one, KEY- to remove one")
        );
    }
    Ok(sorted)
}

pub(super) async fn run(args: &PeersLabelArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let words = sort_out(&args.words)?;
    let ids = meant(session, &words.ids, args.selector.as_deref()).await?;
    let change = PeersChange {
        rpc: &UPDATE_LABELS,
        write: &args.write,
        done: "labelled",
        already: "the labels are so already",
        failed: "could not be labelled",
        fields: json!({"set": words.set, "remove": words.remove, "overwrite": args.overwrite}),
    };
    change.run(session, ids).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(words: &[&str]) -> Result<LabelWords, CliError> {
        sort_out(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_are_ids_settings_and_removals() {
        let words = sorted(&["a", "-", "tier=std", "empty=", "canary-"]).unwrap();
        assert_eq!(words.ids, ["a", "-"]);
        assert_eq!(
            words.set,
            BTreeMap::from([("tier".into(), "std".into()), ("empty".into(), String::new())])
        );
        assert_eq!(words.remove, ["canary"]);
    }

    #[test]
    fn contradictions_and_nothing_are_refused() {
        for words in [&["a"] as &[&str], &["a", "k=1", "k=2"], &["a", "k=1", "k-"]] {
            assert!(sorted(words).is_err(), "{words:?}");
        }
    }
}
