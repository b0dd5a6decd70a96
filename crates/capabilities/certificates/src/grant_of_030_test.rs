//! Grant of a join as hosts of 0.3.0 read it.

use omnirelay_wire::pb::omnirelay::store::v1::HandedRedisStore;
use prost::Message as _;

/// The part of a grant of which hosts of 0.3.0 have other types than the messages of now.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GrantOf030 {
    #[prost(string, tag = "2")]
    pub node_id: String,
    #[prost(message, optional, tag = "7")]
    pub store: Option<StoreOf030>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StoreOf030 {
    #[prost(string, tag = "1")]
    pub url: String,
    #[prost(string, tag = "2")]
    ca_pem: String,
    #[prost(string, tag = "3")]
    sentinel_username: String,
    #[prost(string, tag = "4")]
    sentinel_password: String,
    #[prost(uint32, optional, tag = "5")]
    leaders_need_replicas: Option<u32>,
    #[prost(bool, tag = "6")]
    needs_certificate: bool,
    #[prost(string, tag = "7")]
    users_not_kept: String,
}

/// Hosts of 0.3.0 read it, and those of now read what its daemons hand them.
#[test]
fn a_store_in_redis_is_handed_over_in_the_form_of_0_3_0() {
    let of_030 = StoreOf030 {
        url: "rediss://b:secret@redis-1/0".to_owned(),
        ca_pem: "CA".to_owned(),
        sentinel_username: "s".to_owned(),
        sentinel_password: "t".to_owned(),
        leaders_need_replicas: Some(0),
        needs_certificate: true,
        users_not_kept: "set aclfile".to_owned(),
    };
    let of = of_030.clone();
    let of_now = HandedRedisStore {
        url: of.url,
        ca_pem: of.ca_pem,
        sentinel_username: of.sentinel_username,
        sentinel_password: of.sentinel_password,
        leaders_need_replicas: of.leaders_need_replicas,
        needs_certificate: of.needs_certificate,
        users_not_kept: of.users_not_kept,
    };
    assert_eq!(HandedRedisStore::decode(&*of_030.encode_to_vec()).unwrap(), of_now);
    assert_eq!(StoreOf030::decode(&*of_now.encode_to_vec()).unwrap(), of_030);
}
