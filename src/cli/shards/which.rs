//! Namespace that a command is about, and which of its shards.

use crate::complete;
use crate::frame::env;
use crate::frame::list;
use crate::frame::prelude::*;
use crate::namespaces;

/// A namespace that may go without saying.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct NamespaceArg {
    /// The namespace [default: $OMNIRELAY_NAMESPACE, else the only one there is]
    #[arg(short, long, value_name = "NAMESPACE", value_parser = id_of(namespaces::KIND),
          add = complete::ids(&namespaces::OBJECTS))]
    pub namespace: Option<String>,
}

impl NamespaceArg {
    /// The namespace that was named, or the only one there is.
    ///
    /// # Errors
    /// Usage, when there are several or none; what keeps the daemon from saying.
    pub(crate) async fn one(&self, session: &CommandSession) -> Result<String, CliError> {
        if let Some(named) = &self.namespace {
            return Ok(named.clone());
        }
        if let Some(named) = session.settings.env.get(env::NAMESPACE) {
            return Ok(id_in(namespaces::KIND, named).to_owned());
        }
        let document = list::whole(session, &namespaces::LIST, "namespaces", json!({})).await?;
        let names: Vec<&str> =
            items(&document, "namespaces").iter().map(|namespace| text(namespace, "namespace")).collect();
        match names.as_slice() {
            [one] => Ok((*one).to_owned()),
            [] => Err(CliError::usage("there is no namespace")
                .hint("omnirelay mesh namespaces create NAME --shards 128")),
            several => Err(CliError::usage(format!("there are {} namespaces", several.len()))
                .hint(format!("add -n with one of {}", several.join(", ")))),
        }
    }

    /// The namespace and the id of a shard, which may be given as `NAMESPACE/SHARD`.
    ///
    /// # Errors
    /// As of [`NamespaceArg::one`].
    pub(crate) async fn shard(
        &self,
        session: &CommandSession,
        given: &str,
    ) -> Result<(String, String), CliError> {
        match given.split_once('/') {
            Some((namespace, shard)) => Ok((namespace.to_owned(), shard.to_owned())),
            None => Ok((self.one(session).await?, given.to_owned())),
        }
    }
}
