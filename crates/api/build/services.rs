//! For each service: tonic's server, our trait, and the adapters that join the two.

use std::fmt::Write;

use heck::{ToSnakeCase, ToUpperCamelCase};
use prost_build::{Method, Service, ServiceGenerator};
use prost_reflect::{DescriptorPool, MethodDescriptor};

use crate::{operations, options};

/// Runs tonic's generator (servers only: our remote adapter is generic) and then writes what is ours.
pub(crate) struct Generator {
    pool: DescriptorPool,
    tonic: Box<dyn ServiceGenerator>,
}

impl Generator {
    pub(crate) fn new(pool: DescriptorPool) -> Self {
        Self { pool, tonic: tonic_prost_build::configure().build_client(false).service_generator() }
    }
}

impl ServiceGenerator for Generator {
    fn generate(&mut self, service: Service, buf: &mut String) {
        let descriptor = self
            .pool
            .get_service_by_name(&format!("{}.{}", service.package, service.proto_name))
            .expect("both come from the same descriptors");
        if service.methods.iter().any(|method| method.client_streaming) {
            // What carries the other services' calls is below their traits.
            return self.tonic.generate(service, buf);
        }
        let methods: Vec<(Method, MethodDescriptor)> =
            service.methods.iter().map(clone_method).zip(descriptor.methods()).collect();
        let name = service.name.clone();
        let aws = options::aws(&descriptor);

        for (index, (_, method)) in methods.iter().enumerate() {
            buf.push_str(&operations::definition(&descriptor, index, method));
        }
        let table: Vec<_> = methods
            .iter()
            .map(|(_, method)| format!("&{}", operations::static_name(&name, method.name())))
            .collect();
        let upper = heck::AsShoutySnakeCase(&name).to_string();
        writeln!(
            buf,
            "/// Every operation of [`{name}`], in the order of the proto.\n\
             pub static {upper}_OPERATIONS: &[&crate::operation::Operation] = &[{}];\n",
            table.join(", ")
        )
        .expect("strings take writes");

        buf.push_str(&service_trait(&name, &methods));
        buf.push_str(&via(&name, &methods));
        buf.push_str(&remote(&name, &methods));
        buf.push_str(&rpc(&name, &methods));
        buf.push_str(&carried(&name, &upper, &methods));
        if aws.is_some() {
            buf.push_str(&serve(&name, &methods));
        }
        self.tonic.generate(service, buf);
    }

    fn finalize(&mut self, buf: &mut String) {
        self.tonic.finalize(buf);
    }

    fn finalize_package(&mut self, package: &str, buf: &mut String) {
        self.tonic.finalize_package(package, buf);
    }
}

/// prost-build's `Method` has no `Clone`.
fn clone_method(method: &Method) -> Method {
    Method {
        name: method.name.clone(),
        proto_name: method.proto_name.clone(),
        comments: prost_build::Comments {
            leading_detached: Vec::new(),
            leading: method.comments.leading.clone(),
            trailing: Vec::new(),
        },
        input_type: method.input_type.clone(),
        output_type: method.output_type.clone(),
        input_proto_type: method.input_proto_type.clone(),
        output_proto_type: method.output_proto_type.clone(),
        options: method.options.clone(),
        client_streaming: method.client_streaming,
        server_streaming: method.server_streaming,
    }
}

fn output(method: &Method) -> String {
    if method.server_streaming {
        format!("crate::BoxStream<Result<{}, crate::Fault>>", method.output_type)
    } else {
        method.output_type.clone()
    }
}

fn signature(method: &Method) -> String {
    format!(
        "async fn {}(&self, ctx: &crate::CallContext, input: {}) -> Result<{}, crate::Fault>",
        method.name,
        method.input_type,
        output(method)
    )
}

fn service_trait(name: &str, methods: &[(Method, MethodDescriptor)]) -> String {
    let mut code = format!(
        "/// The service, wherever it runs: an implementation, or one of the adapters around it.\n\
         #[async_trait::async_trait]\npub trait {name}: Send + Sync + 'static {{\n"
    );
    for (method, descriptor) in methods {
        for line in &method.comments.leading {
            writeln!(code, "    ///{}", line.replace('[', "\\[").replace(']', "\\]"))
                .expect("strings take writes");
        }
        if options::operation(descriptor).planned {
            writeln!(
                code,
                "    {} {{\n        let _ = (ctx, input);\n        Err(crate::Fault::planned(&{}))\n    }}\n",
                signature(method),
                operations::static_name(name, descriptor.name())
            )
        } else {
            writeln!(code, "    {};\n", signature(method))
        }
        .expect("strings take writes");
    }
    code.push_str("}\n\n");
    code
}

fn via(name: &str, methods: &[(Method, MethodDescriptor)]) -> String {
    let mut code = format!(
        "/// [`{name}`] with an interceptor around every call.\n\
         pub struct {name}Via<I> {{\n    inner: std::sync::Arc<dyn {name}>,\n    interceptor: I,\n}}\n\n\
         impl<I> {name}Via<I> {{\n    /// Puts `interceptor` around `inner`.\n    \
         pub fn new(inner: std::sync::Arc<dyn {name}>, interceptor: I) -> Self {{\n        \
         Self {{ inner, interceptor }}\n    }}\n}}\n\n\
         impl {name}Via<crate::interceptor::LocalCall> {{\n    \
         /// `inner` of this process as callers see one of another: with deadlines by `clock`.\n    \
         pub fn local(\n        inner: std::sync::Arc<dyn {name}>,\n        \
         clock: std::sync::Arc<dyn lambfold_types::Clock>,\n    ) -> std::sync::Arc<dyn {name}> {{\n        \
         std::sync::Arc::new(Self::new(inner, crate::interceptor::LocalCall::new(clock)))\n    }}\n}}\n\n\
         #[async_trait::async_trait]\nimpl<I: crate::interceptor::Interceptor> {name} for {name}Via<I> {{\n"
    );
    for (method, descriptor) in methods {
        writeln!(
            code,
            "    {} {{\n        let call = |input| self.inner.{}(ctx, input);\n        \
             self.interceptor.around(&{}, ctx, input, call).await\n    }}\n",
            signature(method),
            method.name,
            operations::static_name(name, descriptor.name())
        )
        .expect("strings take writes");
    }
    code.push_str("}\n\n");
    code
}

fn remote(name: &str, methods: &[(Method, MethodDescriptor)]) -> String {
    let mut code = format!(
        "/// [`{name}`] in another process, over gRPC.\n\
         #[derive(Clone)]\npub struct {name}Remote {{\n    rpc: crate::rpc::RpcClient,\n}}\n\n\
         impl {name}Remote {{\n    /// Calls through `rpc`.\n    \
         pub fn new(rpc: crate::rpc::RpcClient) -> Self {{\n        Self {{ rpc }}\n    }}\n}}\n\n\
         #[async_trait::async_trait]\nimpl {name} for {name}Remote {{\n"
    );
    for (method, descriptor) in methods {
        let call = if method.server_streaming { "stream" } else { "unary" };
        writeln!(
            code,
            "    {} {{\n        self.rpc.{call}(&{}, ctx, input).await\n    }}\n",
            signature(method),
            operations::static_name(name, descriptor.name())
        )
        .expect("strings take writes");
    }
    code.push_str("}\n\n");
    code
}

fn rpc(name: &str, methods: &[(Method, MethodDescriptor)]) -> String {
    let module = format!("{}_server", name.to_snake_case());
    let max_in = max(methods, |operation| operation.max_request_bytes);
    let max_out = max(methods, |operation| operation.max_response_bytes);
    let mut code = format!(
        "/// Serves [`{name}`] over gRPC.\n\
         #[derive(Clone)]\npub struct {name}Rpc {{\n    inner: std::sync::Arc<dyn {name}>,\n    \
         server: crate::rpc::RpcServer,\n}}\n\n\
         impl {name}Rpc {{\n    /// Adds the service to `routes`: it calls `inner`, taking the caller's context from `server`.\n    \
         pub fn add_to(\n        routes: &mut tonic::service::RoutesBuilder,\n        inner: std::sync::Arc<dyn {name}>,\n        \
         server: crate::rpc::RpcServer,\n    ) -> Self {{\n        let this = Self {{ inner, server }};\n        \
         let service = {module}::{name}Server::new(this.clone())\n            \
         .max_decoding_message_size({max_in})\n            .max_encoding_message_size({max_out});\n        \
         routes.add_service(service);\n        this\n    }}\n}}\n\n\
         #[tonic::async_trait]\nimpl {module}::{name} for {name}Rpc {{\n"
    );
    for (method, descriptor) in methods {
        let operation = operations::static_name(name, descriptor.name());
        if method.server_streaming {
            writeln!(
                code,
                "    type {stream}Stream = crate::BoxStream<Result<{out}, tonic::Status>>;\n",
                stream = method.proto_name.to_upper_camel_case(),
                out = method.output_type
            )
            .expect("strings take writes");
        }
        let (out, call) = if method.server_streaming {
            (format!("Self::{}Stream", method.proto_name.to_upper_camel_case()), "stream")
        } else {
            (method.output_type.clone(), "unary")
        };
        writeln!(
            code,
            "    async fn {method}(\n        &self,\n        request: tonic::Request<{input}>,\n    ) -> \
             Result<tonic::Response<{out}>, tonic::Status> {{\n        let inner = self.inner.clone();\n        \
             self.server\n            .{call}(&{operation}, request, move |ctx, input| async move {{ \
             inner.{method}(&ctx, input).await }})\n            .await\n    }}\n",
            method = method.name,
            input = method.input_type,
        )
        .expect("strings take writes");
    }
    code.push_str("}\n\n");
    code
}

/// The same service for calls that a stream carries (`lambfold.api.v1.Calls`).
fn carried(name: &str, upper: &str, methods: &[(Method, MethodDescriptor)]) -> String {
    let mut code = format!(
        "#[async_trait::async_trait]\nimpl crate::rpc::Carried for {name}Rpc {{\n    \
         fn operations(&self) -> &'static [&'static crate::Operation] {{\n        {upper}_OPERATIONS\n    }}\n\n    \
         async fn carried(&self, call: crate::rpc::CarriedCall) -> Result<bytes::Bytes, crate::Fault> {{\n        \
         let inner = self.inner.clone();\n        match call.operation.index {{\n"
    );
    for (index, (method, _)) in methods.iter().enumerate().filter(|(_, it)| !it.0.server_streaming) {
        writeln!(
            code,
            "            {index} => self.server.carried(call, move |ctx, input: {}| async move {{ \
             inner.{}(&ctx, input).await }}).await,",
            method.input_type, method.name,
        )
        .expect("strings take writes");
    }
    code.push_str(
        "            _ => Err(crate::Fault::unknown_operation(call.operation.name)),\n        }\n    }\n}\n\n",
    );
    code
}

fn max(methods: &[(Method, MethodDescriptor)], of: impl Fn(&options::Operation) -> Option<u64>) -> u64 {
    methods
        .iter()
        .filter_map(|(_, method)| of(&options::operation(method)))
        .max()
        .unwrap_or(4 << 20)
        .max(4 << 20)
}

fn serve(name: &str, methods: &[(Method, MethodDescriptor)]) -> String {
    let function = format!("serve_{}", name.to_snake_case());
    let mut code = format!(
        "/// Decodes a request, calls `operation` on `service` and encodes the answer, in the protocol of `codec`.\n\
         ///\n/// `operation` is an entry of this service's table.\n\
         pub async fn {function}<C: crate::wire::WireCodec>(\n    service: &dyn {name},\n    \
         operation: &'static crate::operation::Operation,\n    ctx: &crate::CallContext,\n    codec: &C,\n    \
         request: C::Request,\n) -> Result<C::Response, crate::Fault> {{\n    match operation.index {{\n"
    );
    for (index, (method, _)) in methods.iter().enumerate() {
        let (encode, then) =
            if method.server_streaming { ("encode_stream", ".await") } else { ("encode", "") };
        writeln!(
            code,
            "        {index} => {{\n            let input = codec.decode(operation, request)?;\n            \
             codec.{encode}(operation, service.{}(ctx, input).await?){then}\n        }}",
            method.name
        )
        .expect("strings take writes");
    }
    code.push_str("        _ => Err(crate::Fault::unknown_operation(operation.name)),\n    }\n}\n\n");
    code
}
