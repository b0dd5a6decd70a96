//! Join tokens: how they are made known, listed and taken away.

use omnirelay_certificate_records::JOIN_TOKEN;
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_core::time::{Millis, rfc3339};
use omnirelay_identity::caller::Caller;
use omnirelay_identity::trust::unix_now;
use omnirelay_nouns::listing::{self, AskedPage};
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::{SCHEMA_VERSION, at_cursor, envelope, timestamp};
use omnirelay_pki::join_token::{TokenId, TokenVerifier};
use omnirelay_pki::request::is_dns_name;
use omnirelay_registry::act::put;
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::{RecordId, Write};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::JoinTokenValue;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::enrollment_service::{CREATE_TOKEN, REVOKE_TOKEN};
use prost::Message as _;
use tonic::Response;

use super::authority::at;
use super::{Certificates, pb};
use pb::join_token::Status;

const MINUTE: u32 = 60;
const LIFETIME: u32 = 3600;
const LIFETIME_MAX: u32 = 7 * 24 * 3600;
const USES_MAX: u32 = 1000;
const NAMES_MAX: usize = 32;
/// How many tokens there may be that have not ended.
const TOKENS_MAX: usize = 10_000;
/// How long a token is remembered after its end, in seconds.
const REMEMBERED: i64 = 24 * 3600;
/// How long after its end a token is taken for ended by whoever sees it deleted, in seconds: sooner than it is forgotten, as
/// clocks differ.
const ENDED: i64 = 12 * 3600;
/// How many that are forgotten go with one that is made.
const FORGOTTEN_MAX: usize = 100;

/// Status of a token at a time.
pub(crate) fn status(token: &JoinTokenValue, epoch: u64, now: i64) -> Status {
    match token {
        token if token.revoked => Status::Revoked,
        token if token.epoch != epoch => Status::Stale,
        token if token.not_after < now => Status::Expired,
        token if token.uses.len() >= token.uses_max as usize => Status::Used,
        _ => Status::Valid,
    }
}

/// Whether a token ended so long ago that it is forgotten: it lets nobody in, whoever puts it back.
pub(crate) fn has_ended(value: &[u8], now: i64) -> bool {
    JoinTokenValue::decode(value).is_ok_and(|token| token.not_after.saturating_add(ENDED) < now)
}

pub(crate) fn token_id(id: TokenId) -> RecordId {
    RecordId::new(JOIN_TOKEN, id.to_string())
}

impl Certificates {
    pub(super) async fn tokens(
        &self,
        asked: pb::ListJoinTokensRequest,
    ) -> Result<Response<pb::ListJoinTokensResponse>, Fault> {
        let filters = pb::ListJoinTokensRequest { all: asked.all, ..Default::default() };
        let page = AskedPage::of(asked.page_size, &asked.page_token, request_hash(&filters))?;
        self.registry.ready_for(&asked.min_revision).await?;
        let read = listing::read(&self.registry, &JOIN_TOKEN, &page.token.as_ref().into()).await?;
        let is_meant = |token: &pb::JoinToken| asked.all || token.status == Status::Valid as i32;
        let (tokens, next_page_token) =
            page.cut(read.cursor, read.records.iter(), |record| [Some(self.shown(record)).filter(is_meant)]);
        let cursor = read.cursor.to_string();
        let listed = pb::ListJoinTokensResponse {
            cursor: cursor.clone(),
            tokens,
            next_page_token,
            ..Default::default()
        };
        Ok(at_cursor(listed.within(envelope(&self.registry)), &cursor))
    }

    /// Repeating it changes nothing.
    pub(super) async fn create_token(
        &self,
        caller: &Caller,
        asked: pb::CreateJoinTokenRequest,
    ) -> Result<pb::JoinTokenChange, Fault> {
        let hash = request_hash(&asked);
        let record = token_id(parsed(&asked.token_id)?);
        let (mut value, lifetime) = (checked(&asked, &self.cluster)?, lifetime(asked.lifetime_seconds)?);
        value.created_by = caller.principal.to_string();
        let pb::CreateJoinTokenRequest { token_id: id, reason, dry_run, .. } = asked;
        let cluster = value.cluster.clone();
        let asked =
            MutationRequest { caller, rpc: CREATE_TOKEN, id, reason, expected_version: None, dry_run, hash };
        let mut made = asked
            .of_records(&self.registry, record.clone(), &[], |reader| {
                super::authority_in(reader)?;
                if let Some(found) = reader.get(&record) {
                    return Err(exists(&found));
                }
                let now = unix_now();
                let mut value = value.clone();
                (value.epoch, value.not_after) = (reader.epoch().0, now + i64::from(lifetime));
                let (mut writes, changes) = (self.forgotten(now)?, told(&value));
                writes.push(put(record.clone(), &value));
                let shown = pb::JoinToken {
                    last_writer_id: self.registry.node_id().to_owned(),
                    ..show(&record.key, &value, Status::Valid)
                };
                Ok(MutationDecision { writes, changes, answer: answer(shown) })
            })
            .await?;
        if cluster == self.cluster {
            made.warnings = self.store.warnings(self.registry.store()).await;
        }
        Ok(made)
    }

    pub(super) async fn revoke_token(
        &self,
        caller: &Caller,
        asked: pb::RevokeJoinTokenRequest,
    ) -> Result<pb::JoinTokenChange, Fault> {
        let hash = request_hash(&asked);
        let record = token_id(parsed(&asked.token_id)?);
        let pb::RevokeJoinTokenRequest { token_id: id, reason, dry_run } = asked;
        let asked =
            MutationRequest { caller, rpc: REVOKE_TOKEN, id, reason, expected_version: None, dry_run, hash };
        asked
            .of_record(&self.registry, record.clone(), |found| {
                let known = found.and_then(|found| Some((found, found.value::<JoinTokenValue>()?)));
                let (found, value) = known.ok_or_else(|| not_found(&record.key))?;
                let mut shown = pb::JoinToken { status: Status::Revoked as i32, ..self.shown(found) };
                let (mut writes, mut changes) = (Vec::new(), Vec::new());
                if !value.revoked {
                    let value = JoinTokenValue { revoked: true, ..(*value).clone() };
                    writes.push(put(record.clone(), &value));
                    changes.push("revoked: false -> true".to_owned());
                    shown.version += 1;
                    self.registry.node_id().clone_into(&mut shown.last_writer_id);
                }
                Ok(MutationDecision { writes, changes, answer: answer(shown) })
            })
            .await
    }

    /// The writes by which tokens that ended long ago are forgotten.
    fn forgotten(&self, now: i64) -> Result<Vec<Write>, Fault> {
        let records = self.registry.view().list(&JOIN_TOKEN).records;
        let is_over = |record: &&std::sync::Arc<ViewRecord>| {
            record
                .value::<JoinTokenValue>()
                .is_none_or(|token| token.not_after.saturating_add(REMEMBERED) < now)
        };
        let over = records.iter().filter(is_over).take(FORGOTTEN_MAX);
        let writes: Vec<Write> = over.map(|record| Write::Delete { id: record.record.id.clone() }).collect();
        if writes.is_empty() && records.len() >= TOKENS_MAX {
            let message = format!("there are {TOKENS_MAX} join tokens already, and no more may be");
            return Err(Fault::new(reasons::TOO_MANY_TOKENS, message)
                .hint("they are forgotten a day after their end; make one for several nodes (--uses)"));
        }
        Ok(writes)
    }

    fn shown(&self, record: &ViewRecord) -> pb::JoinToken {
        let value = record.value::<JoinTokenValue>().unwrap_or_default();
        let status = status(&value, self.registry.view().head().epoch.0, unix_now());
        pb::JoinToken {
            version: record.record.version.0,
            last_writer_id: record.record.writer.to_string(),
            created_at: Some(timestamp(record.record.created_at)),
            ..show(&record.record.id.key, &value, status)
        }
    }
}

fn show(id: &str, value: &JoinTokenValue, status: Status) -> pb::JoinToken {
    pb::JoinToken {
        token_id: id.to_owned(),
        status: status as i32,
        cluster: value.cluster.clone(),
        role: value.role.clone(),
        expires_at: Some(at(value.not_after)),
        uses_max: value.uses_max,
        used_by: value.uses.iter().map(|used| used.node_id.clone()).collect(),
        nodes: value.nodes.clone(),
        names: value.names.clone(),
        replace: value.replace,
        created_by: value.created_by.clone(),
        ..Default::default()
    }
}

fn answer(token: pb::JoinToken) -> pb::JoinTokenChange {
    pb::JoinTokenChange {
        schema_version: SCHEMA_VERSION.to_owned(),
        token: Some(token),
        ..Default::default()
    }
}

/// What the audit trail says of a token that is made.
fn told(value: &JoinTokenValue) -> Vec<String> {
    let until = rfc3339(Millis::of_unix(value.not_after));
    let mut lines = vec![
        format!("lets in: {} of {}, {} times", value.role, value.cluster, value.uses_max),
        format!("until: {until}"),
    ];
    if !value.nodes.is_empty() {
        lines.push(format!("nodes: {}", value.nodes.join(", ")));
    }
    if !value.names.is_empty() {
        lines.push(format!("names: {}", value.names.join(", ")));
    }
    if value.replace {
        lines.push("may replace nodes that live".to_owned());
    }
    lines
}

fn checked(asked: &pb::CreateJoinTokenRequest, own: &str) -> Result<JoinTokenValue, Fault> {
    if TokenVerifier::from_bytes(&asked.verifier).is_none() {
        return Err(Fault::invalid("field `verifier` is no public key (Ed25519) of 32 bytes"));
    }
    let or = |given: &str, default: &str| if given.is_empty() { default } else { given }.to_owned();
    let (cluster, role) = (or(&asked.cluster, own), or(&asked.role, "worker"));
    let of_node = |node: &str| {
        let holder =
            CertificateHolder::Node { cluster: cluster.clone(), role: role.clone(), node: node.to_owned() };
        holder.check().map_err(|error| Fault::invalid(format!("whom it lets in: {error}")))
    };
    of_node("node")?;
    asked.nodes.iter().try_for_each(|node| of_node(node))?;
    let uses_max = if asked.uses_max == 0 { 1 } else { asked.uses_max };
    if uses_max > USES_MAX {
        return Err(Fault::invalid(format!("field `usesMax` is {uses_max}: 1 to {USES_MAX} are allowed")));
    }
    if asked.replace && asked.nodes.is_empty() {
        return Err(Fault::invalid(
            "field `replace` goes with `nodes`: a token that replaces a host that lives says which node",
        ));
    }
    if asked.nodes.len() > USES_MAX as usize {
        return Err(Fault::invalid(format!("field `nodes` names more than {USES_MAX}")));
    }
    if asked.names.len() > NAMES_MAX {
        return Err(Fault::invalid(format!("field `names` has more than {NAMES_MAX}")));
    }
    let is_name = |name: &&String| {
        name.parse::<std::net::IpAddr>().is_ok() || is_dns_name(name.strip_prefix("*.").unwrap_or(name))
    };
    if let Some(name) = asked.names.iter().find(|name| !is_name(name)) {
        let name = omnirelay_core::text::shown(name, 64);
        return Err(Fault::invalid(format!("field `names`: `{name}` is neither an address nor a DNS name")));
    }
    Ok(JoinTokenValue {
        verifier: asked.verifier.clone(),
        cluster,
        role,
        uses_max,
        nodes: asked.nodes.clone(),
        names: asked.names.clone(),
        replace: asked.replace,
        ..JoinTokenValue::default()
    })
}

fn lifetime(seconds: u32) -> Result<u32, Fault> {
    match seconds {
        0 => Ok(LIFETIME),
        MINUTE..=LIFETIME_MAX => Ok(seconds),
        _ => Err(Fault::invalid(format!(
            "field `lifetimeSeconds` is {seconds}: {MINUTE} to {LIFETIME_MAX} are allowed"
        ))),
    }
}

fn parsed(id: &str) -> Result<TokenId, Fault> {
    id.parse().map_err(|_| Fault::invalid("field `tokenId` is no id of a token: 16 hex digits"))
}

fn exists(found: &ViewRecord) -> Fault {
    Fault::new(reasons::TOKEN_EXISTS, format!("there is a join token `{}`", found.record.id.key))
        .hint("make another: omnirelay token create")
}

fn not_found(id: &str) -> Fault {
    Fault::new(reasons::JOIN_TOKEN_NOT_FOUND, format!("there is no join token `{id}`"))
        .hint("omnirelay token list --all")
}
