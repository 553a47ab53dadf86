"""The JavaScript SDK and a library on it: js/sqs.test.mjs, run by Node's own runner."""

import os
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
BUILT = HERE.parents[1] / "target" / "clients" / "js"


def install():
    """Packages as package.json names them, under target/; once."""
    wanted = (HERE / "js" / "package.json").read_text()
    done = BUILT / "installed"
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(BUILT, ignore_errors=True)
        BUILT.mkdir(parents=True)
        (BUILT / "package.json").write_text(wanted)
        subprocess.run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"], cwd=BUILT, check=True)
        done.write_text(wanted)


def test_the_sdk_and_sqs_consumer(url):
    install()
    # Another layout's suite may run its own beside this one; packages are looked for from where the file is.
    test = shutil.copy(HERE / "js" / "sqs.test.mjs", BUILT / f"sqs.{os.getpid()}.test.mjs")
    run = subprocess.run(["node", "--test", "--test-timeout=60000", test], cwd=BUILT, text=True,
                         env=dict(os.environ, TEST_ENDPOINT=url), capture_output=True)
    test.unlink()
    assert run.returncode == 0, run.stdout + run.stderr
    assert "# pass 4" in run.stdout, run.stdout
