'use strict';
// Entry point of Lambfold's Node.js runtime: `node … /var/runtime/bootstrap.cjs [wait]`, with options by the function's memory.
// CommonJS, because Node starts it 3 ms sooner than an ES module.

// Before anything else is loaded.
require('./v8-options.cjs').setAside();

const { run } = require('./runtime.cjs');

/**
 * Runs the function that `env` describes, for ever. With `wait` the process has been started in advance, and gets its
 * function when there is one.
 */
function main(env, wait) {
  if (wait) {
    require('./waiting.cjs').wait(env, (client) => run(env, __dirname, client));
  } else {
    run(env, __dirname);
  }
}

// AWS's entry point is an ES module, of which `require` knows nothing.
delete require.cache[__filename];
process.mainModule = undefined;

main(process.env, process.argv[2] === 'wait');
