//! V8's heap is limited by the function's memory, as the start command of AWS's images does it.

use lambfold_api::control::FunctionVersion;
use serde_json::json;

use crate::WAITING;
use crate::support::{Rig, eventually, pool_of, success};

/// Lives on 30 MB, and makes 3 GB of garbage.
const WASTEFUL: &str = "const text = Buffer.alloc(10000, 'x');
const kept = [];
exports.handler = async () => {
  for (let n = 0; n < 300000; n++) kept[n % 3000] = text.latin1Slice(0, 9000 + (n % 1000));
  return kept.length;
};";

/// Looks while it is loaded, when V8's options must be there for what it starts.
const LIMITS: &str = "const { Worker } = require('worker_threads');
const { getHeapStatistics } = require('v8');
const limit = getHeapStatistics().heap_size_limit;
const look = `require('worker_threads').parentPort.postMessage([require('v8').getHeapStatistics().heap_size_limit, typeof gc])`;
const worker = new Promise((resolve) => new Worker(look, { eval: true }).once('message', resolve));
exports.handler = async () => {
  const [workerLimit, workerCollector] = await worker;
  return { limit, workerLimit, memory: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE, collectors: [typeof gc, workerCollector], options: process.execArgv };
};";

async fn function(rig: &Rig, source: &str, memory_mb: u32) -> FunctionVersion {
    let mut function = rig.function("nodejs20.x", "index.js", source).await;
    function.memory_size_mb = memory_mb;
    function.timeout_seconds = 60;
    function
}

/// The answers of so many new environments, and how many of those had waited.
async fn cold_starts(rig: &Rig, function: &FunctionVersion, times: u32) -> (Vec<serde_json::Value>, u64) {
    let pool = pool_of(function);
    let before = rig.metric("assigned", &pool);
    let mut answers = Vec::new();
    for time in 0..times {
        if time > 0 && waits(rig) {
            eventually("one that waits", || rig.metric("waiting", &pool) > 0).await;
        }
        answers.push(success(&rig.cold(function, "{}").await.1));
    }
    (answers, rig.metric("assigned", &pool) - before)
}

fn waits(rig: &Rig) -> bool {
    WAITING && rig.driver.capabilities().own_root
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_collected_before_the_memory_is_used_up() {
    let rig = Rig::start().await;
    let mut function = function(&rig, WASTEFUL, 128).await;
    let (answers, assigned) = cold_starts(&rig, &function, 2).await;
    assert_eq!(answers, [json!(3000), json!(3000)]);
    assert!(!waits(&rig) || assigned > 0);
    // Which no environment that waits can be given to.
    function.environment = [("NODE_OPTIONS".to_owned(), "--no-warnings".to_owned())].into();
    let (answers, assigned) = cold_starts(&rig, &function, 1).await;
    assert_eq!((answers, assigned), (vec![json!(3000)], 0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heaps_are_as_large_as_the_functions_memory_says() {
    let rig = Rig::start().await;
    let mut limits = Vec::new();
    for (memory_mb, semi_space, old_space) in [(128, 6, 116), (512, 25, 461)] {
        let function = function(&rig, LIMITS, memory_mb).await;
        // At the latest the second one has waited.
        let (answers, assigned) = cold_starts(&rig, &function, 3).await;
        assert!(assigned >= if waits(&rig) { 2 } else { 0 }, "{assigned}");
        let options = json!([
            "--expose-gc",
            "--max-http-header-size",
            "81920",
            format!("--max-semi-space-size={semi_space}"),
            format!("--max-old-space-size={old_space}"),
        ]);
        for answer in &answers {
            assert_eq!(answer["memory"], json!(memory_mb.to_string()));
            assert_eq!(
                (&answer["collectors"], &answer["options"]),
                (&json!(["function", "function"]), &options)
            );
            assert_eq!(
                (&answer["limit"], &answer["workerLimit"]),
                (&answers[0]["limit"], &answers[0]["limit"])
            );
        }
        limits.push(answers[0]["limit"].as_u64().unwrap() >> 20);
    }
    // The new space comes on top, which versions of V8 count differently.
    assert!((116..160).contains(&limits[0]), "{limits:?}");
    assert!((461..600).contains(&limits[1]), "{limits:?}");
    rig.stop().await;
}
