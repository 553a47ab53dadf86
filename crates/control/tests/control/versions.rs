//! Versions, aliases and concurrency: what becomes of them when things end or are done again.

use serde_json::json;

use crate::rig::{FUNCTION, Rig, conflict, invalid, text};

over_each_store! {
    a_version_that_a_stop_left_pending_becomes_active
    the_watch_tells_of_versions_before_their_functions_and_of_their_ends
    concurrency_is_given_once
}

async fn version_state(rig: &Rig, qualifier: &str) -> Option<String> {
    let request = json!({"FunctionName": "f", "Qualifier": qualifier});
    rig.here.get_function_configuration(request).await.ok().map(|found| text(&found["State"]))
}

async fn version_active(rig: &Rig, qualifier: &str) {
    for _ in 0..20_000 {
        if version_state(rig, qualifier).await.as_deref() == Some("Active") {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("version {qualifier} never became active");
}

async fn a_version_that_a_stop_left_pending_becomes_active(mut rig: Rig) {
    rig.here.active("f", json!({})).await;
    rig.stop().await;
    let published = rig.here.publish_version(json!({"FunctionName": "f"})).await.unwrap();
    assert_eq!(published["State"], "Pending");
    let service = rig.restart_idle().await;
    assert_eq!(version_state(&rig, "1").await.as_deref(), Some("Pending"));
    rig.run(service);
    version_active(&rig, "1").await;
}

async fn the_watch_tells_of_versions_before_their_functions_and_of_their_ends(rig: Rig) {
    rig.here.active("f", json!({"Publish": true})).await;
    version_active(&rig, "1").await;
    rig.here
        .create_alias(json!({"FunctionName": "f", "Name": "live", "FunctionVersion": "1"}))
        .await
        .unwrap();
    let mut watch = rig.watch(None).await;
    let first = watch.until("synced").await;
    assert_eq!(first[..2], ["f:1 Active", "f Active"], "{first:?}");
    rig.here.delete_function(json!({"FunctionName": "f"})).await.unwrap();
    let gone: Vec<_> = [watch.next().await, watch.next().await]
        .into_iter()
        .map(|event| crate::rig::shown(&event.unwrap()))
        .collect();
    assert!(gone.iter().all(|it| it.ends_with("function removed")), "{gone:?}");
    // Another life of the name has versions of its own.
    rig.here.active("f", json!({})).await;
    assert_eq!(version_state(&rig, "1").await, None);
    assert_eq!(rig.here.publish_version(json!({"FunctionName": "f"})).await.unwrap()["Version"], "1");
}

async fn concurrency_is_given_once(rig: Rig) {
    let here = &rig.here;
    here.active("f", json!({"Publish": true})).await;
    here.active("g", json!({})).await;
    version_active(&rig, "1").await;
    let alias = json!({"FunctionName": "f", "Name": "live", "FunctionVersion": "1"});
    here.create_alias(alias).await.unwrap();
    let provision = async |qualifier: &str, executions: u32| {
        let request = json!({"FunctionName": "f", "Qualifier": qualifier,
                                 "ProvisionedConcurrentExecutions": executions});
        here.put_provisioned_concurrency_config(request).await
    };
    let reserve = async |function: &str, executions: u32| {
        let request = json!({"FunctionName": function, "ReservedConcurrentExecutions": executions});
        here.put_function_concurrency(request).await
    };
    let answer = provision("live", 2).await.unwrap();
    assert_eq!(
        (&answer["Status"], &answer["AvailableProvisionedConcurrentExecutions"]),
        (&json!("IN_PROGRESS"), &json!(0))
    );
    assert_eq!(provision("1", 1).await, conflict("Version is pointed by a Provisioned Concurrency alias"));
    assert_eq!(
        provision("$LATEST", 1).await,
        invalid("Provisioned Concurrency Configs cannot be applied to unpublished function versions.")
    );
    assert_eq!(
        provision("live", 1001).await,
        invalid(
            "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [1000]."
        )
    );
    assert_eq!(
        reserve("f", 1).await,
        invalid(
            " ReservedConcurrentExecutions  1 should not be lower than function's total provisioned concurrency [2]."
        )
    );
    assert_eq!(
        reserve("g", 899).await,
        invalid(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution \
                 below its minimum value of [100]."
        )
    );
    reserve("f", 2).await.unwrap();
    assert_eq!(
        provision("live", 3).await,
        invalid(
            "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
        )
    );
    assert_eq!(
        here.get_function(json!({"FunctionName": "f"})).await.unwrap()["Concurrency"],
        json!({"ReservedConcurrentExecutions": 2})
    );
    let listed = here.list_provisioned_concurrency_configs(json!({"FunctionName": "f"})).await.unwrap();
    assert_eq!(listed["ProvisionedConcurrencyConfigs"][0]["FunctionArn"], format!("{FUNCTION}f:live"));
    here.delete_alias(json!({"FunctionName": "f", "Name": "live"})).await.unwrap();
    let listed = here.list_provisioned_concurrency_configs(json!({"FunctionName": "f"})).await.unwrap();
    assert_eq!(listed["ProvisionedConcurrencyConfigs"], json!([]));
    provision("1", 1).await.unwrap();
    here.delete_function(json!({"FunctionName": "f", "Qualifier": "1"})).await.unwrap();
    here.delete_function_concurrency(json!({"FunctionName": "f"})).await.unwrap();
    assert_eq!(reserve("g", 900).await.unwrap()["ReservedConcurrentExecutions"], 900, "all is free again");
}
