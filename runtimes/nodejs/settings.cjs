'use strict';
// What the platform tells the runtime through environment variables, read once.

/** First version of Node.js for which AWS runs promise-returning handlers only. */
const FIRST_WITHOUT_CALLBACKS = 24;

function readSettings(env) {
  const settings = {
    apiAddress: env.AWS_LAMBDA_RUNTIME_API,
    handler: env._HANDLER ?? '',
    taskRoot: env.LAMBDA_TASK_ROOT ?? '/var/task',
    jsonLogs: env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === 'JSON',
    logLevel: env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase(),
    logFd: env._LAMBDA_TELEMETRY_LOG_FD,
    debugPort: Number(env.LAMBFOLD_DEBUG_PORT || 0), // 0: no debugger
    debugWait: env.LAMBFOLD_DEBUG_WAIT === '1',
    callbacks: nodeMajor(env) < FIRST_WITHOUT_CALLBACKS,
    globalAwsLambda: !['1', 'true'].includes(env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA),
  };
  // Taken away so that children of the function do not write frames to a descriptor they do not have.
  delete env._LAMBDA_TELEMETRY_LOG_FD;
  return settings;
}

/** The version the function was created for decides what it may do; the interpreter may be another one. */
function nodeMajor(env) {
  const declared = /^AWS_Lambda_nodejs(\d+)/.exec(env.AWS_EXECUTION_ENV ?? '');
  return parseInt(declared ? declared[1] : process.versions.node, 10);
}

module.exports = { readSettings };
