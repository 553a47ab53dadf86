"""Finds the function that `_HANDLER` names: `path/to/module.function`, split at the last dot."""

import importlib
import sys

from lambfold_runtime.fault import (
    BUILT_IN_MODULE_CONFLICT,
    HANDLER_NOT_FOUND,
    IMPORT_MODULE_ERROR,
    MALFORMED_HANDLER_NAME,
    USER_CODE_SYNTAX_ERROR,
    Fault,
)


def load(name):
    """Imports the module and returns the handler. Whatever else the module raises is the caller's to report."""
    try:
        module_name, function_name = name.rsplit(".", 1)
    except ValueError as error:
        raise Fault(MALFORMED_HANDLER_NAME, "Bad handler '%s': %s" % (name, error)) from None
    module = _import(module_name)
    try:
        return getattr(module, function_name)
    except AttributeError:
        message = "Handler '%s' missing on module '%s'" % (function_name, module_name)
        raise Fault(HANDLER_NOT_FOUND, message) from None


def _import(module_name):
    if module_name.split(".")[0] in sys.builtin_module_names:
        message = "Cannot use built-in module %s as a handler module" % module_name
        raise Fault(BUILT_IN_MODULE_CONFLICT, message)
    try:
        return importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise Fault(IMPORT_MODULE_ERROR, "Unable to import module '%s': %s" % (module_name, error)) from None
    except SyntaxError as error:
        trace = ['  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)]
        raise Fault(USER_CODE_SYNTAX_ERROR, "Syntax error in module '%s': %s" % (module_name, error), trace) from None
