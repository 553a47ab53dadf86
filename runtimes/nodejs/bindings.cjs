'use strict';
// What Node.js' own modules stand on. Where loading a module takes longer than all that is needed of it, this is the way around.

/** The binding, or `undefined` where Node.js does not give it out: under `--permission`, and perhaps in versions to come. */
function binding(name) {
  const { noDeprecation } = process;
  process.noDeprecation = true; // the function is not to be blamed for it
  try {
    return process.binding(name);
  } catch {
    return undefined;
  } finally {
    if (noDeprecation === undefined) {
      delete process.noDeprecation;
    } else {
      process.noDeprecation = noDeprecation;
    }
  }
}

module.exports = { binding };
