'use strict';
// The runtime's loop: load the handler, then take, run and answer invocations for ever.

const awslambda = require('./awslambda.cjs');
const errors = require('./errors.cjs');
const { RuntimeClient } = require('./client.cjs');
const { buildContext } = require('./context.cjs');
const { patchConsole, setCurrentInvocation } = require('./console.cjs');
const { loadHandler } = require('./handler.cjs');
const { readSettings } = require('./settings.cjs');

// Statuses of a process that ends because of an error nobody caught.
const UNCAUGHT_EXCEPTION = 129;
const UNHANDLED_REJECTION = 128;
// Node's own for a module whose top-level await never settles.
const UNSETTLED_AWAIT = 13;

/** Becomes the runtime of the function that `env` describes. A `client` may be connected already. */
function run(env, runtimeDirectory, client) {
  const runtime = new Runtime(env, client);
  runtime.takeOver();
  runtime.load(runtimeDirectory);
}

class Runtime {
  constructor(env, client) {
    this._env = env;
    this._settings = readSettings(env);
    this._client = client ?? new RuntimeClient(this._settings.apiAddress);
    this._logError = patchConsole(this._settings);
    this._handler = undefined;
    this._requestId = undefined; // none until the first invocation
    this._ending = false;
    this._answered = undefined; // goes on with the next invocation
    this._onLoopEmpty = () => {
      process.exitCode = UNSETTLED_AWAIT;
    };
  }

  /** What concerns the whole process. */
  takeOver() {
    process.on('uncaughtException', (error) => this._die('Uncaught Exception', error, UNCAUGHT_EXCEPTION));
    process.on('unhandledRejection', (reason, promise) => {
      const error = new errors.UnhandledPromiseRejection(reason, promise);
      this._die('Unhandled Promise Rejection', error, UNHANDLED_REJECTION);
    });
    process.on('beforeExit', () => {
      const act = this._onLoopEmpty;
      this._onLoopEmpty = () => {};
      act();
    });
    if (this._settings.globalAwsLambda) {
      const { HttpResponseStream, streamifyResponse } = awslambda;
      globalThis.awslambda = { ...globalThis.awslambda, HttpResponseStream, streamifyResponse };
    }
  }

  /** Loads the handler and goes into the loop. */
  load(runtimeDirectory) {
    this._load(runtimeDirectory).then(
      (handler) => {
        this._handler = handler;
        // Not at once: a promise that init left rejected is told of before the next turn, and ends it.
        setImmediate(() => this._loop());
      },
      (error) => {
        const title = this._settings.callbacks ? 'Uncaught Exception' : 'Init Error';
        this._die(title, error, this._settings.callbacks ? UNCAUGHT_EXCEPTION : 1);
      },
    );
  }

  async _load(runtimeDirectory) {
    if (this._settings.debugPort) {
      require('./debugger.cjs').start(this._settings);
    }
    return loadHandler(this._settings, runtimeDirectory);
  }

  /**
   * One invocation after another. It awaits, as AWS's loop does, so that each begins in the asynchronous context that init left
   * behind (`AsyncLocalStorage.enterWith`), not in that of the connection.
   */
  async _loop() {
    while (!this._ending) {
      const { error, answer } = await this._next();
      if (error || answer.status !== 200) {
        // The platform has gone or is broken.
        process.stderr.write(`Lambda runtime stops: ${error?.message ?? refusal(answer)}\n`);
        process.exit(1);
      }
      await new Promise((answered) => {
        this._answered = answered;
        this._invoke(new Invocation(answer.headers), answer.body);
      });
    }
  }

  _next() {
    this._onLoopEmpty = () => {};
    return new Promise((resolve) => this._client.next((error, answer) => resolve({ error, answer })));
  }

  _invoke(invocation, body) {
    this._requestId = invocation.requestId;
    setCurrentInvocation(invocation.requestId, invocation.headers['lambda-runtime-aws-tenant-id']);
    this._setTraceId(invocation.headers['lambda-runtime-trace-id']);
    let context;
    let event;
    try {
      context = buildContext(invocation.headers, this._env);
      event = JSON.parse(body.toString());
    } catch (error) {
      this._fail(invocation, error);
      return;
    }
    if (this._settings.callbacks) {
      addWaitSwitch(context, invocation);
    }
    if (this._handler.streaming) {
      this._runStreaming(invocation, event, context);
    } else if (this._settings.callbacks) {
      this._runWithCallback(invocation, event, context);
    } else {
      this._runPromise(invocation, event, context);
    }
  }

  _setTraceId(traceId) {
    if (traceId) {
      this._env._X_AMZN_TRACE_ID = traceId;
    } else {
      delete this._env._X_AMZN_TRACE_ID;
    }
  }

  /** Node.js 24 and later: what the handler returns, or its promise, is the answer. */
  _runPromise(invocation, event, context) {
    const { run: handler } = this._handler;
    this._onLoopEmpty = () => this._fail(invocation, new errors.NodeJsExit());
    new Promise((resolve) => resolve(handler(event, context))).then(
      (result) => this._succeed(invocation, result),
      (error) => this._fail(invocation, error),
    );
  }

  /** Until Node.js 22: a promise answers when it settles, the callback when the event loop is empty. */
  _runWithCallback(invocation, event, context) {
    const { run: handler, isAsync } = this._handler;
    this._onLoopEmpty = () => {
      if (isAsync) {
        this._fail(invocation, new errors.NodeJsExit());
      } else {
        this._succeed(invocation, null); // the callback was never called
      }
    };
    const callback = this._addCallbacks(invocation, context);
    try {
      const result = handler(event, context, callback);
      if (typeof result?.then === 'function') {
        result.then(context.succeed, context.fail);
      }
    } catch (error) {
      callback(error);
    }
  }

  /** Adds `done`, `succeed` and `fail` to the context and returns the callback. The first call of any counts. */
  _addCallbacks(invocation, context) {
    let called = false;
    const finish = (error, answer) => {
      if (called) {
        return;
      }
      called = true;
      if (invocation.answered) {
        console.error(
          'Invocation has already been reported as done. Cannot call complete more than once per invocation.',
        );
      } else if (error !== undefined && error !== null) {
        this._fail(invocation, error);
      } else {
        answer();
      }
    };
    context.done = (error, result) => finish(error, () => this._succeed(invocation, result));
    context.succeed = (result) => context.done(null, result);
    context.fail = (error) => finish(error ?? 'handled');
    return (error, result) =>
      finish(error, () => {
        const answer = () => this._succeed(invocation, result);
        if (invocation.waitForEmptyEventLoop) {
          this._onLoopEmpty = answer;
        } else {
          answer();
        }
      });
  }

  /** Handlers marked by `awslambda.streamifyResponse`. */
  async _runStreaming(invocation, event, context) {
    const { run: handler, highWaterMark } = this._handler;
    const { ResponseStream } = require('./response-stream.cjs');
    let answered;
    const answer = new Promise((resolve) => {
      answered = resolve;
    });
    const stream = new ResponseStream(
      (headers) => this._client.openStream(invocation.requestId, headers, (...outcome) => answered(outcome)),
      highWaterMark,
    );
    const fail = (error) => {
      if (!stream.begun) {
        this._fail(invocation, error);
        return false;
      }
      this._logError('Invoke Error', error);
      stream.fail(error);
      return true;
    };
    let returned = false;
    this._onLoopEmpty = () => fail(returned ? new Error('Response stream is not finished.') : new errors.NodeJsExit());
    try {
      const promise = handler(event, stream, context);
      if (typeof promise?.then !== 'function') {
        throw new Error('Streaming does not support non-async handlers.');
      }
      if ((await promise) !== undefined) {
        console.warn('Streaming handlers ignore return values.');
      }
      returned = true;
    } catch (error) {
      if (!fail(error)) {
        return;
      }
    }
    const [error, result] = await answer;
    if (invocation.answered) {
      return;
    }
    invocation.answered = true;
    if (invocation.waitForEmptyEventLoop && this._settings.callbacks) {
      this._onLoopEmpty = () => this._afterAnswer(error, result);
    } else {
      this._afterAnswer(error, result);
    }
  }

  _succeed(invocation, result) {
    if (invocation.answered) {
      return;
    }
    let json;
    try {
      json = JSON.stringify(result) ?? 'null';
    } catch {
      const ErrorType = this._settings.callbacks ? Error : errors.JSONStringifyError;
      this._fail(invocation, new ErrorType('Unable to stringify response body'));
      return;
    }
    invocation.answered = true;
    this._onLoopEmpty = () => {};
    this._client.postResponse(invocation.requestId, json, (...outcome) => this._afterAnswer(...outcome));
  }

  _fail(invocation, error) {
    if (invocation.answered) {
      return;
    }
    invocation.answered = true;
    this._onLoopEmpty = () => {};
    this._logError('Invoke Error', error);
    this._client.postError(invocation.requestId, errors.report(error), (...outcome) => this._afterAnswer(...outcome));
  }

  /**
   * If the platform did not take the answer, it has told the invoker why (too large, too late, truncated …), and
   * the environment stays of use, unless the platform itself is broken: documented as a reason to leave.
   */
  _afterAnswer(error, answer) {
    if (error || answer.status >= 300) {
      process.stderr.write(`Runtime API refused the answer: ${error?.message ?? refusal(answer)}\n`);
      if (answer?.status >= 500) {
        process.exit(1);
      }
    }
    this._answered();
  }

  /** Reports an error that nobody caught and ends the process. */
  _die(title, error, status) {
    this._logError(title, error);
    if (this._ending) {
      return;
    }
    this._ending = true;
    this._client.postFatalError(this._requestId, errors.report(error), () => process.exit(status));
  }
}

/** What `next` delivered, and whether it has its answer. */
class Invocation {
  constructor(headers) {
    this.headers = headers;
    this.requestId = headers['lambda-runtime-aws-request-id'] ?? '';
    this.answered = false;
    this.waitForEmptyEventLoop = true;
  }
}

function addWaitSwitch(context, invocation) {
  Object.defineProperty(context, 'callbackWaitsForEmptyEventLoop', {
    enumerable: true,
    get: () => invocation.waitForEmptyEventLoop,
    set: (value) => {
      invocation.waitForEmptyEventLoop = value;
    },
  });
}

function refusal(answer) {
  return `status ${answer.status} ${answer.body.toString()}`;
}

module.exports = { Runtime, run };
