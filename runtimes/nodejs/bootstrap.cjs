'use strict';
// Entry point of Lambfold's Node.js runtime: `node /var/runtime/bootstrap.cjs`.
// CommonJS, because Node starts it 3 ms sooner than an ES module.

const { run } = require('./runtime.cjs');

/**
 * Runs the function that `env` describes, for ever.
 * The environment is an argument so that a process started in advance can be given its function later.
 */
function main(env) {
  run(env, __dirname);
}

main(process.env);
