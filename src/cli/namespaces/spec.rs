//! Specification of a namespace for `create` and `set`: in a file, and by flags that go before it.

use std::path::{Path, PathBuf};

use clap::ValueHint;

use crate::frame::error::chain;
use crate::frame::prelude::*;
use crate::node::bare;
use crate::shards::weight;

/// The rules of a namespace.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Namespace options")]
pub(super) struct NamespacesSpecArgs {
    /// JSON or YAML: the rules, or a request with `spec`, `shards` and `named`; - is standard input
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// How shards are placed: ring, rendezvous or locality
    #[arg(long, value_name = "STRATEGY", value_parser = ["ring", "rendezvous", "locality"])]
    pub strategy: Option<String>,
    /// How much of what there is a node takes, 0 to 1000; who is not named weighs 1
    #[arg(long, value_name = "NODE=WEIGHT", value_delimiter = ',', value_parser = weight)]
    pub weight: Vec<(String, f64)>,
    /// Who alone may hold shards and report what they have to do, such as service:orders; all of them are to be named
    #[arg(long, value_name = "PRINCIPAL", value_delimiter = ',')]
    pub holder: Vec<String>,
    /// Let whoever may connect hold shards
    #[arg(long, conflicts_with = "holder")]
    pub any_holder: bool,
    /// Let whoever proposes a plan approve it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub self_approval: Option<bool>,
    /// How long a node may be silent until its shards get other owners, in milliseconds
    #[arg(long, value_name = "MS")]
    pub silent_after_ms: Option<u64>,
    /// The ticket of the change, for the history
    #[arg(long, value_name = "TICKET")]
    pub ticket: Option<String>,
}

impl NamespacesSpecArgs {
    /// The fields of a request: what the file says, on the ground of `before`, with what the flags say instead.
    ///
    /// # Errors
    /// Usage, when the file cannot be read or is no document.
    pub(super) fn request(&self, before: Value) -> Result<Value, CliError> {
        let mut request = match &self.file {
            None => json!({ "spec": before }),
            Some(file) => {
                let document = read(file)?;
                let is_request = ["spec", "shards", "named"].iter().any(|name| document.get(name).is_some());
                if is_request { document } else { json!({ "spec": document }) }
            }
        };
        if !request.get("spec").is_some_and(Value::is_object) {
            request["spec"] = json!({});
        }
        let spec = &mut request["spec"];
        if let Some(strategy) = &self.strategy {
            spec["strategyId"] = json!(strategy);
        }
        for (node, weight) in &self.weight {
            spec["weights"][bare(node)] = json!(weight);
        }
        if self.any_holder || !self.holder.is_empty() {
            spec["policy"]["holders"] = json!(self.holder);
        }
        if let Some(allowed) = self.self_approval {
            spec["policy"]["selfApproval"] = json!(allowed);
        }
        if let Some(ms) = self.silent_after_ms {
            spec["policy"]["silentAfterMs"] = json!(ms.to_string());
        }
        if let Some(ticket) = &self.ticket {
            request["changeTicket"] = json!(ticket);
        }
        Ok(request)
    }
}

fn read(file: &Path) -> Result<Value, CliError> {
    let refuse = |what: String| CliError::usage(format!("{}: {what}", file.display()));
    let text = match file.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    let text = text.map_err(|error| refuse(chain(&error)))?;
    let document: Value = serde_yaml::from_str(&text).map_err(|error| refuse(chain(&error)))?;
    if document.is_object() { Ok(document) } else { Err(refuse("it is no document with fields".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_before_the_file_and_the_file_before_what_there_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "strategyId: ring\nweights: {a: 2}\npolicy: {bound: 1.2}\n").unwrap();
        let mut args =
            NamespacesSpecArgs { file: Some(file.path().to_owned()), ..NamespacesSpecArgs::default() };
        args.weight = vec![("b".to_owned(), 0.5)];
        args.self_approval = Some(true);
        let request = args.request(json!({"strategyId": "locality"})).unwrap();
        let spec = json!({"strategyId": "ring", "weights": {"a": 2, "b": 0.5}, "policy": {"bound": 1.2, "selfApproval": true}});
        assert_eq!(request, json!({ "spec": spec }));
        let of_holders = |holder: &[&str], any_holder: bool| {
            let holder = holder.iter().map(|&name| name.to_owned()).collect();
            let args = NamespacesSpecArgs { holder, any_holder, ..NamespacesSpecArgs::default() };
            args.request(json!({"policy": {"holders": ["service:a"]}})).unwrap()["spec"]["policy"].clone()
        };
        assert_eq!(
            of_holders(&["service:b", "node:n1"], false),
            json!({"holders": ["service:b", "node:n1"]})
        );
        assert_eq!(of_holders(&[], true), json!({"holders": []}));
        assert_eq!(of_holders(&[], false), json!({"holders": ["service:a"]}));
        std::fs::write(file.path(), "{\"named\": [{\"shardId\": \"a\"}]}").unwrap();
        let args = NamespacesSpecArgs { file: Some(file.path().to_owned()), ..NamespacesSpecArgs::default() };
        assert_eq!(args.request(json!({})).unwrap(), json!({"named": [{"shardId": "a"}], "spec": {}}));
        assert_eq!(
            NamespacesSpecArgs::default().request(json!({"strategyId": "ring"})).unwrap(),
            json!({"spec": {"strategyId": "ring"}})
        );
        std::fs::write(file.path(), "[1]").unwrap();
        assert!(args.request(json!({})).is_err());
    }
}
