//! gRPC reflection in both its versions, of what is served and of health.
//!
//! Few ever ask, and what it keeps is larger than what most calls need: it is put together when first asked for.

use std::sync::LazyLock;

use http::Request;
use tonic::Status;
use tonic::body::Body;
use tonic_reflection::server::{Builder, Error};

use super::method::ServiceDefinition;
use super::pipeline::{AnswerFuture, GrpcService, OpenService};

type ReflectionResult = Result<Box<dyn GrpcService>, Error>;

/// One version of reflection.
pub(super) struct ReflectionService {
    built: LazyLock<ReflectionResult, Box<dyn FnOnce() -> ReflectionResult + Send>>,
}

impl ReflectionService {
    pub(super) fn v1(definitions: &[ServiceDefinition], served: &[&'static str]) -> Self {
        let (definitions, served) = (definitions.to_vec(), served.to_vec());
        Self::built_by(move || Ok(Box::new(OpenService(configured(&definitions, &served).build_v1()?))))
    }

    pub(super) fn v1alpha(definitions: &[ServiceDefinition], served: &[&'static str]) -> Self {
        let (definitions, served) = (definitions.to_vec(), served.to_vec());
        Self::built_by(move || Ok(Box::new(OpenService(configured(&definitions, &served).build_v1alpha()?))))
    }

    fn built_by(build: impl FnOnce() -> ReflectionResult + Send + 'static) -> Self {
        let told = || {
            let built = build();
            if let Err(error) = &built {
                tracing::error!(%error, "reflection cannot be built from the descriptors");
            }
            built
        };
        Self { built: LazyLock::new(Box::new(told)) }
    }
}

impl GrpcService for ReflectionService {
    fn call(&self, request: Request<Body>, message_bytes_max: usize) -> AnswerFuture {
        match &*self.built {
            Ok(service) => service.call(request, message_bytes_max),
            Err(_) => {
                let refused = Status::internal("reflection cannot be built from the descriptors");
                Box::pin(async move { refused.into_http() })
            }
        }
    }
}

fn configured<'d>(definitions: &'d [ServiceDefinition], served: &[&'static str]) -> Builder<'d> {
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        // Each would add its own only, and list the other all the same.
        .include_reflection_service(false)
        .with_service_name("grpc.health.v1.Health")
        .with_service_name("grpc.reflection.v1.ServerReflection")
        .with_service_name("grpc.reflection.v1alpha.ServerReflection");
    let builder = served.iter().fold(builder, |builder, name| builder.with_service_name(*name));
    definitions.iter().fold(builder, |builder, definition| {
        builder.register_encoded_file_descriptor_set(definition.descriptors)
    })
}
