'use strict';
// How a process that waits gets its function: the environment, as `NAME=value` texts that end in a NUL each.

const fs = require('fs');
const Module = require('module');

const USUAL_BYTES = 8192;

/** Reads to the end of the file, and closes it. */
function readToEnd(fd, buffer) {
  let bytes = buffer;
  let length = 0;
  for (;;) {
    const more = fs.readSync(fd, bytes, length, bytes.length - length, null);
    if (more === 0) {
      break;
    }
    length += more;
    if (length === bytes.length) {
      bytes = Buffer.concat([bytes], 2 * length);
    }
  }
  fs.closeSync(fd);
  return bytes.toString('utf8', 0, length);
}

/** Makes `assignment` the environment. */
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

module.exports = { USUAL_BYTES, become, readToEnd };
