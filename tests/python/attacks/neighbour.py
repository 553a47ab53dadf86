"""Minds its own business."""


def handler(event, context):
    return event
