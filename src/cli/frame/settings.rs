//! Settings that a command works with: flags before variables before the context before what is built in.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::trace_context::TraceContext;
use serde_json::{Value, json};

use super::address::Address;
use super::bundle::SupportBundle;
use super::context_file::{self, ContextFile};
use super::env::{self, EnvironmentVariables};
use super::error::CliError;
use super::global::GlobalArgs;
use super::output::{ColorMode, OutputFormat, StderrNotes};
use super::proof::CallerProof;
use super::screen::StdoutScreen;
use super::tls_files::TlsFiles;

/// Source that a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueSource {
    Flag(&'static str),
    Variable(&'static str),
    File,
    BuiltIn,
    /// What the node registered with in the mesh.
    Peer,
    /// What the relay registered with.
    Relay,
}

impl std::fmt::Display for ValueSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::File => f.write_str("configuration file"),
            Self::BuiltIn => f.write_str("built in"),
            Self::Peer => f.write_str("what the node registered with, metadata.endpoints.control"),
            Self::Relay => f.write_str("what the relay registered with, address and grpcPort"),
        }
    }
}

/// Target that a command talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandTarget {
    /// The context's name; empty when an address was given or nothing is configured.
    pub context: String,
    /// Tried in order; at least one.
    pub addresses: Vec<Address>,
    pub cluster: Option<String>,
    pub protected: bool,
    /// Whose first token proves the caller.
    pub token_file: Option<PathBuf>,
    /// Whom it believes and what it shows, where TLS is spoken.
    pub tls: TlsFiles,
    pub source: ValueSource,
    /// Whether the context was named on the command line itself.
    pub named_by_flag: bool,
}

impl CommandTarget {
    /// Addresses of no context, called without a proof.
    pub fn bare(addresses: Vec<Address>, source: ValueSource) -> Self {
        Self {
            context: String::new(),
            addresses,
            cluster: None,
            protected: false,
            token_file: None,
            tls: TlsFiles::default(),
            source,
            named_by_flag: false,
        }
    }

    /// `dev (http://127.0.0.1:17420)`, or the address alone.
    pub fn describe(&self, address: &str) -> String {
        match (self.context.as_str(), &self.cluster) {
            ("", _) => address.to_owned(),
            (name, Some(cluster)) => format!("{name} (cluster {cluster}, {address})"),
            (name, None) => format!("{name} ({address})"),
        }
    }

    /// As in `error.target`.
    pub fn to_json(&self, address: &str) -> Value {
        json!({"context": self.context, "cluster": self.cluster.as_deref().unwrap_or(""), "address": address})
    }

    /// Whether a development mesh may be meant: nothing but this host is named, in plaintext, and it is not protected.
    pub fn may_be_development(&self) -> bool {
        let here =
            |address: &Address| address.is_loopback() && !address.is_tls() && address.socket().is_none();
        !self.protected && self.addresses.iter().all(here)
    }

    /// Confirmation that has to be typed before something is destroyed here.
    pub fn confirmation(&self) -> &str {
        self.cluster.as_deref().unwrap_or(&self.context)
    }
}

/// Everything a command needs to know before it starts.
#[derive(Clone, Debug)]
pub struct CommandSettings {
    /// Fails when the configuration does; commands that need no daemon do not look.
    pub target: Result<CommandTarget, CliError>,
    /// The token file that a flag names, instead of the context's.
    pub token_file: Option<PathBuf>,
    /// What flags say of TLS, instead of the context.
    pub tls: TlsFiles,
    /// Whoever answers under TLS is believed.
    pub believes_anybody: bool,
    pub config_path: PathBuf,
    /// The configuration; the failure to read it is in `target`, unless an address was given.
    pub config: Result<ContextFile, CliError>,
    pub format: OutputFormat,
    pub screen: StdoutScreen,
    pub notes: StderrNotes,
    /// Never ask.
    pub no_input: bool,
    /// The longest time for one request with its retries.
    pub request_timeout: Duration,
    /// True: somebody chose it, in whichever way.
    pub request_timeout_given: bool,
    pub connect_timeout: Duration,
    pub request_id: Option<String>,
    /// The trace that calls are of. A variable of others that is none says none: no command fails by it.
    pub trace: Option<TraceContext>,
    /// Answers in the place of daemons.
    pub bundle: Option<Arc<SupportBundle>>,
    pub env: EnvironmentVariables,
}

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

impl CommandSettings {
    /// Resolves every setting from flags, variables and the configuration file, in this order.
    ///
    /// # Errors
    /// Usage, when a variable or a default of the file is not what it should be; when a support bundle is named and cannot be read.
    pub fn resolve(flags: &GlobalArgs, env: EnvironmentVariables) -> Result<Self, CliError> {
        let config_path = context_file::path(flags.config.as_deref(), &env);
        let config = ContextFile::load(&config_path);
        let defaults = config.as_ref().map(|file| file.defaults.clone()).unwrap_or_default();
        let format = match flags.output {
            Some(format) => format,
            None => {
                word(&env, env::OUTPUT, defaults.output.as_deref(), "output")?.unwrap_or(OutputFormat::Table)
            }
        };
        let color = match flags.color {
            Some(color) => color,
            None => word(&env, env::COLOR, defaults.color.as_deref(), "color")?.unwrap_or(ColorMode::Auto),
        };
        let request_timeout = match flags.request_timeout {
            Some(given) => given.0,
            None => duration(&env, env::TIMEOUT, defaults.request_timeout.as_deref(), REQUEST_TIMEOUT)?,
        };
        let request_timeout_given = flags.request_timeout.is_some()
            || env.get(env::TIMEOUT).is_some()
            || defaults.request_timeout.is_some();
        let connect_timeout = match (flags.connect_timeout, defaults.connect_timeout.as_deref()) {
            (Some(given), _) => given.0,
            (None, Some(text)) => parse_duration("defaults.connectTimeout", text)?,
            (None, None) => CONNECT_TIMEOUT,
        };
        let bundle = flags.support_bundle.as_deref().map(SupportBundle::open).transpose()?.map(Arc::new);
        let target = match &bundle {
            Some(bundle) => bundle.target(flags.addr.as_deref()),
            None => target(flags, &env, &config).and_then(|target| given_proof(flags, &env).prove(target)),
        };
        Ok(Self {
            target,
            token_file: flags.token_file.clone(),
            tls: TlsFiles::of_flags(flags),
            believes_anybody: flags.insecure_skip_tls_verify,
            config_path,
            config,
            format,
            screen: screen(color, &env),
            notes: StderrNotes {
                quiet: flags.quiet,
                machine: format.is_json(),
                verbose: flags.verbose,
                color: colored(color, &env, std::io::stderr().is_terminal()),
            },
            no_input: flags.no_input || env.get(env::CI).is_some(),
            request_timeout,
            request_timeout_given,
            connect_timeout,
            request_id: flags.request_id.clone(),
            trace: env.get(env::TRACEPARENT).and_then(|said| TraceContext::parse(said.as_bytes())),
            bundle,
            env,
        })
    }
}

fn given_proof(flags: &GlobalArgs, env: &EnvironmentVariables) -> CallerProof {
    CallerProof::of(flags.token_file.as_deref(), &TlsFiles::of_flags(flags), env)
}

fn token_file(flags: &GlobalArgs, env: &EnvironmentVariables) -> Option<PathBuf> {
    flags.token_file.clone().or_else(|| env.get(env::TOKEN_FILE).map(PathBuf::from))
}

impl CommandSettings {
    /// The token file that a flag or a variable names, whatever the context.
    pub fn own_token_file(&self) -> Option<PathBuf> {
        self.token_file.clone().or_else(|| self.env.get(env::TOKEN_FILE).map(PathBuf::from))
    }

    /// Proof of who calls, as flags and variables name it, whatever the context.
    pub fn own_proof(&self) -> CallerProof {
        CallerProof::of(self.token_file.as_deref(), &self.tls, &self.env)
    }

    /// Settings by which another context is talked to: what flags and variables say of a target and of proof is for the one
    /// that the command is meant for, and not for this one.
    ///
    /// # Errors
    /// When the file of contexts cannot be read, or has none of that name.
    pub fn of_context(&self, name: &str) -> Result<Self, CliError> {
        let context = self.config.as_ref().map_err(Clone::clone)?.context(name)?.clone();
        let target = CommandTarget {
            context: context.name,
            addresses: context.addresses,
            cluster: context.cluster,
            protected: context.protected,
            token_file: context.token_file,
            tls: context.tls,
            source: ValueSource::File,
            named_by_flag: true,
        };
        let (tls, token_file) = (TlsFiles::default(), None);
        Ok(Self { target: Ok(target), tls, token_file, believes_anybody: false, ..self.clone() })
    }

    /// TLS files that flags and variables name, whatever the context.
    pub fn own_tls(&self) -> TlsFiles {
        self.tls.clone().over(&TlsFiles::of_env(&self.env))
    }
}

/// Whom to talk to. A context that does not exist is an error, never another target.
fn target(
    flags: &GlobalArgs,
    env: &EnvironmentVariables,
    config: &Result<ContextFile, CliError>,
) -> Result<CommandTarget, CliError> {
    let (given, tls) = (token_file(flags, env), TlsFiles::of_flags(flags).over(&TlsFiles::of_env(env)));
    let direct = |text: &str, source: ValueSource| {
        let file = config.as_ref().ok();
        let context = match flags.context.as_deref().or_else(|| env.get(env::CONTEXT)) {
            Some(name) => file.and_then(|file| file.context(name).ok()),
            None => file.and_then(ContextFile::current_context),
        };
        let address: Address = context
            .map_or_else(|| text.parse(), |context| context.address_of(text))
            .map_err(|error| CliError::usage(format!("cannot use the address of {source}: {error}")))?;
        let kept = context.filter(|_| !flags.insecure_skip_tls_verify);
        let kept = kept.map(|context| context.tls_at(&address, &tls, given.is_some()));
        let tls = tls.clone().over(&kept.unwrap_or_default());
        Ok(CommandTarget { token_file: given.clone(), tls, ..CommandTarget::bare(vec![address], source) })
    };
    let named = |name: &str, source: ValueSource| {
        let context = config.as_ref().map_err(Clone::clone)?.context(name)?;
        Ok(CommandTarget {
            context: context.name.clone(),
            addresses: context.addresses.clone(),
            cluster: context.cluster.clone(),
            protected: context.protected,
            token_file: given.clone().or_else(|| context.token_file.clone()),
            tls: tls.clone().over(&context.tls),
            source,
            named_by_flag: matches!(source, ValueSource::Flag(_)),
        })
    };
    match (&flags.addr, &flags.context) {
        (Some(addr), None) => return direct(addr, ValueSource::Flag("--addr")),
        (None, Some(name)) => return named(name, ValueSource::Flag("--context")),
        (Some(addr), Some(name)) => {
            let addresses = direct(addr, ValueSource::Flag("--addr"))?.addresses;
            return Ok(CommandTarget { addresses, ..named(name, ValueSource::Flag("--context"))? });
        }
        (None, None) => {}
    }
    match (env.get(env::ADDR), env.get(env::CONTEXT)) {
        (Some(addr), None) => return direct(addr, ValueSource::Variable(env::ADDR.name)),
        (None, Some(name)) => return named(name, ValueSource::Variable(env::CONTEXT.name)),
        (Some(addr), Some(name)) => {
            let addresses = direct(addr, ValueSource::Variable(env::ADDR.name))?.addresses;
            return Ok(CommandTarget { addresses, ..named(name, ValueSource::Variable(env::CONTEXT.name))? });
        }
        (None, None) => {}
    }
    match &config.as_ref().map_err(Clone::clone)?.current {
        Some(name) => named(name, ValueSource::File),
        None => direct(super::address::BUILT_IN, ValueSource::BuiltIn),
    }
}

/// A word of `T` from a variable or else from the file.
fn word<T: clap::ValueEnum>(
    env: &EnvironmentVariables,
    variable: env::EnvVariable,
    default: Option<&str>,
    key: &str,
) -> Result<Option<T>, CliError> {
    let (text, source) = match (env.get(variable), default) {
        (Some(text), _) => (text, variable.name.to_owned()),
        (None, Some(text)) => (text, format!("defaults.{key} of the configuration")),
        (None, None) => return Ok(None),
    };
    T::from_str(text, true).map(Some).map_err(|_| {
        let words: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|value| value.to_possible_value())
            .map(|value| value.get_name().to_owned())
            .collect();
        CliError::usage(format!("{source} is `{text}`")).hint(format!("choose from {}", words.join(", ")))
    })
}

/// A time from the environment, else from the file, else the one that is built in.
///
/// # Errors
/// A usage error when it cannot be read.
pub(crate) fn duration(
    env: &EnvironmentVariables,
    variable: env::EnvVariable,
    default: Option<&str>,
    built_in: Duration,
) -> Result<Duration, CliError> {
    match (env.get(variable), default) {
        (Some(text), _) => parse_duration(variable.name, text),
        (None, Some(text)) => parse_duration("defaults.requestTimeout", text),
        (None, None) => Ok(built_in),
    }
}

fn parse_duration(source: &str, text: &str) -> Result<Duration, CliError> {
    text.parse::<super::global::HumanDuration>()
        .map(|span| span.0)
        .map_err(|error| CliError::usage(format!("{source}: {error}")))
}

fn screen(color: ColorMode, env: &EnvironmentVariables) -> StdoutScreen {
    let tty = std::io::stdout().is_terminal();
    let columns = env.get(env::COLUMNS).and_then(|text| text.parse().ok()).filter(|&width: &usize| width > 0);
    let screen = StdoutScreen {
        tty,
        redraws: tty && env.get(env::TERM) != Some("dumb"),
        color: colored(color, env, tty),
        width: columns.filter(|_| tty),
        pinned: columns,
        columns: None,
        height: None,
        unicode: tty && env.is_utf8(),
    };
    screen.measured()
}

/// Whether to colour a stream: flag, `NO_COLOR`, `CLICOLOR_FORCE`, `CLICOLOR`, `TERM`, the stream itself.
pub(crate) fn colored(color: ColorMode, env: &EnvironmentVariables, tty: bool) -> bool {
    match color {
        ColorMode::Always => true,
        ColorMode::Never => false,
        ColorMode::Auto if env.get(env::NO_COLOR).is_some() => false,
        ColorMode::Auto if env.get(env::CLICOLOR_FORCE).is_some_and(|value| value != "0") => true,
        ColorMode::Auto if env.get(env::CLICOLOR) == Some("0") || env.get(env::TERM) == Some("dumb") => false,
        ColorMode::Auto => tty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(values: &'static [(&'static str, &'static str)]) -> EnvironmentVariables {
        EnvironmentVariables::from_source(|name| {
            values.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned())
        })
    }

    fn config() -> ContextFile {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(
            &path,
            "currentContext: here\ncontexts:\n- {name: here, address: 'http://h:1'}\n\
             - {name: there, address: 'http://t:1', cluster: eu-1, protected: true}\n",
        )
        .unwrap();
        ContextFile::load(&path).unwrap()
    }

    #[test]
    fn nearest_source_of_the_target_wins() {
        const BOTH: &[(&str, &str)] = &[("OMNIRELAY_ADDR", "http://e:1"), ("OMNIRELAY_CONTEXT", "there")];
        const ADDR: &[(&str, &str)] = &[("OMNIRELAY_ADDR", "http://e:1")];
        let (file, none) = (Ok(config()), Ok(ContextFile::default()));
        let flags = |addr: Option<&str>, context: Option<&str>| GlobalArgs {
            addr: addr.map(str::to_owned),
            context: context.map(str::to_owned),
            ..GlobalArgs::default()
        };
        let cases = [
            ("flag before variable", flags(Some("http://f:1"), None), BOTH, &file, "http://f:1", ""),
            (
                "context flag before address variable",
                flags(None, Some("here")),
                ADDR,
                &file,
                "http://h:1",
                "here",
            ),
            ("address and context together", flags(None, None), BOTH, &file, "http://e:1", "there"),
            ("variable before file", flags(None, None), ADDR, &file, "http://e:1", ""),
            ("file before built-in", flags(None, None), &[], &file, "http://h:1", "here"),
            ("built-in", flags(None, None), &[], &none, "http://127.0.0.1:17420", ""),
        ];
        for (what, flags, variables, file, address, context) in cases {
            let target = target(&flags, &env(variables), file).expect(what);
            assert_eq!((target.addresses[0].as_str(), target.context.as_str()), (address, context), "{what}");
        }
    }

    /// A file with one context, with these TLS files.
    fn context_with(tls: &str) -> Result<ContextFile, CliError> {
        let text = format!(
            "currentContext: here\ncontexts:\n\
             - {{name: here, address: 'https://h:1', tokenFile: /t, tls: {{{tls}}}}}\n"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Ok(ContextFile::load(file.path()).unwrap())
    }

    /// Whom a command at another address than the context's believes, and what it shows there.
    #[test]
    fn an_address_of_the_mesh_keeps_the_files_of_its_context() {
        let whole = || context_with("ca: /ca, cert: /cert, key: /key, serverName: h.mesh");
        let public = || context_with("cert: /cert, key: /key");
        let at = |addr: &str| GlobalArgs { addr: Some(addr.to_owned()), ..GlobalArgs::default() };
        let files = |ca: &str, cert: &str, key: &str, name: &str| {
            let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
            let server_name = (!name.is_empty()).then(|| name.to_owned());
            TlsFiles { ca: path(ca), cert: path(cert), key: path(key), server_name, clusters: Vec::new() }
        };
        let own = |addr: &str| GlobalArgs {
            tls_cert: Some("/mine".into()),
            tls_key: Some("/own".into()),
            ..at(addr)
        };
        let cases = [
            (
                "another node: who is not of the mesh gets nothing",
                at("https://n:1"),
                whole(),
                files("/ca", "/cert", "/key", ""),
            ),
            (
                "an address of the context",
                at("https://h:1/"),
                whole(),
                files("/ca", "/cert", "/key", "h.mesh"),
            ),
            ("as the context speaks", at("n:1"), whole(), files("/ca", "/cert", "/key", "")),
            ("of this host alone, in plaintext", at("127.0.0.1:1"), whole(), TlsFiles::default()),
            ("plaintext", at("http://h:1"), whole(), TlsFiles::default()),
            ("a socket", at("unix:/s"), whole(), TlsFiles::default()),
            (
                "any server with a public certificate would see it",
                at("https://n:1"),
                public(),
                TlsFiles::default(),
            ),
            (
                "another authority is another mesh",
                GlobalArgs { tls_ca: Some("/other".into()), ..at("https://n:1") },
                whole(),
                files("/other", "", "", ""),
            ),
            ("a certificate of its own", own("https://n:1"), whole(), files("/ca", "/mine", "/own", "")),
            (
                "a token of its own is who it is",
                GlobalArgs { token_file: Some("/token".into()), ..at("https://n:1") },
                whole(),
                files("/ca", "", "", ""),
            ),
            (
                "whoever answers is believed",
                GlobalArgs { insecure_skip_tls_verify: true, ..at("https://n:1") },
                whole(),
                TlsFiles::default(),
            ),
            ("there is no context", at("https://n:1"), Ok(ContextFile::default()), TlsFiles::default()),
        ];
        for (what, flags, file, expected) in cases {
            let target = target(&flags, &env(&[]), &file).expect(what);
            assert_eq!(target.tls, expected, "{what}");
            assert_eq!(target.token_file, flags.token_file, "{what}: a kept token is the context's alone");
        }
        let variable = target(&GlobalArgs::default(), &env(&[("OMNIRELAY_ADDR", "https://n:1")]), &whole());
        assert_eq!(variable.unwrap().tls, files("/ca", "/cert", "/key", ""), "by a variable as by a flag");
    }

    #[test]
    fn an_address_is_of_the_context_that_is_named() {
        const NONE: &[(&str, &str)] = &[];
        const THERE: &[(&str, &str)] = &[("OMNIRELAY_CONTEXT", "there")];
        const BOTH: &[(&str, &str)] = &[("OMNIRELAY_CONTEXT", "there"), ("OMNIRELAY_ADDR", "n:1")];
        const NOWHERE: &[(&str, &str)] = &[("OMNIRELAY_CONTEXT", "nowhere")];
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "currentContext: here\ncontexts:\n- {name: here, address: 'http://h:1'}\n\
                    - {name: there, address: 'https://t:1', tls: {ca: /ca}}\n";
        std::fs::write(file.path(), text).unwrap();
        let file = Ok(ContextFile::load(file.path()).unwrap());
        let (addr, ca) = (Some("n:1"), Some(PathBuf::from("/ca")));
        let cases = [
            ("the flag", addr, Some("there"), NONE, "https://n:1", ca.clone()),
            ("the variable", addr, None, THERE, "https://n:1", ca.clone()),
            ("the variable, and the address too", None, None, BOTH, "https://n:1", ca),
            ("flag before variable", addr, Some("here"), THERE, "http://n:1", None),
            ("the current one", addr, None, NONE, "http://n:1", None),
            ("none of that name", addr, None, NOWHERE, "http://n:1", None),
        ];
        for (what, addr, context, variables, address, ca) in cases {
            let flags = GlobalArgs {
                addr: addr.map(str::to_owned),
                context: context.map(str::to_owned),
                ..GlobalArgs::default()
            };
            let target = target(&flags, &env(variables), &file).expect(what);
            assert_eq!((target.addresses[0].as_str(), target.tls.ca), (address, ca), "{what}");
        }
    }

    #[test]
    fn unknown_context_is_an_error_and_never_another_target() {
        let flags = GlobalArgs { context: Some("nope".into()), ..GlobalArgs::default() };
        let error = target(&flags, &env(&[]), &Ok(config())).unwrap_err();
        assert_eq!(error.exit() as u8, 2);
        assert!(error.to_text().contains("here, there"), "{}", error.to_text());
    }

    #[test]
    fn broken_configuration_matters_only_when_it_is_needed() {
        let broken = || Err(CliError::usage("broken"));
        let flags = GlobalArgs { addr: Some("http://a:1".into()), ..GlobalArgs::default() };
        assert!(target(&flags, &env(&[]), &broken()).is_ok());
        assert!(target(&GlobalArgs::default(), &env(&[]), &broken()).is_err());
    }

    #[test]
    fn colour_follows_the_first_that_speaks() {
        type Case = (&'static str, ColorMode, &'static [(&'static str, &'static str)], bool, bool);
        let cases: [Case; 8] = [
            ("flag", ColorMode::Always, &[("NO_COLOR", "1")], false, true),
            ("flag never", ColorMode::Never, &[("CLICOLOR_FORCE", "1")], true, false),
            ("NO_COLOR", ColorMode::Auto, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], true, false),
            ("force", ColorMode::Auto, &[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], false, true),
            ("force 0", ColorMode::Auto, &[("CLICOLOR_FORCE", "0")], false, false),
            ("CLICOLOR=0", ColorMode::Auto, &[("CLICOLOR", "0")], true, false),
            ("dumb", ColorMode::Auto, &[("TERM", "dumb")], true, false),
            ("terminal", ColorMode::Auto, &[], true, true),
        ];
        for (what, color, variables, tty, expected) in cases {
            assert_eq!(colored(color, &env(variables), tty), expected, "{what}");
        }
    }

    #[test]
    fn variable_with_a_wrong_word_names_the_right_ones() {
        let error = word::<OutputFormat>(&env(&[("OMNIRELAY_OUTPUT", "xml")]), env::OUTPUT, None, "output")
            .unwrap_err();
        assert!(error.to_text().contains("OMNIRELAY_OUTPUT"), "{}", error.to_text());
        assert!(error.to_text().contains("jsonl"), "{}", error.to_text());
    }
}
