//! SQS as a client knows it, where time matters: delays, visibility, retention, long polls, limits, cool-downs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::collections::BTreeMap;
use std::time::Duration;

use lambfold_api::CallContext;
use lambfold_api::sqs::{
    AddPermissionRequest, DeleteQueueRequest, GetQueueAttributesRequest, GetQueueUrlRequest,
    ListQueuesRequest, MessageAttributeValue, PurgeQueueRequest, ReceiveMessageRequest,
    RemovePermissionRequest, SendMessageBatchRequest, SendMessageBatchRequestEntry,
    SetQueueAttributesRequest, Sqs,
};
use lambfold_queue::Options;
use lambfold_types::Scope;
use uuid::Uuid;

use crate::rig::{Rig, context, map, message, receive_from, refusal};

fn handle(message: &lambfold_api::sqs::Message) -> &str {
    message.receipt_handle.as_deref().unwrap()
}

#[tokio::test]
async fn a_delay_of_the_message_beats_that_of_the_queue() {
    let rig = Rig::start(Options::default());
    let queue = rig.queue("jobs", &[("DelaySeconds", "10")]).await;
    rig.send(&queue, "of the queue").await.unwrap();
    for (body, delay) in [("at once", 0), ("later", 20)] {
        let mut input = message(&queue, body);
        input.delay_seconds = Some(delay);
        rig.sqs.send_message(&context(), input).await.unwrap();
    }
    assert_eq!(rig.counts(&queue).await, [1, 0, 2]);
    assert_eq!(rig.receive(&queue, 10).await.unwrap()[0].body.as_deref(), Some("at once"));
    rig.pass(9).await;
    assert!(rig.receive(&queue, 10).await.unwrap().is_empty());
    rig.pass(1).await;
    assert_eq!(rig.receive(&queue, 10).await.unwrap()[0].body.as_deref(), Some("of the queue"));
    rig.pass(10).await;
    assert_eq!(rig.receive(&queue, 10).await.unwrap()[0].body.as_deref(), Some("later"));
    let mut input = message(&queue, "x");
    input.delay_seconds = Some(901);
    let (code, status, text) = refusal(rig.sqs.send_message(&context(), input).await);
    assert_eq!((code.as_str(), status), ("InvalidParameterValueException", 400));
    assert!(text.starts_with("Value 901 for parameter DelaySeconds is invalid."), "{text}");
}

#[tokio::test]
async fn visibility_ends_is_moved_and_is_bounded_by_twelve_hours() {
    let rig = Rig::start(Options::default());
    let queue = rig.queue("jobs", &[("VisibilityTimeout", "30")]).await;
    rig.send(&queue, "m").await.unwrap();
    let first = rig.receive(&queue, 1).await.unwrap().remove(0);
    rig.pass(29).await;
    assert!(rig.receive(&queue, 1).await.unwrap().is_empty());
    rig.hide(&queue, handle(&first), 60).await.unwrap();
    rig.pass(59).await;
    assert!(
        rig.receive(&queue, 1).await.unwrap().is_empty(),
        "counted from the change, not from the receive"
    );
    rig.pass(1).await;
    let second = rig.receive(&queue, 1).await.unwrap().remove(0);
    assert_ne!(handle(&first), handle(&second));
    // A second after the receive, twelve hours in all are more than twelve hours.
    rig.pass(1).await;
    let (code, status, text) = refusal(rig.hide(&queue, handle(&second), 43_200).await);
    assert_eq!((code.as_str(), status), ("InvalidParameterValueException", 400));
    assert!(text.starts_with("Value 43200 for parameter VisibilityTimeout is invalid. Reason: "), "{text}");
    rig.hide(&queue, handle(&second), 43_199).await.unwrap();
    rig.hide(&queue, handle(&second), 0).await.unwrap();
    let third = rig.receive(&queue, 1).await.unwrap().remove(0);
    // A standard queue takes old handles, too; and to delete what is deleted is no error.
    rig.delete(&queue, handle(&first)).await.unwrap();
    rig.delete(&queue, handle(&third)).await.unwrap();
    let (_, status, text) = refusal(rig.hide(&queue, handle(&third), 10).await);
    assert_eq!(status, 400);
    assert!(
        text.contains("Message does not exist or is not available for visibility timeout change."),
        "{text}"
    );
    assert_eq!(rig.counts(&queue).await, [0, 0, 0]);
}

#[tokio::test]
async fn receipt_handles_are_of_one_queue_and_cannot_be_made_up() {
    let rig = Rig::start(Options::default());
    let (queue, other) = (rig.queue("jobs", &[]).await, rig.queue("other", &[]).await);
    rig.send(&queue, "m").await.unwrap();
    let received = rig.receive(&queue, 1).await.unwrap().remove(0);
    let good = handle(&received).to_owned();
    let (code, status, text) = refusal(rig.delete(&other, &good).await);
    assert_eq!((code.as_str(), status), ("ReceiptHandleIsInvalid", 404));
    assert_eq!(text, format!("The receipt handle \"{good}\" is not valid for this queue."));
    let middle = good.len() / 2;
    let forged: String = good
        .char_indices()
        .map(|(at, char)| if at == middle { if char == 'A' { 'B' } else { 'A' } } else { char })
        .collect();
    for bad in ["garbage", &good[1..], &forged] {
        let (code, status, text) = refusal(rig.delete(&queue, bad).await);
        assert_eq!((code.as_str(), status), ("ReceiptHandleIsInvalid", 404));
        assert_eq!(text, format!("The input receipt handle \"{bad}\" is not a valid receipt handle."));
    }
    assert_eq!(rig.counts(&queue).await, [0, 1, 0], "none of it deleted anything");
}

#[tokio::test]
async fn retention_ends_a_message_in_whatever_state_it_is() {
    let rig = Rig::start(Options::default());
    let queue = rig.queue("jobs", &[("MessageRetentionPeriod", "60")]).await;
    rig.send(&queue, "in flight").await.unwrap();
    let taken = rig.receive(&queue, 1).await.unwrap().remove(0);
    rig.send(&queue, "visible").await.unwrap();
    rig.pass(61).await;
    assert!(rig.receive(&queue, 10).await.unwrap().is_empty());
    assert_eq!(rig.counts(&queue).await, [0, 0, 0]);
    rig.delete(&queue, handle(&taken)).await.unwrap();
}

#[tokio::test]
async fn a_long_poll_is_woken_by_what_it_waits_for() {
    let rig = Rig::start(Options::default());
    let queue = rig.queue("jobs", &[("ReceiveMessageWaitTimeSeconds", "20")]).await;
    let poll = |wait| {
        let (sqs, queue) = (rig.sqs.clone(), queue.clone());
        tokio::spawn(async move {
            let input = ReceiveMessageRequest { wait_time_seconds: wait, ..receive_from(&queue) };
            sqs.receive_message(&context(), input).await.unwrap().messages
        })
    };
    assert!(poll(Some(0)).await.unwrap().is_empty(), "the call's zero beats the queue's twenty");
    // The send.
    let (one, two) = (poll(None), poll(None));
    rig.calm().await;
    assert!(!one.is_finished());
    rig.send(&queue, "m").await.unwrap();
    rig.calm().await;
    assert_eq!([&one, &two].iter().filter(|poll| poll.is_finished()).count(), 1, "one message wakes one");
    // The change of visibility to nothing, to the one that still waits.
    let (first, second) = if one.is_finished() { (one, two) } else { (two, one) };
    let taken = first.await.unwrap().remove(0);
    rig.hide(&queue, handle(&taken), 0).await.unwrap();
    let again = second.await.unwrap().remove(0);
    assert_eq!(again.message_id, taken.message_id);
    // The end of visibility, and of a delay.
    rig.hide(&queue, handle(&again), 5).await.unwrap();
    let waiting = poll(None);
    rig.calm().await;
    rig.pass(5).await;
    let third = waiting.await.unwrap().remove(0);
    rig.delete(&queue, handle(&third)).await.unwrap();
    let mut delayed = message(&queue, "delayed");
    delayed.delay_seconds = Some(3);
    rig.sqs.send_message(&context(), delayed).await.unwrap();
    let waiting = poll(None);
    rig.calm().await;
    rig.pass(3).await;
    assert_eq!(waiting.await.unwrap()[0].body.as_deref(), Some("delayed"));
    // Nothing: the wait ends.
    let waiting = poll(Some(2));
    rig.calm().await;
    rig.pass(2).await;
    assert!(waiting.await.unwrap().is_empty());
    // A caller that goes takes nothing along.
    let gone = poll(None);
    rig.calm().await;
    gone.abort();
    assert!(gone.await.is_err());
    rig.send(&queue, "kept").await.unwrap();
    assert_eq!(rig.counts(&queue).await[0], 1);
}

#[tokio::test]
async fn in_flight_messages_are_bounded() {
    let rig = Rig::start(Options { in_flight_limit: 2, ..Options::default() });
    let queue = rig.queue("jobs", &[]).await;
    for body in ["1", "2", "3"] {
        rig.send(&queue, body).await.unwrap();
    }
    assert_eq!(rig.receive(&queue, 10).await.unwrap().len(), 2);
    let (code, status, _) = refusal(rig.receive(&queue, 10).await);
    assert_eq!((code.as_str(), status), ("OverLimit", 403));
    let (sqs, url) = (rig.sqs.clone(), queue.clone());
    let waiting = tokio::spawn(async move {
        let input = ReceiveMessageRequest { wait_time_seconds: Some(1), ..receive_from(&url) };
        sqs.receive_message(&context(), input).await
    });
    rig.calm().await;
    rig.pass(1).await;
    assert!(waiting.await.unwrap().unwrap().messages.is_empty(), "a long poll just finds nothing");
}

#[tokio::test]
async fn an_attribute_that_is_refused_changes_nothing() {
    let rig = Rig::start(Options::default());
    let queue = rig.queue("jobs", &[("DelaySeconds", "5")]).await;
    let set = async |attributes: &[(&str, &str)]| {
        let input = SetQueueAttributesRequest { queue_url: Some(queue.clone()), attributes: map(attributes) };
        rig.sqs.set_queue_attributes(&context(), input).await
    };
    let get = async || -> BTreeMap<String, String> {
        let input =
            GetQueueAttributesRequest { queue_url: Some(queue.clone()), attribute_names: vec!["All".into()] };
        rig.sqs.get_queue_attributes(&context(), input).await.unwrap().attributes
    };
    let before = get().await;
    let refused = refusal(set(&[("DelaySeconds", "6"), ("VisibilityTimeout", "43201")]).await);
    let words = "Invalid value for the parameter VisibilityTimeout.";
    assert_eq!(refused, ("InvalidAttributeValue".into(), 400, words.into()));
    assert_eq!(refusal(set(&[("Sheep", "1")]).await).2, "Unknown Attribute Sheep.");
    assert_eq!(get().await, before);
    rig.pass(7).await;
    set(&[("DelaySeconds", "6")]).await.unwrap();
    let after = get().await;
    assert_eq!(after["DelaySeconds"], "6");
    let modified = |found: &BTreeMap<String, String>| found["LastModifiedTimestamp"].parse::<u64>().unwrap();
    assert_eq!(modified(&after), modified(&before) + 7);
    // A conflict names the attribute; what is not named is not compared.
    assert_eq!(rig.create("jobs", &[]).await.unwrap(), queue);
    let (code, status, text) = refusal(rig.create("jobs", &[("DelaySeconds", "5")]).await);
    assert_eq!((code.as_str(), status), ("QueueNameExists", 400));
    assert!(text.ends_with("a different value for attribute DelaySeconds"), "{text}");
}

#[tokio::test]
async fn sizes_are_limits_of_the_queue_and_of_the_batch() {
    let rig = Rig::start(Options::default());
    let queue = rig.queue("jobs", &[("MaximumMessageSize", "1024")]).await;
    rig.send(&queue, &"x".repeat(1024)).await.unwrap();
    let mut fits = message(&queue, &"x".repeat(1024 - 15));
    let attribute = MessageAttributeValue {
        data_type: Some("String".into()),
        string_value: Some("12345".into()),
        ..MessageAttributeValue::default()
    };
    fits.message_attributes.insert("name".into(), attribute);
    rig.sqs.send_message(&context(), fits.clone()).await.unwrap();
    fits.message_body.as_mut().unwrap().push('x');
    let (code, status, text) = refusal(rig.sqs.send_message(&context(), fits).await);
    assert_eq!((code.as_str(), status), ("InvalidParameterValueException", 400));
    assert_eq!(text, "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.");
    let batch = async |bodies: &[String]| {
        let entry = |(index, body): (usize, &String)| SendMessageBatchRequestEntry {
            id: Some(format!("e{index}")),
            message_body: Some(body.clone()),
            ..SendMessageBatchRequestEntry::default()
        };
        let entries = bodies.iter().enumerate().map(entry).collect();
        let queue_url = Some(queue.clone());
        let input = SendMessageBatchRequest { queue_url, entries };
        rig.sqs.send_message_batch(&context(), input).await
    };
    let mixed = batch(&["fits".to_owned(), "x".repeat(1025)]).await.unwrap();
    assert_eq!((mixed.successful.len(), mixed.failed.len()), (1, 1));
    assert_eq!(mixed.failed[0].id.as_deref(), Some("e1"));
    assert_eq!(mixed.failed[0].sender_fault, Some(true));
    let before = rig.counts(&queue).await;
    let (code, ..) = refusal(batch(&["x".repeat(1_048_576), "y".to_owned()]).await);
    assert_eq!(code, "BatchRequestTooLong");
    let (code, ..) = refusal(batch(&[]).await);
    assert_eq!(code, "EmptyBatchRequest");
    let (code, ..) = refusal(batch(&vec!["y".to_owned(); 11]).await);
    assert_eq!(code, "TooManyEntriesInBatchRequest");
    assert_eq!(rig.counts(&queue).await, before);
}

#[tokio::test]
async fn the_sixty_second_rules_hold_where_they_are_set() {
    let minute = Some(Duration::from_mins(1));
    let rig = Rig::start(Options { purge_cooldown: minute, recreate_cooldown: minute, ..Options::default() });
    let queue = rig.queue("jobs", &[]).await;
    let purge = async || {
        let input = PurgeQueueRequest { queue_url: Some(queue.clone()) };
        rig.sqs.purge_queue(&context(), input).await
    };
    rig.send(&queue, "m").await.unwrap();
    purge().await.unwrap();
    assert_eq!(rig.counts(&queue).await, [0, 0, 0]);
    let (code, status, text) = refusal(purge().await);
    assert_eq!((code.as_str(), status), ("PurgeQueueInProgress", 403));
    assert_eq!(text, "Only one PurgeQueue operation on jobs is allowed every 60 seconds.");
    rig.pass(60).await;
    purge().await.unwrap();
    let input = DeleteQueueRequest { queue_url: Some(queue.clone()) };
    rig.sqs.delete_queue(&context(), input).await.unwrap();
    assert_eq!(refusal(rig.create("jobs", &[]).await).0, "QueueDeletedRecently");
    assert_eq!(refusal(rig.send(&queue, "m").await).0, "QueueDoesNotExist");
    rig.pass(60).await;
    rig.queue("jobs", &[]).await;
}

#[tokio::test]
async fn accounts_and_regions_are_worlds_of_their_own() {
    let rig = Rig::start(Options::default());
    let queue = rig.queue("jobs", &[]).await;
    rig.send(&queue, "secret").await.unwrap();
    for (account, region) in [("000000000001", "us-east-1"), ("000000000000", "eu-west-1")] {
        let scope = Scope { account: account.parse().unwrap(), region: region.parse().unwrap() };
        let ctx = CallContext::internal(scope, Uuid::nil());
        let input = GetQueueUrlRequest { queue_name: Some("jobs".into()), ..GetQueueUrlRequest::default() };
        assert_eq!(refusal(rig.sqs.get_queue_url(&ctx, input).await).0, "QueueDoesNotExist");
        let listed = rig.sqs.list_queues(&ctx, ListQueuesRequest::default()).await.unwrap();
        assert!(listed.queue_urls.is_empty());
        // A bare name is a queue of the caller's.
        assert_eq!(refusal(rig.sqs.receive_message(&ctx, receive_from("jobs")).await).0, "QueueDoesNotExist");
    }
    assert_eq!(rig.receive("jobs", 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn permissions_are_statements_of_the_policy() {
    let rig = Rig::start(Options::default());
    let queue = rig.queue("jobs", &[]).await;
    let add = async |label: &str, accounts: &[&str], actions: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let input = AddPermissionRequest {
            queue_url: Some(queue.clone()),
            label: Some(label.into()),
            aws_account_ids: texts(accounts),
            actions: texts(actions),
        };
        rig.sqs.add_permission(&context(), input).await
    };
    let remove = async |label: &str| {
        let input = RemovePermissionRequest { queue_url: Some(queue.clone()), label: Some(label.into()) };
        rig.sqs.remove_permission(&context(), input).await
    };
    let policy = async || {
        let input = GetQueueAttributesRequest {
            queue_url: Some(queue.clone()),
            attribute_names: vec!["Policy".into()],
        };
        rig.sqs.get_queue_attributes(&context(), input).await.unwrap().attributes.remove("Policy")
    };
    let many = ["SendMessage"; 8];
    for (label, account, actions, wanted) in [
        ("a b", "111111111111", &["SendMessage"][..], "A label can only contain"),
        (
            "a",
            "1111",
            &["SendMessage"],
            "Value [1111] for parameter PrincipalId is invalid. Reason: Unable to verify.",
        ),
        (
            "a",
            "111111111111",
            &["Fly"],
            "Value SQS:Fly for parameter ActionName is invalid. Reason: Please refer to the",
        ),
        (
            "a",
            "111111111111",
            &["SendMessageBatch"],
            "Value SQS:SendMessageBatch for parameter ActionName is invalid.",
        ),
        ("a", "111111111111", &["TagQueue"], "Only the queue owner is allowed to invoke this action."),
        ("a", "111111111111", &many, "8 Actions were found, maximum allowed is 7."),
    ] {
        let (_, _, text) = refusal(add(label, &[account], actions).await);
        assert!(text.contains(wanted), "{text}");
    }
    assert_eq!(policy().await, None, "none of it changed anything");
    add("one", &["111111111111", "222222222222"], &["SendMessage", "ReceiveMessage"]).await.unwrap();
    add("two", &["333333333333"], &["*"]).await.unwrap();
    assert_eq!(
        refusal(add("one", &["111111111111"], &["*"]).await).2,
        "Value one for parameter Label is invalid. Reason: Already exists."
    );
    let text = policy().await.unwrap();
    assert!(
        text.contains(r#""AWS":["arn:aws:iam::111111111111:root","arn:aws:iam::222222222222:root"]"#),
        "{text}"
    );
    remove("one").await.unwrap();
    assert_eq!(
        refusal(remove("one").await).2,
        "Value one for parameter Label is invalid. Reason: can't find label."
    );
    remove("two").await.unwrap();
    assert_eq!(policy().await, None, "the last statement takes the policy with it");
    // What SetQueueAttributes would refuse is not made here.
    let (code, _, text) = refusal(add("long", &["111111111111"; 300], &["*"]).await);
    assert_eq!((code.as_str(), &*text), ("OverLimit", "Submitted policy is over max allowed size."));
    assert_eq!(policy().await, None);
    for label in 1..=20 {
        add(&label.to_string(), &["111111111111"], &["*"]).await.unwrap();
    }
    let (code, status, text) = refusal(add("21", &["111111111111"], &["*"]).await);
    assert_eq!((code.as_str(), status), ("OverLimit", 403));
    assert_eq!(text, "21 Statements were found, maximum allowed is 20.");
}

#[tokio::test]
async fn queues_are_counted_under_the_names_of_aws() {
    let rig = Rig::start(Options::default());
    let queue = rig.queue("jobs", &[]).await;
    rig.queue("unused", &[]).await;
    for body in ["1", "22", "333"] {
        rig.send(&queue, body).await.unwrap();
    }
    rig.pass(5).await;
    let received = rig.receive(&queue, 2).await.unwrap();
    rig.delete(&queue, handle(&received[0])).await.unwrap();
    rig.receive(&queue, 10).await.unwrap();
    assert!(rig.receive(&queue, 10).await.unwrap().is_empty());
    rig.calm().await;
    let page = rig.metrics();
    for (name, value) in [
        ("NumberOfMessagesSent_total", 3),
        ("SentMessageSize_total", 6),
        ("NumberOfMessagesReceived_total", 3),
        ("NumberOfMessagesDeleted_total", 1),
        ("NumberOfEmptyReceives_total", 1),
        ("ApproximateNumberOfMessagesVisible", 0),
        ("ApproximateNumberOfMessagesNotVisible", 2),
        ("ApproximateNumberOfMessagesDelayed", 0),
        ("ApproximateAgeOfOldestMessage", 5),
    ] {
        let labels = r#"account="000000000000",region="us-east-1",queue_name="jobs""#;
        let line = format!("{name}{{{labels}}} {value}\n");
        assert!(page.contains(&line), "{line} is missing in {page}");
    }
    let commits = page.lines().find_map(|line| line.strip_prefix("store_commits_total "));
    let commits: u64 = commits.expect("commits are counted").parse().unwrap();
    assert!((3..=10).contains(&commits), "each send was a commit of its own, and not much else: {commits}");
    assert!(!page.contains("unused"), "as in CloudWatch, queues that nobody uses are not shown");
}
