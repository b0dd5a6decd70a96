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
