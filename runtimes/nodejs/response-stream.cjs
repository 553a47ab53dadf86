'use strict';
// The stream that a streaming handler writes its answer to: a chunked POST whose trailers tell of a late failure.

const { Writable } = require('stream');
const errors = require('./errors.cjs');

const ERROR_TYPE = 'Lambda-Runtime-Function-Error-Type';
const ERROR_BODY = 'Lambda-Runtime-Function-Error-Body';

/** Nothing is sent before the first write or the end, so that the content type can be set until then. */
class ResponseStream extends Writable {
  /** `open(headers)` begins the request and returns its connection. */
  constructor(open, highWaterMark) {
    super({ highWaterMark, decodeStrings: true });
    this._open = open;
    this._connection = undefined;
    this._contentType = 'application/octet-stream';
    this._failure = undefined;
    this._finished = false;
    this._onBeforeFirstWrite = undefined;
    // A stream that user code destroys ends the answer with an error; that is no reason to end the process.
    this.on('error', () => {});
  }

  /** Whether the answer has begun. */
  get begun() {
    return this._connection !== undefined;
  }

  setContentType(contentType) {
    if (this.begun || this.writableLength > 0) {
      throw new errors.InvalidStreamingOperation('Cannot set content-type, too late.');
    }
    this._contentType = contentType;
  }

  write(chunk, encoding, callback) {
    const prelude = this._onBeforeFirstWrite;
    if (typeof prelude === 'function') {
      this._onBeforeFirstWrite = undefined;
      prelude((piece) => super.write(piece));
    }
    const raw = typeof chunk === 'string' || chunk instanceof Uint8Array;
    return super.write(raw ? chunk : JSON.stringify(chunk), encoding, callback);
  }

  end(chunk, encoding, callback) {
    if (chunk !== undefined && chunk !== null && typeof chunk !== 'function') {
      this.write(chunk, typeof encoding === 'string' ? encoding : undefined);
      return super.end(typeof encoding === 'function' ? encoding : callback);
    }
    return super.end(chunk, encoding, callback);
  }

  /** Ends the answer, after what has been written, with an error in its trailers. */
  fail(error) {
    this._failure = errors.report(error);
    if (this.destroyed) {
      this._finishRequest();
    } else if (!this.writableEnded) {
      super.end();
    }
  }

  _write(chunk, _encoding, callback) {
    this._begin();
    const { socket } = this._connection;
    socket.cork();
    socket.write(`${chunk.length.toString(16)}\r\n`);
    socket.write(chunk);
    const flushed = socket.write('\r\n');
    socket.uncork();
    if (flushed || socket.destroyed) {
      callback();
    } else {
      afterDrain(socket, callback);
    }
  }

  _final(callback) {
    this._begin();
    this._finishRequest();
    callback();
  }

  _destroy(error, callback) {
    if (this.begun && !this._finished) {
      this._failure ??= errors.report(error ?? new Error('Response stream is not finished.'));
      this._finishRequest();
    }
    callback(error);
  }

  _finishRequest() {
    if (this._finished || !this.begun) {
      return;
    }
    this._finished = true;
    const failure = this._failure;
    const trailers = failure
      ? `${ERROR_TYPE}: ${failure.errorType}\r\n${ERROR_BODY}: ${Buffer.from(failure.json).toString('base64')}\r\n`
      : '';
    this._connection.socket.write(`0\r\n${trailers}\r\n`);
  }

  _begin() {
    this._connection ??= this._open(
      'Lambda-Runtime-Function-Response-Mode: streaming\r\n' +
        `Trailer: ${ERROR_TYPE}, ${ERROR_BODY}\r\n` +
        `Content-Type: ${this._contentType}\r\n` +
        'Transfer-Encoding: chunked\r\n',
    );
  }
}

/** Goes on when there is room again, or the connection is lost: then the rest is dropped and the function runs on. */
function afterDrain(socket, callback) {
  const proceed = () => {
    socket.off('drain', proceed);
    socket.off('close', proceed);
    callback();
  };
  socket.on('drain', proceed);
  socket.on('close', proceed);
}

module.exports = { ResponseStream };
