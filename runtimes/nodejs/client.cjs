'use strict';
// Client of the Runtime API (2018-06-01) on one kept-alive TCP connection. The `http` module makes a warm round trip half as
// long again.

const { AnswerReader } = require('./answer-reader.cjs');
const { connect, connectStream } = require('./socket.cjs');

const PREFIX = '/2018-06-01/runtime/';
// The manager listens before it starts the runtime, so a refused connection means that it is going or gone.
const CONNECT_DELAYS_MS = [50, 100, 200, 400, 800];

/** A connection with at most one request under way. */
class Connection {
  /** `open` is one of `socket.cjs`. */
  constructor(open, host, port) {
    this._reader = new AnswerReader();
    this._done = undefined;
    this.usable = true;
    this.connected = () => {};
    this.socket = open(host, port, this);
  }

  /** Says that `done(error)` is called once, when the connection stands or cannot be made. */
  expectConnection(done) {
    this._done = done;
    this.connected = () => this._settle();
  }

  /** Says that `done(error, answer)` gets the next answer. The process stays alive until then. */
  expectAnswer(done) {
    this._done = done;
    this.socket.ref();
  }

  close() {
    this.usable = false;
    this.socket.destroy();
  }

  received(bytes) {
    let answer;
    try {
      answer = this._reader.push(bytes);
    } catch (error) {
      this.lost(error);
      return;
    }
    if (answer) {
      this._settle(undefined, answer);
    }
  }

  lost(error) {
    const answer = this.usable ? this._reader.end() : undefined;
    // Nothing of an answer has come: the request may be repeated.
    error.dropped = !this._reader.started && error.code !== 'ECONNREFUSED';
    this.close();
    this._settle(answer ? undefined : error, answer);
  }

  _settle(error, answer) {
    const done = this._done;
    if (!done) {
      return; // idle
    }
    this._done = undefined;
    if (answer?.headers.connection?.toLowerCase() === 'close') {
      this.close();
    }
    // While user code runs, an idle connection must not keep the event loop from becoming empty.
    this.socket.unref();
    done(error, answer);
  }
}

/** `next`, `response` and `error` for one environment. Callbacks get `(error, answer)`. */
class RuntimeClient {
  constructor(address) {
    const colon = address.lastIndexOf(':');
    this._host = address.slice(0, colon);
    this._port = parseInt(address.slice(colon + 1), 10);
    this._hostHeader = `Host: ${address}\r\n`;
    this._nextRequest = `GET ${PREFIX}invocation/next HTTP/1.1\r\n${this._hostHeader}\r\n`;
    this._connection = undefined;
  }

  /** Opens the connection ahead of the first call. `done(error)` is called once. */
  connect(done) {
    this._open().expectConnection(done);
  }

  /** Waits, for hours if need be, until an invocation comes. */
  next(done, drops = 0) {
    this._exchange(this._nextRequest, (error, answer) => {
      if (!error?.dropped) {
        done(error, answer);
        return;
      }
      // Dropped while idle: nothing was delivered, so asking again loses nothing. The pause keeps an API that
      // closes every connection at once from making us spin.
      setTimeout(() => this.next(done, drops + 1), Math.min(1000, 50 * drops));
    });
  }

  /** Answers an invocation. */
  postResponse(requestId, json, done) {
    this._post(`invocation/${encodeURIComponent(requestId)}/response`, 'Content-Type: application/json\r\n', json, done);
  }

  /** Answers an invocation with a function error. */
  postError(requestId, report, done) {
    this._post(`invocation/${encodeURIComponent(requestId)}/error`, errorHeaders(report), report.json, done);
  }

  /**
   * Reports an error that ends the process, by a connection of its own: the usual one may be inside `next`
   * or a stream. Without a request id the function has failed to load.
   */
  postFatalError(requestId, report, done) {
    const client = new RuntimeClient(`${this._host}:${this._port}`);
    if (requestId === undefined) {
      client._post('init/error', errorHeaders(report), report.json, done);
    } else {
      client.postError(requestId, report, done);
    }
  }

  /**
   * Begins a chunked answer and returns the connection to write it to: one of its own, as a stream cannot be
   * repeated when a kept connection turns out to be dead. `done` gets the API's answer.
   */
  openStream(requestId, headers, done) {
    const connection = new Connection(connectStream, this._host, this._port);
    connection.expectAnswer((error, answer) => {
      connection.close();
      done(error, answer);
    });
    connection.socket.write(
      `POST ${PREFIX}invocation/${encodeURIComponent(requestId)}/response HTTP/1.1\r\n${this._hostHeader}${headers}\r\n`,
    );
    return connection;
  }

  _post(path, headers, body, done) {
    const length = Buffer.byteLength(body);
    const request = `POST ${PREFIX}${path} HTTP/1.1\r\n${this._hostHeader}${headers}Content-Length: ${length}\r\n\r\n${body}`;
    this._exchange(request, (error, answer) => {
      if (error) {
        // The connection died under the handler or between the calls. A second answer that was not needed is
        // refused by its request id, so sending once more is safe.
        this._exchange(request, done);
      } else {
        done(undefined, answer);
      }
    });
  }

  _exchange(request, done, attempt = 0) {
    const connection = this._open();
    connection.expectAnswer((error, answer) => {
      if (error?.code === 'ECONNREFUSED' && attempt < CONNECT_DELAYS_MS.length) {
        setTimeout(() => this._exchange(request, done, attempt + 1), CONNECT_DELAYS_MS[attempt]);
      } else {
        done(error, answer);
      }
    });
    connection.socket.write(request);
  }

  _open() {
    if (!this._connection?.usable) {
      this._connection = new Connection(connect, this._host, this._port);
    }
    return this._connection;
  }
}

function errorHeaders(report) {
  const headers = `Content-Type: application/json\r\nLambda-Runtime-Function-Error-Type: ${report.errorType}\r\n`;
  return report.cause ? `${headers}Lambda-Runtime-Function-XRay-Error-Cause: ${report.cause}\r\n` : headers;
}

module.exports = { RuntimeClient };
