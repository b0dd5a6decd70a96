//! The verbs of a noun, each said once.

/// Makes of a list of verbs the arguments of their noun, what help and completion know of each (`LEAVES`), and the
/// `run` that hands on to the verb's own.
macro_rules! verbs {
    ($noun:ident { $($verb:ident: $module:ident::$args:ident),+ $(,)? }) => {
        pub static LEAVES: &[$crate::cli::rpc::Leaf] = &[$($module::LEAF),+];

        #[derive(clap::Args, Debug)]
        pub struct $noun {
            #[command(subcommand)]
            verb: Verb,
        }

        #[derive(Debug, clap::Subcommand)]
        enum Verb {
            $($verb($module::$args)),+
        }

        /// Runs a verb.
        ///
        /// # Errors
        /// Those of the verb.
        pub async fn run(
            args: &$noun,
            session: &mut $crate::cli::session::Session,
        ) -> Result<omnirelay_wire::fault::Exit, $crate::cli::error::CliError> {
            match &args.verb {
                $(Verb::$verb(args) => $module::run(args, session).await),+
            }
        }
    };
}

pub(crate) use verbs;
