-- The receive that a message of a FIFO queue is in flight by, if it can be repeated (`ReceiveRequestAttemptId`): a digest
-- of its name (16 bytes), how many messages it got (one byte) and the owner's epoch (eight bytes).
ALTER TABLE deliveries ADD COLUMN attempt BLOB;
