//! The secret of the issuers, taken by a node that has none.

use omnirelay_core::spiffe::SpiffeId;
use omnirelay_identity::node_identity::NodeIdentity;
use omnirelay_pki::authority::ValidityPeriod;
use omnirelay_pki::certificate::TlsNames;
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_store::{ManualClock, MemoryStore};
use prost::Message as _;

use super::super::tests::{Node, authority, initialised, keeper, node, remember, until};
use super::*;

/// A node that has joined and cannot issue, beside one that can.
struct Lab {
    issuer: Node,
    taker: IssuerSecretReceiver,
    _places: [tempfile::TempDir; 2],
}

impl Lab {
    async fn new() -> Self {
        let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let store = Arc::new(MemoryStore::new(ManualClock::at(omnirelay_core::time::Millis(1_000_000))));
        let issuer = node("a", store.clone(), places[0].path()).await;
        initialised(&issuer).await;
        let keeper = keeper("b", store, places[1].path()).await;
        keeper.look().await;
        let key = PrivateKey::make().unwrap();
        let request =
            CertificateRequest::read(&CertificateRequest::make(&key, None, &TlsNames::default()).unwrap())
                .unwrap();
        let id = SpiffeId::new("mesh.local".parse().unwrap(), keeper.node.get()).unwrap();
        let now = unix_now();
        let validity = ValidityPeriod { not_before: now - 60, not_after: now + 3600 };
        let by = issuer.served.signer.issuer(&authority(&issuer)).unwrap();
        let issued = by.issue(&request, &id, &TlsNames::default(), validity).unwrap();
        let chain = vec![issued.der, by.certificate().clone()];
        let own = NodeIdentity::of(&key, chain).unwrap();
        keeper.trust.update(|trusted| trusted.own = Some(Arc::new(own)));
        let taker = IssuerSecretReceiver { keeper: Arc::new(keeper), keys: Mutex::default() };
        Self { issuer, taker, _places: places }
    }

    /// Enters that the node is to have it.
    async fn name(&self) {
        let value = given(&authority(&self.issuer), "b", unix_now());
        remember(&self.issuer.served.registry, authority_id(), value.encode_to_vec()).await;
        let view = self.taker.keeper.registry.view();
        until("it is seen", || {
            let authority = view.get(&authority_id()).and_then(|record| record.value::<AuthorityValue>());
            authority.is_some_and(|authority| !authority.secret_given_to.is_empty())
        })
        .await;
    }

    /// What the node says of this secret, sealed as it has asked for; or of what was sealed for somebody else.
    async fn take(&self, secret: &[u8], for_it: bool) -> Result<(), String> {
        let begun = self.taker.begin("node:a").map_err(|fault| fault.message)?;
        let other = RecipientKey::make().unwrap().public();
        let public_key = if for_it { &begun.public_key[..] } else { &other };
        let sealed = seal_for(public_key, &sealed_as("default", "b"), secret).unwrap();
        self.take_sealed(sealed).await
    }

    async fn take_sealed(&self, sealed: Vec<u8>) -> Result<(), String> {
        let asked = pb::TakeIssuerSecretRequest { sealed, min_revision: String::new() };
        let taken = self.taker.take(&Caller::of_tests("node:a"), asked).await;
        taken.map(|_| ()).map_err(|fault| fault.message)
    }
}

#[tokio::test]
async fn a_node_takes_the_secret_that_it_is_to_have_and_no_other() {
    let lab = Lab::new().await;
    let secret = lab.issuer.served.signer.secret().unwrap();
    let refused = lab.take(&secret, true).await.unwrap_err();
    assert_eq!(refused, "no administrator has said that it is to have it");
    lab.name().await;
    let cases: [(&[u8], bool, &str); 3] = [
        (&secret, false, "what was sent was sealed for another key"),
        (&[7; 64], true, "what was sent does not open the key of the issuer"),
        (b"", true, "what was sent does not open the key of the issuer"),
    ];
    for (secret, for_it, why) in cases {
        assert_eq!(lab.take(secret, for_it).await.unwrap_err(), why);
        assert!(!lab.taker.keeper.files.issuer_secret().exists(), "{why}");
    }
    // A key opens one secret.
    let refused = lab.take_sealed(vec![0; 64]).await.unwrap_err();
    assert_eq!(refused, "it was not asked what to seal it for, or again since");
    lab.take(&secret, true).await.unwrap();
    assert!(lab.taker.keeper.signer.can_issue(&authority(&lab.issuer)));
    // Both are said again where the answer was lost.
    assert_eq!(lab.taker.begin("node:a").unwrap(), pb::IssuerSecretRecipient::default());
    lab.take_sealed(Vec::new()).await.unwrap();
}

#[tokio::test]
async fn another_secret_is_not_written_over() {
    let lab = Lab::new().await;
    lab.name().await;
    lab.taker.keeper.files.keep_secret(&[b'x'; 64]).unwrap();
    let refused = lab.taker.begin("node:a").unwrap_err().message;
    assert!(
        refused.starts_with("it has another one in ") && refused.contains("; on its host: mv "),
        "{refused}"
    );
    assert!(lab.taker.keeper.files.keep_secret(&[b'y'; 64]).is_err());
    assert_eq!(lab.taker.keeper.files.secret().unwrap().unwrap().as_slice(), [b'x'; 64]);
}

/// What the node shows is of its key, of it, and signed for this.
#[tokio::test]
async fn what_a_node_shows_proves_who_it_is() {
    let lab = Lab::new().await;
    let shown = lab.taker.begin("node:a").unwrap();
    let trusted = &lab.issuer.served;
    assert_eq!(trusted.proven_recipient("b", shown.clone()).unwrap(), Some(shown.public_key.clone()));
    let refused = |node: &str, change: &dyn Fn(&mut pb::IssuerSecretRecipient)| {
        let mut shown = shown.clone();
        change(&mut shown);
        trusted.proven_recipient(node, shown).unwrap_err().message
    };
    let who = "who answered there does not prove to be that node";
    assert!(refused("c", &|_| ()).contains(who));
    assert!(refused("b", &|shown| shown.public_key[0] ^= 1).contains(who));
    assert!(refused("b", &|shown| shown.signature[9] ^= 1).contains(who));
    assert!(refused("b", &|shown| shown.chain.clear()).contains("does not count"));
    assert!(refused("b", &|shown| shown.chain = vec![vec![0]; CHAIN_MAX + 1]).contains("too long"));
}
