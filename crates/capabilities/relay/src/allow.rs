//! Check of who may call a service of the relay's port, by the identity in their certificate.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response};
use omnirelay_core::spiffe_pattern::SpiffePattern;
use omnirelay_host::live::{Live, LiveSource};
use omnirelay_identity::caller::Caller;
use omnirelay_settings::{LiveConfig, RelayAllowConfig};
use omnirelay_wire::bounded::BoundedService;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tonic::body::Body;
use tonic::server::NamedService;

/// The identities that a setting allows.
#[derive(Debug)]
pub struct AllowRule {
    /// The setting, such as `relay.allow.agents`.
    key: &'static str,
    patterns: Vec<SpiffePattern>,
}

impl AllowRule {
    /// The rule of a setting; `None` where its list is empty, and whoever has the scope may call. What is no pattern was
    /// refused with the configuration, and allows nobody.
    pub fn of(key: &'static str, patterns: &[String]) -> Option<Arc<Self>> {
        let parsed = patterns.iter().filter_map(|pattern| pattern.parse().ok());
        (!patterns.is_empty()).then(|| Arc::new(Self { key, patterns: parsed.collect() }))
    }

    /// The rule of a setting as it is by then, and what keeps it so.
    pub fn live(
        settings: &LiveConfig,
        key: &'static str,
        list: fn(&RelayAllowConfig) -> &Vec<String>,
    ) -> (Live<Option<Arc<Self>>>, impl Future<Output = ()> + Send + use<>) {
        let lists = settings.live(move |config| list(&config.relay.allow).clone());
        let source = LiveSource::new(Self::of(key, &lists.get()));
        let rule = source.live(Clone::clone);
        (rule, lists.each(move |list| source.replace(Self::of(key, &list))))
    }

    fn check(&self, caller: Option<&Caller>) -> Result<(), Fault> {
        let certificate = caller.and_then(|caller| caller.certificate.as_deref());
        if certificate.is_some_and(|shown| self.patterns.iter().any(|pattern| pattern.matches(&shown.id))) {
            return Ok(());
        }
        let principal = caller.map_or("-", |caller| &caller.principal);
        let who = match certificate {
            Some(shown) => format!("{principal} ({})", shown.id),
            None => format!("{principal}, who has shown no certificate of this cluster,"),
        };
        let message = format!("{who} is none of those whom {} lets in", self.key);
        let fault = Fault::new(reasons::IDENTITY_NOT_ALLOWED, message);
        let hint =
            format!("have a pattern of this identity added to {} of the relay's configuration", self.key);
        Err(fault.hint(hint).detail("principal", principal).detail("rule", self.key))
    }
}

/// A service that only those call whom a rule allows; without a rule, whoever is let in.
#[derive(Clone)]
pub struct AllowedCallers<S> {
    service: S,
    rule: Live<Option<Arc<AllowRule>>>,
}

impl<S> AllowedCallers<S> {
    pub fn new(service: S, rule: impl Into<Live<Option<Arc<AllowRule>>>>) -> Self {
        Self { service, rule: rule.into() }
    }
}

impl<S> tower::Service<Request<Body>> for AllowedCallers<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let rule = self.rule.get();
        let checked = rule.map_or(Ok(()), |rule| rule.check(request.extensions().get()));
        match checked {
            Ok(()) => Either::Left(self.service.call(request)),
            Err(fault) => Either::Right(ready(Ok(tonic::Status::from(fault).into_http()))),
        }
    }
}

impl<S: NamedService> NamedService for AllowedCallers<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: BoundedService> BoundedService for AllowedCallers<S> {
    fn with_message_bytes_max(self, bytes: usize) -> Self {
        Self { service: self.service.with_message_bytes_max(bytes), ..self }
    }
}

#[cfg(test)]
mod tests {
    use omnirelay_pki::certificate::{Certificate, CertificateSerial};
    use omnirelay_pki::key::Fingerprint;

    use super::*;

    fn shown(id: Option<&str>) -> Caller {
        let certificate = id.map(|id| {
            Arc::new(Certificate {
                serial: CertificateSerial::of(&[1]),
                id: id.parse().unwrap(),
                names: Default::default(),
                not_before: 0,
                not_after: 1,
                key: Fingerprint::of(b"key"),
            })
        });
        Caller { certificate, ..Caller::of_tests("service:drone-7") }
    }

    #[test]
    fn whoever_is_not_allowed_is_told_who_they_are_and_by_which_rule() {
        let list = ["spiffe://m/service/drone-*".to_owned(), "spiffe://m/operator/ann".to_owned()];
        let rule = AllowRule::of("relay.allow.agents", &list).unwrap();
        assert!(AllowRule::of("relay.allow.agents", &[]).is_none());
        for (id, allowed) in [
            (Some("spiffe://m/service/drone-7"), true),
            (Some("spiffe://m/operator/ann"), true),
            (Some("spiffe://m/service/billing"), false),
            (Some("spiffe://other/service/drone-7"), false),
            (None, false),
        ] {
            match rule.check(Some(&shown(id))) {
                Ok(()) => assert!(allowed, "{id:?}"),
                Err(fault) => {
                    assert!(!allowed && fault.reason == "IDENTITY_NOT_ALLOWED", "{id:?}: {fault:?}");
                    for words in ["service:drone-7", "relay.allow.agents", id.unwrap_or("no certificate")] {
                        assert!(fault.message.contains(words), "{words} is not in {}", fault.message);
                    }
                }
            }
        }
        assert!(rule.check(None).is_err());
    }
}
