//! The flags every command takes.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::output::{ColorMode, OutputFormat};

/// A duration as people write it: `30s`, `2m`, `1h 5m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HumanDuration(pub Duration);

impl FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map(Self).map_err(|_| {
            format!("`{text}` is no duration: write a number and a unit, such as 30s, 250ms or 2m")
        })
    }
}

/// Lifetime of something that is made, in whole seconds: less than one would be taken for the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime(pub u64);

impl FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<HumanDuration>()?.0.as_secs() {
            0 => Err(format!("`{text}` is less than a second")),
            seconds => Ok(Self(seconds)),
        }
    }
}

/// A request id or an idempotency key, short enough for what is appended to it.
pub(crate) fn token(text: &str) -> Result<String, String> {
    const CHARS_MAX: usize = 56;
    let good = (1..=CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(text.to_owned()) } else { Err(format!("must be 1 to {CHARS_MAX} visible ASCII characters")) }
}

#[derive(Args, Clone, Debug, Default)]
pub struct GlobalArgs {
    /// Output format
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        help_heading = "Output options",
        hide_possible_values = false
    )]
    pub output: Option<OutputFormat>,

    /// Same as --output json
    // Rewritten to `--output=json` before parsing, so that the last of the two wins at every level.
    #[arg(long, global = true, help_heading = "Output options")]
    pub json: bool,

    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", help_heading = "Output options", hide_short_help = true)]
    pub color: Option<ColorMode>,

    /// Print data and errors only
    #[arg(short, long, global = true, help_heading = "Output options")]
    pub quiet: bool,

    /// Say what is done: -v steps, -vv requests, -vvv headers and bodies
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output options")]
    pub verbose: u8,

    /// Context to use, instead of the current one
    #[arg(short, long, global = true, value_name = "NAME", help_heading = "Connection options")]
    pub context: Option<String>,

    /// Address of the daemon, instead of the context's: http(s)://HOST:PORT or unix:/PATH
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection options")]
    pub addr: Option<String>,

    /// Ask nobody, and read what a support bundle has
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Connection options",
        hide_short_help = true
    )]
    pub support_bundle: Option<PathBuf>,

    /// File with the token that proves you: to a daemon of this machine, or under TLS
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Connection options",
        hide_short_help = true
    )]
    pub token_file: Option<PathBuf>,

    /// File with the authorities of daemons under TLS, in PEM [default: the public ones]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Connection options",
        hide_short_help = true
    )]
    pub tls_ca: Option<PathBuf>,

    /// File with the certificate that proves you, and its chain, in PEM
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Connection options",
        hide_short_help = true
    )]
    pub tls_cert: Option<PathBuf>,

    /// File with its private key, in PEM [default: the file of the certificate]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Connection options",
        hide_short_help = true
    )]
    pub tls_key: Option<PathBuf>,

    /// Of whom the certificate of the daemon must be [default: the host of its address]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Connection options",
        hide_short_help = true
    )]
    pub tls_server_name: Option<String>,

    /// Clusters of one of which the daemon must be, where several have one root [default: any]
    #[arg(
        long,
        global = true,
        value_name = "CLUSTER",
        value_delimiter = ',',
        help_heading = "Connection options",
        hide_short_help = true
    )]
    pub tls_cluster: Vec<String>,

    /// Believe whoever answers, and so show everything to whoever stands between: for finding faults only
    #[arg(long, global = true, help_heading = "Connection options", hide_short_help = true)]
    pub insecure_skip_tls_verify: bool,

    /// File that holds the contexts
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Connection options",
        hide_short_help = true
    )]
    pub config: Option<PathBuf>,

    /// Longest time for one request, its retries included [default: 10s]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        help_heading = "Connection options",
        hide_short_help = true
    )]
    pub request_timeout: Option<HumanDuration>,

    /// Longest time to connect [default: 3s]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        help_heading = "Connection options",
        hide_short_help = true
    )]
    pub connect_timeout: Option<HumanDuration>,

    /// Request id to send, for finding the request in logs
    #[arg(
        long,
        global = true,
        value_name = "ID", value_parser = token,
        help_heading = "Connection options",
        hide_short_help = true
    )]
    pub request_id: Option<String>,

    /// Never ask; fail where a question would be needed
    #[arg(long, global = true, help_heading = "Connection options", hide_short_help = true)]
    pub no_input: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_for_less_than_a_second_is_refused_and_not_taken_for_the_default() {
        assert_eq!("5m".parse(), Ok(Lifetime(300)));
        assert_eq!("1500ms".parse(), Ok(Lifetime(1)));
        for text in ["500ms", "0s", "999ms"] {
            assert!(text.parse::<Lifetime>().unwrap_err().contains("less than a second"), "{text}");
        }
        assert!("5".parse::<Lifetime>().is_err());
    }
}
