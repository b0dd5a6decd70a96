//! Reasons from M to Z.

use super::{Code, Reason};

reasons! {
    MALFORMED_BODY: InvalidArgument,
        "the chunks that the body comes in are malformed",
        "send it with a content-length, or in chunks as RFC 9112 has them";
    MALFORMED_GZIP: InvalidArgument, "the body is not gzip, or is cut off", "send it plain";
    MALFORMED_JSON: InvalidArgument, "the body is not JSON", "correct what the message names";
    MALFORMED_MESSAGE: InvalidArgument,
        "the gRPC request holds no message that can be read", "use a client made from the protos the daemon has";
    MASTER_DIFFERS: FailedPrecondition,
        "another server is the master of the store than the one that was to be replaced",
        "omnirelay mesh store switch --dry-run says who is";
    METHOD_UNKNOWN: Unimplemented,
        "the daemon does not know this method", "bring the daemon up to date";
    MISSING_SCOPE: PermissionDenied,
        "the caller lacks the scope that the method needs", "ask whoever grants scopes";
    NAMESPACE_EXISTS: AlreadyExists,
        "there is a namespace of that name already, and it is another one",
        "change its rules with omnirelay mesh namespaces set, or choose another name";
    NAMESPACE_NOT_FOUND: NotFound,
        "there is no namespace of that name", "omnirelay mesh namespaces list";
    NAMESPACE_NOT_READY: FailedPrecondition,
        "the shards of the namespace are still being made, or removed; whoever leads global-control does it",
        "try again in a moment; omnirelay mesh namespaces get NAMESPACE says how far it is";
    NAME_NOT_RESOLVED: Unavailable,
        "the host name in the address is not known", "check the address and the resolver";
    NODE_ADDRESS_UNKNOWN: Unavailable,
        "a node registered without an address at which its daemon can be asked",
        "name the address with --addr instead of --node";
    NODE_ID_HELD: FailedPrecondition,
        "another daemon has the node id of the one that was asked, which therefore advertises nothing",
        "give each daemon a node id and a data directory of its own, or stop one of the two";
    NODE_IS_ANOTHER: Unavailable,
        "the address that a node registered with leads to another one from here",
        "name an address that leads there with --addr, or run the command on the node";
    NODE_NOT_ALIVE: Unavailable,
        "a command was to be carried out by a node that is not alive", "omnirelay mesh peers status NODE says since when";
    NODE_NOT_ASKED: Unavailable,
        "the daemon that was asked could not ask the node that was meant",
        "omnirelay mesh check says how it stands; or ask that node itself with --addr NODE:PORT";
    NODE_NOT_FOUND: NotFound, "the process does not run that node", "omnirelay dev list";
    NODE_NOT_STARTED: FailedPrecondition,
        "a killed node could not be started again; the message says why",
        "remove the cause, such as another process on its port, then omnirelay dev resume NODE";
    NODE_OLDER: Unimplemented,
        "the daemon of that node is older, and does not know the question", "run it on its host, or upgrade its daemon";
    NOTHING_TO_DO: FailedPrecondition,
        "no shard would move", "omnirelay mesh shards simulate says what would move and what would not";
    NOT_ACCEPTABLE: InvalidArgument,
        "the method cannot answer in the form that was asked for", "leave the accept header out";
    NOT_ACTIVE: FailedPrecondition,
        "records of this kind are not written in this cluster now; the message says where they are",
        "ask where the message says";
    NOT_AN_ISSUER: FailedPrecondition,
        "the daemon that was asked cannot issue certificates: it has not the secret that the issuer's key is sealed with",
        "ask one that can: omnirelay cert ca show says of each whether it issues";
    NOT_A_HOLDER: PermissionDenied,
        "the caller may not hold shards of a namespace here, nor report what there is to do: its policy names others as holders, or the caller is another node",
        "call with an identity that omnirelay mesh namespaces get names; or have an administrator add it: omnirelay mesh namespaces set NAMESPACE --holder PRINCIPAL";
    NOT_ELIGIBLE: FailedPrecondition,
        "that node may not lead the scope: it is not alive, it is cordoned or draining, or the policy of the scope excludes it",
        "omnirelay mesh leaders explain SCOPE says why, and who may";
    NOT_HTTP: Unavailable,
        "what answers at that address does not speak HTTP", "check the port; omnirelay context current -v";
    NOT_IN_BUNDLE: NotFound, "the support bundle has no answer to what the command asks", "tar -xzOf FILE manifest.json shows what it has";
    NOT_LOOPBACK: Unauthenticated,
        "without credentials the daemon serves callers on its own host only", "call it on its own host; read SECURITY.md";
    NOT_REGISTERED: FailedPrecondition,
        "an agent opened a stream without having a session; sessions do not outlive the relay",
        "call Register, then open the stream";
    NO_ADDRESS: Internal,
        "there is no address to ask", "report it as a bug";
    NO_AUTHORITY: FailedPrecondition,
        "the mesh has no certificate authority", "make one through the control socket of a daemon: omnirelay cert ca init";
    NO_LEADER: FailedPrecondition,
        "nobody leads the scope now, so nobody can hand it over or step down",
        "omnirelay mesh leaders explain SCOPE says why";
    NO_MESH_PORT: FailedPrecondition,
        "the node does not say where its mesh port is", "it has one once it was enrolled: omnirelay mesh peers get ID";
    NO_STANDBY: FailedPrecondition,
        "no replica could take over from the master, or one of them does not follow it",
        "redis-cli info replication on the master; repeat when all are online";
    OPERATION_CANCELLED: Aborted,
        "somebody cancelled the operation; what it had done stays",
        "omnirelay ops get ID says who began it, omnirelay audit list who stopped it";
    OPERATION_FAILED: Unknown,
        "the operation did nothing, or could not go on", "see the cause and the details, then repeat the command";
    OPERATION_FORGOTTEN: DeadlineExceeded,
        "the daemon that carried the operation out does not know it any more, as after a restart",
        "repeat the command; what is done already is left as it is";
    OPERATION_NOT_FOUND: NotFound,
        "the daemon that was asked knows no operation of that id: each knows its own, and only since its start",
        "ask the daemon that began it";
    OPERATION_OUT_OF_SIGHT: DeadlineExceeded,
        "the daemon that carries the operation out cannot be asked any more", "omnirelay ops get ID once it can";
    OPERATION_TIMEOUT: DeadlineExceeded,
        "the operation has not ended in the time of --timeout; it goes on",
        "omnirelay ops wait ID, or omnirelay ops cancel ID";
    ORDER_DROPPED: FailedPrecondition,
        "the leader did not do what was ordered: it lost the scope, or the node to lead it may no longer",
        "omnirelay mesh leaders explain SCOPE, then order again";
    ORDER_PENDING: DeadlineExceeded,
        "the leader has not done yet what was ordered; the order stands, and the next leader heeds it",
        "omnirelay mesh leaders get SCOPE shows it; watch it, or check whether the leader hangs";
    ORIGIN_NOT_ALLOWED: PermissionDenied,
        "a page of that origin may not call this listener", "add the name to the daemon's allowed hosts";
    OTHER_NODE: FailedPrecondition,
        "the request means another node than the one whose daemon was asked",
        "ask the daemon of that node; omnirelay mesh peers get says where it listens";
    OUTCOME_UNKNOWN: DeadlineExceeded,
        "a change was sent and its answer lost: it may have been made or not",
        "repeat the command with the --idempotency-key that was printed";
    OUTPUT: Unknown,
        "standard output, or the file that was named, does not take the data", "check the space left where it goes";
    PAGE_TOKEN_EXPIRED: Aborted,
        "too much has changed since the first page was read", "begin with the first page";
    PARTIAL_FAILURE: Unknown,
        "some of several objects failed", "look into results[], repeat the command for those";
    PEER_NOT_CONFIGURED: PermissionDenied,
        "the peer service that was named is none of the configuration of the node, and the caller is no administrator",
        "have it added to registers.resyncPeers or registers.peerServices; or have somebody ask who has mesh.admin";
    PEER_NOT_FOUND: NotFound,
        "there is no peer of that id", "omnirelay mesh peers list";
    PEER_NOT_GONE: FailedPrecondition,
        "a peer that is alive or suspect cannot be forgotten, and one that is alive cannot be forced to leave",
        "stop it first, or wait until it is dead";
    PEER_SERVICE_FAILED: Unavailable,
        "a peer service elsewhere could not be pushed to, or answered something else than it should",
        "read what it said, then try again";
    PLACEMENT_CHANGED: Aborted,
        "the agent moved to another relay, or ended, between two questions of one command", "repeat the command";
    PLAN_NOT_FOUND: NotFound,
        "there is no rebalance plan of that id; of those that have ended the newest are kept",
        "omnirelay mesh rebalance-plans list";
    PLAN_OUTDATED: FailedPrecondition,
        "the map was changed since the plan was computed, or another plan is being carried out",
        "propose a new one with omnirelay mesh shards rebalance";
    PLAN_STATE: FailedPrecondition,
        "the plan is not in a state in which that can be done", "omnirelay mesh rebalance-plans get PLAN";
    PLAN_TIMEOUT: DeadlineExceeded,
        "a rebalance plan has not ended in the time that it was waited for; it goes on",
        "omnirelay mesh rebalance-plans get PLAN says what it waits for";
    PROOF_NEEDED: Unauthenticated,
        "the daemon takes nobody without proof, as the mesh has a certificate authority or security.loopback is proof, and nothing was proven",
        "call its control socket with --addr unix:PATH, show a certificate with --tls-cert FILE --tls-key FILE, or send a token with --token-file FILE";
    RANDOM: Unknown,
        "the operating system gave no random numbers", "give --idempotency-key; check the system";
    REASON_UNKNOWN: NotFound,
        "this version does not know that reason", "omnirelay explain";
    RECORDS_CHANGED: Aborted,
        "the records that are to become signed are not those that were looked at",
        "look at them again: omnirelay cert ca protect --dry-run";
    REGISTER_EXISTS: AlreadyExists,
        "the node hosts a register of that id already", "change it with omnirelay registers update";
    REGISTER_NOT_FOUND: NotFound,
        "the node hosts no register of that id; another one may", "omnirelay registers list, with --node for another node's";
    RELAY_ADDRESS_UNKNOWN: Unavailable,
        "a relay registered with an address at which nobody can ask it",
        "set relay.advertise where it runs, or name its address with --relay-addr";
    RELAY_NOT_FOUND: NotFound,
        "no relay of that id lives: it was never registered, or was not heard of for its time to live",
        "omnirelay relays list";
    RELAY_OF_ANOTHER: PermissionDenied,
        "another principal has registered the relay, and speaks for it and its agents while it lives",
        "register under another id; or wait until that relay was not heard of for its time to live";
    RELAY_UNREACHABLE: Unavailable,
        "no relay that answered holds the drone, and others did not answer",
        "repeat it; a relay that has crashed is not asked any more once its time to live is over";
    REMOVES_TOO_MANY: FailedPrecondition,
        "the resync would withdraw more than ten advertisements that are more than half of all",
        "look at the plan with --dry-run; --yes withdraws them all the same";
    RENEWALS_ENDED: FailedPrecondition,
        "the certificate of an operator was renewed for thirty days since one was issued to them anew, and no longer can be",
        "have an administrator issue another: omnirelay cert issue --operator NAME --replace";
    REQUEST_TIMEOUT: DeadlineExceeded,
        "the daemon did not answer in time", "repeat with a longer --request-timeout";
    ROOT_IN_USE: FailedPrecondition,
        "there are valid certificates that lead to that root alone, or it is the one that issues",
        "have their holders renew them (nodes do by themselves), or say --force";
    ROOT_KEY_ELSEWHERE: FailedPrecondition,
        "the key of the root is not in the registry", "say where it is: omnirelay cert ca rotate --offline-root DIR";
    ROOT_NAMES_NO_CLUSTERS: FailedPrecondition,
        "issuers under the newest root need not name their cluster, so that it certifies none of another cluster",
        "omnirelay cert ca rotate --root makes a root under which each does";
    ROOT_NOT_FOUND: NotFound,
        "the mesh trusts no root with that fingerprint", "omnirelay cert ca show";
    ROUTE_UNKNOWN: Unimplemented,
        "the daemon serves nothing at that path", "omnirelay api GET /control/openapi.json";
    RUNTIME: Unknown,
        "the program could not prepare to talk to a daemon", "check the limits of the system";
    SCHEMA_UNKNOWN: NotFound,
        "there is no document of that kind", "omnirelay schema";
    SCOPE_NAME_TAKEN: FailedPrecondition,
        "there is a scope whose name differs from the wanted one by upper and lower case only",
        "use that scope, or choose another name";
    SCOPE_NEEDED: FailedPrecondition,
        "the mesh needs the scope, so it cannot be deleted", "omnirelay mesh leaders step-down SCOPE gives it another leader";
    SCOPE_NOT_FOUND: NotFound,
        "there is no leadership scope of that name", "omnirelay mesh leaders list";
    SELF_APPROVAL: PermissionDenied,
        "whoever proposed a plan may not approve it, by the policy of the namespace and the configuration of the daemon",
        "have somebody else approve it; or allow it with policy.selfApproval of the namespace";
    SESSION_REPLACED: Aborted,
        "the agent began another session before it answered a command",
        "give the same command again: an agent that has obeyed says so";
    SHARD_NOT_FOUND: NotFound,
        "there is no shard of that id in the namespace", "omnirelay mesh shards list";
    SIBLING_CALLER: PermissionDenied,
        "the caller is a node of another cluster of the trust domain, which reaches what clusters ask of each other and nothing else",
        "call with an identity of this cluster; omnirelay whoami says whom the daemon takes you for";
    SIGNALS: Unknown,
        "the program could not listen for signals", "report it as a bug";
    SNAPSHOT_OF_ANOTHER_CLUSTER: FailedPrecondition,
        "the snapshot was taken of another cluster than the one that it is to be restored in, and what is signed counts in its own alone",
        "name the other cluster with --context, or give this one the name of the snapshot's (node.cluster)";
    SNAPSHOT_UNREADABLE: InvalidArgument,
        "the file is no snapshot, or not a whole one: nothing of it was restored",
        "take another copy of it, or another snapshot: omnirelay snapshot inspect FILE";
    STORE_CLOCKS_DIFFER: FailedPrecondition,
        "the clock that the store goes by and that of the daemon's host differ by more than a minute, so that store time would be wrong again",
        "put the wrong clock right, then repeat the command";
    STORE_CLOCK_NOT_AHEAD: FailedPrecondition,
        "store time is not a minute ahead of the clock that the store goes by, and is not worth a new epoch",
        "omnirelay mesh check says which clock is wrong";
    STORE_FULL: ResourceExhausted,
        "the store has no space left; nothing was changed", "make space, then repeat the change";
    STORE_HAS_NO_STANDBY: FailedPrecondition,
        "the store is in one place, or not behind Sentinels, so nothing can be switched",
        "docs/guides/operations.md says how a server is replaced";
    STORE_INCOMPATIBLE: Internal,
        "what the store holds in the place of the record cannot be understood; it was not changed",
        "docs/guides/storage-faults.md says how to mend a record";
    STORE_NOT_PERMITTED: FailedPrecondition,
        "the Redis user of the daemon lacks a permission that the command needs",
        "add the permission that the message names on each server";
    STORE_OF_ONE_HOST: FailedPrecondition,
        "the registry of the mesh is in a store of one host, which another host cannot use",
        "run the daemons of the mesh with a Redis: omnirelayd --store redis://...";
    STORE_UNAVAILABLE: Unavailable,
        "the store is out of reach, or has begun anew and is being restored; nothing was changed",
        "repeat it later; omnirelay mesh check";
    STREAM_REPLACED: Aborted,
        "an agent has opened more streams than a relay serves of one; the oldest was ended",
        "see to it that no two agents have one id";
    TELEMETRY_NOT_TAKEN: Unavailable,
        "a sink of the relay has no room for frames, or cannot write them; they were not acknowledged",
        "send them again on a new stream; the relay's /readyz and docs/runbooks/relay.md say what is wrong";
    TLS_FILE: InvalidArgument,
        "a file with certificates or a key, for TLS, cannot be used",
        "name files in PEM with --tls-ca, --tls-cert and --tls-key";
    TLS_NEEDED: FailedPrecondition,
        "the port speaks TLS only, and was called without", "call it as https://HOST:PORT";
    TOKEN_ENDED: Unauthenticated,
        "a token was sent that has ended or was revoked",
        "omnirelay login, which asks for another; or have the issuer give you one";
    TOKEN_EXISTS: AlreadyExists,
        "there is a join token of that id already", "make another: omnirelay token create";
    TOKEN_FILE: InvalidArgument,
        "the file that should hold a token cannot be read, or holds none",
        "name the token file of the daemon with --token-file: control-token in its data directory";
    TOKEN_KEY_MISSING: FailedPrecondition,
        "the mesh has no key yet by which it signs tokens", "try again: a daemon that can issue certificates makes it";
    TOKEN_NEEDS_A_CERTIFICATE: FailedPrecondition,
        "tokens are given to operators and services that show their certificate, and none was shown",
        "call with --tls-cert FILE --tls-key FILE, or through the control socket with --operator NAME";
    TOKEN_NOT_OWN: PermissionDenied,
        "only the holder of a token, or an administrator, can revoke it",
        "ask an administrator: omnirelay cert revoke --serial NUMBER";
    TOKEN_REFUSED: Unauthenticated,
        "a token was sent that proves nobody here: not signed by a key that is known, or not meant for this mesh",
        "look at its issuer, audience and key: omnirelay login makes a new one";
    TOKEN_UNKNOWN: Unauthenticated,
        "a token was sent that the daemon does not know, or does not know any more",
        "send one that its token file holds now; the daemon reads it at its start and on SIGHUP";
    TOO_MANY_ADVERTISEMENTS: ResourceExhausted,
        "a node may advertise 100000 registers for each of 64 producers, and would have more",
        "withdraw what is not needed, or push to another node";
    TOO_MANY_AGENTS: ResourceExhausted,
        "as many agents are registered as registry.agentsMax allows",
        "omnirelay agents list shows them; raise registry.agentsMax if all of them are meant to be there";
    TOO_MANY_BINDINGS: FailedPrecondition,
        "there are as many role bindings as there may be",
        "remove those that nobody needs: omnirelay bindings delete PRINCIPAL";
    TOO_MANY_CALLS: ResourceExhausted,
        "the caller calls more often than control.rateLimit allows",
        "wait as long as Retry-After says; spread the calls, or raise the limit";
    TOO_MANY_CERTIFICATES: ResourceExhausted,
        "the holder has as many certificates that have not ended as the mesh remembers of one: 64, and more by renewals in time",
        "omnirelay cert list --all shows them; put out those that nobody should have: omnirelay cert revoke --serial NUMBER";
    TOO_MANY_CLUSTERS: FailedPrecondition,
        "as many clusters are known as there may be", "forget one that is no more: omnirelay mesh clusters delete NAME";
    TOO_MANY_COMMANDS: ResourceExhausted,
        "the relay remembers, or the agent's stream holds, as many commands as it can", "try again later";
    TOO_MANY_DOMAINS: FailedPrecondition,
        "as many domains are known as there may be", "put several namespaces into one: omnirelay mesh domains set NAME --namespace NAMESPACE";
    TOO_MANY_ISSUED: ResourceExhausted,
        "more tokens and certificates were issued by one key than a holder needs: 60 at once, then one in five minutes; by all its keys four times that",
        "wait as long as Retry-After says, then try again; use what was issued until it ends";
    TOO_MANY_JOINS: ResourceExhausted,
        "too many hosts ask to join from one address", "wait a second, then try again";
    TOO_MANY_NAMESPACES: FailedPrecondition,
        "there are as many namespaces as there may be", "remove some with omnirelay mesh namespaces delete";
    TOO_MANY_OPERATIONS: ResourceExhausted,
        "the daemon carries out as many operations as it may", "wait until one has ended, or cancel one";
    TOO_MANY_REGISTERS: FailedPrecondition,
        "a node may have 100000 registers, and would have more", "delete registers that are not needed";
    TOO_MANY_RELAYS: ResourceExhausted,
        "as many relays are registered as registry.relaysMax allows",
        "omnirelay relays list shows them; raise registry.relaysMax if all of them are meant to be there";
    TOO_MANY_SCOPES: FailedPrecondition,
        "the mesh has as many scopes as it may have, 10,000",
        "omnirelay mesh leaders delete SCOPE removes one that nobody needs";
    TOO_MANY_SESSIONS: ResourceExhausted,
        "the relay has as many sessions as it may", "use another relay, or raise relay.sessionsMax";
    TOO_MANY_SHARDS: FailedPrecondition,
        "there would be more shards of all namespaces than mesh.shards.perMeshMax allows",
        "make fewer; or raise the limit on all daemons, which hold the records of all shards in memory";
    TOO_MANY_TOKENS: FailedPrecondition,
        "there are as many join tokens as there may be",
        "they are forgotten a day after their end; make one for several nodes (--uses)";
    TOO_MANY_WATCHES: ResourceExhausted,
        "the daemon serves as many watches as it can", "close some, or ask another daemon";
    TOO_MANY_WORKERS: ResourceExhausted,
        "as many workers serve what a node owns as may, of one principal or of all",
        "end some; or let one process serve several shards";
    TOO_MUCH_IN_FLIGHT: ResourceExhausted,
        "requests and unread answers already hold all the memory they may",
        "try again; read answers as they come, and ask for smaller pages";
    TRANSPORT_POLICY_VERSION_NOT_FOUND: NotFound,
        "there is no such version of the transport policy, or it is not kept any more: the last 16 are",
        "omnirelay mesh config history";
    TRANSPORT_POLICY_VIOLATED: FailedPrecondition,
        "the policy breaks a rule that none may, or an endpoint of the daemon that was asked would break it",
        "change what the message names; docs/guides/transport-policy.md has the rules";
    TRANSPORT_VERSION: FailedPrecondition,
        "two nodes speak no common version at the mesh port", "bring the older one up to date";
    UNEXPECTED_ANSWER: Unknown,
        "something other than omnirelayd answers at that address", "omnirelay context current -v";
    UNKNOWN_FIELD: InvalidArgument,
        "the body has a field that the method does not know", "correct what the message names";
    UNKNOWN_PARAMETER: InvalidArgument,
        "the query has a parameter that the method does not know", "correct what the message names";
    UNSUPPORTED_MEDIA_TYPE: InvalidArgument,
        "the body is of a type the daemon does not read", "send application/json";
    UP_FAILED: Unknown,
        "the development mesh could not be started or served", "read the cause; name another folder with --data";
    UP_NOT_READY: DeadlineExceeded,
        "a mesh of omnirelay up runs in the background and is not ready yet",
        "read its log; omnirelay up status says when it is";
    UP_NOT_STOPPED: DeadlineExceeded,
        "a mesh of omnirelay up was told to end and still runs", "read its log; omnirelay up status says where";
    UP_RUNNING: AlreadyExists,
        "a mesh of omnirelay up with this name runs already", "omnirelay up status; omnirelay down, or another --name";
    USAGE: InvalidArgument,
        "a flag or an argument is wrong", "omnirelay COMMAND --help";
    VERB_UNKNOWN: Unimplemented,
        "the daemon does not serve this HTTP method at that path", "omnirelay api GET /control/openapi.json";
    VERSION_CONFLICT: Aborted,
        "the object changed since it was read", "read it again, then repeat the change";
    VERSION_GOES_BACK: FailedPrecondition,
        "a version of a register is never lowered", "leave it out, or delete the register and create it anew";
    WATCH_TIMEOUT: DeadlineExceeded,
        "a watch did not see in time what it waited for", "wait longer with --timeout";
    WORKER_OF_ANOTHER: PermissionDenied,
        "the id of a worker is of another principal, until that worker has left or was silent for ten minutes",
        "choose another id: each start of a process has one of its own";
}
