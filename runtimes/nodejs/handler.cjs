'use strict';
// Finds the function that `_HANDLER` names: `dir/file.export[.nested]`.

const fs = require('fs');
const path = require('path');
const { createRequire } = require('module');
const errors = require('./errors.cjs');
const v8Options = require('./v8-options.cjs');
const { HIGH_WATER_MARK, STREAMING } = require('./awslambda.cjs');

const NO_CALLBACKS =
  'ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. You need to modify this function to use a supported handler signature to use Node.js 24 or later. For more information see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.';

/** Loads the handler and says how to call it. Rejects with what the invoker is to see. */
async function loadHandler(settings, runtimeDirectory) {
  const name = settings.handler;
  const { directory, moduleName, exportPath } = parseName(name);
  const handler = await findHandler(settings, runtimeDirectory, directory, moduleName, exportPath);
  if (!handler) {
    throw new errors.HandlerNotFound(`${name} is undefined or not exported`);
  }
  if (typeof handler !== 'function') {
    throw new errors.HandlerNotFound(`${name} is not a function`);
  }
  const streaming = isStreaming(handler);
  if (!settings.callbacks && !streaming && handler.length >= 3) {
    throw new errors.CallbackHandlerDeprecated(NO_CALLBACKS);
  }
  return {
    run: handler,
    streaming,
    highWaterMark: handler[HIGH_WATER_MARK],
    isAsync: handler.constructor?.name === 'AsyncFunction',
  };
}

/** The file's base name ends at its first dot; what follows is the export. */
function parseName(name) {
  if (name.includes('..')) {
    throw new errors.MalformedHandlerName(
      `'${name}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`,
    );
  }
  const base = path.basename(name);
  const dot = base.indexOf('.');
  if (dot < 0) {
    throw new errors.MalformedHandlerName('Bad handler');
  }
  return {
    directory: name.substring(0, name.indexOf(base)),
    moduleName: base.slice(0, dot),
    exportPath: base.slice(dot + 1),
  };
}

async function findHandler(settings, runtimeDirectory, directory, moduleName, exportPath) {
  const module = await loadModule(settings, runtimeDirectory, directory, moduleName);
  const found = follow(module, exportPath);
  // From Node.js 24 on AWS imports every module, and looks into the default export too.
  return found || settings.callbacks ? found : follow(module?.default, exportPath);
}

function follow(object, exportPath) {
  return exportPath.split('.').reduce((nested, key) => nested && nested[key], object);
}

async function loadModule(settings, runtimeDirectory, directory, moduleName) {
  try {
    return await tryFiles(settings.taskRoot, runtimeDirectory, directory, moduleName);
  } catch (error) {
    if (error instanceof SyntaxError) {
      throw new errors.UserCodeSyntaxError(error);
    }
    if (error?.code === 'MODULE_NOT_FOUND') {
      throw new errors.ImportModuleError(error);
    }
    throw error;
  }
}

/** AWS's order of looking for the file, and of choosing between `require` and `import`. */
async function tryFiles(taskRoot, runtimeDirectory, directory, moduleName) {
  // Errors show AWS's file as the one that required the user's.
  const require = createRequire(path.join(runtimeDirectory, 'index.mjs'));
  const requireFile = (file) => {
    v8Options.putBack();
    return require(file);
  };
  const file = path.resolve(taskRoot, directory, moduleName);
  if (fs.existsSync(file)) {
    const loaded = requireFile(file);
    if (loaded) {
      return loaded;
    }
  }
  if (fs.existsSync(`${file}.js`)) {
    return isInModulePackage(path.dirname(file)) ? importFile(`${file}.js`) : requireFile(`${file}.js`);
  }
  if (fs.existsSync(`${file}.mjs`)) {
    return importFile(`${file}.mjs`);
  }
  if (fs.existsSync(`${file}.cjs`)) {
    return requireFile(`${file}.cjs`);
  }
  return requireFile(require.resolve(moduleName, { paths: [taskRoot, path.join(taskRoot, directory)] }));
}

function importFile(file) {
  // Node.js reads the file with it. What else it loads it has loaded when `import` returns, and runs the file later.
  void fs.promises;
  const module = import(require('url').pathToFileURL(file).href);
  v8Options.putBack();
  return module;
}

/** Whether the nearest package.json says `"type": "module"`. */
function isInModulePackage(folder) {
  if (folder.endsWith('/node_modules')) {
    return false;
  }
  const file = path.join(folder, 'package.json');
  if (fs.existsSync(file)) {
    try {
      return JSON.parse(fs.readFileSync(file, 'utf8'))?.type === 'module';
    } catch (error) {
      console.warn(`${file} cannot be read, it will be ignored for ES module detection purposes.`, error);
      return false;
    }
  }
  return folder !== '/' && isInModulePackage(path.dirname(folder));
}

function isStreaming(handler) {
  if (!handler[STREAMING]) {
    return false;
  }
  if (handler[STREAMING] !== 'response') {
    throw new errors.MalformedStreamingHandler('Only response streaming is supported.');
  }
  return true;
}

module.exports = { loadHandler };
