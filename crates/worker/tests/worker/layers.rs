//! Layers at `/opt` (facts: Lambda API §6, execution environment §7).

use serde_json::json;

use crate::support::{Rig, success};

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_merged_at_opt_in_their_order_and_cannot_be_changed() {
    let rig = Rig::start().await;
    let tool = "#!/bin/sh\necho tool\n";
    let (low, high) = ("where = 'first'\nlow = 1\n", "where = 'second'\n");
    let first = rig.package("", &[("python/shared.py", low, 0o644), ("bin/layered-tool", tool, 0o755)]).await;
    let site = "python/lib/python3.12/site-packages/pinned.py";
    let second = rig.package("", &[("python/shared.py", high, 0o644), (site, "v = 1\n", 0o644)]).await;
    let source = r"
import os, subprocess
import shared, pinned
def handler(event, context):
    try:
        open('/opt/python/new', 'w')
        written = True
    except OSError:
        written = False
    own = os.stat('/opt/python/shared.py')
    return [shared.where, hasattr(shared, 'low'), pinned.v, written, oct(own.st_mode & 0o777),
            subprocess.check_output(['layered-tool'], text=True).strip()]
";
    let mut function = rig.function("python3.12", "index.py", source).await;
    function.layers = vec![first.code_sha256.clone(), second.code_sha256.clone()];
    let (_, answer) = rig.cold(&function, "{}").await;
    assert_eq!(success(&answer), json!(["second", false, 1, false, "0o644", "tool"]));
    // The other way round, in another environment.
    function.layers.reverse();
    function.configuration_id.push('r');
    let (_, answer) = rig.cold(&function, "{}").await;
    assert_eq!(success(&answer)[0], "first");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_layers_opt_is_empty_and_read_only() {
    let rig = Rig::start().await;
    let source = "import os\ndef handler(event, context):\n    return [os.listdir('/opt'), os.access('/opt', os.W_OK)]\n";
    let function = rig.python(source).await;
    assert_eq!(success(&rig.cold(&function, "{}").await.1), json!([[], false]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_finds_modules_of_layers_and_a_layer_may_bring_the_bootstrap() {
    let rig = Rig::start().await;
    let layer = rig
        .package(
            "",
            &[
                ("nodejs/node_modules/general/index.js", "module.exports = 'general'\n", 0o644),
                ("nodejs/node20/node_modules/special/index.js", "module.exports = 'special'\n", 0o644),
            ],
        )
        .await;
    let source =
        "const a = require('general'), b = require('special')\nexports.handler = async () => [a, b]\n";
    let mut function = rig.function("nodejs20.x", "index.js", source).await;
    function.layers = vec![layer.code_sha256];
    assert_eq!(success(&rig.cold(&function, "{}").await.1), json!(["general", "special"]));

    if rig.driver.capabilities().own_root {
        let source = "import a from 'general'\nimport b from 'special'\nimport fs from 'fs'\n
            export const handler = async () => [a, b, fs.readdirSync('/var/node_modules')]\n";
        let layers = function.layers;
        function = rig.function("nodejs20.x", "index.mjs", source).await;
        function.layers = layers;
        let seen = json!(["general", "special", ["special"]]);
        assert_eq!(success(&rig.cold(&function, "{}").await.1), seen);
        // Another function has not what is there for just that version.
        function.runtime = "nodejs22.x".into();
        function.configuration_id.push('r');
        let (_, answer) = rig.cold(&function, "{}").await;
        assert_eq!(answer.function_error, "Unhandled");
    } else {
        eprintln!("SKIPPED: ES modules of layers need a root of the function's own");
    }

    let bootstrap = "#!/usr/bin/env python3
import http.client, os
while True:
    api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
    api.request('GET', '/2018-06-01/runtime/invocation/next')
    event = api.getresponse()
    id, body = event.headers['Lambda-Runtime-Aws-Request-Id'], event.read()
    api.request('POST', '/2018-06-01/runtime/invocation/' + id + '/response', open('answer.json').read())
    api.getresponse().read()
";
    let layer = rig.package("", &[("bootstrap", bootstrap, 0o755)]).await;
    let mut function = rig.function("provided.al2023", "answer.json", "[\"of the task\"]").await;
    function.layers = vec![layer.code_sha256];
    assert_eq!(success(&rig.cold(&function, "{}").await.1), json!(["of the task"]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_may_name_the_interpreter_where_aws_has_it() {
    let rig = Rig::start().await;
    if !rig.driver.capabilities().own_root {
        eprintln!("SKIPPED: /var/lang needs a root of the function's own");
        return rig.stop().await;
    }
    // As pip writes it in AWS's build images.
    let script = "#!/var/lang/bin/python3.12\nimport sys\nprint(sys.argv[1], sys.version_info.major)\n";
    let layer = rig.package("", &[("bin/tool", script, 0o755)]).await;
    let source = r"
import os, subprocess, sys
def output(*command):
    return subprocess.check_output(command, text=True).strip()
def handler(event, context):
    real = os.path.realpath('/var/lang/bin/python3')
    return [output('tool', 'called'), output('which', 'python3'), real == os.path.realpath(sys.executable),
            os.access('/var/lang', os.W_OK)]
";
    let mut function = rig.function("python3.12", "index.py", source).await;
    function.layers = vec![layer.code_sha256];
    let seen = json!(["called 3", "/var/lang/bin/python3", true, false]);
    assert_eq!(success(&rig.cold(&function, "{}").await.1), seen);
    let source = "const { execFileSync } = require('child_process')
        exports.handler = async () => execFileSync('/var/lang/bin/node', ['-p', 'process.version']).toString().trim() === process.version\n";
    let function = rig.function("nodejs20.x", "index.js", source).await;
    assert_eq!(success(&rig.cold(&function, "{}").await.1), true);
    rig.stop().await;
}
