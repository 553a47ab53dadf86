//! The environment that a function's process gets (facts: execution environment §6).

use std::collections::BTreeMap;
use std::path::PathBuf;

use lambfold_api::control::{ContainerImage, FunctionVersion};
use lambfold_sandbox::{OUTPUT_FD, SandboxView};

use crate::interpreter::{Interpreter, Language};

/// What of it comes from the sandbox and the worker.
pub(crate) struct Surroundings<'a> {
    pub(crate) view: &'a SandboxView,
    pub(crate) interpreter: Option<&'a Interpreter>,
    /// `host:port` of the Runtime API as seen inside.
    pub(crate) runtime_api: String,
    /// `host:port` of Lambfold as seen inside.
    pub(crate) endpoint: Option<String>,
    pub(crate) log_stream: &'a str,
}

/// User < platform: what AWS reserves is set last. Users' names that start with `_` are dropped.
pub(crate) fn variables(function: &FunctionVersion, around: &Surroundings<'_>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut set = |name: &str, value: String| {
        variables.insert(name.to_owned(), value);
    };
    overridable(function, around, &mut set);
    for (name, value) in function.environment.iter().filter(|(name, _)| !name.starts_with('_')) {
        set(name, value.clone());
    }
    reserved(function, around, &mut set);
    variables
}

/// What of a function's variables its external extensions see.
pub(crate) fn of_extensions(function: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    const HIDDEN: &[&str] = &[
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_XRAY_CONTEXT_MISSING",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    ];
    let seen = |name: &str| !name.starts_with('_') && !HIDDEN.contains(&name);
    let variables = function.iter().filter(|(name, _)| seen(name));
    variables.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What an interpreter needs at its start, before it is known for which function. Names no function, and no secret.
pub(crate) fn at_start(view: &SandboxView, interpreter: &Interpreter) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let around = Surroundings {
        view,
        interpreter: Some(interpreter),
        runtime_api: String::new(),
        endpoint: None,
        log_stream: "",
    };
    overridable(&FunctionVersion::default(), &around, &mut |name, value| {
        variables.insert(name.to_owned(), value);
    });
    variables
}

/// What the user may replace.
fn overridable(function: &FunctionVersion, around: &Surroundings<'_>, set: &mut impl FnMut(&str, String)) {
    if let Some(image) = &function.image {
        of_image(image, around, set);
        return;
    }
    let (task, runtime, layers) = (
        around.view.task_root.display(),
        around.view.runtime_dir.display(),
        around.view.layers_dir.display(),
    );
    // So that a function finds its own interpreter, as it does on AWS in /var/lang/bin.
    let own = around.interpreter.and_then(|it| it.program.parent()).filter(|it| !it.starts_with("/usr"));
    let own = own.map(|directory| format!("{}:", directory.display())).unwrap_or_default();
    set("PATH", format!("/var/lang/bin:{own}/usr/local/bin:/usr/bin/:/bin:{layers}/bin"));
    set("LANG", "en_US.UTF-8".to_owned());
    set(
        "LD_LIBRARY_PATH",
        format!("/var/lang/lib:/lib64:/usr/lib64:{runtime}:{runtime}/lib:{task}:{task}/lib:{layers}/lib"),
    );
    set("TZ", ":UTC".to_owned());
    set("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR".to_owned());
    set("AWS_XRAY_DAEMON_ADDRESS", "169.254.79.129:2000".to_owned());
    if around.view.tmp_dir != std::path::Path::new("/tmp") {
        set("TMPDIR", around.view.tmp_dir.display().to_string());
    }
    if let Some(endpoint) = &around.endpoint {
        set("AWS_ENDPOINT_URL", format!("http://{endpoint}"));
    }
    match around.interpreter {
        Some(Interpreter { language: Language::Python, .. }) => {
            set("PYTHONPATH", runtime.to_string());
            set("LC_CTYPE", "C.UTF-8".to_owned());
        }
        Some(Interpreter { language: Language::NodeJs, .. }) => {
            let of_version = modules_of_version(function, around.view);
            set(
                "NODE_PATH",
                format!(
                    "{}:{layers}/nodejs/node_modules:{runtime}/node_modules:{runtime}:{task}",
                    of_version.display()
                ),
            );
        }
        Some(Interpreter { language: Language::Ruby, version, .. }) => {
            // Gems are made for the version that the function declares; the interpreter may be another one.
            let declared = function.runtime.trim_start_matches("ruby").to_owned();
            let running = version.to_string();
            let mut versions = vec![declared];
            versions.extend((!versions.contains(&running)).then_some(running));
            let gems = versions.iter().flat_map(|version| {
                [format!("{task}/vendor/bundle/ruby/{version}.0"), format!("{layers}/ruby/gems/{version}.0")]
            });
            set("GEM_PATH", gems.collect::<Vec<_>>().join(":"));
            set("RUBYLIB", format!("{runtime}/lib:{layers}/ruby/lib"));
        }
        // The bootstrap looks for a function's classes itself.
        Some(Interpreter { language: Language::Java, .. }) | None => {}
    }
}

/// The modules that layers have for just the version of Node.js that the function declares.
pub(crate) fn modules_of_version(function: &FunctionVersion, view: &SandboxView) -> PathBuf {
    let name = function.runtime.trim_end_matches(".x").replacen("nodejs", "node", 1);
    view.layers_dir.join("nodejs").join(name).join("node_modules")
}

/// What the user of an image may replace: mostly what the image says itself.
fn of_image(image: &ContainerImage, around: &Surroundings<'_>, set: &mut impl FnMut(&str, String)) {
    set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    set("TZ", ":UTC".to_owned());
    set("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR".to_owned());
    set("AWS_XRAY_DAEMON_ADDRESS", "169.254.79.129:2000".to_owned());
    for (name, value) in &image.environment {
        set(name, value.clone());
    }
    if let Some(endpoint) = &around.endpoint {
        set("AWS_ENDPOINT_URL", format!("http://{endpoint}"));
    }
}

/// What AWS refuses in `Environment`, and sets itself.
fn reserved(function: &FunctionVersion, around: &Surroundings<'_>, set: &mut impl FnMut(&str, String)) {
    if function.image.is_none() {
        set("_HANDLER", function.handler.clone());
    }
    set("AWS_REGION", function.region.clone());
    set("AWS_DEFAULT_REGION", function.region.clone());
    if around.interpreter.is_some() {
        set("AWS_EXECUTION_ENV", format!("AWS_Lambda_{}", function.runtime));
    }
    set("AWS_LAMBDA_FUNCTION_NAME", function.function_name.clone());
    set("AWS_LAMBDA_FUNCTION_VERSION", function.version.clone());
    set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory_size_mb.to_string());
    set("AWS_LAMBDA_INITIALIZATION_TYPE", initialization_type(function).to_owned());
    set("AWS_LAMBDA_LOG_GROUP_NAME", log_group(function));
    set("AWS_LAMBDA_LOG_STREAM_NAME", around.log_stream.to_owned());
    let json = function.log_format == "JSON";
    set("AWS_LAMBDA_LOG_FORMAT", if json { "JSON" } else { "Text" }.to_owned());
    if json {
        let level = function.application_log_level.as_str();
        set("AWS_LAMBDA_LOG_LEVEL", if level.is_empty() { "INFO" } else { level }.to_owned());
    }
    // The account as access key: what an SDK in the function signs with these is done in the function's account.
    set("AWS_ACCESS_KEY_ID", function.account.clone());
    set("AWS_SECRET_ACCESS_KEY", "lambfold".to_owned());
    set("AWS_SESSION_TOKEN", "lambfold".to_owned());
    set("_AWS_XRAY_DAEMON_ADDRESS", "169.254.79.129".to_owned());
    set("_AWS_XRAY_DAEMON_PORT", "2000".to_owned());
    set("AWS_LAMBDA_RUNTIME_API", around.runtime_api.clone());
    set("LAMBDA_TASK_ROOT", around.view.task_root.display().to_string());
    if around.view.layers_dir != std::path::Path::new("/opt") {
        // For our own bootstraps, which take it away.
        set("_LAMBFOLD_LAYERS_DIR", around.view.layers_dir.display().to_string());
    }
    set("LAMBDA_RUNTIME_DIR", around.view.runtime_dir.display().to_string());
    // Runtimes take it away. Own ones know nothing of it.
    if around.interpreter.is_some() || function.image.is_some() {
        set("_LAMBDA_TELEMETRY_LOG_FD", OUTPUT_FD.to_string());
    }
}

/// The initialisation type of functions whose hooks around a snapshot are run.
pub(crate) const SNAP_START: &str = "snap-start";
/// That of environments that begin with an invocation.
pub(crate) const ON_DEMAND: &str = "on-demand";

/// How its environments come to be.
pub(crate) fn initialization_type(function: &FunctionVersion) -> &str {
    match function.initialization_type.as_str() {
        "" => ON_DEMAND,
        other => other,
    }
}

/// The function's own, or the one that its `LoggingConfig` names.
pub(crate) fn log_group(function: &FunctionVersion) -> String {
    match function.log_group.as_str() {
        "" => format!("/aws/lambda/{}", function.function_name),
        group => group.to_owned(),
    }
}

/// `YYYY/MM/DD/[<version>]<32 hex>`, with the function's name in a log group of the user's choice.
pub(crate) fn log_stream(function: &FunctionVersion, day: &str, unique: &uuid::Uuid) -> String {
    let own_group = format!("/aws/lambda/{}", function.function_name);
    let name = if log_group(function) == own_group { "" } else { function.function_name.as_str() };
    format!("{day}/{name}[{}]{}", function.version, unique.simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_wins_where_aws_reserves() {
        let function = FunctionVersion {
            account: "123456789012".into(),
            region: "eu-west-1".into(),
            function_name: "f".into(),
            version: "7".into(),
            runtime: "provided.al2023".into(),
            environment: [("AWS_REGION", "x"), ("LANG", "C"), ("_X", "1"), ("AWS_ENDPOINT_URL", "http://e")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..FunctionVersion::default()
        };
        let view = SandboxView {
            task_root: "/var/task".into(),
            runtime_dir: "/var/runtime".into(),
            layers_dir: "/opt".into(),
            tmp_dir: "/tmp".into(),
        };
        let stream = log_stream(&function, "2026/01/02", &uuid::Uuid::nil());
        assert_eq!(stream, "2026/01/02/[7]00000000000000000000000000000000");
        let around = Surroundings {
            view: &view,
            interpreter: None,
            runtime_api: "127.0.0.1:9001".into(),
            endpoint: Some("127.0.0.1:4566".into()),
            log_stream: &stream,
        };
        let variables = variables(&function, &around);
        let get = |name: &str| variables.get(name).map(String::as_str);
        assert_eq!(get("AWS_REGION"), Some("eu-west-1"));
        assert_eq!(get("AWS_ACCESS_KEY_ID"), Some("123456789012"));
        assert_eq!(get("LANG"), Some("C"));
        assert_eq!(get("AWS_ENDPOINT_URL"), Some("http://e"));
        assert_eq!(get("_X"), None);
        assert_eq!(get("_AWS_XRAY_DAEMON_PORT"), Some("2000"));
        assert_eq!(get("AWS_EXECUTION_ENV"), None);
        assert_eq!(get("PATH"), Some("/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"));
        assert_eq!(get("AWS_LAMBDA_LOG_GROUP_NAME"), Some("/aws/lambda/f"));
    }
}
