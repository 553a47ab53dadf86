"""JSON in and out, as AWS's runtime does it, on CPython's C scanner and encoder.

`json` itself is not imported on the ordinary path: it pulls in `re`, which costs as much as the interpreter's
whole start. It is used to word errors, and altogether where an interpreter's C pieces do not fit.
"""

import sys

try:
    import _json
except ImportError:  # an interpreter without the accelerator
    _json = None

from lambfold_runtime.fault import MARSHAL_ERROR, UNMARSHAL_ERROR, Fault

_WHITESPACE = " \t\n\r"


def _refuse_constant(name):
    raise ValueError("%s is not JSON" % name)


class _ScannerOptions:
    """What the C scanner wants to know: `json.loads` with its defaults, but no NaN and infinities, as on AWS."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)
    array_hook = None
    memo = {}


class _RawNumber(str):
    """Text that goes into the JSON as it is."""


class _DecimalFound(Exception):
    """The value holds a Decimal, which needs the slower encoder."""


class Marshaller:
    """Turns events into objects and results into JSON text."""

    def __init__(self, ascii_only):
        self._ascii_only = ascii_only
        try:
            self._scan = _json.make_scanner(_ScannerOptions)
            self._encode_string = _json.encode_basestring_ascii if ascii_only else _json.encode_basestring
            # The first encoder stays wholly in C. The second asks Python about every string, so that a Decimal can
            # pass as raw text.
            self._fast = self._c_encoder(self._reject_decimal, self._encode_string)
            self._with_decimals = self._c_encoder(self._decimal_as_number, self._encode_unless_raw)
        except (AttributeError, TypeError):
            self._scan = self._fast = None

    def event(self, body, content_type):
        """The handler's first argument. Only JSON is parsed; other content arrives as bytes."""
        if content_type != "application/json":
            return body
        try:
            return self._parse(body)
        except Exception as error:
            raise Fault(UNMARSHAL_ERROR, "Unable to unmarshal input: %s" % error) from None

    def result(self, value):
        """The response's bytes and content type. Bytes pass through as they are."""
        if isinstance(value, bytes):
            return value, "application/unknown"
        try:
            return self.text(value).encode("utf-8"), "application/json"
        except Exception as error:
            raise Fault(MARSHAL_ERROR, "Unable to marshal response: %s" % error) from None

    def text(self, value):
        """`value` as JSON text."""
        try:
            text = self._encoded(value)
        except TypeError:
            return self._encoded(_plain(value, set()))
        # It has no circles, or there would be no text.
        return text if _is_plain(value) else self._encoded(_plain(value, set()))

    def _encoded(self, value):
        if self._fast is None:
            return self._text_without_accelerator(value)
        try:
            return "".join(self._fast(value, 0))
        except _DecimalFound:
            return "".join(self._with_decimals(value, 0))

    def _parse(self, body):
        text = body.decode("utf-8")
        if self._scan is not None:
            trimmed = text.strip(_WHITESPACE)
            try:
                value, end = self._scan(trimmed, 0)
                if end == len(trimmed):
                    return value
            except (StopIteration, ValueError):
                pass  # json words the error below
        import json

        return json.loads(text, parse_constant=_refuse_constant)

    @staticmethod
    def _c_encoder(default, encode_string):
        separators = (": ", ", ")
        sort_keys, skip_keys, allow_nan = False, False, True

        def encode(value, level):
            # A fresh dictionary of markers per call: it is how circular references are found.
            encoder = _json.make_encoder({}, default, encode_string, None, *separators, sort_keys, skip_keys, allow_nan)
            return encoder(value, level)

        encode(None, 0)  # shows a changed signature now rather than in an invocation
        return encode

    def _reject_decimal(self, value):
        if _is_decimal(value):
            raise _DecimalFound
        return _other_as_json(value)

    def _decimal_as_number(self, value):
        if _is_decimal(value):
            return float("nan") if value.is_nan() else _RawNumber(value)
        return _other_as_json(value)

    def _encode_unless_raw(self, text):
        return str(text) if type(text) is _RawNumber else self._encode_string(text)

    def _text_without_accelerator(self, value):
        import json

        def default(item):
            return float(item) if _is_decimal(item) else _other_as_json(item)

        return json.dumps(value, ensure_ascii=self._ascii_only, default=default)


# Of these there is nothing to look at inside.
_SCALARS = frozenset((str, int, float, bool, type(None)))


def _is_plain(value):
    """Whether nothing in `value`, of which there is JSON, calls itself a dictionary: CPython's encoder takes named tuples for lists,
    AWS's (simplejson) for objects."""
    pending = [value]
    while pending:
        item = pending.pop()
        kind = type(item)
        if kind is dict:
            inner = item.values()
        elif kind is list or kind is tuple:
            inner = item
        elif hasattr(item, "_asdict"):
            return False
        elif isinstance(item, dict):
            inner = item.values()
        elif isinstance(item, (list, tuple)):
            inner = item
        else:
            continue
        pending.extend([each for each in inner if type(each) not in _SCALARS])
    return True


def _plain(value, above):
    """Named tuples and whatever else has `_asdict` as dictionaries, keys of bytes as text."""
    as_dict = getattr(value, "_asdict", None)
    content = as_dict() if callable(as_dict) else value
    if not isinstance(content, (dict, list, tuple)):
        return content
    if id(value) in above:
        raise ValueError("Circular reference detected")
    above.add(id(value))
    try:
        if isinstance(content, dict):
            return {
                key.decode("utf-8") if isinstance(key, bytes) else key: _plain(item, above) for key, item in content.items()
            }
        return [_plain(item, above) for item in content]
    finally:
        above.discard(id(value))


def _is_decimal(value):
    # Nobody can hold a Decimal without having imported its module.
    decimal = sys.modules.get("decimal")
    return decimal is not None and isinstance(value, decimal.Decimal)


def _other_as_json(value):
    if isinstance(value, bytes):
        return value.decode("utf-8")  # AWS's encoder takes nested bytes for UTF-8 text
    raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)
