'use strict';
// Node.js brings a code cache for its own modules, which V8 refuses while an option of its own differs from what the cache was
// made with. AWS's options (`--max-old-space-size` and others) count when the heap is made, which is over when the first line of
// a script runs. So they are set aside while Node.js loads its modules, and back before there is any code of the function's:
// its workers get their heaps by them, and its contexts their `gc`.

const { binding } = require('./bindings.cjs');

const OPTION = /^--(?:expose[-_]gc|max[-_](?:semi|old)[-_]space[-_]size=\d+)$/;
const DEFAULTS = ['--no-expose-gc', '--max-semi-space-size=0', '--max-old-space-size=0'];

let setOption;
let given = [];

function setAside() {
  given = process.execArgv.filter((argument) => OPTION.test(argument));
  if (given.length > 0) {
    setOption = findSetter();
    DEFAULTS.forEach(setOption);
  }
}

/** The second time does nothing. */
function putBack() {
  given.forEach((option) => setOption(option));
  given = [];
}

/** `require('v8')` has it, too, and loads so much that it takes half of what the cache saves. */
function findSetter() {
  return (binding('v8') ?? require('v8')).setFlagsFromString;
}

module.exports = { putBack, setAside };
