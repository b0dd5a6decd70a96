//! What a client can find out by itself: reflection, health, unknown methods.

use futures_util::StreamExt as _;
use omnirelay_fixture::fixture::v1::fixture_service_server::FixtureServiceServer;
use omnirelay_fixture::fixture::v1::{EchoRequest, EchoResponse};
use omnirelay_surface::{OMNIRELAY, Surface};
use tonic::Code;
use tonic::client::Grpc;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use crate::fixture::{Operations, Served};

const SERVICES: [&str; 4] = [
    "fixture.v1.FixtureService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

#[tokio::test]
async fn reflection_lists_what_is_served_and_describes_it() {
    use v1::server_reflection_client::ServerReflectionClient;
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;

    let served = Served::start().await;
    let mut client = ServerReflectionClient::new(served.channel().await);
    let requests = [
        MessageRequest::ListServices(String::new()),
        MessageRequest::FileContainingSymbol("fixture.v1.FixtureService".to_owned()),
        MessageRequest::FileContainingSymbol("google.protobuf.Timestamp".to_owned()),
        MessageRequest::FileContainingSymbol("grpc.health.v1.Health".to_owned()),
    ]
    .map(|request| v1::ServerReflectionRequest { host: String::new(), message_request: Some(request) });
    let answers = client.server_reflection_info(futures_util::stream::iter(requests)).await.unwrap();
    let answers: Vec<_> =
        answers.into_inner().map(|answer| answer.unwrap().message_response.unwrap()).collect().await;
    let MessageResponse::ListServicesResponse(list) = &answers[0] else { panic!("{answers:?}") };
    let mut names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, SERVICES);
    for answer in &answers[1..] {
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{answer:?}");
    }
}

#[tokio::test]
async fn old_reflection_clients_are_answered_too() {
    use v1alpha::server_reflection_client::ServerReflectionClient;
    use v1alpha::server_reflection_request::MessageRequest;
    use v1alpha::server_reflection_response::MessageResponse;

    let served = Served::start().await;
    let mut client = ServerReflectionClient::new(served.channel().await);
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = client.server_reflection_info(futures_util::stream::iter([request])).await.unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let mut names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, SERVICES);
    for name in SERVICES {
        let request = v1alpha::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::FileContainingSymbol(name.to_owned())),
        };
        let answers = client.server_reflection_info(futures_util::stream::iter([request])).await.unwrap();
        let answer = answers.into_inner().next().await.unwrap().map(|answer| answer.message_response);
        let described = matches!(answer, Ok(Some(MessageResponse::FileDescriptorResponse(_))));
        assert!(described, "{name} is listed and not known: {answer:?}");
    }
}

#[tokio::test]
async fn health_says_what_the_daemon_set() {
    let served = Served::start().await;
    let mut client = HealthClient::new(served.channel().await);
    let check = |service: &str| HealthCheckRequest { service: service.to_owned() };
    assert_eq!(client.check(check("")).await.unwrap().into_inner().status, 1);
    served.surface.health().set_service_status("", ServingStatus::NotServing).await;
    assert_eq!(client.check(check("")).await.unwrap().into_inner().status, 2);
    assert_eq!(client.check(check("nobody")).await.unwrap_err().code(), Code::NotFound);
    // A watch of health ends with the other streams.
    let mut watch = client.watch(check("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2);
    served.surface.drain();
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_service_without_a_definition_is_not_served() {
    let service = FixtureServiceServer::new(Operations::default());
    let refused = Surface::builder([OMNIRELAY]).service(service).build().err().unwrap();
    assert_eq!(refused.to_string(), "service fixture.v1.FixtureService is served but not defined");
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented_in_grpc_form() {
    let served = Served::start().await;
    for path in
        ["/fixture.v1.FixtureService/Vanish", "/nobody.v1.Service/Find", "/grpc.health.v1.Health/Cure"]
    {
        let mut grpc = Grpc::new(served.channel().await);
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<EchoRequest, EchoResponse>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        let status = grpc.unary(tonic::Request::new(EchoRequest::default()), path, codec).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
    }
}
