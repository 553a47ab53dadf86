'use strict';
// A process that was started before it is known for which function: it has loaded what every function needs, and waits.
//
// Descriptor 3 is a socket: one byte out says that the process is ready; what comes in, up to the end of file, is the
// environment of the function, as `NAME=value` texts that end in a NUL each.

const Module = require('module');
const net = require('net');
const { AnswerReader } = require('./answer-reader.cjs');
const { RuntimeClient } = require('./client.cjs');

const ASSIGNMENT_FD = 3;

/** Calls `done(client)` when `env` is that of a function; the client is connected to its Runtime API. */
function wait(env, done) {
  // What user code may look at: it is to see the command of a process that did not wait.
  process.argv.splice(2);
  const address = env.AWS_LAMBDA_RUNTIME_API;
  const client = new RuntimeClient(address);
  client.connect((error) => {
    if (error) {
      throw error;
    }
    warmUp().then(() => ready(env, (assigned) => done(assigned === address ? client : undefined)));
  });
}

/** Says that the process is ready, and calls `done` with the Runtime API's address when `env` is that of a function. */
function ready(env, done) {
  const pieces = [];
  const socket = new net.Socket({ fd: ASSIGNMENT_FD, readable: true, writable: true });
  socket.on('data', (piece) => pieces.push(piece));
  socket.on('close', () => {
    become(env, Buffer.concat(pieces).toString());
    done(env.AWS_LAMBDA_RUNTIME_API);
  });
  socket.write('r');
}

function become(env, assignment) {
  for (const name of Object.keys(env)) {
    delete env[name];
  }
  for (const variable of assignment.split('\0').slice(0, -1)) {
    const equals = variable.indexOf('=');
    env[variable.slice(0, equals)] = variable.slice(equals + 1);
  }
  process.chdir(env.LAMBDA_TASK_ROOT ?? '/var/task');
  // Node reads NODE_PATH at its start only.
  Module._initPaths();
}

/** Has V8 compile, once, what the first invocation runs through. */
async function warmUp() {
  const body = '{"a":[1]}';
  const reader = new AnswerReader();
  reader.push(Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`));
  await import(require('url').pathToFileURL(require('path').join(__dirname, 'warm.mjs')).href);
}

module.exports = { wait };
