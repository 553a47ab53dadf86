'use strict';
// A TCP connection without `net`, which takes 4 ms to load and to connect with for the first time, mostly for streams that
// the client of the Runtime API does not need: it writes whole requests, and one after the other.

const { binding } = require('./bindings.cjs');

const IPV4 = /^\d+\.\d+\.\d+\.\d+$/;
const END_OF_FILE = -4095; // libuv's UV_EOF

/**
 * Opens a connection. `listener` is told that it is `connected()`, what it has `received(bytes)`, and that it is `lost(error)`.
 * What is written before it is connected is sent then. The methods are those of `net`'s sockets.
 */
function connect(host, port, listener) {
  const tcp = binding('tcp_wrap');
  const stream = binding('stream_wrap');
  const usable = IPV4.test(host) && tcp?.TCPConnectWrap && stream?.streamBaseState;
  return usable ? new Socket(tcp, stream, host, port, listener) : connectStream(host, port, listener);
}

/** The same by `net`, whose sockets are streams with back-pressure. */
function connectStream(host, port, listener) {
  const socket = require('net').connect({ host, port, noDelay: true });
  socket.on('connect', () => listener.connected());
  socket.on('data', (bytes) => listener.received(bytes));
  socket.on('error', (error) => listener.lost(error));
  socket.on('close', () => listener.lost(closed()));
  return socket;
}

class Socket {
  constructor(tcp, stream, host, port, listener) {
    this._stream = stream;
    this._peer = `${host}:${port}`;
    this._listener = listener;
    this._handle = new tcp.TCP(tcp.constants.SOCKET);
    this._handle.setNoDelay(true);
    this._handle.onread = (bytes) => this._read(bytes);
    const request = new tcp.TCPConnectWrap();
    request.oncomplete = (status) => this._connected(status);
    this._check('connect', this._handle.connect(request, host, port));
  }

  write(text) {
    const request = new this._stream.WriteWrap();
    request.handle = this._handle;
    request.oncomplete = (status) => this._check('write', status);
    this._check('write', this._handle?.writeUtf8String(request, text));
  }

  ref() {
    this._handle?.ref();
  }

  unref() {
    this._handle?.unref();
  }

  /** The listener hears no more of it. */
  destroy() {
    this._handle?.close();
    this._handle = undefined;
  }

  /** Without a trace in the system's table of connections. */
  resetAndDestroy() {
    this._handle?.reset();
    this._handle = undefined;
  }

  _connected(status) {
    if (this._handle && this._check('connect', status)) {
      this._handle.readStart();
      this._listener.connected();
    }
  }

  /** Of the bytes, the buffer is whole; how many they are, or why there are none, stands beside it. */
  _read(buffer) {
    const { streamBaseState, kArrayBufferOffset, kReadBytesOrError } = this._stream;
    const count = streamBaseState[kReadBytesOrError];
    if (count > 0) {
      this._listener.received(Buffer.from(buffer, streamBaseState[kArrayBufferOffset], count));
    } else if (count === END_OF_FILE) {
      this._lose(closed());
    } else {
      this._check('read', count);
    }
  }

  /** Whether a call went well. If not, the listener is told after it has returned. */
  _check(call, status) {
    if (status < 0) {
      const code = require('util').getSystemErrorName(status);
      const error = Object.assign(new Error(`${call} ${code} ${this._peer}`), { code });
      process.nextTick(() => this._lose(error));
    }
    return !(status < 0);
  }

  _lose(error) {
    if (this._handle) {
      this.destroy();
      this._listener.lost(error);
    }
  }
}

function closed() {
  return new Error('connection closed by the Runtime API');
}

module.exports = { connect, connectStream };
