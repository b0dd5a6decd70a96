//! Reasons from A to L.

use super::{Code, Reason};

reasons! {
    ADDRESS_NOT_ALLOWED: PermissionDenied,
        "the address that a caller has named is of the daemon's own host or link, of no host, or of the store: nobody is asked there for a caller",
        "name another; or have it added to the configuration (registers.resyncPeers)";
    AGENT_MOVED: FailedPrecondition, "another relay holds the agent by now", "ask which with omnirelay agents placement";
    AGENT_NOT_FOUND: NotFound,
        "no live relay holds an agent of that id: it was never registered, or was not heard of for its time to live",
        "omnirelay agents list";
    AGENT_OFFLINE: Unavailable,
        "the agent has a session, and no stream through which it could be told anything",
        "give the same command again when it is back";
    AGENT_SILENT: DeadlineExceeded,
        "an agent was sent a command and has not answered; it may still obey",
        "give the same command again: an agent that has obeyed says so";
    AGENT_TAKES_NO_COMMANDS: FailedPrecondition,
        "the agent streams bare frames, which leave no room for commands, or has sent nothing yet",
        "update the agent; or try again once it has sent something";
    AGENT_TEMPORARY_ERROR: Unavailable,
        "the agent could not carry out a command just now, such as for want of storage",
        "repeat the command with the same --command-id";
    AMBIGUOUS_ID: InvalidArgument, "the beginning of an id fits several objects", "give more of the id";
    AUDIT_RECORD_NOT_FOUND: NotFound, "there is no audit record with this id", "list the ids with omnirelay audit list -o wide";
    AUDIT_UNREADABLE: DataLoss,
        "the store holds something in the audit trail that is no record; somebody else wrote it",
        "omnirelay audit verify names it";
    AUTHORITY_ENDED: FailedPrecondition,
        "the issuer of the certificate authority has ended, or does before what was asked for would begin",
        "look at it with omnirelay cert ca show";
    AUTHORITY_EXISTS: AlreadyExists,
        "there is a certificate authority already, and a mesh has one", "look at it with omnirelay cert ca show";
    AUTHORITY_ROTATING: FailedPrecondition,
        "the mesh trusts two roots already, and the older one has to be retired before there is a third",
        "omnirelay cert ca retire, once nothing leads to the older one alone";
    AUTHORITY_UNREADABLE: DataLoss,
        "the registry holds something in the place of the certificate authority, or of what it has revoked, that is neither; somebody else wrote it",
        "restore the store; omnirelay audit list says who changed it last";
    BINDING_NOT_FOUND: NotFound,
        "the principal was given nothing", "omnirelay bindings list";
    BODY_INCOMPLETE: Cancelled,
        "the connection ended inside the body of a request", "repeat the request";
    BODY_TOO_LARGE: InvalidArgument,
        "the body of a request is larger than the daemon takes", "send less at once";
    BROKEN_PIPE: Cancelled,
        "the reader of standard output went away", "nothing";
    BUNDLE_UNREADABLE: InvalidArgument, "the file is no support bundle, is damaged, or holds more than one does", "have it made or sent anew";
    CA_FILE: InvalidArgument,
        "the file with the authorities of relays cannot be read, or holds no certificate", "name a PEM file with --relay-ca";
    CERTIFICATE_NEEDED: Unauthenticated,
        "the call is for whoever shows a certificate, and none was shown",
        "call under TLS with the certificate (omnirelay --tls-cert FILE --tls-key FILE)";
    CERTIFICATE_NOT_FOUND: NotFound,
        "no certificate was issued to a holder of that name, or it was forgotten since it ended",
        "omnirelay cert list --all";
    CERTIFICATE_NOT_TRUSTED: Unavailable,
        "who answers at that address shows a certificate of another name, or of nobody who is trusted",
        "name whoever signed it with --relay-ca, and ask under a name that is in it";
    CERTIFICATE_NOT_VALID_NOW: FailedPrecondition,
        "a certificate was issued that is not valid now by the clock of this host, so the one of before was kept",
        "omnirelay mesh check says whose clock is wrong; put it right, then repeat the command";
    CERTIFICATE_REJECTED: Unauthenticated,
        "the daemon does not take the certificate that was shown: it was revoked, has ended, or is of another authority",
        "show one that is valid with --tls-cert FILE and --tls-key FILE; omnirelay cert inspect FILE says what one is";
    CLIENT: Unknown,
        "the HTTP client could not be prepared", "report it as a bug";
    CLUSTER_IS_LOCAL: InvalidArgument,
        "the cluster is that of the daemon that was asked, which there is always", "omnirelay mesh clusters list";
    CLUSTER_NOT_ASKED: Unavailable,
        "the other cluster could not be asked, or its answer makes no sense; the message says why",
        "omnirelay mesh clusters get NAME says where it is said to be";
    CLUSTER_NOT_FOUND: NotFound,
        "the cluster is none that this one knows", "omnirelay mesh clusters list";
    COMMAND_REUSED: AlreadyExists,
        "the id of a command was used before, for another agent or another content", "choose another --command-id";
    CONFIG_INVALID: InvalidArgument,
        "the file of contexts does not say what it should", "correct it, or name another with --config";
    CONFIG_LOCKED: Unknown,
        "another process keeps the file of contexts locked", "wait for it, then repeat the command";
    CONFIG_NOT_RELOADED: FailedPrecondition,
        "the daemon did not take over its configuration, as a setting in it cannot be so; all settings are as before",
        "mend what the message names, then omnirelay mesh config reload";
    CONFIG_UNREADABLE: InvalidArgument,
        "the file of contexts cannot be read", "check its permissions, or name another with --config";
    CONFIG_UNWRITABLE: Unknown,
        "the file of contexts cannot be written; nothing was changed",
        "check its permissions and the space left, or name another with --config";
    CONNECTION_LOST: Unavailable,
        "the connection was cut before the answer was complete", "repeat the command; look at the daemon's log";
    CONNECTION_REFUSED: Unavailable,
        "nothing listens at that address", "omnirelay up, or omnirelay context current -v";
    CONNECT_FAILED: Unavailable,
        "no connection to that address can be made", "check the network and the address";
    CONNECT_TIMEOUT: Unavailable,
        "nothing answered at that address in time", "check firewalls and the address; --connect-timeout waits longer";
    CONTEXT_EXISTS: AlreadyExists,
        "there is a context of that name", "omnirelay context set NAME ...";
    CONTEXT_UNKNOWN: InvalidArgument,
        "there is no context of that name", "omnirelay context list";
    CURSOR_FILE: Unknown,
        "the file of --cursor-file cannot be read or written", "check its permissions and the space left";
    DAEMONS_TOO_OLD: FailedPrecondition,
        "daemons live that would not understand what becomes of the registry",
        "upgrade them, or stop and forget them: omnirelay mesh peers list";
    DEADLINE_EXCEEDED: DeadlineExceeded,
        "the daemon could not answer within the time it was given", "repeat with a longer --request-timeout";
    DECLINED: Cancelled,
        "the question was not answered with yes; nothing was changed", "nothing";
    DESCRIPTORS: Internal,
        "the descriptors built into this program are damaged", "report it as a bug";
    DOMAIN_ACTIVE_HERE: FailedPrecondition,
        "the domain is active in a cluster, and another one would take its place without the changes that were made there",
        "say --give-up if that is meant";
    DOMAIN_NOT_BRAKED: FailedPrecondition,
        "nothing of the domain waits for an operator's word", "omnirelay mesh domains get NAME says how it is";
    DOMAIN_NOT_FOUND: NotFound,
        "the domain is none that this cluster knows", "omnirelay mesh domains list";
    DRAINING: Unavailable, "the daemon is stopping and takes no new work", "ask another daemon of the mesh";
    DRAIN_TAKEN_BACK: Aborted,
        "while a drain was waited for, somebody took it back",
        "find out who with omnirelay audit list --object peer/ID, then drain again";
    DRAIN_TIMEOUT: DeadlineExceeded,
        "a drained peer still leads something after the time it was given; the drain goes on",
        "see what blocks it with omnirelay mesh peers status ID, or wait longer with --timeout";
    DRONE_NOT_FOUND: NotFound,
        "no drone with this id has a session at the relays that were asked",
        "omnirelay drones list shows those that are held";
    ENCODING: Unknown,
        "a document could not be written in the form asked for", "try -o json; report it as a bug";
    EPOCH_CHANGED: Aborted,
        "the registry began anew, so a version or a cursor of before means nothing", "read again, then repeat the change";
    EXPORT_INCOMPLETE: Unavailable,
        "an export of the audit trail, or a snapshot, ended too soon, and nothing of it was kept", "run the command again";
    FAILOVER_REFUSED: FailedPrecondition,
        "no Sentinel began the failover of a planned switch; nothing was changed",
        "the message has the answer of each Sentinel; try again in a minute";
    FEDERATED_CALLER: PermissionDenied,
        "the caller is a node of a federated cluster, which reaches the exchange of advertisements and nothing else",
        "call with an identity of this mesh; omnirelay whoami says whom the daemon takes you for";
    FENCED: FailedPrecondition, "another node leads by now; nothing was changed", "ask the node that leads";
    FILE: Unknown,
        "a file of registers cannot be read", "see the cause; check its path and its rights";
    FILE_EXISTS: AlreadyExists,
        "a file that is to be written is there already", "name another one, or write over it with --force";
    GARBLED_TELEMETRY: InvalidArgument,
        "a message on a telemetry stream is none, or is of another shape than those before",
        "send TelemetryFrame or AgentStreamMessage, one of them on a stream";
    GOSSIP_OFF: Unavailable,
        "the node does not gossip, or not yet: it has no identity, or `mesh.gossip.enabled` is off there",
        "omnirelay node status";
    GROUP_LIVE: FailedPrecondition,
        "a session or group is still live, so it cannot be judged gone", "wait until it is over";
    GROUP_OVER: FailedPrecondition,
        "the session or group is over and cannot be renewed", "begin a new one";
    HEADERS_TOO_LARGE: ResourceExhausted,
        "the headers of the request, or its metadata, are larger than is taken", "send less of them";
    HISTORY_NOT_KEPT: NotFound,
        "what has changed so long ago is not kept any more", "omnirelay mesh shards history -n NAMESPACE shows what is, of a map of shards";
    HOLDER_HAS_A_CERTIFICATE: FailedPrecondition,
        "the holder has a valid certificate of another key: two hosts may believe to be the same",
        "if the key is lost or the host was replaced, say so with --replace";
    HOLDER_REVOKED: PermissionDenied,
        "the holder was revoked and gets no certificate",
        "if it is to be let back in, an administrator says so: omnirelay cert reinstate";
    HOST_NOT_ALLOWED: PermissionDenied,
        "the request names a host that this loopback listener does not answer to", "call it as localhost or 127.0.0.1";
    IDEMPOTENCY_KEY_REUSED: FailedPrecondition,
        "the key was used for another request", "leave --idempotency-key out, or repeat the very same command";
    IDENTITY_NOT_ALLOWED: PermissionDenied,
        "the relay's configuration lists whose certificates a service of its port takes, and the caller's is none of them",
        "have it added to the setting that is named, or show another certificate";
    INPUT: Unknown,
        "standard input or a file named could not be read", "check the file";
    INTERNAL: Internal,
        "the daemon failed in a way it did not foresee", "look into its log for the request id; report it as a bug";
    INTERRUPTED: Cancelled,
        "the command was interrupted before this was sent", "repeat the command: what is done already stays so";
    INVALID_ARGUMENT: InvalidArgument,
        "the daemon refuses the request as it is", "correct what the message names";
    INVALID_CURSOR: InvalidArgument,
        "the text is no cursor", "use the cursor of an answer or an event as it is";
    INVALID_FIELD: InvalidArgument,
        "a field of the request has a value it cannot have", "correct what the message names";
    INVALID_HEADER: InvalidArgument,
        "a header of the request has a value it cannot have", "correct what the message names";
    INVALID_PAGE_TOKEN: InvalidArgument,
        "the page token is of another list, or damaged", "begin with the first page";
    ISSUER_KEYS_UNKNOWN: Unauthenticated,
        "the keys of the issuer of tokens are not known: it does not answer, or has not for too long",
        "look whether security.oidc.jwksUrl answers; the log of the daemon says what failed";
    ISSUER_NOT_PREPARED: FailedPrecondition,
        "no issuer was prepared, or another one since: the certificate is for none whose key this mesh has",
        "begin again: omnirelay cert ca rotate --offline-root DIR";
    ISSUER_NOT_SHARED: FailedPrecondition,
        "the node that was to issue as well has not taken the secret of the issuers; the message says why",
        "remove the cause, then repeat the command";
    ISSUER_SECRET_IN_USE: FailedPrecondition,
        "the daemon that was to make another secret for its issuers has the one of now still",
        "move the file away that its message names, then repeat the command";
    JOIN_DENIED: PermissionDenied,
        "the join token does not let in who asks: it was used up, has ended, or is for other nodes",
        "have an administrator of the mesh make another: omnirelay token create";
    JOIN_REFUSED: Unauthenticated,
        "whoever asks to join has no join token of this mesh",
        "have an administrator of the mesh make one: omnirelay token create";
    JOIN_TOKEN_NOT_FOUND: NotFound,
        "there is no join token of that id: it never was, or was forgotten a day after its end",
        "omnirelay token list --all";
    KEY_REVOKED: PermissionDenied,
        "the key of the request was revoked", "make a new key; others may know the one that was revoked";
    LABEL_TAKEN: FailedPrecondition, "a label has another value", "add --overwrite to change it";
    LAST_ADMINISTRATOR: FailedPrecondition,
        "nobody with mesh.admin would be left who can come in",
        "give it to somebody else first; or add --last-administrator, which the audit trail has";
    LAST_NODE: FailedPrecondition,
        "of all nodes of omnirelay up only this one runs, so that nobody could bring any of them back",
        "omnirelay dev resume NODE for another one first; omnirelay down ends the mesh";
    LATE_REQUEST: Aborted,
        "a later request of the same worker was answered before", "nothing was changed; ask again with a greater sequence";
    LIMIT_EXHAUSTED: ResourceExhausted,
        "for now there are as many calls, watches, commits or joins as a limit allows that is enforced (limits.*)",
        "come again when Retry-After is over; the message names the setting that would allow more";
    LIMIT_REACHED: FailedPrecondition,
        "it would go beyond a limit of the mesh or of the daemon that is enforced (limits.*); the message says which; nothing was changed",
        "raise the setting that the message names and reload it, or free what it counts: omnirelay mesh capacity";
    LISTEN: Unknown, "an address that a command is to serve at cannot be had", "name another one, or end what listens there";
}
