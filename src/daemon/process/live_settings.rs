//! The settings of a daemon that the process itself follows while it runs: where they are read again, its log, and its token file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_host::live::Live;
use omnirelay_host::log::LogControl;
use omnirelay_identity::proof::{SecretToken, SecretTokens};
use omnirelay_identity::tokens::{self, TokenFileError};
use omnirelay_identity::trust::unix_now;
use omnirelay_settings::{Config, ConfigSource, LiveConfig, RefusedSetting};
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

/// The configuration of a daemon, read again from where it came from.
pub(super) fn live_config(source: ConfigSource, config: &Config) -> LiveConfig {
    let settings = LiveConfig::loaded(config.clone(), move || {
        let mut loaded = source.load()?;
        loaded.check_transport(now())?;
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        Ok(loaded.config)
    });
    // What stays as at the start listens otherwise than the file says.
    settings.check(|config| match config.transport_violation(now()) {
        Some((key, what)) => Err(RefusedSetting { key, what }),
        None => Ok(()),
    });
    settings
}

/// By the clock of this host: no store has been asked.
pub(super) fn now() -> Millis {
    Millis::of_unix(unix_now())
}

/// Has the log filtered and written as the settings say by then.
pub(super) fn follow_log(settings: &LiveConfig, log: LogControl) -> impl Future<Output = ()> + use<> {
    settings.live(|config| config.log.clone()).each(move |to| {
        log.set_format(to.format);
        // One that cannot be read was refused with the configuration.
        if let Err(error) = log.set_filter(&to.filter) {
            error!(error = %chain(&error), "log not filtered otherwise");
        }
    })
}

/// Has the tokens read again with each reload, whatever else is wrong: whoever takes one away relies on it; and takes those of another
/// file that the settings name.
pub(super) fn follow_tokens(
    settings: &LiveConfig,
    tokens: &Arc<SecretTokens>,
    directory: &Path,
) -> impl Future<Output = ()> + use<> {
    let named = settings.live(|config| config.security.token_file.clone());
    let (running, own) = (named.clone(), directory.join(tokens::FILE));
    settings.check(move |config| {
        let asked = &config.security.token_file;
        let path = asked.as_deref().or_else(|| Some(&*own).filter(|own| own.exists()));
        let Some(path) = path.filter(|_| *asked != running.get()) else { return Ok(()) };
        let usable = tokens::read(path).map(drop);
        usable.map_err(|error| RefusedSetting { key: "security.tokenFile", what: chain(&error) })
    });
    let (tokens, directory) = (tokens.clone(), directory.to_owned());
    let turn = Mutex::new(());
    let read = Arc::new(move |file: Option<&Path>| {
        // Whoever has read first takes over first: a token that was taken away since does not come back.
        let _turn = turn.lock();
        match read_tokens(file, &directory) {
            Ok(read) => {
                tokens.replace(&read);
                info!("tokens read again");
            }
            Err(error) => error!(error = %chain(&error), "tokens not read again; the old ones stay"),
        }
    });
    let again = read.clone();
    settings.read_again(move |running| again(running.security.token_file.as_deref()));
    follow_token_file(named.get(), named, read)
}

async fn follow_token_file(
    mut last: Option<PathBuf>,
    mut named: Live<Option<PathBuf>>,
    read: Arc<impl Fn(Option<&Path>) + Send + Sync + 'static>,
) {
    loop {
        last = named.other_than(&last).await;
        let (read, file) = (read.clone(), last.clone());
        // What panics there is told by the runtime.
        let _ = spawn_blocking(move || read(file.as_deref())).await;
    }
}

/// The tokens of the file that is configured, or of the one in the data directory.
pub(super) fn read_tokens(file: Option<&Path>, directory: &Path) -> Result<Vec<SecretToken>, TokenFileError> {
    match file {
        Some(path) => tokens::read(path),
        None => tokens::read_or_make(directory),
    }
}
