//! Ruby and Java, in sandboxes, where the machine has them: `TEST_LANGUAGES=ruby,java` makes it a failure if not.

use std::io::Write;
use std::process::Command;

use lambfold_api::control::FunctionVersion;
use serde_json::{Value, json};

use crate::support::{Rig, json, success, tail};

/// Whether to go on; says so if not.
fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    let wanted = std::env::var("TEST_LANGUAGES").is_ok_and(|wanted| wanted.contains(program));
    assert!(there || !wanted, "{program} is not installed");
    if !there {
        eprintln!("skipped: {program} is not installed");
    }
    there
}

/// The request that a log in JSON says has started.
fn started(log: &str) -> Value {
    let record: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    record["record"]["requestId"].clone()
}

async fn failed(rig: &Rig, function: &FunctionVersion) -> Value {
    let (_, answer) = rig.cold(function, "{}").await;
    assert_eq!(answer.function_error, "Unhandled", "{}", tail(&answer));
    json(&answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn ruby_functions_run() {
    if !has("ruby") {
        return;
    }
    let rig = Rig::start().await;
    let source = "
require 'shared'
module Deep
  class Handlers
    def self.go(event:, context:)
      { event: event, id: context.aws_request_id, memory: context.memory_limit_in_mb, left: context.get_remaining_time_in_millis,
        arn: context.invoked_function_arn, shared: SHARED, trace: ENV.key?('_X_AMZN_TRACE_ID') }
    end
  end
end
Plain = Deep::Handlers
$calls = 0
def count(event:, context:)
  $calls += 1
  raise ArgumentError, 'odd' if event['odd']
  undefined_thing if event['broken']
  exit 3 if event['exit']
  $calls
end
def log(event:, context:)
  puts \"of\\ntwo lines\"
  logger = Logger.new($stdout)
  logger.info('informs')
  logger.warn('warns')
  ENV.key?('_LAMBDA_TELEMETRY_LOG_FD')
end
";
    let layer = rig.package("", &[("ruby/lib/shared.rb", "SHARED = 'layer'\n", 0o644)]).await;
    let mut function = rig.function("ruby3.3", "lib/code.rb", source).await;
    function.layers = vec![layer.code_sha256];
    function.handler = "lib/code.Plain.go".into();
    let (_, answer) = rig.cold(&function, r#"{"a": ["ü", 1.5]}"#).await;
    let seen = success(&answer);
    assert_eq!(
        (&seen["event"], &seen["shared"], &seen["memory"]),
        (&json!({"a": ["ü", 1.5]}), &json!("layer"), &json!("256"))
    );
    assert!(seen["left"].as_i64().unwrap() > 0);

    function.handler = "lib/code.count".into();
    let (id, answer) = rig.cold(&function, "{}").await;
    assert_eq!(success(&answer), 1);
    let answer = rig.warm(&id, r#"{"odd": true}"#).await.unwrap();
    let error = json(&answer);
    assert_eq!(
        (&error["errorType"], &error["errorMessage"]),
        (&json!("Function<ArgumentError>"), &json!("odd"))
    );
    assert!(error["stackTrace"][0].as_str().unwrap().contains("lib/code.rb:15:in"), "{error}");
    assert_eq!(error["stackTrace"].as_array().unwrap().len(), 1, "{error}");
    assert_eq!(success(&rig.warm(&id, "{}").await.unwrap()), 3, "an error leaves the environment");
    let answer = rig.warm(&id, r#"{"broken": true}"#).await.unwrap();
    assert_eq!(json(&answer)["errorType"], "Function<NameError>");
    let (_, answer) = rig.cold(&function, r#"{"exit": true}"#).await;
    assert_eq!(json(&answer)["errorType"], "Runtime.ExitError");

    function.handler = "lib/code.log".into();
    let (_, answer) = rig.cold(&function, "{}").await;
    assert_eq!(success(&answer), false);
    let text = tail(&answer);
    let id = text.split(' ').nth(2).unwrap();
    assert!(
        text.contains("\nof\ntwo lines\nI, [") && text.contains(&format!("  INFO {id} -- : informs\n")),
        "{text}"
    );
    function.log_format = "JSON".into();
    function.application_log_level = "WARN".into();
    let (_, answer) = rig.cold(&function, "{}").await;
    let text = tail(&answer);
    let record = text.lines().find(|line| line.contains("warns")).unwrap_or_default();
    let record: Value = serde_json::from_str(record).unwrap();
    assert_eq!(
        (&record["level"], &record["message"], &record["requestId"]),
        (&json!("WARN"), &json!("warns"), &started(&text))
    );
    assert!(!text.contains("informs"), "{text}");
    function.log_format.clear();

    function.handler = "no/such.thing".into();
    assert_eq!(failed(&rig, &function).await["errorType"], "Init<LoadError>");
    function.handler = "nothing".into();
    assert_eq!(failed(&rig, &function).await["errorType"], "Init<ArgumentError>");
    rig.stop().await;
}

const JAVA: &str = r#"
package example;
import com.amazonaws.services.lambda.runtime.*;
import java.io.*;
import java.util.*;
public class Handlers implements RequestHandler<Handlers.Order, Map<String, Object>> {
    public static class Order {
        private int amount; private List<Item> items; public Kind kind;
        public void setAmount(int amount) { this.amount = amount; }
        public int getAmount() { return amount; }
        public void setItems(List<Item> items) { this.items = items; }
        public List<Item> getItems() { return items; }
    }
    public record Item(String name, double price) {}
    public enum Kind { NEW, OLD }
    private int calls;
    public Map<String, Object> handleRequest(Order order, Context context) {
        context.getLogger().log("logged\nby java");
        LambdaRuntime.getLogger().log("a warning", com.amazonaws.services.lambda.runtime.logging.LogLevel.WARN);
        Map<String, Object> seen = new LinkedHashMap<>();
        seen.put("order", order); seen.put("first", order.getItems().get(0).name());
        seen.put("memory", context.getMemoryLimitInMB()); seen.put("id", context.getAwsRequestId());
        seen.put("left", context.getRemainingTimeInMillis()); seen.put("calls", ++calls); seen.put("shared", shared());
        return seen;
    }
    static String shared() {
        try { return (String) Class.forName("layered.Shared").getField("VALUE").get(null); }
        catch (ReflectiveOperationException missing) { return null; }
    }
    public String text(String event) { return event + "!"; }
    public static List<Integer> lengths(List<String> words) { return words.stream().map(String::length).toList(); }
    public void stream(InputStream in, OutputStream out, Context context) throws IOException {
        out.write("[".getBytes()); in.transferTo(out); out.write("]".getBytes());
    }
    public Object fail(Map<String, Object> event) { throw new IllegalStateException("no", new RuntimeException("because")); }
    public Object exit() { System.exit(4); return null; }
}
"#;

/// Class files of these sources, as a function would bring them.
fn compiled(class_path: &str, sources: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    let directory = tempfile::tempdir().unwrap();
    for (name, source) in sources {
        std::fs::write(directory.path().join(name), source).unwrap();
    }
    let out = directory.path().join("out");
    let status = Command::new("javac")
        .args(["--release", "17", "-cp", class_path, "-d"])
        .arg(&out)
        .args(sources.iter().map(|(name, _)| directory.path().join(name)))
        .status();
    assert!(status.unwrap().success());
    let mut files = Vec::new();
    let mut folders = vec![out.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&out).unwrap().display().to_string();
                files.push((name, std::fs::read(path).unwrap()));
            }
        }
    }
    files
}

fn jar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        archive.start_file(name.as_str(), zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn java_functions_run() {
    if !has("java") || !has("javac") {
        return;
    }
    let rig = Rig::start().await;
    let runtime = concat!(env!("CARGO_MANIFEST_DIR"), "/../../runtimes/java/lambfold-runtime.jar");
    let classes = compiled(runtime, &[("Handlers.java", JAVA)]);
    let shared = compiled(
        runtime,
        &[(
            "Shared.java",
            "package layered; public class Shared { public static final String VALUE = \"layer\"; }",
        )],
    );
    let layer = rig.archive("", &[("java/lib/shared.jar".into(), jar(&shared))]).await;
    let mut function = rig.archive("java17", &classes).await;
    function.layers = vec![layer.code_sha256];
    function.memory_size_mb = 512;
    let event = r#"{"amount": 3, "items": [{"name": "ü", "price": 1.5}], "kind": "OLD", "unknown": {}}"#;
    function.handler = "example.Handlers".into();
    let (id, answer) = rig.cold(&function, event).await;
    let seen = success(&answer);
    let order = json!({"amount": 3, "items": [{"name": "ü", "price": 1.5}], "kind": "OLD"});
    assert_eq!((&seen["order"], &seen["first"], &seen["shared"]), (&order, &json!("ü"), &json!("layer")));
    assert_eq!((&seen["memory"], &seen["calls"]), (&json!(512), &json!(1)));
    assert!(
        seen["left"].as_i64().unwrap() > 0 && tail(&answer).contains("\nlogged\nby java\n[WARN] a warning\n")
    );
    assert_eq!(success(&rig.warm(&id, event).await.unwrap())["calls"], 2);

    function.log_format = "JSON".into();
    function.application_log_level = "INFO".into();
    let (_, answer) = rig.cold(&function, event).await;
    let text = tail(&answer);
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let [told, warning] =
        records.filter(|it| it["message"].is_string()).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((&told["message"], &told["level"]), (&json!("logged\nby java"), &json!("UNDEFINED")));
    assert_eq!((&warning["level"], &warning["AWSRequestId"]), (&json!("WARN"), &started(&text)));
    function.log_format.clear();

    for (handler, event, wanted) in [
        ("example.Handlers::handleRequest", event, None),
        ("example.Handlers::text", "\"a\\nb\"", Some(json!("a\nb!"))),
        ("example.Handlers::lengths", r#"["a", "bcd"]"#, Some(json!([1, 3]))),
        ("example.Handlers::stream", r#"{"raw":  1}"#, Some(json!([{"raw": 1}]))),
    ] {
        function.handler = handler.into();
        let found = success(&rig.cold(&function, event).await.1);
        assert!(wanted.is_none_or(|wanted| wanted == found), "{handler}");
    }
    function.handler = "example.Handlers::fail".into();
    let error = failed(&rig, &function).await;
    assert_eq!(
        (&error["errorType"], &error["errorMessage"]),
        (&json!("java.lang.IllegalStateException"), &json!("no"))
    );
    assert!(
        error["stackTrace"][0].as_str().unwrap().starts_with("example.Handlers.fail(Handlers.java:"),
        "{error}"
    );
    assert_eq!(
        (error["stackTrace"].as_array().unwrap().len(), &error["cause"]["errorMessage"]),
        (1, &json!("because"))
    );
    function.handler = "example.Missing".into();
    let error = failed(&rig, &function).await;
    assert_eq!(error["errorMessage"], "Class not found: example.Missing");
    assert_eq!(error["errorType"], "java.lang.ClassNotFoundException");
    function.handler = "example.Handlers::missing".into();
    assert_eq!(failed(&rig, &function).await["errorType"], "java.lang.NoSuchMethodException");
    function.handler = "example.Handlers::lengths".into();
    assert_eq!(failed(&rig, &function).await["errorType"], "java.lang.IllegalArgumentException");
    function.handler = "example.Handlers::exit".into();
    assert_eq!(failed(&rig, &function).await["errorType"], "Runtime.ExitError");
    rig.stop().await;
}

const HOOKS: &str = r#"
package example;
import com.amazonaws.services.lambda.crac.*;
import java.util.*;
public class Hooks implements Resource {
    static final List<String> TOLD = new ArrayList<>();
    static final Hooks FIRST = new Hooks("first"), SECOND = new Hooks("second");
    static {
        // As the library org.crac does it for a function.
        if (!System.getProperty("org.crac.Core.Compat").equals(Core.class.getPackageName())) throw new AssertionError();
        for (Hooks hooks : List.of(SECOND, FIRST, SECOND)) Core.getGlobalContext().register(hooks);
    }
    private final String name;
    private Hooks(String name) { this.name = name; }
    public Hooks() { this(""); }
    public void beforeCheckpoint(Context<? extends Resource> context) throws Exception { tell("before"); }
    public void afterRestore(Context<? extends Resource> context) throws Exception { tell("after"); }
    private void tell(String when) throws Exception {
        TOLD.add(when + " " + name);
        if ((when + " " + name).equals(System.getenv("FAIL"))) throw new IllegalStateException("no");
    }
    public List<String> told() { return TOLD; }
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn hooks_of_java_run_around_where_a_snapshot_would_be() {
    if !has("java") || !has("javac") {
        return;
    }
    let rig = Rig::start().await;
    let runtime = concat!(env!("CARGO_MANIFEST_DIR"), "/../../runtimes/java/lambfold-runtime.jar");
    let mut function = rig.archive("java17", &compiled(runtime, &[("Hooks.java", HOOKS)])).await;
    function.memory_size_mb = 512;
    function.handler = "example.Hooks::told".into();
    assert_eq!(success(&rig.cold(&function, "{}").await.1), json!([]), "not without SnapStart");
    function.initialization_type = "snap-start".into();
    let told = json!(["before second", "before first", "after first", "after second"]);
    assert_eq!(success(&rig.cold(&function, "{}").await.1), told);
    for (fails, exception) in [("before second", "CheckpointException"), ("after first", "RestoreException")]
    {
        function.environment = [("FAIL".to_owned(), fails.to_owned())].into();
        let error = failed(&rig, &function).await;
        assert_eq!(error["errorType"], format!("com.amazonaws.services.lambda.crac.{exception}"));
    }
    rig.stop().await;
}

#[test]
fn the_java_runtime_is_what_its_sources_make() {
    if has("javac") {
        let build = concat!(env!("CARGO_MANIFEST_DIR"), "/../../runtimes/java/build");
        assert!(Command::new("python3").args([build, "--check"]).status().unwrap().success());
    }
}
