# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_omnirelay_global_optspecs
    string join \n o/output= json color= q/quiet v/verbose c/context= addr= config= request-timeout= connect-timeout= request-id= no-input h/help V/version
end

function __fish_omnirelay_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_omnirelay_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_omnirelay_using_subcommand
    set -l cmd (__fish_omnirelay_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c omnirelay -n "__fish_omnirelay_needs_command" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_needs_command" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_needs_command" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_needs_command" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_needs_command" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_needs_command" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_needs_command" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_needs_command" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_needs_command" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -f -a "mesh" -d 'Look at and change the mesh'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -f -a "audit" -d 'Read the audit trail'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -f -a "context" -d 'Choose which mesh to talk to'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -f -a "up" -d 'Run a development mesh until Ctrl-C'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -f -a "dev" -d 'Make nodes of `omnirelay up` fail, and come back'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -f -a "api" -d 'Send a request to the API and print what it answers'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -f -a "schema" -d 'Print the JSON schema of a document; without a kind, list them'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -f -a "version" -d 'Show the versions of this client and of the daemon'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -f -a "completions" -d 'Print the completion script of a shell'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -f -a "man" -d 'Show the manual page of a command'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -f -a "help" -d 'Show help on a command or a topic'
complete -c omnirelay -n "__fish_omnirelay_needs_command" -f -a "explain" -d 'Explain the reason of an error; without one, list them'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -f -a "peers" -d 'The nodes of the mesh'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -f -a "p" -d 'The nodes of the mesh'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and not __fish_seen_subcommand_from peers p check" -f -a "check" -d 'Check whether the mesh is fit, and say what to do if not'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -f -a "list" -d 'List peers, or watch them'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -f -a "ls" -d 'List peers, or watch them'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -f -a "get" -d 'Show everything known of one or more peers'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -f -a "show" -d 'Show everything known of one or more peers'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -f -a "status" -d 'Show how peers are and why; without an id, the whole fleet'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -f -a "watch" -d 'Watch changes of peers, one line each'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -f -a "cordon" -d 'Keep new shards and leases away from peers'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -f -a "uncordon" -d 'Take the cordon of peers back'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -f -a "label" -d 'Set and remove labels of peers'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from peers" -f -a "forget" -d 'Remove the records of peers that are dead or have left'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -f -a "list" -d 'List peers, or watch them'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -f -a "ls" -d 'List peers, or watch them'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -f -a "get" -d 'Show everything known of one or more peers'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -f -a "show" -d 'Show everything known of one or more peers'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -f -a "status" -d 'Show how peers are and why; without an id, the whole fleet'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -f -a "watch" -d 'Watch changes of peers, one line each'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -f -a "cordon" -d 'Keep new shards and leases away from peers'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -f -a "uncordon" -d 'Take the cordon of peers back'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -f -a "label" -d 'Set and remove labels of peers'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from p" -f -a "forget" -d 'Remove the records of peers that are dead or have left'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -l category -d 'Only the checks of these categories' -r -f -a "client\t''
control-api\t''
registry\t''
membership\t''
versions\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -l skip -d 'Leave these checks or categories out' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -l wait -d 'Check again until everything passes, at most this long' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -l short -d 'Print only what did not pass, and the result'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -l strict -d 'Count warnings as failures'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand mesh; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -f -a "list" -d 'List audit records, newest first'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -f -a "ls" -d 'List audit records, newest first'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -f -a "tail" -d 'Show the newest audit records, then new ones as they come'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -f -a "get" -d 'Show everything of one or more audit records'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -f -a "show" -d 'Show everything of one or more audit records'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -f -a "verify" -d 'Check that no audit record was changed, removed, moved or added'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and not __fish_seen_subcommand_from list ls tail get show verify export" -f -a "export" -d 'Write the trail and its seals as JSON lines'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l since -d 'Only from here on: a time in UTC, or how long ago, such as 10m' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l actor -d 'Only what this principal did' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l action -d 'Only this action, such as peers.cordon; peers.* is all of an object\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l object -d 'Only what was done to this object, such as peer/node-2' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l limit -d 'At most this many in all; 0 is all of them' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l page-size -d 'At most this many per request, 1 to 1000' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l page-token -d 'Begin with this page: nextPageToken of the page before' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l sort-by -d 'Sort by a column; add :desc for the other direction' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l columns -d 'Show these columns, in this order' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l fail-empty -d 'Exit with 10 when the list is empty'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l no-headers -d 'Leave the headings out'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l no-trunc -d 'Never drop columns or shorten cells'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l absolute -d 'Times in UTC instead of ages'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l since -d 'Only from here on: a time in UTC, or how long ago, such as 10m' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l actor -d 'Only what this principal did' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l action -d 'Only this action, such as peers.cordon; peers.* is all of an object\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l object -d 'Only what was done to this object, such as peer/node-2' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l limit -d 'At most this many in all; 0 is all of them' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l page-size -d 'At most this many per request, 1 to 1000' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l page-token -d 'Begin with this page: nextPageToken of the page before' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l sort-by -d 'Sort by a column; add :desc for the other direction' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l columns -d 'Show these columns, in this order' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l fail-empty -d 'Exit with 10 when the list is empty'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l no-headers -d 'Leave the headings out'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l no-trunc -d 'Never drop columns or shorten cells'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l absolute -d 'Times in UTC instead of ages'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from ls" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l since -d 'Only from here on: a time in UTC, or how long ago, such as 10m' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l actor -d 'Only what this principal did' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l action -d 'Only this action, such as peers.cordon; peers.* is all of an object\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l object -d 'Only what was done to this object, such as peer/node-2' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l limit -d 'How many records to begin with' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l cursor-file -d 'Resume from the cursor in this file, and keep it up to date' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l max-events -d 'End with 0 after this many new records' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l for -d 'End with 0 after this time' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l timeout -d 'End with 8 when --max-events is not met after this time' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l no-follow -d 'End once the newest records are shown'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from tail" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from get" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from get" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from get" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from get" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from get" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from get" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from get" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from get" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from get" -l absolute -d 'Times in UTC instead of ages'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from get" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from get" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from get" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from get" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from get" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from show" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from show" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from show" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from show" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from show" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from show" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from show" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from show" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from show" -l absolute -d 'Times in UTC instead of ages'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from show" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from show" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l since -d 'Only records from here on: a time in UTC, or how long ago' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l key -d 'The audit key that a node is known by, in base64 as its peer record has it; only with FILE' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from verify" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -l since -d 'Only from here on: a time in UTC, or how long ago, such as 10m' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -l actor -d 'Only what this principal did' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -l action -d 'Only this action, such as peers.cordon; peers.* is all of an object\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -l object -d 'Only what was done to this object, such as peer/node-2' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand audit; and __fish_seen_subcommand_from export" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -f -a "list" -d 'List the contexts'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -f -a "ls" -d 'List the contexts'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -f -a "current" -d 'Show whom commands talk to now'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -f -a "use" -d 'Make a context the current one'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -f -a "get" -d 'Show one context'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -f -a "show" -d 'Show one context'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -f -a "set" -d 'Change a context'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -f -a "add" -d 'Add a context; the first one becomes the current one'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -f -a "rename" -d 'Give a context another name'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -f -a "delete" -d 'Delete a context; the mesh it leads to is left alone'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -f -a "rm" -d 'Delete a context; the mesh it leads to is left alone'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and not __fish_seen_subcommand_from list ls current use get show set add rename delete rm test" -f -a "test" -d 'Ask every address of a context who answers there'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -l sort-by -d 'Sort by a column; add :desc for the other direction' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -l columns -d 'Show these columns, in this order' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -l no-headers -d 'Leave the headings out'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -l no-trunc -d 'Never drop columns or shorten cells'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -l absolute -d 'Times in UTC instead of ages'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -l sort-by -d 'Sort by a column; add :desc for the other direction' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -l columns -d 'Show these columns, in this order' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -l no-headers -d 'Leave the headings out'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -l no-trunc -d 'Never drop columns or shorten cells'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -l absolute -d 'Times in UTC instead of ages'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from ls" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from current" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from current" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from current" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from current" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from current" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from current" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from current" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from current" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from current" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from current" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from current" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from current" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from current" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from current" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from use" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from use" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from use" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from use" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from use" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from use" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from use" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from use" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from use" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from use" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from use" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from use" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from use" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from use" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from get" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from get" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from get" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from get" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from get" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from get" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from get" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from get" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from get" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from get" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from get" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from get" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from get" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from show" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from show" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from show" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from show" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from show" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from show" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from show" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from show" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from show" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from show" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -l address -d 'Address of a daemon; repeatable, tried in order' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -l cluster -d 'Name of the cluster' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -l protected -d 'Ask for a reason and a typed confirmation before changes'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -l no-protected -d 'Do not'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from set" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -l address -d 'Address of a daemon; repeatable, tried in order' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -l cluster -d 'Name of the cluster' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -l protected -d 'Ask for a reason and a typed confirmation before changes'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -l no-protected -d 'Do not'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from add" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rename" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rename" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rename" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rename" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rename" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rename" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rename" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rename" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rename" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rename" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rename" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rename" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rename" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rename" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from delete" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from delete" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from delete" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from delete" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from delete" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from delete" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from delete" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from delete" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from delete" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from delete" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from delete" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from delete" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from delete" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from delete" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rm" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rm" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rm" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rm" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rm" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rm" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rm" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rm" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rm" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rm" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rm" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from rm" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from test" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from test" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from test" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from test" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from test" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from test" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from test" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from test" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from test" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from test" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from test" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from test" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from test" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand context; and __fish_seen_subcommand_from test" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -l nodes -d 'How many nodes, 1 to 64 [default: as many as DIR knows, else 3]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -l data -d 'Folder that keeps store, ids and ports; without it nothing outlives the process' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -l ready-file -d 'File to write once all nodes are ready; removed at start and stop' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -l store -d 'Store that the nodes share [default: embedded:]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -l service -d 'Services to switch on besides the control plane, such as relay' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -l log-format -d 'Form of the log on standard error' -r -f -a "text\t''
json\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand up" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -f -a "list" -d 'List the nodes of `omnirelay up` and whether they run'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -f -a "ls" -d 'List the nodes of `omnirelay up` and whether they run'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -f -a "kill" -d 'End nodes as a crash would'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -f -a "pause" -d 'Freeze nodes'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and not __fish_seen_subcommand_from list ls kill pause resume" -f -a "resume" -d 'Let paused nodes go on, and start killed ones again'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from list" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from list" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from list" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from list" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from list" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from list" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from list" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from list" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from list" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from list" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from ls" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from ls" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from ls" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from ls" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from ls" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from ls" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from ls" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from ls" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from ls" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from ls" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from ls" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from ls" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from kill" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from kill" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from kill" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from kill" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from kill" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from kill" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from kill" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from kill" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from kill" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from kill" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from kill" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from kill" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from kill" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from kill" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from pause" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from pause" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from pause" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from pause" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from pause" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from pause" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from pause" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from pause" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from pause" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from pause" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from pause" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from pause" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from pause" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from pause" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from resume" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from resume" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from resume" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from resume" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from resume" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from resume" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from resume" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from resume" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from resume" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from resume" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from resume" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from resume" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand dev; and __fish_seen_subcommand_from resume" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -s F -l field -d 'A field: into the query of GET and DELETE, else into the JSON body; true, false, null and numbers keep their type' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -s f -l file -d 'File that holds the body; - is standard input' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -s H -l header -d 'A header' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -l idempotency-key -d 'Key under which repeating this request is safe [default: a fresh one]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand api" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand schema" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand schema" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand schema" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand schema" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand schema" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand schema" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand schema" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand schema" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand schema" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand schema" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand schema" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand schema" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand schema" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand schema" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand version" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand version" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand version" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand version" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand version" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand version" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand version" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand version" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand version" -l client -d 'Only this client\'s, without asking a daemon'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand version" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand version" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand version" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand version" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand version" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand version" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand completions" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand completions" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand completions" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand completions" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand completions" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand completions" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand completions" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand completions" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand completions" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand completions" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand completions" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand completions" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand completions" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand man" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand man" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand man" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand man" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand man" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand man" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand man" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand man" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand man" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand man" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand man" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand man" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand man" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand help" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand help" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand help" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand help" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand help" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand help" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand help" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand help" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand help" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand help" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand help" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand help" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand help" -s V -l version -d 'Print version'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand explain" -s o -l output -d 'Output format' -r -f -a "table\t'A table for people; its columns may change'
wide\t'A table with more columns'
json\t'One JSON document'
jsonl\t'One JSON object per line'
yaml\t'The JSON document as YAML'
name\t'`kind/id`, one per line'"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand explain" -l color -d 'When to use colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c omnirelay -n "__fish_omnirelay_using_subcommand explain" -s c -l context -d 'Context to use, instead of the current one' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand explain" -l addr -d 'Address of the daemon, instead of the context\'s' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand explain" -l config -d 'File that holds the contexts' -r -F
complete -c omnirelay -n "__fish_omnirelay_using_subcommand explain" -l request-timeout -d 'Longest time for one request, its retries included [default: 10s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand explain" -l connect-timeout -d 'Longest time to connect [default: 3s]' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand explain" -l request-id -d 'Request id to send, for finding the request in logs' -r
complete -c omnirelay -n "__fish_omnirelay_using_subcommand explain" -l json -d 'Same as --output json'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand explain" -s q -l quiet -d 'Print data and errors only'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand explain" -s v -l verbose -d 'Say what is done: -v steps, -vv requests, -vvv headers and bodies'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand explain" -l no-input -d 'Never ask; fail where a question would be needed'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omnirelay -n "__fish_omnirelay_using_subcommand explain" -s V -l version -d 'Print version'
