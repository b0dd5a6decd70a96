//! The scripts that make a shell ask.

use clap_complete::Shell;
use clap_complete::env::{Elvish, EnvCompleter, Fish, Powershell, Zsh};

use crate::frame::env;

const NAME: &str = "omnirelay";

/// The completion script of a shell; it asks the `omnirelay` of the search path.
pub(crate) fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => BASH.trim_start().to_owned(),
        Shell::Elvish => registration(&Elvish),
        Shell::Fish => registration(&Fish),
        Shell::PowerShell => registration(&Powershell),
        Shell::Zsh => registration(&Zsh) + ZSH_FIRST_CALL,
        // A shell that a later clap_complete knows has no script here yet.
        _ => String::new(),
    }
}

fn registration(shell: &dyn EnvCompleter) -> String {
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = shell.write_registration(env::COMPLETE.name, NAME, NAME, NAME, &mut bytes);
    String::from_utf8_lossy(&bytes).trim_start().to_owned()
}

/// From `fpath` the script is the body of the function zsh calls, so the first call has to complete too.
const ZSH_FIRST_CALL: &str = r#"
if [ "$funcstack[1]" = "_omnirelay" ]; then
    _clap_dynamic_completer_omnirelay "$@"
fi
"#;

const BASH: &str = r#"
_omnirelay() {
    # Bash splits words at `:` and `=`, of an address for example. Pieces with no blank between them
    # in the line are one word again here.
    local -a words=()
    local line=$COMP_LINE rest piece i last=-1
    for ((i = 0; i <= COMP_CWORD; i++)); do
        piece=${COMP_WORDS[i]}
        rest=${line#"${line%%[![:space:]]*}"}
        if ((last < 0)) || [[ $rest != "$line" ]]; then
            ((last += 1))
            words[last]=
        fi
        line=${rest#"$piece"}
        # Of the word at the cursor only what is before the cursor counts.
        if ((i == COMP_CWORD)) && [[ $piece != [:=] ]]; then
            piece=$2
        fi
        words[last]+=$piece
    done
    # Bash replaces its own piece only, so what it counts to the piece before is taken off.
    local before=${words[last]%"$2"} candidate
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("${candidate#"$before"}")
    done < <(OMNIRELAY_COMPLETE=bash _CLAP_COMPLETE_INDEX=$last omnirelay -- "${words[@]}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/:.] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
if [[ ${BASH_VERSINFO[0]} -gt 4 || ${BASH_VERSINFO[0]} -eq 4 && ${BASH_VERSINFO[1]} -ge 4 ]]; then
    complete -o bashdefault -o nosort -F _omnirelay omnirelay
else
    complete -o bashdefault -F _omnirelay omnirelay
fi
"#;
