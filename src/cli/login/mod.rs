//! `omnirelay login`: a token for a context, of the mesh or of an issuer outside.

pub(crate) mod kept;

use std::io::Read as _;

use omnirelay_wire::rpc::token_service;
use zeroize::Zeroizing;

use super::entry::{CommandEntry, entry};
use super::frame::global::Lifetime;
use super::frame::settings::CommandTarget;
use super::schema::documents::message;
use super::whoami::{WHO, told};
use crate::frame::prelude::*;
use kept::KeptToken;

const ISSUE: RpcMethod = token_service::ISSUE_TOKEN;
const LEAF: LeafCommand = LeafCommand::write("login", &[&ISSUE, &WHO]).exiting("0 1 2 4 5 6 8 9 10 11");
pub(crate) static ENTRY: CommandEntry = entry!(
    "login",
    LoginArgs,
    asking,
    &[LEAF],
    &[message("issued-token", "login", "omnirelay.security.v1.IssuedToken")]
);

const EXAMPLES: &str = "\
Examples:
  omnirelay login --ttl 1h
  omnirelay login --scope mesh.read --context prod-eu
  omnirelay login --addr unix:/run/omnirelay/control.sock --context local --operator ann
  get-token | omnirelay login --token-file -";

/// Longer texts are no token.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// Get a token that proves you, and keep it for the context
///
/// The mesh gives it to whoever shows the certificate of an operator or a service, or to the operator that is named at the
/// control socket. With --token-file it is one of an issuer outside, from that file or, as `-`, from standard input. It
/// is kept in a file beside that of the contexts, which nobody else can read.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct LoginArgs {
    /// Whom the token is for, at the control socket [default: the holder of the certificate]
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
    /// How long it holds, 5m to 24h [default: 8h]
    #[arg(long, value_name = "DURATION")]
    ttl: Option<Lifetime>,
    /// Narrow it to this scope, such as mesh.read (repeatable) [default: all that its holder has]
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    #[command(flatten)]
    write: WriteArgs,
}

async fn run(args: &LoginArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let kept = KeptToken::of(session)?;
    if session.settings.token_file.is_some() {
        return keep_given(args, session, &kept).await;
    }
    let (write, dry_run) = (&args.write, args.write.is_dry_run());
    write.check(session, 1)?;
    write.without_version("a token")?;
    without_token(session)?;
    session.announce_target()?;
    let request = json!({
        "operator": args.operator, "lifetimeSeconds": args.ttl.map(|lifetime| lifetime.0), "scopes": args.scope,
        "reason": write.reason_text(), "dryRun": dry_run,
    });
    let mut document = session.call(&Call::of(&ISSUE, &request)?.keyed(&write.key()?, "")).await?;
    let token = Zeroizing::new(text(&document, "token").to_owned());
    if let Some(fields) = document.as_object_mut() {
        fields.shift_remove("token");
    }
    let name = text(&document, "principal").to_owned();
    if !dry_run {
        kept.keep(&token)?;
    }
    let head = changed::head(&name, &document, "logged in", "");
    let lines = changed::told(&head, changed::lines(&document, "logged in"));
    session.show(&CommandOutput::lines(document, name, lines))?;
    if !dry_run {
        say_kept(session, &kept);
    }
    Ok(if write.exit_code { Exit::Negative } else { Exit::Ok })
}

/// Keeps a token that somebody else has given, once the daemon has said whom it proves.
async fn keep_given(
    args: &LoginArgs,
    session: &mut CommandSession,
    kept: &KeptToken,
) -> Result<Exit, CliError> {
    if args.operator.is_some() || args.ttl.is_some() || !args.scope.is_empty() || args.write.is_dry_run() {
        return Err(CliError::usage("a token that is given is kept as it is")
            .hint("leave out --operator, --ttl, --scope and --dry-run, or leave out --token-file"));
    }
    let token = given(session)?;
    without_token(session)?;
    let target = session.target()?;
    if let Some(address) = target.addresses.iter().find(|address| !address.is_loopback() && !address.is_tls())
    {
        return Err(CliError::usage(format!("{address} gets no token: it would go there in plaintext"))
            .hint("give the context an address that begins with https://"));
    }
    let mut call = Call::of(&WHO, &json!({}))?;
    call.headers.push(("authorization".to_owned(), format!("Bearer {}", *token)));
    let document = session.call(&call).await?;
    if !matches!(text(&document, "proof"), "token" | "token-file") {
        return Err(CliError::new(
            reasons::TOKEN_REFUSED,
            "the daemon does not know the token that was given",
        )
        .hint("see whether it takes tokens of that issuer: security.oidc, security.tokenFile"));
    }
    kept.keep(&token)?;
    let (name, lines) = (text(&document, "principal").to_owned(), told(&document));
    session.show(&CommandOutput::lines(document, name, lines))?;
    say_kept(session, kept);
    Ok(Exit::Ok)
}

fn say_kept(session: &CommandSession, kept: &KeptToken) {
    let (context, path) = (kept.context(), kept.path().display());
    session.notes().say(&format!("Kept for context {context} in {path}; omnirelay logout forgets it."));
}

/// What proves the caller besides a token: the one of before may have ended, and gives no other.
fn without_token(session: &mut CommandSession) -> Result<(), CliError> {
    let (target, settings) = (session.target()?.clone(), &session.settings);
    // Also a certificate that the token was nearer than.
    let context = settings.config.as_ref().map_err(Clone::clone)?.context(&target.context)?;
    let tls = settings.own_tls().over(&context.tls);
    session.turn_to(CommandTarget { token_file: None, tls, ..target })
}

/// The token that is given, from a file or standard input.
fn given(session: &CommandSession) -> Result<Zeroizing<String>, CliError> {
    let Some(path) = &session.settings.token_file else { return Ok(Zeroizing::default()) };
    let refuse = |error: std::io::Error| {
        CliError::local(reasons::TOKEN_FILE, format!("cannot read a token from {}", path.display()), &error)
    };
    let mut read = Zeroizing::new(String::new());
    match path.as_os_str() == "-" {
        true => std::io::stdin().lock().take(TOKEN_BYTES_MAX).read_to_string(&mut read),
        false => {
            std::fs::File::open(path).and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut read))
        }
    }
    .map_err(refuse)?;
    let token = super::frame::client::token_of(&read)
        .filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
    token.map(|token| Zeroizing::new(token.to_owned())).ok_or_else(|| {
        CliError::new(reasons::TOKEN_FILE, format!("{} holds no token", path.display()))
            .hint("write the token alone, or pipe it: --token-file -")
    })
}
