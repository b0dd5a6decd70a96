//! One run of one command: its settings, its output and its client.

use std::cell::{Cell, OnceCell};
use std::io::BufRead as _;
use std::os::unix::fs::MetadataExt as _;

use omnirelay_wire::reasons;
use serde_json::Value;

use super::address::Address;
use super::client::Client;
use super::document::{field, flag, number};
use super::error::CliError;
use super::issuer::call_issuer;
use super::output::{CommandOutput, OutputFormat, OutputWriter, StderrNotes, TextForm};
use super::rpc::Call;
use super::settings::{CommandSettings, CommandTarget};

/// Session that a command runs with: its settings, its output, and its client.
#[derive(Debug)]
pub struct CommandSession {
    pub settings: CommandSettings,
    pub out: OutputWriter,
    client: OnceCell<Client>,
    /// It was said whom a change goes to.
    announced: Cell<bool>,
    /// It was said that whoever answers is believed.
    believes_told: Cell<bool>,
}

impl CommandSession {
    pub fn new(settings: CommandSettings) -> Self {
        let out = OutputWriter::new(settings.format, settings.screen);
        Self {
            settings,
            out,
            client: OnceCell::new(),
            announced: Cell::default(),
            believes_told: Cell::default(),
        }
    }

    pub fn notes(&self) -> StderrNotes {
        self.settings.notes
    }

    pub fn format(&self) -> OutputFormat {
        self.settings.format
    }

    /// Target that this command talks to.
    ///
    /// # Errors
    /// Usage, when the configuration does not say.
    pub fn target(&self) -> Result<&CommandTarget, CliError> {
        self.settings.target.as_ref().map_err(Clone::clone)
    }

    /// The client, made when it is first needed.
    ///
    /// # Errors
    /// When there is no target.
    pub fn client(&self) -> Result<&Client, CliError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        self.warn_of_config();
        self.warn_of_belief(self.target()?);
        self.warn_of_token(self.target()?);
        if let (Some(bundle), Some(address)) = (&self.settings.bundle, self.target()?.addresses.first()) {
            self.notes().say(&bundle.origin(address));
        }
        let client = Client::new(&self.settings, self.target()?.clone())?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Whether the command has talked to a daemon, or was about to.
    pub fn has_called(&self) -> bool {
        self.client.get().is_some()
    }

    /// Talks to `target` from here on, and to nobody else.
    ///
    /// The address may be one that nobody configured; the client sends no token along then.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn turn_to(&mut self, target: CommandTarget) -> Result<(), CliError> {
        self.warn_of_belief(&target);
        self.client = OnceCell::from(Client::new(&self.settings, target.clone())?);
        self.settings.target = Ok(target);
        Ok(())
    }

    /// Stays with the daemon that answered last, for what only that one knows.
    ///
    /// # Errors
    /// As of [`CommandSession::turn_to`].
    pub fn stay(&mut self) -> Result<(), CliError> {
        let addresses = vec![self.client()?.address().clone()];
        self.turn_to(CommandTarget { addresses, ..self.target()?.clone() })
    }

    /// Calls a method and gives back the document it answers.
    ///
    /// # Errors
    /// As of [`Client::call`]; what only an issuer does is asked of one, where the daemon that was asked is none.
    pub async fn call(&self, call: &Call) -> Result<Value, CliError> {
        match self.client()?.call(call).await {
            Err(refused) if refused.is(reasons::NOT_AN_ISSUER) => call_issuer(self, call, refused).await,
            answered => answered,
        }
    }

    /// Writes the data of the command, and how many columns did not fit.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub fn show(&mut self, view: &CommandOutput) -> Result<(), CliError> {
        self.out.show(view)?;
        if let (TextForm::Table(table), true) = (&view.text, self.format().is_text()) {
            let hidden = table.render(self.format() == OutputFormat::Wide, self.out.screen()).hidden;
            if let Some(first) = hidden.first() {
                self.notes().say(&format!(
                    "The terminal is too narrow for {}: --columns {},{first}, or --no-trunc for all",
                    hidden.join(", "),
                    table.first(),
                ));
            }
        }
        Ok(())
    }

    /// Says on standard error, once, whom a mutation goes to. A daemon of this machine that is not protected is what
    /// everybody expects.
    ///
    /// # Errors
    /// When there is no target.
    pub fn announce_target(&self) -> Result<(), CliError> {
        let (target, address) = (self.target()?, self.client()?.address());
        let is_expected = address.is_loopback() && !target.protected && self.notes().verbose == 0;
        if !self.announced.replace(true) && !is_expected {
            self.notes().say(&format!("Target: {}", target.describe(&address.to_string())));
        }
        Ok(())
    }

    /// Says that an answer is not of this moment, or not whole, when it is not.
    pub fn warn_if_stale(&self, document: &Value) {
        if self.format().is_text() && flag(document, "stale") {
            self.notes().warn(&stale(document));
        }
    }

    /// Finds out whether a question can be put, for who takes long to come to it.
    ///
    /// # Errors
    /// Usage naming `flag`, when nobody can be asked.
    pub fn check_can_confirm(&self, flag: &str) -> Result<(), CliError> {
        if self.settings.no_input || !self.notes().can_ask() {
            return Err(CliError::usage("this needs a confirmation, and there is nobody to ask")
                .hint(format!("add {flag} to confirm")));
        }
        Ok(())
    }

    /// Asks a question that must be answered with `expected`.
    ///
    /// # Errors
    /// Usage naming `flag`, when nobody can be asked; interrupted, when the answer is another.
    pub fn confirm(&self, question: &str, expected: &[&str], flag: &str) -> Result<(), CliError> {
        let notes = self.notes();
        self.check_can_confirm(flag)?;
        notes.write(question);
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        let answer = answer.trim().to_ascii_lowercase();
        if read.is_ok() && expected.iter().any(|word| word.to_ascii_lowercase() == answer) {
            return Ok(());
        }
        Err(CliError::new(reasons::DECLINED, "not confirmed; nothing was changed"))
    }

    /// Says each time, and at once, that whoever answers is believed; no `--quiet` keeps it back.
    fn warn_of_belief(&self, target: &CommandTarget) {
        let is_tls = target.addresses.iter().any(Address::is_tls);
        if self.settings.believes_anybody && is_tls && !self.believes_told.replace(true) {
            self.notes().write(
                "warning: --insecure-skip-tls-verify: whoever answers is believed, is shown what is sent, the token \
                 included, and can answer anything",
            );
        }
    }

    fn warn_of_token(&self, target: &CommandTarget) {
        let Some(path) = &target.token_file else { return };
        if std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o077 != 0) {
            let path = path.display();
            self.notes().warn(&format!("{path} can be used by others (chmod 600 {path})"));
        }
        if let Some(address) =
            target.addresses.iter().find(|address| !address.is_loopback() && !address.is_tls())
        {
            self.notes().warn(&format!("{address} gets no token: it would go there in plaintext"));
        }
    }

    fn warn_of_config(&self) {
        let Ok(config) = &self.settings.config else { return };
        let path = config.path.display();
        if config.is_loose() {
            self.notes().warn(&format!("{path} can be read by others (chmod 600 {path})"));
        }
        if !config.unknown_keys.is_empty() {
            self.notes().warn(&format!("{path}: unknown keys: {}", config.unknown_keys.join(", ")));
        }
    }
}

/// Why an answer is not of this moment.
fn stale(document: &Value) -> String {
    match field(document, "staleMs") {
        // The store answers: what it has lost is what is missing.
        Value::Null => {
            "the registry has begun a new epoch without some of what was in it, which is about to be restored"
                .to_owned()
        }
        _ => format!("the store is out of reach; this was known {}ms ago", number(document, "staleMs")),
    }
}
