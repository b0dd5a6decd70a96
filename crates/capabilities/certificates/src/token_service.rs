//! Tokens of callers: who somebody is here, and how they are given a token and put it out.

use std::sync::Arc;

use omnirelay_certificate_records::record_of;
use omnirelay_core::spiffe::{CertificateHolder, SpiffeId};
use omnirelay_core::text::shown;
use omnirelay_core::time::{Millis, rfc3339};
use omnirelay_identity::bearer::mesh::TokenGrant;
use omnirelay_identity::caller::{Caller, CallerProof, Scope};
use omnirelay_identity::trust::unix_now;
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::serve;
use omnirelay_nouns::{SCHEMA_VERSION, envelope};
use omnirelay_pki::certificate::{Certificate, CertificateSerial};
use omnirelay_pki::jwt::claims::LEEWAY;
use omnirelay_pki::revocation::RevokedSubject;
use omnirelay_registry::act::{DecisionReader, put};
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{CertificateValue, HeldTokenValue};
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::token_service::{ISSUE_TOKEN, REVOKE_TOKEN};
use tonic::Response;

use super::authority::at;
use super::gate::RateKey;
use super::holder::id_of;
use super::issue::{barred, check_shown};
use super::revoke::{GRACE, of_list};
use super::{Certificates, authority_in, held_in, pb, trust_domain};
use pb::token_service_server::TokenService;

/// How long a token holds whose request says nothing of it, in seconds.
const LIFETIME: u32 = 8 * 3600;
const LIFETIME_MIN: u32 = 300;
const LIFETIME_MAX: u32 = 24 * 3600;
/// How many tokens of one holder are remembered.
const REMEMBERED: usize = 16;
const NUMBER_BYTES: usize = 16;
/// How much of a word that is no scope an error shows, in characters.
const WORD_CHARS_SHOWN: usize = 40;

/// The same as [`Certificates`], as the service of tokens.
pub struct TokenCalls(pub Arc<Certificates>);

serve! {
    TokenService for TokenCalls {
        who_am_i(WhoAmIRequest) -> WhoAmIResponse: |of, caller, _| of.0.who_is(caller);
        issue_token(IssueTokenRequest) -> IssuedToken: |of, caller, asked| of.0.issue_token(caller, asked);
        revoke_token(RevokeTokenRequest) -> TokenRevocation: |of, caller, asked| of.0.revoke_bearer(caller, asked);
    }
}

/// Token that is requested: for whom it is, and by what it was asked for.
struct RequestedToken {
    holder: CertificateHolder,
    shown: Option<Certificate>,
    number: CertificateSerial,
    lifetime: u32,
    scopes: Vec<String>,
}

impl Certificates {
    async fn who_is(&self, caller: &Caller) -> Result<Response<pb::WhoAmIResponse>, Fault> {
        if let CallerProof::Refused(why) = &caller.proof {
            return Err((**why).clone());
        }
        let bearer = caller.proof.bearer();
        let ends = match (&caller.proof, &caller.certificate) {
            (
                CallerProof::Certificate | CallerProof::CertificateOfHost | CallerProof::Federated(_),
                Some(certificate),
            ) => Some(certificate.not_after),
            (CallerProof::Sibling(proof), _) => Some(proof.not_after),
            _ => bearer.map(|bearer| bearer.until - LEEWAY),
        };
        let told = pb::WhoAmIResponse {
            principal: caller.principal.to_string(),
            scopes: words(caller.scopes.iter()),
            own_node_scopes: words(caller.own_node.iter().filter(|scope| !caller.scopes.contains(*scope))),
            proof: caller.proof.word().to_owned(),
            token_id: bearer
                .and_then(|bearer| Some(bearer.issued.as_ref()?.number.to_string()))
                .unwrap_or_default(),
            expires_at: ends.map(at),
            sibling_cluster: caller.proof.sibling().unwrap_or_default().to_owned(),
            federated_cluster: caller.proof.federated().unwrap_or_default().to_owned(),
            roles: bearer.map(|bearer| bearer.roles.iter().map(str::to_owned).collect()).unwrap_or_default(),
            ..Default::default()
        };
        Ok(Response::new(told.within(envelope(&self.registry))))
    }

    /// Remembers that a holder was given a token, and signs it once that is committed: what the store keeps of the answer
    /// has no token in it.
    async fn issue_token(
        &self,
        caller: &Caller,
        asked: pb::IssueTokenRequest,
    ) -> Result<pb::IssuedToken, Fault> {
        let hash = request_hash(&asked);
        let wanted = wanted(caller, &asked)?;
        let record = record_of(&wanted.holder);
        let (id, reason, dry_run) = (record.key.clone(), asked.reason, asked.dry_run);
        let holder = id.clone();
        let asked =
            MutationRequest { caller, rpc: ISSUE_TOKEN, id, reason, expected_version: None, dry_run, hash };
        let decided = asked.of_records(&self.registry, record, &[], |reader| self.decided(reader, &wanted));
        let rate_key = wanted.shown.as_ref().map_or(RateKey::Holder, |shown| RateKey::Key(&shown.key));
        let mut answer = self.issuing.pass(&holder, rate_key, decided).await?;
        if !dry_run {
            answer.token = self.signed(&wanted, &answer)?;
        }
        Ok(answer)
    }

    fn decided(
        &self,
        reader: &DecisionReader<'_>,
        wanted: &RequestedToken,
    ) -> Result<MutationDecision<pb::IssuedToken>, Fault> {
        let (authority, now) = (authority_in(reader)?, unix_now());
        // Before anything is promised: this node must be able to sign it.
        self.signer.token_key(&authority)?;
        let record = record_of(&wanted.holder);
        let id = id_of(&trust_domain(&authority)?, wanted.holder.clone())?;
        let (held, revoked) = (held_in(reader, &record), self.signer.revoked(|id| reader.get(id)));
        let is_out = revoked.about(&RevokedSubject::Holder(id.clone())).is_some();
        if is_out || held.as_ref().is_some_and(|held| held.barred) {
            return Err(barred(&id));
        }
        if let Some(shown) = &wanted.shown {
            check_shown(shown, &revoked, now)?;
        }
        let mut value = held.map(|held| (*held).clone()).unwrap_or_default();
        let expires_at = now + i64::from(wanted.lifetime);
        let token = HeldTokenValue {
            number: wanted.number.as_bytes().to_vec(),
            issued_at: now,
            expires_at,
            scopes: wanted.scopes.clone(),
            unknown_fields: Default::default(),
        };
        value.tokens.retain(|known| known.expires_at >= now);
        value.tokens.insert(0, token);
        value.tokens.truncate(REMEMBERED);
        let number = wanted.number.to_string();
        let scopes =
            if wanted.scopes.is_empty() { "all of its holder".to_owned() } else { wanted.scopes.join(", ") };
        let changes = vec![
            format!("token: none -> {number}"),
            format!("id: {id}"),
            format!("until: {}", rfc3339(Millis::of_unix(expires_at))),
            format!("scopes: {scopes}"),
        ];
        let writes = vec![put(record, &value)];
        let answer = pb::IssuedToken {
            schema_version: SCHEMA_VERSION.to_owned(),
            token_id: number,
            principal: format!("{}:{}", wanted.holder.kind(), wanted.holder.name()),
            scopes: wanted.scopes.clone(),
            issued_at: Some(at(now)),
            expires_at: Some(at(expires_at)),
            ..Default::default()
        };
        Ok(MutationDecision { writes, changes, answer })
    }

    /// The token that an answer speaks of; the same when the answer is given again.
    fn signed(&self, wanted: &RequestedToken, answer: &pb::IssuedToken) -> Result<String, Fault> {
        let authority = omnirelay_certificate_records::current_authority(self.registry.view())
            .ok_or_else(super::no_authority)?;
        let id: SpiffeId = id_of(&trust_domain(&authority)?, wanted.holder.clone())?;
        let number = answer.token_id.parse().map_err(|_| super::unreadable())?;
        let second = |time: &Option<omnirelay_wire::timestamp::Timestamp>| {
            time.as_ref().map_or(0, |time| time.seconds)
        };
        let grant = TokenGrant {
            id: &id,
            number: &number,
            shown: wanted.shown.as_ref(),
            scopes: &answer.scopes,
            issued_at: second(&answer.issued_at),
            expires_at: second(&answer.expires_at),
            cluster: &self.cluster,
        };
        Ok(self.signer.token_key(&authority)?.sign(&grant.claims()).to_string())
    }

    /// Puts a token out: its own for whoever sends it, any of its own for a holder, and any for an administrator.
    async fn revoke_bearer(
        &self,
        caller: &Caller,
        asked: pb::RevokeTokenRequest,
    ) -> Result<pb::TokenRevocation, Fault> {
        let hash = request_hash(&asked);
        // Its number is what the other cluster wrote, and might be that of a certificate of ours.
        if let Some(cluster) = caller.proof.sibling() {
            let message = format!("what cluster {cluster} has issued is put out there, and not here");
            return Err(Fault::new(reasons::TOKEN_NOT_OWN, message)
                .hint("call a daemon of that cluster: it holds here within seconds"));
        }
        let own = caller.proof.bearer().and_then(|bearer| bearer.issued.as_ref());
        let number: CertificateSerial = match (asked.token_id.as_str(), own) {
            ("", Some(own)) => own.number.clone(),
            ("", None) => {
                return Err(Fault::invalid(
                    "field `tokenId` is empty, and no token of the mesh proves the caller",
                ));
            }
            (given, _) => {
                given.parse().map_err(|error| Fault::invalid(format!("field `tokenId`: {error}")))?
            }
        };
        let is_sent = own.is_some_and(|own| own.number == number);
        let token_id = number.to_string();
        if !is_sent && !caller.scopes.contains(Scope::MeshRead) {
            let message = format!(
                "{} may put out the token that it sends, and no other without mesh.read",
                caller.principal
            );
            return Err(Fault::new(reasons::MISSING_SCOPE, message)
                .hint("show the certificate of its holder, or send that token itself"));
        }
        let of_list = of_list(caller, REVOKE_TOKEN, &asked.reason, asked.dry_run, hash);
        let changed = self.change(of_list, |reader, list, now| {
            let ends = held_token(reader, caller, &number).map(|held| held.expires_at);
            if ends.is_none() && !is_sent && !caller.scopes.contains(Scope::MeshAdmin) {
                return Err(not_own(&token_id));
            }
            let until = ends.unwrap_or(now + i64::from(LIFETIME_MAX)) + GRACE;
            list.revoke(RevokedSubject::Serial(number.clone()), now, until, &asked.reason);
            Ok(Vec::new())
        });
        let pb::RevocationChange { schema_version, cursor, changed, dry_run, number, changes } =
            changed.await?;
        Ok(pb::TokenRevocation { schema_version, cursor, changed, dry_run, token_id, number, changes })
    }
}

/// The token of the caller with this number.
fn held_token(
    reader: &DecisionReader<'_>,
    caller: &Caller,
    number: &CertificateSerial,
) -> Option<HeldTokenValue> {
    let holder = match caller.principal.split_once(':')? {
        ("operator", name) => CertificateHolder::Operator(name.to_owned()),
        ("service", name) => CertificateHolder::Service(name.to_owned()),
        _ => return None,
    };
    let held: Arc<CertificateValue> = held_in(reader, &record_of(&holder))?;
    held.tokens.iter().find(|token| CertificateSerial::of(&token.number) == *number).cloned()
}

/// What is asked for, as far as it can be judged without the registry.
fn wanted(caller: &Caller, asked: &pb::IssueTokenRequest) -> Result<RequestedToken, Fault> {
    let (holder, shown) = asked_by(caller, &asked.operator)?;
    holder.check().map_err(|error| Fault::invalid(format!("field `operator`: {error}")))?;
    let lifetime = match asked.lifetime_seconds {
        0 => LIFETIME,
        seconds @ LIFETIME_MIN..=LIFETIME_MAX => seconds,
        seconds => {
            return Err(Fault::invalid(format!(
                "field `lifetimeSeconds` is {seconds}: {LIFETIME_MIN} to {LIFETIME_MAX} are allowed"
            )));
        }
    };
    let unknown = |word: &&String| Scope::from_word(word).is_none();
    if let Some(word) = asked.scopes.iter().find(unknown) {
        let all = Scope::ALL.map(Scope::word).join(", ");
        let word = shown_word(word);
        return Err(Fault::invalid(format!("field `scopes`: there is no scope `{word}`; choose from {all}")));
    }
    let scopes: Vec<Scope> =
        Scope::ALL.into_iter().filter(|scope| asked.scopes.iter().any(|one| one == scope.word())).collect();
    let is_own = format!("{}:{}", holder.kind(), holder.name()) == *caller.principal;
    check_held(caller, is_own, &scopes)?;
    let scopes = words(scopes.into_iter());
    let mut number = [0; NUMBER_BYTES];
    getrandom::fill(&mut number).map_err(|error| {
        tracing::error!(%error, "no number for a token");
        Fault::new(reasons::INTERNAL, "the token could not be made")
    })?;
    // Not zero, so that it is as long as it was drawn.
    number[0] |= 0x80;
    Ok(RequestedToken { holder, shown, number: CertificateSerial::of(&number), lifetime, scopes })
}

/// That a token is to have scopes which its holder has: any other would be one that nobody can use.
fn check_held(caller: &Caller, is_own: bool, wanted: &[Scope]) -> Result<(), Fault> {
    // What somebody else may do is judged with each call of theirs.
    let missing = wanted.iter().find(|scope| is_own && !caller.scopes.contains(**scope));
    missing.map_or(Ok(()), |scope| {
        let (scope, principal) = (scope.word(), &caller.principal);
        let message =
            format!("field `scopes`: {principal} has {} and not {scope}, and no token gives more", caller.scopes);
        Err(Fault::new(reasons::MISSING_SCOPE, message).hint(
            "ask for what omnirelay whoami says that you have, or have an administrator give you more: omnirelay bindings set",
        ))
    })
}

fn words(scopes: impl Iterator<Item = Scope>) -> Vec<String> {
    scopes.map(|scope| scope.word().to_owned()).collect()
}

fn shown_word(word: &str) -> String {
    shown(word, WORD_CHARS_SHOWN).to_string()
}

/// For whom a token may be asked for by this caller. A token gives no other one: it would outlive itself.
fn asked_by(caller: &Caller, operator: &str) -> Result<(CertificateHolder, Option<Certificate>), Fault> {
    match (&caller.proof, &caller.certificate, operator) {
        (CallerProof::Certificate | CallerProof::CertificateOfHost, Some(certificate), "") => {
            match certificate.id.holder() {
                CertificateHolder::Node { .. } => {
                    Err(needs_certificate("a node has no token: it shows its certificate"))
                }
                holder => Ok((holder.clone(), Some((**certificate).clone()))),
            }
        }
        (CallerProof::Certificate | CallerProof::CertificateOfHost, Some(certificate), named) => {
            match certificate.id.holder() {
                CertificateHolder::Operator(own) if own == named => {
                    Ok((CertificateHolder::Operator(own.clone()), Some((**certificate).clone())))
                }
                _ => {
                    Err(Fault::invalid("field `operator` names another than the certificate that was shown"))
                }
            }
        }
        (CallerProof::Socket, _, "") => {
            Err(Fault::invalid("field `operator` is empty: the socket says nobody's name in the mesh"))
        }
        (CallerProof::Socket, _, named) if caller.scopes.contains(Scope::MeshAdmin) => {
            Ok((CertificateHolder::Operator(named.to_owned()), None))
        }
        (CallerProof::Socket, ..) => Err(needs_certificate(
            "this host is no issuer, and whoever is on it names no operator: show a certificate, or call an issuer on its own host",
        )),
        (CallerProof::Sibling(proof), ..) => Err(Fault::new(
            reasons::TOKEN_NEEDS_A_CERTIFICATE,
            format!(
                "a token is given by the cluster that vouches for its holder, and that is {}",
                proof.cluster
            ),
        )
        .hint("log in at a daemon of that cluster: its token is taken here as well")),
        _ => Err(needs_certificate("a token is given to whoever shows a certificate, and to nobody else")),
    }
}

fn needs_certificate(message: &str) -> Fault {
    Fault::new(reasons::TOKEN_NEEDS_A_CERTIFICATE, message).hint(
        "show the certificate of an operator or a service (--tls-cert FILE --tls-key FILE), or name an operator through \
         the control socket (omnirelay --addr unix:PATH login --operator NAME)",
    )
}

fn not_own(token: &str) -> Fault {
    Fault::new(reasons::TOKEN_NOT_OWN, format!("token `{token}` is not one that the caller was given"))
        .hint(format!("an administrator can: omnirelay cert revoke --serial {token}"))
}
