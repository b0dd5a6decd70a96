//! `omnirelay context`: which meshes there are and which one is meant.

mod add;
mod current;
mod delete;
pub mod edit;
mod get;
mod list;
mod rename;
mod set;
mod test;
mod use_;

use std::path::{Path, PathBuf};

use omnirelay_identity::operator_files::OperatorFiles;

use super::entry::verbs;
use super::frame::address::Address;
use super::frame::tls_files::TlsFiles;
use super::schema::documents::own;
use super::schema::schemas;
use crate::frame::context_file::Context;
use crate::frame::prelude::*;

/// Why the verbs that only touch the file call no method.
const LOCAL: &str = "reads and writes the file of contexts on this machine";

verbs! {
    /// Choose which mesh to talk to
    #[command(arg_required_else_help = true)]
    "context" ContextArgs {
        List: list::ContextListArgs,
        Current: current::ContextCurrentArgs,
        Use: use_::ContextUseArgs,
        Get: get::ContextGetArgs,
        Set: set::ContextSetArgs,
        Add: add::ContextAddArgs,
        Rename: rename::ContextRenameArgs,
        Delete: delete::ContextDeleteArgs,
        Test: test::ContextTestArgs,
    }
    &[
        own("context", "context current, get, use, add, set, rename, delete", schemas::context),
        own("contexts", "context list", schemas::contexts),
    ]
}

/// Writes the context `name` with these addresses, all of this machine, and makes it the current one if none is. One that
/// somebody else wrote stays as it is: it is protected, has a token, another cluster, a certificate of somebody else than
/// the operator of such a mesh, or leads to another machine.
///
/// `path` is the file of contexts, see [`file::path`]. Returns whether it is the current one now
/// because of this call or was so before.
///
/// # Errors
/// When the file cannot be read or written; nothing changes then.
pub fn put_context(
    path: &Path,
    name: &str,
    addresses: Vec<Address>,
    cluster: &str,
    tls: TlsFiles,
) -> Result<bool, CliError> {
    let context = Context {
        name: name.to_owned(),
        addresses,
        cluster: Some(cluster.to_owned()).filter(|cluster| !cluster.is_empty()),
        protected: false,
        token_file: None,
        tls,
    };
    edit::edit(path, |file| {
        let foreign = |known: &&Context| !is_like(known, cluster);
        if let Some(known) = file.contexts.iter().find(|known| known.name == name).filter(foreign) {
            let leads = known.addresses.first().map(ToString::to_string).unwrap_or_default();
            return Err(CliError::usage(format!(
                "the context `{name}` leads to {leads}, which is left as it is"
            )));
        }
        file.put(context);
        if file.current.is_none() {
            file.select(Some(name));
        }
        Ok(file.current.as_deref() == Some(name))
    })
}

/// Whether a context is as those that are written for nodes of this machine.
fn is_like(known: &Context, cluster: &str) -> bool {
    let here = known.addresses.iter().all(Address::is_loopback);
    let is_ours = match (&known.tls.cert, &known.tls.key) {
        (Some(cert), Some(key)) => OperatorFiles::are(cert, key),
        (None, None) => known.tls == TlsFiles::default(),
        (Some(_), None) | (None, Some(_)) => false,
    };
    let is_plain = !known.protected && known.token_file.is_none() && is_ours;
    here && is_plain && known.cluster.as_deref() == Some(cluster)
}

/// Takes the context `name` out, if it still leads to these addresses and no others.
///
/// # Errors
/// As of [`put_context`].
pub fn drop_context(path: &Path, name: &str, addresses: &[Address]) -> Result<(), CliError> {
    edit::edit(path, |file| {
        if file.context(name).is_ok_and(|context| context.addresses == addresses) {
            file.remove(name);
        }
        Ok(())
    })
}

/// Addresses, cluster and protection of a context.
#[derive(Args, Clone, Debug)]
struct ContextShape {
    /// Address of a daemon; repeatable, tried in order
    #[arg(long = "address", value_name = "URL", value_delimiter = ',')]
    addresses: Vec<Address>,
    /// Name of the cluster
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Ask for a reason and a typed confirmation before changes
    #[arg(long, overrides_with = "no_protected")]
    protected: bool,
    /// Do not
    #[arg(long, overrides_with = "protected")]
    no_protected: bool,
}

/// The name of a context: something that can be typed.
pub fn checked_name(name: &str) -> Result<String, String> {
    let good = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    if name.is_empty() || name.len() > 63 || !good {
        return Err(format!("`{name}` is no name: 1 to 63 letters, digits, `-`, `.` or `_`"));
    }
    Ok(name.to_owned())
}

fn exists(name: &str) -> CliError {
    CliError::new(reasons::CONTEXT_EXISTS, format!("there is a context `{name}` already"))
        .hint(format!("omnirelay context set {name} ...    # to change it"))
}

/// `{schemaVersion, name, address, addresses, cluster}`, and what else is known.
fn document(context: &Context, current: bool) -> Value {
    let mut object = object(context, current);
    if let Some(fields) = object.as_object_mut() {
        fields.shift_insert(0, "schemaVersion".to_owned(), json!("v1"));
    }
    object
}

fn object(context: &Context, current: bool) -> Value {
    let addresses: Vec<&str> = context.addresses.iter().map(Address::as_str).collect();
    let mut object = json!({
        "name": context.name,
        "address": addresses.first().copied().unwrap_or_default(),
        "addresses": addresses,
        "cluster": context.cluster.as_deref().unwrap_or_default(),
        "protected": context.protected,
        "current": current,
    });
    if let Some(path) = &context.token_file {
        object["tokenFile"] = json!(path);
    }
    if let Some(tls) = context.tls.to_json() {
        object["tls"] = tls;
    }
    object
}

/// The token file that the command names, as it can be found from everywhere.
fn token_file(session: &CommandSession) -> Option<PathBuf> {
    let given = session.settings.token_file.as_ref()?;
    Some(std::path::absolute(given).unwrap_or_else(|_| given.clone()))
}

fn describe(context: &Context) -> String {
    let addresses: Vec<&str> = context.addresses.iter().map(Address::as_str).collect();
    let mut rows = vec![
        ("name", context.name.clone()),
        ("address", addresses.join(", ")),
        ("cluster", context.cluster.clone().unwrap_or_default()),
        ("protected", if context.protected { "yes" } else { "no" }.to_owned()),
    ];
    rows.extend(context.token_file.as_ref().map(|path| ("token file", path.display().to_string())));
    let tls = &context.tls;
    for (name, path) in [("authorities", &tls.ca), ("certificate", &tls.cert), ("key", &tls.key)] {
        rows.extend(path.as_ref().map(|path| (name, path.display().to_string())));
    }
    if !tls.clusters.is_empty() {
        rows.push(("of clusters", tls.clusters.join(",")));
    }
    rows.extend(tls.server_name.as_ref().map(|name| ("server name", name.clone())));
    listing(&rows)
}

/// Says that a variable keeps the current context from being used.
fn warn_of_override(session: &CommandSession) {
    use super::frame::env;
    for variable in [env::ADDR, env::CONTEXT] {
        if let Some(value) = session.settings.env.get(variable) {
            session.notes().warn(&format!("{} is {value}, which wins in this shell", variable.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::context_file::ContextFile;

    #[test]
    fn context_that_is_put_becomes_current_only_if_none_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        let tls = TlsFiles::default;
        let put = |name: &str| put_context(&path, name, vec![Address::built_in()], "default", tls()).unwrap();
        assert!(put("dev"));
        assert!(!put("other"));
        assert!(put("dev"), "it still is");
        let file = ContextFile::load(&path).unwrap();
        assert_eq!((file.current.as_deref(), file.contexts.len()), (Some("dev"), 2));
    }

    #[test]
    fn a_certificate_of_somebody_else_is_left_in_its_context() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        let of = |folder: &str| {
            let file = |name: &str| Some(PathBuf::from(folder).join(name));
            TlsFiles {
                ca: file("bundle.pem"),
                cert: file("chain.pem"),
                key: file("key.pem"),
                ..TlsFiles::default()
            }
        };
        let put = |tls| put_context(&path, "dev", vec![Address::built_in()], "default", tls);
        put(of("/tmp/a/up-operator")).unwrap();
        put(of("/tmp/b/up-operator")).unwrap();
        put(TlsFiles::default()).unwrap();
        put(of("/home/ann/certs")).unwrap();
        assert!(put(of("/tmp/b/up-operator")).unwrap_err().to_text().contains("left as it is"));
    }
}
