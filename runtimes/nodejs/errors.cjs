'use strict';
// Errors that the runtime itself finds, under AWS's names, and the documents made of any error.

const { types } = require('util');

const MAX_CAUSE_BYTES = 65536;

class ImportModuleError extends Error {}
class HandlerNotFound extends Error {}
class MalformedHandlerName extends Error {}
class MalformedStreamingHandler extends Error {}
class InvalidStreamingOperation extends Error {}
class CallbackHandlerDeprecated extends Error {}
class JSONStringifyError extends Error {}

class UserCodeSyntaxError extends Error {
  constructor(original) {
    super(original);
    // The original stack begins with the place in the user's file.
    this.stack = original.stack;
  }
}

class UnhandledPromiseRejection extends Error {
  constructor(reason, promise) {
    super(reason);
    this.reason = reason;
    this.promise = promise;
  }
}

class NodeJsExit extends Error {
  constructor() {
    super(
      'The Lambda runtime client detected an unexpected Node.js exit code. This is most commonly caused by a Promise that was never settled. For more information, see https://nodejs.org/docs/latest/api/process.html#exit-codes',
    );
  }
}

const runtimeErrors = {
  ImportModuleError,
  HandlerNotFound,
  MalformedHandlerName,
  MalformedStreamingHandler,
  InvalidStreamingOperation,
  CallbackHandlerDeprecated,
  JSONStringifyError,
  UserCodeSyntaxError,
  UnhandledPromiseRejection,
  NodeJsExit,
};
for (const [name, type] of Object.entries(runtimeErrors)) {
  type.prototype.name = `Runtime.${name}`;
}

/** The body of an error answer: `{errorType, errorMessage, trace}`. Anything may have been thrown. */
function payload(error) {
  try {
    if (isError(error)) {
      return {
        errorType: withoutDel(error.name),
        errorMessage: withoutDel(error.message),
        trace: withoutDel(error.stack ?? '').split('\n'),
      };
    }
    return { errorType: typeof error, errorMessage: error.toString(), trace: [] };
  } catch {
    return {
      errorType: 'handled',
      errorMessage:
        'callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack',
    };
  }
}

/** What goes to the Runtime API: the body, and the values of the two error headers. */
function report(error) {
  const body = payload(error);
  return { errorType: headerText(String(body.errorType)), json: JSON.stringify(body), cause: xrayCause(error) };
}

/** Also what looks like an error, such as one from another realm (`vm`, jest). */
function isError(error) {
  return (
    types.isNativeError(error) ||
    (typeof error?.name === 'string' && typeof error.message === 'string' && typeof error.stack === 'string')
  );
}

function intoError(error) {
  return error instanceof Error ? error : new Error(error);
}

/** AWS's services do not take the DEL character. */
function withoutDel(text) {
  return text.replace(/\x7f/g, '%7F');
}

function xrayCause(error) {
  try {
    const stack = typeof error.stack === 'string' ? error.stack.split('\n').slice(1).map(stackEntry) : [];
    const cause = asciiJson({
      working_directory: process.cwd(),
      exceptions: [{ type: error.name, message: error.message, stack }],
      paths: [...new Set(stack.map((entry) => entry.path))],
    });
    return cause.length <= MAX_CAUSE_BYTES ? cause : '';
  } catch {
    return ''; // not an error, or one whose properties cannot be read
  }
}

/** `    at label (path:line:column)` or `    at path:line:column`. */
function stackEntry(line) {
  const [, label, place] = /^\s*at (?:(.*) )?\(?(.*?)\)?$/.exec(line) ?? [undefined, undefined, line.trim()];
  const [path, number] = place.replace(/^file:\/\//, '').split(':');
  return { path, line: parseInt(number, 10), label: label || 'anonymous' };
}

/** JSON that may travel in a header. */
function asciiJson(value) {
  return JSON.stringify(value).replace(
    /[^\x20-\x7e]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function headerText(text) {
  return text.replace(/[^\x20-\x7e]/g, '?');
}

module.exports = { ...runtimeErrors, intoError, payload, report };
