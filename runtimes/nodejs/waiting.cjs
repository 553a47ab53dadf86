'use strict';
// A process that was started before it is known for which function: it has loaded what every function needs, and waits.
//
// Descriptor 3 is a socket: one byte out says that the process is ready; what comes in, up to the end of file, is the
// environment of the function (`assignment.cjs`).

const fs = require('fs');
const { USUAL_BYTES, become, readToEnd } = require('./assignment.cjs');
const { RuntimeClient } = require('./client.cjs');
const { rehearse } = require('./rehearsal.cjs');

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
    rehearse(env, () => {
      const buffer = Buffer.alloc(USUAL_BYTES);
      fs.writeSync(ASSIGNMENT_FD, 'r');
      // There is nothing else to do meanwhile, and a read that blocks is sooner back than the event loop.
      become(env, readToEnd(ASSIGNMENT_FD, buffer));
      done(env.AWS_LAMBDA_RUNTIME_API === address ? client : undefined);
    });
  });
}

module.exports = { wait };
