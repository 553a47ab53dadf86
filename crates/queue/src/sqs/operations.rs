//! The operations, one a file.

mod change_message_visibility;
mod create_queue;
mod delete_message;
mod delete_queue;
mod list_queues;
mod move_tasks;
mod peek_messages;
mod permissions;
mod purge_queue;
mod queue_attributes;
mod receive_message;
mod send_message;
mod tags;

pub(super) use change_message_visibility::{change_message_visibility, change_message_visibility_batch};
pub(super) use create_queue::create_queue;
pub(super) use delete_message::{delete_message, delete_message_batch};
pub(super) use delete_queue::delete_queue;
pub(super) use list_queues::{get_queue_url, list_dead_letter_source_queues, list_queues};
pub(super) use move_tasks::{
    TaskHandle, cancel_message_move_task, list_message_move_tasks, start_message_move_task,
};
pub(super) use peek_messages::peek_messages;
pub(super) use permissions::{add_permission, remove_permission};
pub(super) use purge_queue::purge_queue;
pub(super) use queue_attributes::{get_queue_attributes, set_queue_attributes};
pub(super) use receive_message::receive_message;
pub(super) use send_message::{send_message, send_message_batch};
pub(super) use tags::{list_queue_tags, tag_queue, untag_queue};
