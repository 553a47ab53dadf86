//! Provisioned and reserved concurrency.

use std::time::Duration;

use lambfold_api::control::watch_event::Event;
use lambfold_api::control::{FunctionSettings, FunctionVersion, ProvisionedConcurrency};
use lambfold_api::worker::EnvironmentState;
use lambfold_dispatcher::Options;

use crate::neighbours::{Act, Neighbours, function};

fn version(number: &str) -> FunctionVersion {
    FunctionVersion {
        version: number.into(),
        incarnation: format!("f-1/{number}"),
        ..function("f", &format!("c{number}"))
    }
}

fn settings(reserved_concurrency: Option<u32>, provisioned: &[(&str, u32)]) -> FunctionVersion {
    let provisioned = provisioned
        .iter()
        .map(|(qualifier, executions)| ProvisionedConcurrency {
            qualifier: (*qualifier).into(),
            executions: *executions,
        })
        .collect();
    let settings = FunctionSettings { reserved_concurrency, provisioned, ..FunctionSettings::default() };
    FunctionVersion { settings: Some(settings), ..function("f", "c") }
}

#[tokio::test]
async fn environments_are_kept_ready_through_their_ends() {
    let known = vec![version("1"), settings(None, &[("1", 2)])];
    let here = Neighbours::start(Options::default(), 10, known).await;
    here.until(|here| here.allocations() == [("1".into(), 2, 2, String::new())]).await;
    let first = here.prepared();
    assert_eq!(first.len(), 2);
    here.script([Act::Answer("1")]);
    here.invoke("f:1").await.unwrap();
    assert!(!here.calls()[0].cold && first.contains(&here.calls()[0].environment));
    // One ends by itself, another is lost with its invocation.
    here.report(&first[0], "c1", EnvironmentState::Gone);
    here.until(|here| here.prepared().len() == 3).await;
    here.script([Act::Fault("EnvironmentGone"), Act::Answer("2")]);
    here.invoke("f:1").await.unwrap();
    here.until(|here| here.prepared().len() == 4).await;
    // The worker starts anew, without any of them.
    here.disconnect_worker().await;
    here.connect_worker("w2");
    here.clock.advance(Duration::from_secs(1));
    here.until(|here| here.prepared().len() == 6).await;
    here.until(|here| here.allocations() == [("1".into(), 2, 2, String::new())]).await;
    // What is no longer wanted ends; what is not provisioned stays as it is.
    here.tell(Event::Function(settings(None, &[])));
    here.until(|here| here.allocations().is_empty() && here.retired().len() == 2).await;
}

#[tokio::test]
async fn an_init_that_fails_is_told_and_tried_again() {
    let here = Neighbours::start(Options::default(), 10, vec![version("1")]).await;
    here.fail_inits("FUNCTION_ERROR_INIT_FAILURE: Runtime.ExitError");
    here.tell(Event::Function(settings(None, &[("1", 1)])));
    for attempt in 1..=3 {
        here.until(|here| here.prepared().len() == attempt).await;
        here.settle().await;
        here.clock.advance(Duration::from_secs(5));
    }
    let told = |here: &Neighbours| here.allocations().first().is_some_and(|it| !it.3.is_empty() && it.2 == 0);
    here.until(told).await;
    here.fail_inits("");
    here.clock.advance(Duration::from_mins(1));
    here.until(|here| here.allocations() == [("1".into(), 1, 1, String::new())]).await;
}

#[tokio::test]
async fn what_there_was_no_room_for_is_no_trouble_once_less_is_wanted() {
    let here =
        Neighbours::start(Options::default(), 2, vec![version("1"), settings(None, &[("1", 3)])]).await;
    let told = |here: &Neighbours| here.allocations().first().is_some_and(|it| !it.3.is_empty());
    here.until(told).await;
    assert_eq!(here.allocations()[0].2, 2);
    here.tell(Event::Function(settings(None, &[("1", 2)])));
    here.until(|here| here.allocations() == [("1".into(), 2, 2, String::new())]).await;
}

/// A version of a function of that account, and so many environments to be kept ready of it.
fn kept(account: &str, name: &str, executions: u32) -> [Event; 2] {
    let provisioned = vec![ProvisionedConcurrency { qualifier: "1".into(), executions }];
    let settings = FunctionSettings { provisioned, ..FunctionSettings::default() };
    let own = |configuration: &str| FunctionVersion {
        account: account.into(),
        ..function(name, &format!("{name}-{configuration}"))
    };
    let version = FunctionVersion { version: "1".into(), incarnation: format!("{name}-1/1"), ..own("1") };
    let latest = FunctionVersion { settings: Some(settings), ..own("latest") };
    [version, latest].map(Event::Function)
}

#[tokio::test]
async fn inits_that_hang_leave_places_to_other_functions_and_other_accounts() {
    let here = Neighbours::start(Options::default(), 200, Vec::new()).await;
    let mine = "000000000000";
    for name in ["hangs-1", "hangs-2", "hangs-3"] {
        here.hang_inits(name);
    }
    for event in kept(mine, "hangs-1", 40) {
        here.tell(event);
    }
    let hung = ("1".to_owned(), 8, 0, String::new());
    here.until(|here| here.allocations() == [hung.clone()]).await;
    for event in kept(mine, "sound", 3) {
        here.tell(event);
    }
    let ready = ("1".to_owned(), 3, 3, String::new());
    here.until(|here| here.allocations() == [hung.clone(), ready.clone()]).await;
    // Not even all of an account's functions together have all places.
    for name in ["hangs-2", "hangs-3"] {
        for event in kept(mine, name, 40) {
            here.tell(event);
        }
    }
    here.until(|here| here.prepared().len() == 3 + 16).await;
    here.settle().await;
    assert_eq!(here.prepared().len(), 3 + 16);
    for event in kept("111111111111", "theirs", 3) {
        here.tell(event);
    }
    here.until(|here| here.allocations().last() == Some(&ready)).await;
}

#[tokio::test]
async fn what_is_reserved_bounds_a_function_and_is_its_own() {
    let options = Options { account_concurrency: 3, ..Options::default() };
    let known = vec![version("1"), settings(Some(2), &[("1", 1)]), function("g", "cg")];
    let here = Neighbours::start(options, 10, known).await;
    here.until(|here| here.prepared().len() == 1).await;
    here.script([Act::Hold, Act::Hold, Act::Hold]);
    let mut running = vec![here.spawn("f:1")];
    here.until(|here| here.calls().len() == 1).await;
    running.push(here.spawn("f"));
    here.until(|here| here.calls().len() == 2).await;
    let throttled = here.invoke("f").await.unwrap_err();
    assert_eq!(throttled.members()["Reason"], "ReservedFunctionConcurrentInvocationLimitExceeded");
    assert_eq!(throttled.http_status(), 429);
    running.push(here.spawn("g"));
    here.until(|here| here.calls().len() == 3).await;
    assert_eq!(here.invoke("g").await.unwrap_err().members()["Reason"], "ConcurrentInvocationLimitExceeded");
    here.release();
    for run in running {
        run.await.unwrap().unwrap();
    }
    // Nothing is left of the reservation beside what is provisioned.
    here.tell(Event::Function(settings(Some(1), &[("1", 1)])));
    here.settle().await;
    here.script([Act::Answer("1")]);
    assert_eq!(here.invoke("f").await.unwrap_err().http_status(), 429);
    here.invoke("f:1").await.unwrap();
    here.tell(Event::Function(settings(Some(0), &[])));
    here.settle().await;
    assert_eq!(here.invoke("f:1").await.unwrap_err().http_status(), 429);
}
