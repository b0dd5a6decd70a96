//! Every environment variable the command line reads, in one place.
//!
//! An empty variable counts as unset everywhere.

use std::collections::BTreeMap;

/// One environment variable and what it does.
#[derive(Clone, Copy, Debug)]
pub struct EnvVariable {
    pub name: &'static str,
    /// One line for `omnirelay help environment`.
    pub help: &'static str,
}

const fn var(name: &'static str, help: &'static str) -> EnvVariable {
    EnvVariable { name, help }
}

pub(crate) const ADDR: EnvVariable = var("OMNIRELAY_ADDR", "address of the daemon, instead of a context's");
pub(crate) const CONTEXT: EnvVariable =
    var("OMNIRELAY_CONTEXT", "context to use, instead of the current one");
pub(crate) const NAMESPACE: EnvVariable =
    var("OMNIRELAY_NAMESPACE", "namespace of shards, where a command needs one and names none");
pub(crate) const TOKEN_FILE: EnvVariable = var("OMNIRELAY_TOKEN_FILE", "file with the token that proves you");
pub(crate) const TLS_CA: EnvVariable =
    var("OMNIRELAY_TLS_CA", "file with the authorities of daemons under TLS");
pub(crate) const TLS_CERT: EnvVariable =
    var("OMNIRELAY_TLS_CERT", "file with the certificate that proves you");
pub(crate) const TLS_KEY: EnvVariable =
    var("OMNIRELAY_TLS_KEY", "file with its private key, if that is another");
pub(crate) const TLS_SERVER_NAME: EnvVariable =
    var("OMNIRELAY_TLS_SERVER_NAME", "of whom the certificate of the daemon must be");
pub(crate) const TLS_CLUSTER: EnvVariable =
    var("OMNIRELAY_TLS_CLUSTER", "clusters of one of which the daemon must be, with commas");
pub(crate) const RENEW: EnvVariable =
    var("OMNIRELAY_RENEW", "never: leave the certificate of a context as it is when it is due");
pub(crate) const RELAY_CA: EnvVariable =
    var("OMNIRELAY_RELAY_CA", "file with the authorities of relays under TLS");
pub(crate) const CONFIG: EnvVariable = var("OMNIRELAY_CONFIG", "file that holds the contexts");
pub(crate) const OUTPUT: EnvVariable = var("OMNIRELAY_OUTPUT", "output format, as of --output");
pub(crate) const TIMEOUT: EnvVariable = var("OMNIRELAY_TIMEOUT", "longest time for one request, such as 30s");
pub(crate) const TRACEPARENT: EnvVariable = var("TRACEPARENT", "trace that calls are of (W3C Trace Context)");
pub(crate) const COLOR: EnvVariable = var("OMNIRELAY_COLOR", "auto, always or never");
pub(crate) const LOG: EnvVariable = var("OMNIRELAY_LOG", "log filter of the nodes that `omnirelay up` runs");
pub(crate) const NO_COLOR: EnvVariable = var("NO_COLOR", "no colour when set");
pub(crate) const CLICOLOR: EnvVariable = var("CLICOLOR", "no colour when 0");
pub(crate) const CLICOLOR_FORCE: EnvVariable =
    var("CLICOLOR_FORCE", "colour into pipes as well when set and not 0");
pub(crate) const TERM: EnvVariable = var("TERM", "no colour and no redrawing when dumb");
pub(crate) const COLUMNS: EnvVariable = var("COLUMNS", "width of a terminal; pipes are never cut");
pub(crate) const CI: EnvVariable = var("CI", "never ask for confirmation when set");
pub(crate) const HTTPS_PROXY: EnvVariable =
    var("HTTPS_PROXY", "proxy of calls over HTTP/JSON; HTTP_PROXY and ALL_PROXY as well");
pub(crate) const NO_PROXY: EnvVariable = var("NO_PROXY", "hosts that are called without one; * for all,");
pub(crate) const NO_PROXY_IN_LOWER_CASE: EnvVariable = var("no_proxy", "or here");
pub(crate) const XDG_CONFIG_HOME: EnvVariable = var("XDG_CONFIG_HOME", "folder of omnirelay/config.yaml");
pub(crate) const XDG_CACHE_HOME: EnvVariable =
    var("XDG_CACHE_HOME", "folder of what completions remember, for seconds");
pub(crate) const HOME: EnvVariable = var("HOME", "~/.config and ~/.cache are used without them");
pub(crate) const COMPLETE_TIMEOUT: EnvVariable =
    var("OMNIRELAY_COMPLETE_TIMEOUT", "longest wait of a completion for a mesh, instead of 200ms");
pub(crate) const COMPLETE: EnvVariable =
    var("OMNIRELAY_COMPLETE", "set by completion scripts: the shell that asks");
pub(crate) const COMPLETE_INDEX: EnvVariable =
    var("_CLAP_COMPLETE_INDEX", "set by them too: the word at the cursor");
pub(crate) const LC_ALL: EnvVariable = var("LC_ALL", "ASCII signs unless a UTF-8 locale is set here,");
pub(crate) const LC_CTYPE: EnvVariable = var("LC_CTYPE", "here,");
pub(crate) const LANG: EnvVariable = var("LANG", "or here");

/// Every variable, in the order `omnirelay help environment` shows them.
pub(crate) static ALL: &[EnvVariable] = &[
    ADDR,
    CONTEXT,
    NAMESPACE,
    TOKEN_FILE,
    TLS_CA,
    TLS_CERT,
    TLS_KEY,
    TLS_SERVER_NAME,
    TLS_CLUSTER,
    RENEW,
    RELAY_CA,
    CONFIG,
    OUTPUT,
    TIMEOUT,
    TRACEPARENT,
    COLOR,
    LOG,
    NO_COLOR,
    CLICOLOR,
    CLICOLOR_FORCE,
    TERM,
    COLUMNS,
    CI,
    HTTPS_PROXY,
    NO_PROXY,
    NO_PROXY_IN_LOWER_CASE,
    XDG_CONFIG_HOME,
    XDG_CACHE_HOME,
    HOME,
    COMPLETE_TIMEOUT,
    COMPLETE,
    COMPLETE_INDEX,
    LC_ALL,
    LC_CTYPE,
    LANG,
];

/// The variables as they were when the process began.
#[derive(Clone, Debug, Default)]
pub struct EnvironmentVariables(BTreeMap<&'static str, String>);

impl EnvironmentVariables {
    /// Reads every declared variable of this process.
    pub fn of_process() -> Self {
        Self::from_source(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// Reads every declared variable from `source`; empty ones are left out.
    pub fn from_source(source: impl Fn(&str) -> Option<String>) -> Self {
        let values = ALL.iter().filter_map(|variable| {
            let value = source(variable.name).filter(|value| !value.is_empty())?;
            Some((variable.name, value))
        });
        Self(values.collect())
    }

    /// The value of `variable`; `None` when it is unset or empty.
    pub fn get(&self, variable: EnvVariable) -> Option<&str> {
        self.0.get(variable.name).map(String::as_str)
    }

    /// Whether the locale is a UTF-8 one.
    pub fn is_utf8(&self) -> bool {
        [LC_ALL, LC_CTYPE, LANG].into_iter().find_map(|variable| self.get(variable)).is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_variable_counts_as_unset() {
        let env = EnvironmentVariables::from_source(|name| (name == OUTPUT.name).then(String::new));
        assert_eq!(env.get(OUTPUT), None);
    }

    #[test]
    fn first_set_locale_variable_decides() {
        let env = |lc_all: &'static str, lang: &'static str| {
            EnvironmentVariables::from_source(move |name| match name {
                "LC_ALL" => Some(lc_all.to_owned()),
                "LANG" => Some(lang.to_owned()),
                _ => None,
            })
        };
        assert!(env("", "en_US.UTF-8").is_utf8(), "LANG counts when LC_ALL is empty");
        assert!(!env("C", "en_US.UTF-8").is_utf8(), "LC_ALL wins over LANG");
        assert!(env("C.utf8", "").is_utf8(), "the spelling without a hyphen");
    }
}
