"""Clients that need packages which do not go together with ours: each has an environment of its own."""

import os
import pathlib
import subprocess
import sys

from conftest import eventually, unique

HERE = pathlib.Path(__file__).resolve().parent


def python_of(name):
    made = subprocess.run([HERE.parents[1] / "scripts" / "venv", name], check=True, capture_output=True, text=True)
    return made.stdout.strip() + "/bin/python"


def test_a_botocore_that_speaks_the_query_protocol(url):
    run = subprocess.run([python_of("query"), "query_client.py", url], cwd=HERE, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr


def test_celery(url, tmp_path):
    python, file = python_of("celery"), tmp_path / "notes"
    env = dict(os.environ, TEST_ADDRESS=url.removeprefix("http://"), TEST_PREFIX=unique("celery") + "-",
               TEST_FILE=str(file), AWS_DEFAULT_REGION="us-east-1")
    with open(tmp_path / "log", "w") as log:
        worker = subprocess.Popen([python, "-m", "celery", "-A", "celery_app", "worker", "--pool=solo", "--loglevel=INFO"],
                                  cwd=HERE, env=env, stdout=log, stderr=log)
    try:
        subprocess.run([python, "celery_app.py", "20"], cwd=HERE, env=env, check=True)
        wanted = sorted(str(number) for number in range(20))
        try:
            eventually(lambda: file.exists() and len(file.read_text().split()) >= 20, 60)
        finally:
            print((tmp_path / "log").read_text(), file=sys.stderr)
        assert sorted(file.read_text().split()) == wanted, "each task once"
    finally:
        worker.terminate()
        worker.wait(20)
