//! The audit trail as it is read.

use std::sync::Arc;

use prost::Message;
use tonic::{Request, Response, Status};

use super::listing::{self, PageToken};
use super::{Envelope, caller, timestamp};
use crate::core::time::Millis;
use crate::daemon::audit::AUDIT;
use crate::daemon::registry::Registry;
use crate::daemon::registry::cursor::Cursor;
use crate::daemon::registry::follow::chain;
use crate::daemon::registry::mutate::request_hash;
use crate::daemon::store::{PAGE_MAX, Record, Scan};
use crate::wire::fault::{Code, Fault};
use crate::wire::pb::omnirelay::security::v1 as pb;
use crate::wire::pb::omnirelay::store::v1::AuditValue;
use pb::audit_service_server::AuditService;

const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 1000;
/// How many records one call looks at before it hands back what it has and a page token.
const EXAMINED_MAX: usize = 4 * PAGE_MAX;

/// Serves `AuditService`.
///
/// The trail is not mirrored in memory: there is much of it and little is read. So this is the
/// one read that asks the store.
pub struct Audit {
    pub registry: Arc<Registry>,
}

impl Audit {
    async fn list_page(
        &self,
        asked: pb::ListAuditRecordsRequest,
    ) -> Result<pb::ListAuditRecordsResponse, Fault> {
        let size = listing::page_size(asked.page_size, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)?;
        let query = request_hash(&pb::ListAuditRecordsRequest {
            page_size: 0,
            page_token: String::new(),
            ..asked.clone()
        });
        let token = PageToken::decode(&asked.page_token, query)?;
        self.registry.ready_for("").await?;
        let since = oldest_key(asked.since.as_ref());
        let mut after = token.map(|token| token.after.1);
        let (mut records, mut examined, mut more) = (Vec::new(), 0, true);
        while more && records.len() < size && examined < EXAMINED_MAX {
            let page = self.scan(after.clone(), size.max(256)).await?;
            more = page.more;
            for record in page.records {
                if records.len() == size {
                    more = true;
                    break;
                }
                if record.id.key < since {
                    more = false;
                    break;
                }
                examined += 1;
                after = Some(record.id.key.clone());
                records.extend(audit_record(&record).filter(|shown| matches(&asked, shown)));
            }
        }
        let head = self.registry.view().head();
        let next_page_token = match after {
            Some(after) if more => {
                PageToken::encode(query, Cursor::at(head.epoch, head.revision), (String::new(), after))
            }
            Some(_) | None => String::new(),
        };
        let envelope = Envelope::of(&self.registry);
        Ok(pb::ListAuditRecordsResponse {
            schema_version: envelope.schema_version,
            generated_at: envelope.generated_at,
            local_node_id: envelope.local_node_id,
            next_page_token,
            records,
        })
    }

    async fn scan(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<crate::daemon::store::ScanPage, Fault> {
        let scan = Scan { kind: AUDIT, after, backwards: true, limit: limit.min(PAGE_MAX) };
        self.registry.store().scan(scan).await.map_err(|error| {
            tracing::warn!(error = %chain(&error), "audit trail could not be read");
            Fault::new(
                Code::Unavailable,
                "STORE_UNAVAILABLE",
                "cannot read the audit trail: the store does not answer",
            )
            .hint("try again; `omnirelay mesh check` shows the state of the store")
        })
    }
}

/// The smallest key a record of this time or later can have.
fn oldest_key(since: Option<&crate::wire::timestamp::Timestamp>) -> String {
    let Some(since) = since else { return String::new() };
    let ms = since.seconds.saturating_mul(1000).saturating_add(i64::from(since.nanos / 1_000_000));
    format!("{:013x}", u64::try_from(ms).unwrap_or(0))
}

fn audit_record(record: &Record) -> Option<pb::AuditRecord> {
    let value = AuditValue::decode(record.value.clone()).ok()?;
    Some(pb::AuditRecord {
        record_id: record.id.key.clone(),
        revision: record.revision.0,
        time: Some(timestamp(Millis(record.created_at.0))),
        actor: value.actor,
        action: value.action,
        object: value.object,
        reason: value.reason,
        node_id: value.node_id,
        request_id: value.request_id,
        dry_run: value.dry_run,
        changes: value.changes,
    })
}

fn matches(asked: &pb::ListAuditRecordsRequest, record: &pb::AuditRecord) -> bool {
    let action = match asked.action.strip_suffix('*') {
        Some(prefix) => record.action.starts_with(prefix),
        None => asked.action.is_empty() || asked.action == record.action,
    };
    action
        && (asked.actor.is_empty() || asked.actor == record.actor)
        && (asked.object.is_empty() || asked.object == record.object)
}

#[tonic::async_trait]
impl AuditService for Audit {
    async fn list(
        &self,
        request: Request<pb::ListAuditRecordsRequest>,
    ) -> Result<Response<pb::ListAuditRecordsResponse>, Status> {
        caller(&request)?;
        Ok(Response::new(self.list_page(request.into_inner()).await?))
    }
}
