//! `omnirelay help`: commands and topics.

use clap::Command;

use super::complete;
use super::entry::{CommandEntry, entry};
use super::frame::env;
use crate::frame::prelude::*;

const LEAF: LeafCommand = LeafCommand::local("help", "prints text that is built in");
pub(crate) static ENTRY: CommandEntry = entry!("help", HelpArgs, local, &[LEAF], &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay help mesh peers list
  omnirelay help exit-codes
  omnirelay help scripting";

/// Show help on a command or a topic
///
/// Topics: exit-codes, output, environment, scripting, selectors, contexts.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct HelpArgs {
    /// A topic, or a command word by word [default: omnirelay itself]
    #[arg(value_name = "TOPIC|COMMAND", add = complete::help_words())]
    words: Vec<String>,
}

/// A text about several commands.
struct HelpTopic {
    name: &'static str,
    text: fn() -> String,
}

static TOPICS: &[HelpTopic] = &[
    HelpTopic { name: "exit-codes", text: || EXIT_CODES.to_owned() },
    HelpTopic { name: "output", text: || OUTPUT.to_owned() },
    HelpTopic { name: "environment", text: environment },
    HelpTopic { name: "scripting", text: || SCRIPTING.to_owned() },
    HelpTopic { name: "selectors", text: || SELECTORS.to_owned() },
    HelpTopic { name: "contexts", text: || CONTEXTS.to_owned() },
];

/// Words that can stand behind these: topics, where there are none, and the commands below them.
pub(crate) fn offered(words: &[String]) -> Vec<String> {
    let mut root = super::command();
    root.build();
    let Ok(command) = find_command(&root, words) else { return Vec::new() };
    let topics = TOPICS.iter().filter(|_| words.is_empty()).map(|topic| topic.name);
    let below = command.get_subcommands().filter(|below| !below.is_hide_set()).map(Command::get_name);
    below.chain(topics).map(str::to_owned).collect()
}

/// Prints the help.
///
/// # Errors
/// Usage, when there is neither such a command nor such a topic.
fn run(args: &HelpArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let name = args.words.join(" ");
    let text = match TOPICS.iter().find(|topic| topic.name == name) {
        Some(topic) => (topic.text)(),
        None => {
            let mut root = super::command();
            root.build();
            let help = find_command(&root, &args.words)?.clone().render_long_help();
            if session.out.screen().color { help.ansi().to_string() } else { help.to_string() }
        }
    };
    let document = json!({"schemaVersion": "v1", "topic": name, "text": text});
    session.show(&CommandOutput::lines(document, format!("help/{}", name.replace(' ', "-")), text))?;
    Ok(Exit::Ok)
}

/// The command that `words` lead to from `root`, which must have been built.
///
/// # Errors
/// Usage, when there is none.
pub(crate) fn find_command<'a>(root: &'a Command, words: &[String]) -> Result<&'a Command, CliError> {
    words.iter().try_fold(root, |command, word| {
        command.find_subcommand(word).ok_or_else(|| {
            let topics: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
            CliError::usage(format!("there is no command `{}`", words.join(" ")))
                .hint("omnirelay --help")
                .hint(format!("topics of omnirelay help: {}", topics.join(", ")))
        })
    })
}

fn environment() -> String {
    let width = env::ALL.iter().map(|variable| variable.name.len()).max().unwrap_or(0);
    let line = |variable: &env::EnvVariable| format!("  {:width$}  {}\n", variable.name, variable.help);
    let lines: String = env::ALL.iter().map(line).collect();
    format!(
        "Environment variables. An empty one counts as unset; flags win over variables, variables over\n\
         the context, the context over what is built in. `omnirelay context current -v` shows where the\n\
         address comes from.\n\n{lines}"
    )
}

pub(crate) const EXIT_CODES: &str = "\
Exit codes. They follow from the fault the daemon states, never from the HTTP status alone.

  CODE  MEANING          WHEN
  0     ok               done; also when nothing had to change, and for an empty list
  1     error            a bug, an internal error, local input or output
  2     usage            a wrong flag or argument, an ambiguous id, a bad configuration file, a
                         confirmation needed where nobody can be asked
  3     not found        the object named does not exist
  4     conflict         it changed since it was read, exists already, or its state forbids it
  5     denied           known, but without the scope that is needed
  6     unavailable      no connection, or the daemon says that nothing was changed; repeat it later
  7     partial          some of several objects failed; they are in results[]
  8     timeout          no answer in time; or a change was sent and its answer lost: repeat it with
                         the --idempotency-key that was printed
  9     unauthenticated  not known, or no longer
  10    negative         the command worked and the answer is no: failed checks, --fail-empty,
                         --exit-code, registers status of a pool that has failed or drifted,
                         an agent that refuses a command
  11    incompatible     the daemon does not know this request, or no longer serves this client
  130   interrupted      Ctrl-C, a question answered with no, or q before what a watch waits for
  141   broken pipe      the reader of standard output went away
  143   terminated       SIGTERM
";

const OUTPUT: &str = "\
Output. Standard output carries the data and nothing else; everything else goes to standard error.

  -o table   a table for people; its columns may change at any time
  -o wide    the same with more columns on the right
  -o json    one JSON document: what the API answers, unchanged
  -o jsonl   one JSON object per line: the items of a list, the events of a watch
  -o yaml    the JSON document as YAML
  -o name    kind/id, one per line
  --json     the same as -o json; the last of the two on a command line wins

JSON is stable: fields are added, never renamed or removed, within a schemaVersion. 64-bit numbers
are strings. Times are RFC 3339 in UTC. A field that is absent is not known. Words may be added to
enumerations. `omnirelay schema` prints the schema of each document.

A failure with -o json or jsonl leaves standard output empty and prints one object on standard
error: {\"error\":{code,reason,message,hint,exitCode,retryable,target,requestId,details}}. Of several
objects, those that failed are in results[] on standard output as well.

A watch prints one line per event into a pipe and redraws a table on a terminal until q or Ctrl-C;
--append, -v and TERM=dumb print lines there as well, and -o json means -o jsonl. Its types:
snapshot for each object at the start, synced once that is complete, then added, modified and
removed; reset when all before is void and a snapshot follows; progress, with -v only. Of leaders
it is elected, lost, expired, stepped_down and changed instead of added and modified. Each carries
the cursor to resume from with --since.

Tables on a terminal drop columns that do not fit, the rightmost first, and never shorten an id.
Into a pipe nothing is cut.
";

const SCRIPTING: &str = "\
Scripting.

  # ids of peers that are not alive
  omnirelay mesh peers list -o json | jq -r '.peers[] | select(.status!=\"alive\") | .nodeId'

  # is any peer suspect?
  omnirelay mesh peers list --filter status=suspect -o name --fail-empty -q || echo none

  # cordon whatever a list says
  omnirelay mesh peers list --filter zone=a -o name | omnirelay mesh peers cordon - --reason move

  # reboot a node once it leads nothing
  omnirelay mesh peers drain \"$N\" --yes --timeout 10m && ssh \"$N\" reboot

  # change only what was read
  V=$(omnirelay mesh peers get node-1 -o json | jq -r .peer.version)
  omnirelay mesh peers label node-1 tier=gold --if-match \"$V\"

  # wait until every peer is alive, at most two minutes
  omnirelay mesh peers watch --until status==alive --timeout 2m -q -o name >/dev/null

  # would a full sync change what the node advertises?
  omnirelay registers resync --full --dry-run --exit-code -o json >plan.json; [ $? -eq 10 ] && ...

  # which relay holds a drone?
  omnirelay agents placement drone-7 -o json | jq -r .placement.relayId

  # follow changes over restarts without losing or repeating one
  omnirelay mesh peers watch -o jsonl --cursor-file peers.cursor |
    while IFS= read -r line; do ...; done

  # tell failures apart
  omnirelay mesh peers get \"$id\" -o json >peer.json
  case $? in 0) ;; 3) echo gone ;; 6|8) exit 75 ;; *) exit 1 ;; esac

Nothing ever asks when standard input or standard error is no terminal, when CI is set or with
--no-input: where a confirmation is needed the command fails with 2 and names --yes.
";

const SELECTORS: &str = "\
Selectors and filters.

  -l tier=std                 the label has this value; == is the same
  -l tier!=std                it has another one, or is not there
  -l 'zone in (a,b)'          it has one of these values
  -l 'zone notin (a,b)'       it has none of them, or is not there
  -l canary   -l '!canary'    it is there; it is not
  -l 'tier=std,!canary'       all of these

  --filter status=suspect,role=gateway
                              fields instead of labels, all of these; of peers: role, cluster,
                              status, health (not in a watch), version, region, zone
  --filter status=suspect,status=dead
                              several values of one field are alternatives

Both are carried out by the daemon, and both narrow the same list.
";

const CONTEXTS: &str = "\
Contexts. A context names a mesh: its addresses, its cluster, and how careful to be with it.

  omnirelay context add prod-eu --address https://eu-1:17420 --address https://eu-2:17420 \\
    --tls-ca bundle.pem --tls-cert chain.pem --tls-key key.pem --protected
  omnirelay context add dev --address http://127.0.0.1:17420
  omnirelay context use prod-eu
  omnirelay context current -v
  export OMNIRELAY_CONTEXT=dev        for this shell only

A daemon of another host is spoken to under TLS: https, with the files that `omnirelay cert issue`
writes. Plain http is for a daemon of this host.

Addresses are tried in order; the first that answers is kept for the rest of the command. The
address of a command comes from --addr or --context, else OMNIRELAY_ADDR or OMNIRELAY_CONTEXT, else
the current context, else http://127.0.0.1:17420. A context that does not exist is an error.

An address of --addr or OMNIRELAY_ADDR is asked without the token of a context. Under TLS the
current context's authority is believed there, and its certificate is shown to whom that authority
vouches for; HOST:PORT alone is asked under TLS where the context is, but on this host.

Every change names its target on standard error. In a protected context a change needs --reason,
and a destructive one a typed confirmation, or --yes and --context NAME both.

The file is ~/.config/omnirelay/config.yaml, or below $XDG_CONFIG_HOME, or $OMNIRELAY_CONFIG:

  apiVersion: omnirelay.io/config/v1
  currentContext: prod-eu
  defaults: {output: table, color: auto, requestTimeout: 10s}
  contexts:
  - name: prod-eu
    addresses: [https://eu-1:17420, https://eu-2:17420]
    cluster: eu-1
    protected: true
    tls: {ca: /home/ann/bundle.pem, cert: /home/ann/chain.pem, key: /home/ann/key.pem}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_explained() {
        let exits = [
            Exit::Ok,
            Exit::Error,
            Exit::Usage,
            Exit::NotFound,
            Exit::Conflict,
            Exit::Denied,
            Exit::Unavailable,
            Exit::Partial,
            Exit::Timeout,
            Exit::Unauthenticated,
            Exit::Negative,
            Exit::Incompatible,
            Exit::Interrupted,
            Exit::Terminated,
        ];
        for exit in exits {
            let number = exit as u8;
            assert!(EXIT_CODES.contains(&format!("\n  {number:<5} ")), "{number} is not explained");
        }
    }

    #[test]
    fn commands_and_topics_are_offered_word_by_word() {
        let of = |words: &[&str]| offered(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let first = of(&[]);
        assert!(
            ["mesh", "exit-codes", "schema"].iter().all(|word| first.iter().any(|known| known == word)),
            "{first:?}"
        );
        assert!(of(&["mesh", "peers"]).contains(&"cordon".to_owned()));
        assert_eq!((of(&["mesh", "nothing"]), of(&["version"])), (Vec::new(), Vec::new()));
    }

    #[test]
    fn topics_fit_a_terminal_of_100_columns() {
        for topic in TOPICS {
            for line in (topic.text)().lines() {
                assert!(line.chars().count() <= 100, "{}: {line}", topic.name);
            }
        }
    }
}
