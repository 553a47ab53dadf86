'use strict';
// `console` as AWS's runtime patches it: records with time, request id and level, as text or JSON, filtered by level.

const fs = require('fs');
const { intoError, payload } = require('./errors.cjs');

const LEVELS = { TRACE: 1, DEBUG: 2, INFO: 3, WARN: 4, ERROR: 5, FATAL: 6 };
const METHODS = { trace: 'TRACE', debug: 'DEBUG', info: 'INFO', log: 'INFO', warn: 'WARN', error: 'ERROR', fatal: 'FATAL' };

const TEXT_FRAME = 0xa55a0003;
const JSON_FRAME = 0xa55a0002;

// Libraries read the ids from these well-known places.
const REQUEST_ID = Symbol.for('aws.lambda.runtime.requestId');
const TENANT_ID = Symbol.for('aws.lambda.runtime.tenantId');

let format;

/** Says to which invocation the records belong from now on. */
function setCurrentInvocation(requestId, tenantId) {
  globalThis[REQUEST_ID] = requestId;
  globalThis[TENANT_ID] = tenantId;
}

/** Patches `console`; returns `logError(title, error)` for the runtime's own records. */
function patchConsole(settings) {
  const write = settings.logFd === undefined ? writeLine : frameWriter(parseInt(settings.logFd, 10), settings.jsonLogs);
  const record = settings.jsonLogs ? jsonRecord : (level, time, values) => textRecord(settings, level, time, values);
  const lowest = LEVELS[settings.logLevel] ?? LEVELS.TRACE;
  for (const [method, level] of Object.entries(METHODS)) {
    console[method] =
      LEVELS[level] < lowest
        ? () => {}
        : (message, ...values) => {
            const now = new Date();
            write(record(level, now.toISOString(), [message, ...values]), level, now);
          };
  }
  return settings.jsonLogs
    ? (_title, error) => console.error(intoError(error))
    : (title, error) => console.error(title, errorText(intoError(error)));
}

function textRecord(settings, level, time, values) {
  // During init AWS's runtimes print the missing id: `undefined`, from Node.js 24 on a dash.
  const requestId = globalThis[REQUEST_ID] ?? (settings.callbacks ? undefined : '-');
  return `${time}\t${requestId}\t${level}\t${formatted(values)}`;
}

function jsonRecord(level, time, values) {
  const record = { timestamp: time, level, requestId: globalThis[REQUEST_ID] };
  if (globalThis[TENANT_ID] != null) {
    record.tenantId = globalThis[TENANT_ID];
  }
  if (values.length === 1) {
    try {
      return JSON.stringify({ ...record, message: values[0] }, expandErrors);
    } catch {
      // circular or otherwise not JSON
    }
  }
  record.message = formatted(values);
  const error = values.length > 1 && values.find((value) => value instanceof Error);
  return JSON.stringify(error ? Object.assign(record, errorFields(error)) : record);
}

function formatted(values) {
  format ??= require('util').format;
  return format(...values);
}

function expandErrors(_key, value) {
  return value instanceof Error ? { ...errorFields(value), ...value } : value;
}

function errorFields(error) {
  return {
    errorType: error.constructor?.name ?? 'UnknownError',
    errorMessage: error.message,
    stackTrace: typeof error.stack === 'string' ? error.stack.split('\n') : error.stack,
  };
}

/** An error in a text record: a tab and its properties as JSON. */
function errorText(error) {
  try {
    return `\t${JSON.stringify(error, withProperties)}`;
  } catch {
    return `\t${JSON.stringify(payload(error))}`;
  }
}

function withProperties(_key, value) {
  if (!(value instanceof Error)) {
    return value;
  }
  const properties = { errorType: value.name, errorMessage: value.message, code: value.code, ...value };
  if (typeof value.stack === 'string') {
    properties.stack = value.stack.split('\n');
  }
  return properties;
}

/** One record, one line: what would break it becomes `\r`. */
function writeLine(record) {
  writeFully(1, Buffer.from(`${record.replace(/\n/g, '\r')}\n`));
}

/** Frames for the platform: type, length and microseconds since the epoch, big endian, before each record. */
function frameWriter(fd, isJson) {
  return (record, level, now) => {
    const message = Buffer.from(isJson ? record : `${record}\n`);
    const head = Buffer.alloc(16);
    head.writeUInt32BE(((isJson ? JSON_FRAME : TEXT_FRAME) | (LEVELS[level] * 4)) >>> 0, 0);
    head.writeUInt32BE(message.length, 4);
    head.writeBigUInt64BE(BigInt(now.valueOf()) * 1000n, 8);
    writeFully(fd, Buffer.concat([head, message]));
  };
}

/**
 * Writes at once, so that nothing is lost when the process ends. The descriptor is non-blocking if user code has
 * touched `process.stdout`.
 */
function writeFully(fd, bytes) {
  let written = 0;
  while (written < bytes.length) {
    try {
      written += fs.writeSync(fd, bytes, written);
    } catch (error) {
      if (error.code !== 'EAGAIN') {
        throw error;
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

/** Makes a record that nobody gets to see. */
function rehearseRecord() {
  const time = new Date().toISOString();
  const values = ['rehearsal', 1, { records: [{ number: 1, text: 'a' }] }, new Error('rehearsal')];
  textRecord({ callbacks: true }, 'INFO', time, values);
  jsonRecord('INFO', time, values);
}

/** As if there had been none. */
function forgetInvocation() {
  delete globalThis[REQUEST_ID];
  delete globalThis[TENANT_ID];
}

module.exports = { forgetInvocation, patchConsole, rehearseRecord, setCurrentInvocation };
