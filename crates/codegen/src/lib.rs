//! Generates the messages, their JSON mapping, the services and the method table from protos.

mod json_readers;
mod unknown_fields;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, Value};
use prost_types::DescriptorProto;
use prost_types::field_descriptor_proto::{Label, Type};

/// One set of protos compiled together, and where its Rust modules will stand.
pub struct ProtoFamily<'a> {
    /// The folder of the protos, to which their imports are relative.
    pub root: &'a str,
    /// A folder of others that they import, if there are any.
    pub imported: Option<&'a str>,
    /// Name of the descriptor file.
    pub name: &'a str,
    /// The Rust path of the module that holds the packages.
    pub module: &'a str,
    /// The Rust path of the module that holds what both sides of the wire share.
    pub wire: &'a str,
    /// The packages to make JSON mappings and method tables for.
    pub packages: &'a [&'a str],
    /// Messages, by their full names, that are read from JSON beside requests and what these are made of.
    pub read_from_json: &'a [&'a str],
}

impl ProtoFamily<'_> {
    /// Writes it to the folder that `cargo` gives a build script, and has it run again when a proto has changed.
    ///
    /// # Errors
    /// A proto that cannot be read or compiled; a file that cannot be written.
    #[expect(clippy::print_stdout, reason = "cargo listens to what a build script prints")]
    pub fn build(&self) -> Result<()> {
        for folder in self.folders() {
            println!("cargo:rerun-if-changed={folder}");
        }
        let out = PathBuf::from(std::env::var("OUT_DIR").context("OUT_DIR is not set")?);
        generate(self, &out)
    }

    /// Whether it is made for this package.
    fn has(&self, package: &str) -> bool {
        self.packages.iter().any(|prefix| package.starts_with(prefix.trim_start_matches('.')))
    }

    fn folders(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.root).chain(self.imported)
    }
}

fn generate(family: &ProtoFamily, out: &Path) -> Result<()> {
    let mut compiler = protox::Compiler::new(family.folders())?;
    compiler.include_imports(true).include_source_info(true).open_files(protos(Path::new(family.root))?)?;
    // Encoded by the compiler itself: a round trip through prost-types would drop the options.
    let encoded = compiler.encode_file_descriptor_set();
    let descriptors = out.join(format!("{}.bin", family.name));
    std::fs::write(&descriptors, &encoded)
        .with_context(|| format!("cannot write `{}`", descriptors.display()))?;

    // The converters of `pbjson_types` write times with an offset; the canonical mapping ends them in `Z`.
    let timestamp = format!("{}::timestamp::Timestamp", family.wire);
    let set = prost_types::FileDescriptorSet::decode(encoded.as_slice())?;
    let mut services = tonic_prost_build::configure();
    for message in encoded_messages(&set) {
        let encoded =
            format!("{}::encoded::EncodedMessage<{}>", family.wire, rust_path(family.module, message));
        services = services.extern_path(encoded_name(message), encoded);
    }
    services
        .out_dir(out)
        .codec_path(format!("{}::codec::SmallBufferCodec", family.wire))
        .compile_well_known_types(true)
        .extern_path(".google.protobuf.Timestamp", &timestamp)
        .extern_path(".google.protobuf", "::pbjson_types")
        .extern_path(RAW, format!("{}::raw::RawMessage", family.wire))
        .bytes(".aeroarc.agent")
        .bytes(".omnirelay.store.v1.RecordRow")
        .bytes(".omnirelay.store.v1.AnswerRow")
        .btree_map(".")
        .compile_fds(with_encoded_messages(with_raw_streams(set.clone())))?;
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .out_dir(out)
        .btree_map(["."])
        .extern_path(".google.protobuf.Timestamp", &timestamp)
        .extern_path(".google.protobuf", "::pbjson_types")
        .emit_fields()
        .build(family.packages)?;
    json_readers::drop_unused_readers(out, &encoded, family.read_from_json)?;
    unknown_fields::add_unknown_fields(out, &encoded, family.wire)?;
    std::fs::write(out.join("methods.rs"), method_table(family, &set))?;
    std::fs::write(out.join("rpcs.rs"), rpcs(family, &encoded)?)?;
    std::fs::write(out.join("bounded.rs"), bounded_services(family, &set))?;
    std::fs::write(out.join("enveloped.rs"), enveloped_messages(family, &set))?;
    std::fs::write(out.join("change_answers.rs"), change_answers(family, &set))?;
    Ok(())
}

/// Stands for whatever a client streams.
const RAW: &str = ".omnirelay.wire.Raw";

/// The methods with messages of more than one shape: what agents and relays say to each other, and one of the tests.
const IN_SHAPES: [&str; 2] = ["TelemetryStream", "Talk"];

/// The same services, but that a method with messages of more than one shape gets and gives them as they are on the wire.
fn with_raw_streams(mut set: prost_types::FileDescriptorSet) -> prost_types::FileDescriptorSet {
    let services = set.file.iter_mut().flat_map(|file| &mut file.service);
    for method in
        services.flat_map(|service| &mut service.method).filter(|method| IN_SHAPES.contains(&method.name()))
    {
        method.input_type = Some(RAW.to_owned());
        method.output_type = Some(RAW.to_owned());
    }
    set
}

/// The methods that pass on what they are given and what is answered.
const PASSED_ON: [&str; 2] = ["SetOperationContext", "ClearOperationContext"];

/// Lists whose items are encoded once for all who read them.
const LISTS: [&str; 2] = ["ListPeersResponse", "ListRegistersResponse"];

/// Stands for a message beside its bytes.
fn encoded_name(message: &str) -> String {
    format!(".omnirelay.wire.encoded{message}")
}

/// Whether a method gets its message with its bytes, and whether it gives its messages so: what is passed on, as later
/// versions may have put more into it, and events and lists, which are encoded once for all who watch or read them.
fn encoded_ends(method: &prost_types::MethodDescriptorProto) -> (bool, bool) {
    let passed_on = PASSED_ON.contains(&method.name());
    let is_list = method.output_type().rsplit('.').next().is_some_and(|name| LISTS.contains(&name));
    (passed_on, passed_on || is_list || (method.server_streaming() && !method.client_streaming()))
}

fn encoded_messages(set: &prost_types::FileDescriptorSet) -> BTreeSet<&str> {
    let methods = set.file.iter().flat_map(|file| &file.service).flat_map(|service| &service.method);
    let ends = methods.flat_map(|method| {
        let (input, output) = encoded_ends(method);
        [input.then(|| method.input_type()), output.then(|| method.output_type())]
    });
    ends.flatten().collect()
}

/// The same services, with the messages that are given with their bytes.
fn with_encoded_messages(mut set: prost_types::FileDescriptorSet) -> prost_types::FileDescriptorSet {
    let services = set.file.iter_mut().flat_map(|file| &mut file.service);
    for method in services.flat_map(|service| &mut service.method) {
        let (input, output) = encoded_ends(method);
        if input {
            method.input_type = Some(encoded_name(method.input_type()));
        }
        if output {
            method.output_type = Some(encoded_name(method.output_type()));
        }
    }
    set
}

/// Every `.proto` file below `root`, in a stable order, relative to it.
fn protos(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).with_context(|| format!("cannot list `{}`", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "proto") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The table from each method to the two converters between its messages and JSON.
fn method_table(family: &ProtoFamily, set: &prost_types::FileDescriptorSet) -> String {
    let mut table = String::from("&[\n");
    for file in &set.file {
        let package = file.package();
        for service in services(family, file) {
            for method in &service.method {
                let request = rust_path(family.module, method.input_type());
                let response = rust_path(family.module, method.output_type());
                let path = format!("/{package}.{}/{}", service.name(), method.name());
                let _ = match method.client_streaming() {
                    true => writeln!(table, "    MethodJson::none(\"{path}\"),"),
                    false => writeln!(table, "    MethodJson::new::<{request}, {response}>(\"{path}\"),"),
                };
            }
        }
    }
    table.push(']');
    table
}

/// A module for each service, with what is declared of each of its methods.
fn rpcs(family: &ProtoFamily, encoded: &[u8]) -> Result<String> {
    let pool = DescriptorPool::decode(encoded)?;
    let find = |name| pool.get_extension_by_name(name).with_context(|| format!("there is no option {name}"));
    let (policy, http) = (find("omnirelay.api.v1.policy")?, find("google.api.http")?);
    let (mut modules, mut all) = (String::new(), String::new());
    for service in pool.services().filter(|service| family.has(service.package_name())) {
        let _ = writeln!(modules, "/// The methods of `{}`.", service.full_name());
        let _ = writeln!(
            modules,
            "pub mod {} {{\n    use super::{{HttpVerb, RpcMethod}};\n",
            snake(service.name())
        );
        for method in service.methods() {
            let options = method.options();
            let said = |name| text(&options.get_extension(&policy), name);
            let (verb, path) = route(&options, &http);
            let constant = snake(method.name()).to_uppercase();
            let _ = writeln!(all, "    {}::{constant},", snake(service.name()));
            let _ = writeln!(
                modules,
                "    pub const {constant}: RpcMethod = RpcMethod {{ method: \"{}/{}\", verb: HttpVerb::{verb}, path: {path:?}, \
                 scope: {:?}, audit_action: {:?}, awaits_work: {} }};",
                service.full_name(),
                method.name(),
                said("scope"),
                said("audit_action"),
                is_set(&options.get_extension(&policy), "awaits_work"),
            );
        }
        modules.push_str("}\n");
    }
    let _ = writeln!(modules, "/// Every method.\npub const ALL: &[RpcMethod] = &[\n{all}];");
    Ok(modules)
}

/// Whether a field of an option is set to true.
fn is_set(option: &Value, field: &str) -> bool {
    let value = option.as_message().and_then(|message| message.get_field_by_name(field));
    value.and_then(|value| value.as_bool()).unwrap_or(false)
}

/// A field of an option that is text; empty where it is not set.
fn text(option: &Value, field: &str) -> String {
    let value = option.as_message().and_then(|message| message.get_field_by_name(field));
    value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The verb and the path of a method's first route.
fn route(options: &DynamicMessage, http: &ExtensionDescriptor) -> (&'static str, String) {
    let rule = options.get_extension(http);
    [("get", "Get"), ("post", "Post"), ("put", "Put"), ("patch", "Patch"), ("delete", "Delete")]
        .into_iter()
        .map(|(field, verb)| (verb, text(&rule, field)))
        .find(|(_, path)| !path.is_empty())
        .unwrap_or(("Grpc", String::new()))
}

/// For each service, that its messages can be bounded: nothing of tonic's says so of all of them.
fn bounded_services(family: &ProtoFamily, set: &prost_types::FileDescriptorSet) -> String {
    let mut bounded = String::new();
    for file in &set.file {
        for service in services(family, file) {
            let (name, module) = (service.name(), snake(service.name()));
            let server =
                rust_path(family.module, &format!(".{}.{module}_server.{name}Server", file.package()));
            let _ = writeln!(
                bounded,
                "impl<T> {}::bounded::BoundedService for {server}<T> {{\n    \
                     fn with_message_bytes_max(self, bytes: usize) -> Self {{\n        \
                         self.max_decoding_message_size(bytes)\n    }}\n}}",
                family.wire,
            );
        }
    }
    bounded
}

/// The fields of an envelope; an answer has the first three, and the others where it can be stale.
const ENVELOPE: [&str; 5] = ["schema_version", "generated_at", "local_node_id", "stale", "stale_ms"];

/// For each answer of a read, how it takes its envelope.
fn enveloped_messages(family: &ProtoFamily, set: &prost_types::FileDescriptorSet) -> String {
    let mut enveloped = String::new();
    for file in set.file.iter().filter(|file| family.has(file.package())) {
        for message in &file.message_type {
            let fields: Vec<_> = ENVELOPE.iter().filter(|name| has_field(message, name)).collect();
            if fields.len() < 3 {
                continue;
            }
            let path = rust_path(family.module, &format!(".{}.{}", file.package(), message.name()));
            let taken: String = fields.iter().map(|field| format!("{field}: envelope.{field}, ")).collect();
            let _ = writeln!(
                enveloped,
                "impl {wire}::envelope::EnvelopedAnswer for {path} {{\n    \
                     fn within(self, envelope: {wire}::envelope::Envelope) -> Self {{\n        \
                         Self {{ {taken}..self }}\n    }}\n}}",
                wire = family.wire,
            );
        }
    }
    enveloped
}

/// The fields that every answer of a change has.
const CHANGE: [&str; 4] = ["cursor", "changed", "dry_run", "changes"];

/// Objects that tell themselves when they were created: their record may be younger.
const TELL_CREATION: [&str; 1] = ["RebalancePlan"];

/// For each answer of a change, how it takes the outcome of its commit. The object that it shows is its first field whose
/// message has a version.
fn change_answers(family: &ProtoFamily, set: &prost_types::FileDescriptorSet) -> String {
    let messages = || {
        set.file.iter().filter(|file| family.has(file.package())).flat_map(|file| {
            file.message_type
                .iter()
                .map(move |message| (format!(".{}.{}", file.package(), message.name()), message))
        })
    };
    let versioned: BTreeMap<String, (&DescriptorProto, Type)> = messages()
        .filter_map(|(name, message)| {
            let version = message.field.iter().find(|field| field.name() == "version")?.r#type();
            matches!(version, Type::Uint64 | Type::Int64).then_some((name, (message, version)))
        })
        .collect();
    let mut answers = String::new();
    for (name, message) in
        messages().filter(|(_, message)| CHANGE.iter().all(|name| has_field(message, name)))
    {
        let single = message.field.iter().filter(|field| field.label() == Label::Optional);
        let shown =
            single.filter_map(|field| Some((field.name(), *versioned.get(field.type_name())?))).next();
        let show = shown.map_or_else(String::new, |(field, (shown, version))| {
            let version = if version == Type::Int64 { "version.cast_signed()" } else { "version" };
            let writer = match has_field(shown, "last_writer_id") {
                true => "writer.clone_into(&mut shown.last_writer_id); ",
                false => "",
            };
            let is_told = |time: &&&str| {
                let tells_itself = **time == "created_at" && TELL_CREATION.contains(&shown.name());
                has_field(shown, time) && !tells_itself
            };
            let times = ["created_at", "updated_at"];
            let times: String =
                times.iter().filter(is_told).map(|time| format!("shown.{time} = Some({time}); ")).collect();
            format!("if let Some(shown) = &mut self.{field} {{ shown.version = {version}; {writer}{times}}}")
        });
        let _ = writeln!(
            answers,
            "impl {wire}::change::ChangeAnswer for {path} {{\n    \
                 fn set_cursor(&mut self, cursor: String) {{ self.cursor = cursor; }}\n    \
                 fn set_outcome(&mut self, changed: bool, dry_run: bool) {{ (self.changed, self.dry_run) = (changed, dry_run); }}\n    \
                 fn set_changes(&mut self, changes: &[String]) {{ self.changes = changes.to_vec(); }}\n    \
                 #[allow(unused_variables)]\n    \
                 fn show_record(&mut self, version: u64, writer: &str, created_at: {wire}::timestamp::Timestamp, \
                     updated_at: {wire}::timestamp::Timestamp) {{ {show} }}\n}}",
            wire = family.wire,
            path = rust_path(family.module, &name),
        );
    }
    answers
}

/// Whether a message has a field of this name.
fn has_field(message: &DescriptorProto, name: &str) -> bool {
    message.field.iter().any(|field| field.name() == name)
}

/// The services of a file that are made for the family.
fn services<'f>(
    family: &ProtoFamily,
    file: &'f prost_types::FileDescriptorProto,
) -> impl Iterator<Item = &'f prost_types::ServiceDescriptorProto> {
    let ours = family.has(file.package());
    file.service.iter().filter(move |_| ours)
}

/// `PeerControlService` as `peer_control_service`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// `.a.b.v1.Message` as a Rust path; only messages at the top of a file may be a method's.
fn rust_path(module: &str, proto: &str) -> String {
    match proto.strip_prefix(".google.protobuf.") {
        Some("Empty") => "()".to_owned(),
        Some(well_known) => format!("::pbjson_types::{well_known}"),
        None => format!("{module}::{}", proto.trim_start_matches('.').replace('.', "::")),
    }
}
