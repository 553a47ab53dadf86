'use strict';
// What a process that waits does in advance: it becomes functions that do nothing, one after the other, and runs them with
// a server of its own, so that Node.js has loaded, and V8 compiled, what the first invocation of a real one goes through.
// A function sees nothing of it.

const fs = require('fs');
const Module = require('module');
const net = require('net');
const path = require('path');
const { USUAL_BYTES, become, readToEnd } = require('./assignment.cjs');
const { RuntimeClient } = require('./client.cjs');
const { forgetInvocation, rehearseRecord } = require('./console.cjs');
const { Runtime } = require('./runtime.cjs');

const FOLDER = path.join(__dirname, 'rehearsal');
const FUNCTIONS = ['first', 'second', 'third'];
// Of each. More would have V8 optimise, which takes memory and gives a first invocation nothing.
const INVOCATIONS = 3;

/** Takes invocations until there have been enough. */
class StandIn extends RuntimeClient {
  /** `done` is called when all have been answered. */
  constructor(address, done) {
    super(address);
    this._done = done;
    this._left = INVOCATIONS;
  }

  next(done) {
    if (this._left === 0) {
      // Without a trace in the system's table of connections.
      this._connection.socket.resetAndDestroy();
      this._done();
    } else {
      this._left--;
      super.next(done);
    }
  }

  postFatalError(_requestId, report) {
    throw new Error(`the rehearsal failed: ${report.json}`);
  }
}

function invocation() {
  const body = JSON.stringify({ records: [{ number: 1, text: 'a' }] });
  return Buffer.from(
    'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: rehearsal\r\n' +
      'Lambda-Runtime-Deadline-Ms: 0\r\nLambda-Runtime-Invoked-Function-Arn: rehearsal\r\n' +
      `Lambda-Runtime-Trace-Id: rehearsal\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
}

/** Calls `done` at the end of it. `env` is changed; the next assignment replaces it as a whole. */
function rehearse(env, done) {
  // Sockets that close look at it, which would open it for good.
  const stderr = Object.getOwnPropertyDescriptor(process, 'stderr');
  Object.defineProperty(process, 'stderr', { configurable: true, enumerable: true, value: undefined });
  // The platform is not there yet. This one has the same answer to everything.
  const server = net.createServer((socket) => {
    socket.on('data', () => socket.write(invocation()));
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1', () => {
    const address = `127.0.0.1:${server.address().port}`;
    becomeOneAfterTheOther(env, address, FUNCTIONS, () => {
      server.close(() => {
        Object.defineProperty(process, 'stderr', stderr);
        forget();
        done();
      });
    });
  });
}

function becomeOneAfterTheOther(env, address, [name, ...others], done) {
  if (name === undefined) {
    done();
    return;
  }
  readToEnd(fs.openSync(path.join(FOLDER, 'first.mjs')), Buffer.alloc(USUAL_BYTES));
  const assignment = { ...env, LAMBDA_TASK_ROOT: FOLDER, _HANDLER: `${name}.handler` };
  become(env, Object.entries(assignment).map((variable) => `${variable.join('=')}\0`).join(''));
  const standIn = new StandIn(address, () => becomeOneAfterTheOther(env, address, others, done));
  new Runtime(env, standIn).load(__dirname);
}

function forget() {
  rehearseRecord();
  forgetInvocation();
  // The second one Node.js does not document.
  for (const cache of [require.cache, Module._pathCache ?? {}]) {
    for (const file of Object.keys(cache)) {
      if (file.startsWith(`${FOLDER}/`)) {
        delete cache[file];
      }
    }
  }
  // So that what all this has left is not collected while the first invocation runs.
  globalThis.gc({ type: 'minor' });
}

module.exports = { rehearse };
