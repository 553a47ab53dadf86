//! What waited must not show: a function sees the same in both kinds of environment.

use serde_json::{Value, json};

use crate::support::{Rig, pool_of, success};

const PYTHON: &str = r"import os, sys, socket, time
def status(*names):
    lines = dict(line.split(':\t', 1) for line in open('/proc/self/status'))
    return {name: lines[name].strip() for name in names}
def handler(event, context):
    return {
        'environment': {k: v for k, v in os.environ.items() if k not in ('AWS_LAMBDA_LOG_STREAM_NAME', '_X_AMZN_TRACE_ID')},
        'argv': sys.argv, 'path': sys.path, 'cwd': os.getcwd(), 'flags': list(sys.flags), 'zone': time.tzname,
        'ids': [os.getuid(), os.getgid(), os.getpid()], 'groups': os.getgroups(), 'encoding': sys.getfilesystemencoding(),
        'status': status('CapEff', 'CapBnd', 'NoNewPrivs', 'Seccomp', 'NSpid'),
        'limits': open('/proc/self/limits').read(),
        'mounts': sorted(line.split()[4:6] for line in open('/proc/self/mountinfo')),
        'input': os.readlink('/proc/self/fd/0'),
        'opt': os.listdir('/opt'), 'task': os.listdir('/var/task'), 'tmp': os.listdir('/tmp'),
        'size': os.statvfs('/tmp').f_blocks, 'files': os.statvfs('/tmp').f_files,
        'modules': sorted(name for name in sys.modules if hasattr(sys.modules[name], '__file__') and not name.startswith('lambfold_runtime')),
        'stdout': [sys.stdout.line_buffering, sys.stdout.encoding, sys.stdin.read()],
        'threads': len(os.listdir('/proc/self/task')),
    }
";

const NODE: &str = r"const fs = require('fs');
function target(fd) {
  try {
    return fs.readlinkSync('/proc/self/fd/' + fd).replace(/\d+/, '');
  } catch {
    return '';
  }
}
const context = new (require('async_hooks').AsyncLocalStorage)();
context.enterWith('of init');
exports.handler = async () => {
  const environment = { ...process.env };
  delete environment.AWS_LAMBDA_LOG_STREAM_NAME;
  delete environment._X_AMZN_TRACE_ID;
  const status = Object.fromEntries(fs.readFileSync('/proc/self/status', 'utf8').split('\n').map((line) => line.split(':\t')));
  return {
    environment, argv: process.argv, execArgv: process.execArgv, cwd: process.cwd(), paths: require('module').globalPaths,
    ids: [process.getuid(), process.getgid(), process.pid], status: [status.CapEff, status.CapBnd, status.NoNewPrivs, status.Seccomp],
    limits: fs.readFileSync('/proc/self/limits', 'utf8'), input: fs.readlinkSync('/proc/self/fd/0'),
    opt: fs.readdirSync('/opt'), task: fs.readdirSync('/var/task'), zone: new Date(0).getTimezoneOffset(),
    main: [typeof require.main, typeof process.mainModule], context: context.getStore(), globals: Object.keys(globalThis),
    modules: [Object.keys(require.cache), require.main?.children.map((it) => it.filename), Object.keys(require('module')._pathCache)],
    symbols: Object.getOwnPropertySymbols(globalThis).map(String), console: Object.keys(console),
    collector: [typeof gc, require('vm').runInNewContext('typeof gc')],
    listeners: process.eventNames().map((name) => [String(name), process.listenerCount(name)]),
    resources: process.getActiveResourcesInfo(), names: Object.keys(process.env), exitCode: process.exitCode,
    files: fs.readdirSync('/proc/self/fd').map(target).filter((it) => it.startsWith('/') || it.startsWith('socket')).sort(),
  };
};
";

async fn views(runtime: &str, file: &str, source: &str, variables: &[(&str, &str)]) -> (Value, Value) {
    let mut views = Vec::new();
    for memory in [200, 0] {
        let rig = Rig::with(|options| options.pool_memory_mib = memory).await;
        if !rig.driver.capabilities().own_root {
            eprintln!("SKIPPED: nothing waits without a root of its own");
            rig.stop().await;
            return (json!({}), json!({}));
        }
        let mut function = rig.function(runtime, file, source).await;
        function.ephemeral_storage_mb = 700;
        function.environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let before = rig.metric("assigned", &pool_of(&function));
        views.push(success(&rig.cold(&function, "{}").await.1));
        assert_eq!(rig.metric("assigned", &pool_of(&function)) - before, u64::from(memory > 0));
        rig.stop().await;
    }
    (views.remove(0), views.remove(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_function_cannot_tell_that_its_environment_waited() {
    for variables in [&[][..], &[("TZ", "Asia/Tokyo"), ("NAME", "a=b\u{e9}\n"), ("EMPTY", "")][..]] {
        let (mut waited, mut started) = views("python3.11", "index.py", PYTHON, variables).await;
        let modules = |view: &mut Value| view.as_object_mut().and_then(|it| it.remove("modules"));
        let (more, fewer) = (modules(&mut waited), modules(&mut started));
        assert_eq!(waited, started);
        // Those that AWS's runtime has loaded as well.
        let added: Vec<&Value> = more
            .iter()
            .flat_map(|it| it.as_array().unwrap())
            .filter(|name| !fewer.as_ref().unwrap().as_array().unwrap().contains(name))
            .collect();
        assert!(added.is_empty(), "{added:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_function_cannot_tell_that_its_environment_waited() {
    for variables in
        [&[][..], &[("TZ", "Asia/Tokyo"), ("NODE_PATH", "/tmp/modules"), ("NAME", "a=b\u{e9}\n")][..]]
    {
        let (waited, started) = views("nodejs20.x", "index.js", NODE, variables).await;
        assert_eq!(waited, started);
        // As where AWS's client, an ES module, awaits one invocation after another.
        assert_eq!(started["main"], json!(["undefined", "undefined"]));
        assert_eq!(started["context"], json!("of init"));
    }
}
