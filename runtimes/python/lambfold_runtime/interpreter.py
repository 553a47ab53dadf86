"""Makes the interpreter, started with `-S` to save 14 ms, look to user code like one started on AWS."""

import os
import sys

# That of `importlib.machinery`, which would have to be loaded.
from _frozen_importlib_external import PathFinder

# What AWS's runtime has imported before it loads the handler. A user's file of the same name (types.py, token.py …)
# therefore never shadows these there, although the task root comes first on the path.
_LOADED_BEFORE_USER_CODE = frozenset(
    "__future__ _colorize _collections_abc _decimal _heapq _opcode_metadata _pydecimal _queue _struct _weakrefset abc annotationlib"
    " ast bisect codecs collections concurrent contextlib copyreg decimal enum functools genericpath heapq importlib io json keyword"
    " linecache locale logging math numbers opcode operator os posixpath queue re reprlib sre_compile sre_constants sre_parse stat"
    " string struct textwrap threading token tokenize traceback types warnings weakref".split()
)


def prepare(settings):
    """Sets `sys.path` to AWS's order and adds what the `site` module would have added for programs."""
    runtime_directory = settings.runtime_directory
    foreign = {runtime_directory, *_of_site()}
    interpreter_path = [entry for entry in sys.path if entry and os.path.abspath(entry) not in foreign]
    version = "python%d.%d" % sys.version_info[:2]
    # Layers are made for the version that the function declares; the interpreter may be another one.
    of_layers = dict.fromkeys((settings.declared_python or version, version))
    sys.path[:] = [
        settings.task_root,
        *["%s/python/lib/%s/site-packages" % (settings.layers_directory, name) for name in of_layers],
        settings.layers_directory + "/python",
        *interpreter_path,
        runtime_directory,
    ]
    sys.meta_path.extend(LentPackages(directory) for directory in directories_with("boto3"))
    _add_site_builtins()


def _of_site():
    """Where the interpreter's own packages are, if it was started with `site`: none of the function's business."""
    site = sys.modules.get("site")
    if site is None:
        return []
    # Put there by a file of setuptools in that directory.
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "_distutils_hack"]
    return [*site.getsitepackages(), site.getusersitepackages()]


class StandardLibraryFirst:
    """Import finder, asked before `sys.path`: see `_LOADED_BEFORE_USER_CODE`. Also tells when `logging` is loaded."""

    def __init__(self, on_logging):
        library = os.path.dirname(os.path.abspath(os.__file__))
        self._path = [library, os.path.join(library, "lib-dynload")]
        self._on_logging = on_logging

    def install(self):
        """Takes its place after built-in and frozen modules."""
        sys.meta_path.insert(sys.meta_path.index(PathFinder), self)

    def find_spec(self, name, path=None, target=None):
        """The importer's hook; None leaves the module to the ordinary path."""
        if path is not None or name not in _LOADED_BEFORE_USER_CODE:
            return None
        spec = PathFinder.find_spec(name, self._path, target)
        if name == "logging" and spec is not None:
            _call_after_execution(spec.loader, self._on_logging)
        return spec


def _call_after_execution(loader, callback):
    execute = loader.exec_module

    def exec_module(module):
        execute(module)
        callback(module)

    loader.exec_module = exec_module


class LentPackages:
    """Import finder, asked last: AWS's runtime brings boto3 and what that needs. Ours lends those of the interpreter where they are
    installed, and nothing else of what is installed there."""

    _MODULES = frozenset("boto3 botocore dateutil jmespath s3transfer six urllib3".split())
    _DISTRIBUTIONS = (_MODULES - {"dateutil"}) | {"python-dateutil"}

    def __init__(self, directory):
        self._path = [directory]

    def find_spec(self, name, path=None, target=None):
        """The importer's hook."""
        if path is not None or name not in self._MODULES:
            return None
        return PathFinder.find_spec(name, self._path, target)

    def find_distributions(self, context):
        """The hook of `importlib.metadata`: instrumentation looks there for versions."""
        from importlib.metadata import DistributionFinder, MetadataPathFinder

        wanted = {context.name.lower().replace("_", "-")} if context.name else self._DISTRIBUTIONS
        for name in sorted(wanted & self._DISTRIBUTIONS):
            yield from MetadataPathFinder.find_distributions(DistributionFinder.Context(name=name, path=self._path))


def directories_with(package):
    """Of the interpreter's own packages' directories the one that has `package`, if any."""
    version = "python%d.%d" % sys.version_info[:2]
    prefix = os.path.dirname(os.path.dirname(os.path.abspath(sys.executable)))
    candidates = (
        os.path.join(prefix, "lib", version, "site-packages"),
        os.path.join(os.path.dirname(os.path.abspath(os.__file__)), "site-packages"),
        "/usr/local/lib/%s/dist-packages" % version,
        "/usr/lib/python3/dist-packages",
    )
    for candidate in candidates:
        if os.path.isdir(candidate + "/" + package):
            return [candidate]
    return []


def _add_site_builtins():
    import builtins

    import _sitebuiltins

    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()
