//! Turns `proto/` into Rust: messages and gRPC servers by prost and tonic, and beside them, from the same
//! descriptors, what makes an AWS API of them: JSON names, schemas, constraints, the operation table, service
//! traits with their local and remote adapters, error codes.
//!
//! Options are read through prost-reflect: the prost-types descriptor set silently drops them.

mod errors;
mod lint;
mod operations;
mod options;
mod services;
mod shapes;

use std::path::{Path, PathBuf};
use std::{env, fs};

use prost_reflect::DescriptorPool;
use prost_reflect::prost_types::FileDescriptorSet;

/// The packages whose shapes have AWS wire forms.
const PUBLIC_PACKAGES: [&str; 3] = ["lambfold.sqs.v1", "lambfold.lambda.v1", "lambfold.logs.v1"];

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    println!("cargo::rerun-if-changed=build");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));

    let mut compiler = protox::Compiler::new([&root]).expect("proto/ exists");
    compiler.include_source_info(true).include_imports(true);
    for file in proto_files(&root) {
        if let Err(error) = compiler.open_file(&file) {
            panic!("{error:?}");
        }
    }
    let encoded = compiler.encode_file_descriptor_set();
    fs::write(out.join("descriptors.bin"), &encoded).expect("OUT_DIR is writable");
    let pool = DescriptorPool::decode(encoded.as_slice()).expect("protox made it");
    lint::check(&pool);

    let mut config = prost_build::Config::new();
    config.btree_map(["."]).bytes(["."]).skip_debug(["."]).out_dir(&out);
    shapes::add_serde(&pool, &mut config);
    config.service_generator(Box::new(services::Generator::new(pool.clone())));
    let mut descriptors: FileDescriptorSet = compiler.file_descriptor_set();
    descriptors.file.retain(|file| file.package().starts_with("lambfold."));
    config.compile_fds(descriptors).expect("the descriptors are sound");

    for package in PUBLIC_PACKAGES {
        let mut code = shapes::impls(&pool, package);
        code.push_str(&shapes::frames(&pool, package));
        code.push_str(&errors::code_enum(&pool, package));
        fs::write(out.join(format!("{package}.aws.rs")), code).expect("OUT_DIR is writable");
    }
    fs::write(out.join("messages.rs"), shapes::message_impls(&pool)).expect("OUT_DIR is writable");
}

fn proto_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable").map(|entry| entry.expect("readable").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "proto") {
                files.push(entry);
            }
        }
    }
    files.sort();
    files
}
