"""A Celery application on SQS. Run by test_other_clients.py in an environment of its own: sends tasks, or works on them."""

import os
import sys

from celery import Celery

app = Celery("celery_app", broker=f"sqs://000000000000:test@{os.environ['TEST_ADDRESS']}//")
app.conf.update(
    task_default_queue="tasks", task_acks_late=True, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True,
    broker_transport_options={"region": "us-east-1", "is_secure": False, "wait_time_seconds": 1, "polling_interval": 0.05,
                              "visibility_timeout": 30, "queue_name_prefix": os.environ["TEST_PREFIX"]})


@app.task(bind=True, max_retries=3)
def note(self, number):
    """Writes a line; the task 3 fails the first time."""
    if number == 3 and self.request.retries == 0:
        raise self.retry(countdown=0)
    with open(os.environ["TEST_FILE"], "a") as file:
        file.write(f"{number}\n")


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        note.delay(number)
