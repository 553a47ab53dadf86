// The AWS SDK for JavaScript v3, which checks digests itself, and sqs-consumer on top of it.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import test from "node:test";

import {
  ChangeMessageVisibilityCommand, CreateQueueCommand, DeleteMessageBatchCommand, DeleteQueueCommand, GetQueueAttributesCommand,
  QueueDoesNotExist, ReceiptHandleIsInvalid, DeleteMessageCommand, ReceiveMessageCommand, SQSClient, SendMessageBatchCommand,
  SendMessageCommand,
} from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";

const sqs = new SQSClient({
  endpoint: process.env.TEST_ENDPOINT,
  region: "us-east-1",
  credentials: { accessKeyId: "000000000000", secretAccessKey: "test" },
});

async function queue(Attributes = {}, suffix = "") {
  const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: `js-${randomUUID()}${suffix}`, Attributes }));
  return QueueUrl;
}

const receive = (QueueUrl, more = {}) => sqs.send(new ReceiveMessageCommand({
  QueueUrl, MaxNumberOfMessages: 10, MessageAttributeNames: ["All"], MessageSystemAttributeNames: ["All"], ...more,
}));

test("messages go in and out whole", async () => {
  const QueueUrl = await queue();
  const MessageAttributes = {
    text: { DataType: "String", StringValue: "ä" },
    bytes: { DataType: "Binary", BinaryValue: new Uint8Array([0, 255]) },
  };
  const sent = await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: "grüße 👋", MessageAttributes }));
  const { Messages: [got] } = await receive(QueueUrl);
  assert.equal(got.MessageId, sent.MessageId);
  assert.equal(got.Body, "grüße 👋");
  assert.equal(got.MD5OfMessageAttributes, sent.MD5OfMessageAttributes);
  assert.deepEqual([...got.MessageAttributes.bytes.BinaryValue], [0, 255]);
  await sqs.send(new ChangeMessageVisibilityCommand({ QueueUrl, ReceiptHandle: got.ReceiptHandle, VisibilityTimeout: 0 }));
  const { Messages: [again] } = await receive(QueueUrl, { WaitTimeSeconds: 1 });
  assert.equal(again.Attributes.ApproximateReceiveCount, "2");
  const Entries = [{ Id: "1", ReceiptHandle: again.ReceiptHandle }, { Id: "2", ReceiptHandle: "nonsense" }];
  const deleted = await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
  assert.deepEqual(deleted.Successful.map((it) => it.Id), ["1"]);
  assert.equal(deleted.Failed[0].Code, "ReceiptHandleIsInvalid");
  await sqs.send(new DeleteQueueCommand({ QueueUrl }));
});

test("errors are those of the SDK's model", async () => {
  const QueueUrl = await queue();
  await assert.rejects(sqs.send(new SendMessageCommand({ QueueUrl: `${QueueUrl}-not`, MessageBody: "a" })), QueueDoesNotExist);
  await assert.rejects(sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: "nonsense" })), ReceiptHandleIsInvalid);
});

test("a FIFO queue keeps order and knows duplicates", async () => {
  const QueueUrl = await queue({ FifoQueue: "true", ContentBasedDeduplication: "true" }, ".fifo");
  const Entries = ["a", "b", "a"].map((MessageBody, n) => ({ Id: `${n}`, MessageBody, MessageGroupId: "g" }));
  const { Successful } = await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
  assert.equal(Successful[0].MessageId, Successful[2].MessageId);
  const { Messages } = await receive(QueueUrl);
  assert.deepEqual(Messages.map((it) => it.Body), ["a", "b"]);
  assert.equal(Messages[0].Attributes.SequenceNumber, Successful[0].SequenceNumber);
});

test("sqs-consumer takes batches, and what it fails comes back", async () => {
  const QueueUrl = await queue({ VisibilityTimeout: "1" });
  const Entries = [...Array(10).keys()].map((n) => ({ Id: `${n}`, MessageBody: `${n}` }));
  await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
  const seen = [];
  const consumer = Consumer.create({
    queueUrl: QueueUrl, sqs, batchSize: 10, waitTimeSeconds: 1,
    handleMessage: async (message) => {
      seen.push(message.Body);
      if (message.Body === "3" && seen.filter((it) => it === "3").length === 1) throw new Error("the first time");
      return message;
    },
  });
  consumer.on("processing_error", () => {});
  const done = new Promise((resolve, reject) => {
    consumer.on("error", reject);
    consumer.on("message_processed", () => new Set(seen).size === 10 && seen.length === 11 && resolve());
  });
  consumer.start();
  await done;
  consumer.stop({ abort: true });
  const AttributeNames = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
  for (let left = "1"; left !== "0"; await new Promise((resolve) => setTimeout(resolve, 20))) {
    const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames }));
    left = Math.max(...Object.values(Attributes)).toString();
  }
});
