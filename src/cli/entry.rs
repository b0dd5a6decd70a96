//! A command right below the root or below `mesh`, as its module says it: a noun with its verbs, or one that stands alone.

use std::ffi::OsString;
use std::pin::Pin;

use clap::{ArgMatches, Command};
use omnirelay_core::text::chain;

use super::schema::documents::DocumentKind;
use crate::frame::prelude::*;

/// Entry of a command: what the parser, help, completion and the schemas know of it, and what it does.
pub(crate) struct CommandEntry {
    /// As it is typed.
    pub name: &'static str,
    /// Puts its help, its aliases and its arguments into a command of this name.
    pub describe: fn(Command) -> Command,
    /// The same without its arguments and verbs, where those are many.
    pub outline: fn(Command) -> Command,
    /// It, or its verbs.
    pub leaves: &'static [LeafCommand],
    /// What it prints that scripts may read.
    pub documents: &'static [DocumentKind],
    pub run: CommandRunner,
}

/// Function that runs a command, with what was parsed for it.
pub(crate) enum CommandRunner {
    /// One that needs no runtime.
    Local(fn(&ArgMatches, &mut CommandSession) -> Result<Exit, CliError>),
    /// One that may talk to a daemon.
    Asking(for<'a> fn(&'a ArgMatches, &'a mut CommandSession) -> CommandOutcome<'a>),
}

/// Future of the outcome of a command that may talk to a daemon.
pub(crate) type CommandOutcome<'a> = Pin<Box<dyn Future<Output = Result<Exit, CliError>> + 'a>>;

impl CommandEntry {
    /// Its part of the command tree.
    pub(crate) fn command(&self) -> Command {
        (self.describe)(Command::new(self.name))
    }

    /// Its part of the command tree where these are the words of the line: one that is not named has no arguments.
    pub(crate) fn command_in(&self, words: &[OsString]) -> Command {
        let outline = (self.outline)(Command::new(self.name));
        let is_named = |name: &str| words.iter().any(|word| word == name);
        match is_named(self.name) || outline.get_all_aliases().any(is_named) {
            true => self.command(),
            false => outline,
        }
    }
}

/// The arguments of a command, of what was parsed for it.
///
/// # Errors
/// Usage, where the parser did not notice.
pub(crate) fn parsed<A: clap::FromArgMatches>(matches: &ArgMatches) -> Result<A, CliError> {
    A::from_arg_matches(matches).map_err(|error| CliError::usage(chain(&error)))
}

/// The entry of a command: its name, its arguments, its `run` in the module, and what it prints for scripts.
macro_rules! entry {
    ($name:literal, $args:ident, local, $leaves:expr, $documents:expr) => {
        $crate::entry::entry!(@ $name, $args, $args, $leaves, $documents, $crate::entry::CommandRunner::Local(|matches, session| {
            run(&$crate::entry::parsed::<$args>(matches)?, session)
        }))
    };
    ($name:literal, $args:ident, asking, $leaves:expr, $documents:expr) => {
        $crate::entry::entry!($name, $args, $args, asking, $leaves, $documents)
    };
    ($name:literal, $args:ident, $outline:ident, asking, $leaves:expr, $documents:expr) => {
        $crate::entry::entry!(@ $name, $args, $outline, $leaves, $documents, $crate::entry::CommandRunner::Asking(|matches, session| {
            Box::pin(async move { run(&$crate::entry::parsed::<$args>(matches)?, session).await })
        }))
    };
    (@ $name:literal, $args:ident, $outline:ident, $leaves:expr, $documents:expr, $run:expr) => {
        $crate::entry::CommandEntry {
            name: $name,
            describe: <$args as clap::Args>::augment_args,
            outline: <$outline as clap::Args>::augment_args,
            leaves: $leaves,
            documents: $documents,
            run: $run,
        }
    };
}

/// Makes of a list of verbs the arguments of their noun, the `run` that hands on to the verb's own, and its [`CommandEntry`].
/// With `(node)` the noun takes `--node`, and hands it to each verb.
macro_rules! verbs {
    ($(#[$of:meta])* $name:literal $noun:ident (node) $verbs:tt $documents:expr) => {
        #[derive(clap::Args, Debug)]
        $(#[$of])*
        pub(crate) struct $noun {
            #[command(flatten)]
            node: $crate::node::NodeArgs,
            #[command(subcommand)]
            verb: Verb,
        }

        #[derive(clap::Args, Debug)]
        $(#[$of])*
        struct Outline;

        $crate::entry::verbs!(@ $name $noun (node) $verbs $documents);
    };
    ($(#[$of:meta])* $name:literal $noun:ident $verbs:tt $documents:expr) => {
        #[derive(clap::Args, Debug)]
        $(#[$of])*
        pub(crate) struct $noun {
            #[command(subcommand)]
            verb: Verb,
        }

        #[derive(clap::Args, Debug)]
        $(#[$of])*
        struct Outline;

        $crate::entry::verbs!(@ $name $noun () $verbs $documents);
    };
    (@ $name:literal $noun:ident $node:tt { $($verb:ident: $module:ident::$args:ident),+ $(,)? } $documents:expr) => {
        pub(crate) static ENTRY: $crate::entry::CommandEntry =
            $crate::entry::entry!($name, $noun, Outline, asking, &[$($module::LEAF),+], $documents);

        #[derive(Debug, clap::Subcommand)]
        enum Verb {
            $($verb(Box<$module::$args>)),+
        }

        async fn run(
            of: &$noun,
            session: &mut $crate::frame::session::CommandSession,
        ) -> Result<omnirelay_wire::fault::Exit, $crate::frame::error::CliError> {
            match &of.verb {
                $(Verb::$verb(args) => {
                    $crate::entry::verbs!(@run $module args of $node session).await
                })+
            }
        }
    };
    (@run $module:ident $args:ident $of:ident () $session:ident) => { $module::run($args, $session) };
    (@run $module:ident $args:ident $of:ident (node) $session:ident) => {
        $module::run($args, &$of.node, $session)
    };
}

pub(crate) use {entry, verbs};
