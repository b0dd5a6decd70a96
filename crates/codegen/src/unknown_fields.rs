//! Messages that keep the fields they do not know: what is stored, and all that it is made of.
//!
//! `prost` drops what it does not know when it decodes a message. A message that is kept gets one more field,
//! `unknown_fields`, and an implementation of `prost::Message` that reads into it and writes it at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use proc_macro2::TokenStream;
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};
use quote::quote;
use syn::punctuated::Punctuated;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, ExprStruct, Field, Ident, Item, ItemStruct, Lit, Meta, Token, parse_quote};

use crate::snake;

/// What a record keeps is a message of one of these files. The rows of a store are not among them: their format has a
/// version of its own, and an older binary refuses it.
const STORED: [&str; 1] = ["omnirelay/store/v1/values.proto"];

/// Paths of messages within the module of their package, such as `peer::Tag`, by package.
type MessagePaths = BTreeMap<String, BTreeSet<String>>;

/// Gives the messages that are kept, among the generated files in `out`, the field for what they do not know.
///
/// `wire` is the path of the module that has `unknown_fields::UnknownFields`.
///
/// # Errors
/// A file that cannot be read or written; an attribute of `prost` that is unknown here.
pub(crate) fn add_unknown_fields(out: &Path, encoded: &[u8], wire: &str) -> Result<()> {
    let wire: syn::Path = syn::parse_str(wire)?;
    for (package, kept) in kept_messages(&DescriptorPool::decode(encoded)?) {
        let path = out.join(format!("{package}.rs"));
        rewrite(&path, |file| {
            let mut found = BTreeSet::new();
            change_structs(&mut file.items, "", &kept, &wire, &mut found)?;
            ensure!(found == kept, "it lacks {:?}", kept.difference(&found));
            Ok(())
        })?;
        rewrite(&out.join(format!("{package}.serde.rs")), |file| {
            LiteralPatcher(&kept).visit_file_mut(file);
            Ok(())
        })?;
    }
    Ok(())
}

/// The stored messages, and those that are fields of them.
fn kept_messages(pool: &DescriptorPool) -> MessagePaths {
    let mut kept = MessagePaths::new();
    let mut open: Vec<_> =
        pool.all_messages().filter(|message| STORED.contains(&message.parent_file().name())).collect();
    while let Some(message) = open.pop() {
        let package = message.package_name();
        if package.starts_with("google.") {
            continue;
        }
        let new = message.is_map_entry()
            || kept.entry(package.to_owned()).or_default().insert(path_in_package(&message));
        if new {
            open.extend(message.fields().filter_map(|field| match field.kind() {
                Kind::Message(message) => Some(message),
                _ => None,
            }));
        }
    }
    kept
}

/// `Outer.Inner` as `outer::Inner`.
pub(crate) fn path_in_package(message: &MessageDescriptor) -> String {
    path_below(message.parent_message().as_ref(), message.name())
}

/// The path of a type of this name in `outer`.
pub(crate) fn path_below(outer: Option<&MessageDescriptor>, name: &str) -> String {
    let outer = outer.map(path_in_package);
    let outer = outer.map_or_else(String::new, |outer| match outer.rsplit_once("::") {
        Some((modules, name)) => format!("{modules}::{}::", snake(name)),
        None => format!("{}::", snake(&outer)),
    });
    format!("{outer}{name}")
}

fn rewrite(path: &Path, change: impl FnOnce(&mut syn::File) -> Result<()>) -> Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut file = syn::parse_file(&text).with_context(|| format!("cannot parse `{}`", path.display()))?;
    change(&mut file).with_context(|| format!("cannot change `{}`", path.display()))?;
    std::fs::write(path, prettyplease::unparse(&file))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

/// Changes the kept messages among `items`, which stand in `module` of the package, and notes their paths in `found`.
fn change_structs(
    items: &mut Vec<Item>,
    module: &str,
    kept: &BTreeSet<String>,
    wire: &syn::Path,
    found: &mut BTreeSet<String>,
) -> Result<()> {
    let mut implemented = Vec::new();
    for item in &mut *items {
        match item {
            Item::Mod(inner) => {
                if let Some((_, items)) = &mut inner.content {
                    change_structs(items, &format!("{module}{}::", inner.ident), kept, wire, found)?;
                }
            }
            Item::Struct(message) => {
                // What has a kept message in it cannot be copied either.
                drop_copy(&mut message.attrs)?;
                let path = format!("{module}{}", message.ident);
                if kept.contains(&path) {
                    implemented.extend(keep_unknown_fields(message, wire)?);
                    found.insert(path);
                }
            }
            Item::Enum(oneof) if oneof.variants.iter().any(|variant| !variant.fields.is_empty()) => {
                drop_copy(&mut oneof.attrs)?;
            }
            _ => {}
        }
    }
    items.extend(implemented);
    Ok(())
}

/// What is derived, but for what `keep` says no to.
fn derived_but(attributes: &mut [Attribute], keep: impl Fn(&syn::Path) -> bool) -> Result<()> {
    for attribute in attributes.iter_mut().filter(|attribute| attribute.path().is_ident("derive")) {
        let traits = attribute.parse_args_with(Punctuated::<syn::Path, Token![,]>::parse_terminated)?;
        let traits = traits.into_iter().filter(|path| keep(path));
        *attribute = parse_quote!(#[derive(#(#traits),*)]);
    }
    Ok(())
}

fn drop_copy(attributes: &mut [Attribute]) -> Result<()> {
    derived_but(attributes, |path| !path.is_ident("Copy"))
}

/// Adds the field to a message, and returns what `prost` would have derived for it.
fn keep_unknown_fields(message: &mut ItemStruct, wire: &syn::Path) -> Result<Vec<Item>> {
    derived_but(&mut message.attrs, |path| path.segments.last().is_some_and(|last| last.ident != "Message"))?;
    message.attrs.push(parse_quote!(#[derive(Debug, Default)]));
    let mut fields = Vec::new();
    for field in &mut message.fields {
        let known = KnownField::take_attributes(field)
            .with_context(|| format!("cannot read the attributes of a field of `{}`", message.ident))?;
        fields.push(known);
    }
    let syn::Fields::Named(named) = &mut message.fields else {
        bail!("`{}` has no named fields", message.ident);
    };
    named.named.push(parse_quote! {
        /// What later versions have put into it, as it came.
        pub unknown_fields: #wire::unknown_fields::UnknownFields
    });
    // As they are declared for who reads, by their numbers on the wire.
    let accessors: TokenStream = fields.iter().map(KnownField::accessors).collect();
    fields.sort_by_key(|field| field.tags.first().copied());
    let name = &message.ident;
    let implementation = message_implementation(name, &fields);
    let known = fields.iter().map(KnownField::known);
    let taken_over = fields.iter().map(KnownField::take_over);
    Ok(vec![
        parse_quote! {
            impl #name {
                #accessors

                /// This message as a version that knows it keeps no other fields would have it: to be compared.
                pub fn known(&self) -> Self {
                    let mut known = self.clone();
                    known.unknown_fields = Default::default();
                    #(#known)*
                    known
                }

                /// This message in place of `before`: with the unknown fields of that one, and of the single messages in it,
                /// where it has none itself.
                #[must_use]
                pub fn in_place_of(mut self, before: &Self) -> Self {
                    if self.unknown_fields.is_empty() {
                        self.unknown_fields = before.unknown_fields.clone();
                    }
                    #(#taken_over)*
                    self
                }
            }
        },
        implementation,
    ])
}

fn message_implementation(name: &Ident, fields: &[KnownField]) -> Item {
    let encode = fields.iter().map(KnownField::encode);
    let merge = fields.iter().map(|field| field.merge(name));
    let encoded_len = fields.iter().map(KnownField::encoded_len);
    parse_quote! {
        impl ::prost::Message for #name {
            fn encode_raw(&self, buf: &mut impl ::prost::bytes::BufMut) {
                #(#encode)*
                self.unknown_fields.encode(buf);
            }

            fn merge_field(
                &mut self,
                tag: u32,
                wire_type: ::prost::encoding::wire_type::WireType,
                buf: &mut impl ::prost::bytes::Buf,
                ctx: ::prost::encoding::DecodeContext,
            ) -> ::core::result::Result<(), ::prost::DecodeError> {
                match tag {
                    #(#merge)*
                    _ => self.unknown_fields.merge(tag, wire_type, buf, ctx),
                }
            }

            fn encoded_len(&self) -> usize {
                self.unknown_fields.encoded_len() #(+ #encoded_len)*
            }

            fn clear(&mut self) {
                *self = Self::default();
            }
        }
    }
}

/// A field of a kept message.
struct KnownField {
    name: Ident,
    /// One; of a oneof, all of them.
    tags: Vec<u32>,
    shape: FieldShape,
    /// Whether it is of messages that are kept, as all are that are not of Google.
    is_kept: bool,
}

enum FieldShape {
    /// A number, a text, bytes or an enumeration.
    Scalar {
        codec: Codec,
        label: FieldLabel,
    },
    Message(FieldLabel),
    Map {
        key: Ident,
        value: Codec,
    },
    Oneof(syn::Path),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldLabel {
    Plain,
    Optional,
    Repeated,
}

/// Encoding by which a value is written and read.
struct Codec {
    /// The module of `prost::encoding`.
    module: Ident,
    /// Of an enumeration.
    enumeration: Option<syn::Path>,
}

impl KnownField {
    /// Reads what `prost` is told of a field, and takes it off.
    fn take_attributes(field: &mut Field) -> Result<Self> {
        let name = field.ident.clone().context("it has no name")?;
        let place = field.attrs.iter().position(|attribute| attribute.path().is_ident("prost"));
        let attribute = field.attrs.remove(place.with_context(|| format!("`{name}` has no number"))?);
        let (mut tags, mut label, mut shape) = (Vec::new(), FieldLabel::Plain, None);
        let scalar = |module: &Ident, enumeration| {
            let codec = Codec { module: module.clone(), enumeration };
            Some(FieldShape::Scalar { codec, label: FieldLabel::Plain })
        };
        for meta in attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)? {
            let word = meta.path().require_ident()?.clone();
            match word.to_string().as_str() {
                "tag" | "tags" => {
                    tags = text(&meta)?.split(',').map(|tag| tag.trim().parse()).collect::<Result<_, _>>()?;
                }
                "optional" => label = FieldLabel::Optional,
                "repeated" => label = FieldLabel::Repeated,
                "message" => shape = Some(FieldShape::Message(FieldLabel::Plain)),
                "enumeration" => {
                    shape = scalar(&parse_quote!(int32), Some(syn::parse_str(&text(&meta)?)?));
                }
                "btree_map" => shape = Some(map(&text(&meta)?)?),
                "oneof" => shape = Some(FieldShape::Oneof(syn::parse_str(&text(&meta)?)?)),
                "bytes" | "string" | "bool" | "int32" | "int64" | "uint32" | "uint64" | "sint32"
                | "sint64" | "fixed32" | "fixed64" | "sfixed32" | "sfixed64" | "float" | "double" => {
                    shape = scalar(&word, None);
                }
                other => bail!("`{other}` of `{name}` is unknown here"),
            }
        }
        let shape = match shape.with_context(|| format!("`{name}` has no type"))? {
            FieldShape::Scalar { codec, .. } => FieldShape::Scalar { codec, label },
            FieldShape::Message(_) => FieldShape::Message(label),
            other => other,
        };
        let ty = &field.ty;
        let is_kept = !quote!(#ty).to_string().contains("timestamp :: Timestamp")
            && !quote!(#ty).to_string().contains("pbjson_types");
        Ok(Self { name, tags, shape, is_kept })
    }

    fn tag(&self) -> u32 {
        self.tags.first().copied().unwrap_or_default()
    }

    fn encode(&self) -> TokenStream {
        let (name, tag) = (&self.name, self.tag());
        match &self.shape {
            FieldShape::Scalar { codec, label } => {
                let codec_path = codec.path();
                match label {
                    FieldLabel::Plain => {
                        let is_set = codec.is_set(name);
                        quote!(if #is_set { #codec_path::encode(#tag, &self.#name, buf); })
                    }
                    FieldLabel::Optional => {
                        quote!(if let ::core::option::Option::Some(value) = &self.#name {
                            #codec_path::encode(#tag, value, buf);
                        })
                    }
                    FieldLabel::Repeated => {
                        let encode = codec.of_many("encode");
                        quote!(#codec_path::#encode(#tag, &self.#name, buf);)
                    }
                }
            }
            FieldShape::Message(FieldLabel::Repeated) => {
                quote!(for message in &self.#name { ::prost::encoding::message::encode(#tag, message, buf); })
            }
            // A oneof writes one of its own fields, a message that is there itself.
            FieldShape::Message(FieldLabel::Plain) => {
                quote!(::prost::encoding::message::encode(#tag, &self.#name, buf);)
            }
            FieldShape::Message(FieldLabel::Optional) => {
                quote!(if let ::core::option::Option::Some(message) = &self.#name {
                    ::prost::encoding::message::encode(#tag, message, buf);
                })
            }
            FieldShape::Map { key, value } => {
                let value = value.path();
                quote!(::prost::encoding::btree_map::encode(
                    ::prost::encoding::#key::encode, ::prost::encoding::#key::encoded_len,
                    #value::encode, #value::encoded_len, #tag, &self.#name, buf,
                );)
            }
            FieldShape::Oneof(_) => {
                quote!(if let ::core::option::Option::Some(oneof) = &self.#name { oneof.encode(buf); })
            }
        }
    }

    fn encoded_len(&self) -> TokenStream {
        let (name, tag) = (&self.name, self.tag());
        match &self.shape {
            FieldShape::Scalar { codec, label } => {
                let codec_path = codec.path();
                match label {
                    FieldLabel::Plain => {
                        let is_set = codec.is_set(name);
                        quote!(if #is_set { #codec_path::encoded_len(#tag, &self.#name) } else { 0 })
                    }
                    FieldLabel::Optional => {
                        quote!(self.#name.as_ref().map_or(0, |value| #codec_path::encoded_len(#tag, value)))
                    }
                    FieldLabel::Repeated => {
                        let encoded_len = codec.of_many("encoded_len");
                        quote!(#codec_path::#encoded_len(#tag, &self.#name))
                    }
                }
            }
            FieldShape::Message(FieldLabel::Plain) => {
                quote!(::prost::encoding::message::encoded_len(#tag, &self.#name))
            }
            FieldShape::Message(FieldLabel::Optional) => {
                quote!(self.#name.as_ref().map_or(0, |message| {
                    ::prost::encoding::message::encoded_len(#tag, message)
                }))
            }
            FieldShape::Message(FieldLabel::Repeated) => {
                quote!(::prost::encoding::message::encoded_len_repeated(#tag, &self.#name))
            }
            FieldShape::Map { key, value } => {
                let value = value.path();
                quote!(::prost::encoding::btree_map::encoded_len(
                    ::prost::encoding::#key::encoded_len, #value::encoded_len, #tag, &self.#name,
                ))
            }
            FieldShape::Oneof(path) => quote!(self.#name.as_ref().map_or(0, #path::encoded_len)),
        }
    }

    fn merge(&self, message: &Ident) -> TokenStream {
        let (name, tags) = (&self.name, &self.tags);
        let merged = match &self.shape {
            FieldShape::Scalar { codec, label } => {
                let codec = codec.path();
                match label {
                    FieldLabel::Plain => quote!(#codec::merge(wire_type, &mut self.#name, buf, ctx)),
                    FieldLabel::Optional => {
                        quote!(#codec::merge(wire_type, self.#name.get_or_insert_with(Default::default), buf, ctx))
                    }
                    FieldLabel::Repeated => {
                        quote!(#codec::merge_repeated(wire_type, &mut self.#name, buf, ctx))
                    }
                }
            }
            FieldShape::Message(label) => {
                let module = quote!(::prost::encoding::message);
                match label {
                    FieldLabel::Plain => quote!(#module::merge(wire_type, &mut self.#name, buf, ctx)),
                    FieldLabel::Optional => {
                        quote!(#module::merge(wire_type, self.#name.get_or_insert_with(Default::default), buf, ctx))
                    }
                    FieldLabel::Repeated => {
                        quote!(#module::merge_repeated(wire_type, &mut self.#name, buf, ctx))
                    }
                }
            }
            FieldShape::Map { key, value } => {
                let value = value.path();
                quote!(::prost::encoding::btree_map::merge(
                    ::prost::encoding::#key::merge, #value::merge, &mut self.#name, buf, ctx,
                ))
            }
            FieldShape::Oneof(path) => quote!(#path::merge(&mut self.#name, tag, wire_type, buf, ctx)),
        };
        let (message, field) = (message.to_string(), name.to_string());
        quote!(#(#tags)|* => #merged.map_err(|mut error| { error.push(#message, #field); error }),)
    }

    /// What leaves the unknown fields out of the messages in a field of `known`; a oneof of kept messages keeps them.
    fn known(&self) -> TokenStream {
        let name = &self.name;
        match &self.shape {
            FieldShape::Message(label) if self.is_kept => match label {
                FieldLabel::Plain => quote!(known.#name = known.#name.known();),
                FieldLabel::Optional => {
                    quote!(known.#name = known.#name.as_ref().map(|message| message.known());)
                }
                FieldLabel::Repeated => {
                    quote!(known.#name = known.#name.iter().map(|message| message.known()).collect();)
                }
            },
            FieldShape::Message(_)
            | FieldShape::Scalar { .. }
            | FieldShape::Map { .. }
            | FieldShape::Oneof(_) => TokenStream::new(),
        }
    }

    /// What takes over the unknown fields of a message that a field has in both; which items of two lists are of one thing is
    /// for others to say.
    fn take_over(&self) -> TokenStream {
        let name = &self.name;
        match &self.shape {
            FieldShape::Message(FieldLabel::Optional) if self.is_kept => quote! {
                if let Some(before) = &before.#name {
                    self.#name = self.#name.map(|after| after.in_place_of(before));
                }
            },
            FieldShape::Message(_)
            | FieldShape::Scalar { .. }
            | FieldShape::Map { .. }
            | FieldShape::Oneof(_) => TokenStream::new(),
        }
    }

    /// What reads a field in the type that it stands for: an enumeration, or a number that may be absent.
    fn accessors(&self) -> TokenStream {
        let FieldShape::Scalar { codec, label } = &self.shape else { return TokenStream::new() };
        let name = &self.name;
        match (&codec.enumeration, label) {
            (Some(of), FieldLabel::Plain) => {
                let set = quote::format_ident!("set_{}", name.to_string().trim_start_matches("r#"));
                quote! {
                    /// As a variant; the first, where it is none that is known.
                    pub fn #name(&self) -> #of { #of::try_from(self.#name).unwrap_or_default() }
                    /// Sets the number to that of a variant.
                    pub fn #set(&mut self, value: #of) { self.#name = value as i32; }
                }
            }
            (Some(of), FieldLabel::Optional) => quote! {
                /// As a variant; the first, where it is absent or none that is known.
                pub fn #name(&self) -> #of {
                    self.#name.and_then(|value| #of::try_from(value).ok()).unwrap_or_default()
                }
            },
            (Some(of), FieldLabel::Repeated) => quote! {
                /// As variants, without those that are not known.
                pub fn #name(&self) -> impl Iterator<Item = #of> + '_ {
                    self.#name.iter().filter_map(|value| #of::try_from(*value).ok())
                }
            },
            (None, FieldLabel::Optional) => codec.value_or_default(name),
            (None, FieldLabel::Plain | FieldLabel::Repeated) => TokenStream::new(),
        }
    }
}

impl Codec {
    fn path(&self) -> TokenStream {
        let module = &self.module;
        quote!(::prost::encoding::#module)
    }

    fn is_text(&self) -> bool {
        self.module == "string" || self.module == "bytes"
    }

    /// Whether a value is to be written: proto3 writes none that is the default.
    fn is_set(&self, name: &Ident) -> TokenStream {
        match self.module.to_string().as_str() {
            "string" | "bytes" => quote!(!self.#name.is_empty()),
            "bool" => quote!(self.#name),
            "float" | "double" => quote!(self.#name.to_bits() != 0),
            _ => quote!(self.#name != 0),
        }
    }

    /// Many numbers are packed into one field, texts are a field each.
    fn of_many(&self, what: &str) -> Ident {
        quote::format_ident!("{what}_{}", if self.is_text() { "repeated" } else { "packed" })
    }

    fn value_or_default(&self, name: &Ident) -> TokenStream {
        let (of, value) = match self.module.to_string().as_str() {
            "string" => (quote!(&str), quote!(self.#name.as_deref().unwrap_or_default())),
            "bytes" => (quote!(&[u8]), quote!(self.#name.as_deref().unwrap_or_default())),
            number => {
                let number: Ident = match number {
                    "bool" => parse_quote!(bool),
                    "float" => parse_quote!(f32),
                    "double" => parse_quote!(f64),
                    "int32" | "sint32" | "sfixed32" => parse_quote!(i32),
                    "int64" | "sint64" | "sfixed64" => parse_quote!(i64),
                    "uint32" | "fixed32" => parse_quote!(u32),
                    _ => parse_quote!(u64),
                };
                (quote!(#number), quote!(self.#name.unwrap_or_default()))
            }
        };
        quote! {
            /// Its value; the default, where it is absent.
            pub fn #name(&self) -> #of { #value }
        }
    }
}

/// `string, enumeration(Status)`.
fn map(said: &str) -> Result<FieldShape> {
    let (key, value) = said.split_once(',').with_context(|| format!("`{said}` is no map"))?;
    let value = value.trim();
    let codec = match value.strip_prefix("enumeration(").and_then(|value| value.strip_suffix(')')) {
        Some(of) => Codec { module: parse_quote!(int32), enumeration: Some(syn::parse_str(of)?) },
        None => Codec { module: syn::parse_str(value)?, enumeration: None },
    };
    Ok(FieldShape::Map { key: syn::parse_str(key.trim())?, value: codec })
}

/// The text of `name = "text"`.
fn text(meta: &Meta) -> Result<String> {
    match &meta.require_name_value()?.value {
        syn::Expr::Lit(syn::ExprLit { lit: Lit::Str(text), .. }) => Ok(text.value()),
        _ => bail!("an attribute has no text"),
    }
}

/// Adds the field to the values that the JSON mapping makes.
struct LiteralPatcher<'k>(&'k BTreeSet<String>);

impl VisitMut for LiteralPatcher<'_> {
    fn visit_expr_struct_mut(&mut self, literal: &mut ExprStruct) {
        let path: Vec<_> = literal.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if self.0.contains(&path.join("::")) {
            literal.fields.push(parse_quote!(unknown_fields: ::core::default::Default::default()));
        }
        visit_mut::visit_expr_struct_mut(self, literal);
    }
}
