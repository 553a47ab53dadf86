'use strict';
// The function's debugger, where its variables ask for one: Node's own inspector. Loaded only then.

class DebuggerError extends Error {}
DebuggerError.prototype.name = 'Lambfold.Debugger';

/** Has the inspector listen, and with `debugWait` returns only when a debugger has attached and set its breakpoints. */
function start(settings) {
  const inspector = require('inspector');
  // A failure it only prints; it is found by what follows. The wait is apart from this, or it would be for nobody.
  inspector.open(settings.debugPort, '127.0.0.1');
  if (inspector.url() === undefined) {
    throw new DebuggerError(`LAMBFOLD_DEBUG_PORT: the inspector cannot listen at port ${settings.debugPort}.`);
  }
  if (settings.debugWait) {
    inspector.waitForDebugger();
  }
}

module.exports = { start };
