# frozen_string_literal: true

require 'json'

require_relative 'client'
require_relative 'context'
require_relative 'fault'
require_relative 'handler'
require_relative 'log'

module LambfoldRuntime
  # The loop: load the handler, then take, run and answer invocations for ever.
  class Runtime
    # Statuses of AWS's runtime: the function could not be loaded; an error that leaves the process in doubt.
    INIT_FAILED = -4
    CRITICAL = -1

    def initialize(env)
      @env = env
      @client = Client.new(env.fetch('AWS_LAMBDA_RUNTIME_API'))
      $stdout.sync = true
      $stderr.sync = true
      Log.install(env)
    end

    def run
      handler = load_handler
      loop { serve(handler, @client.next_invocation) }
    rescue SystemCallError, EOFError, Client::Broken => e
      # The platform has gone or is broken; a trace in the function's log would help nobody.
      warn "Lambda runtime stops: #{e.message}"
      exit!(1)
    end

    private

    def load_handler
      $LOAD_PATH.unshift(@env.fetch('LAMBDA_TASK_ROOT', '/var/task'))
      handler = Handler.new(@env.fetch('_HANDLER', ''))
      handler.load
      handler
    rescue Exception => e # rubocop:disable Lint/RescueException -- whatever the user's file raises
      fault = Fault.new('Init', e)
      tell("Init error when loading handler #{@env['_HANDLER']}", fault)
      @client.post_init_error(JSON.generate(fault.document), fault.headers)
      exit!(INIT_FAILED)
    end

    def serve(handler, invocation)
      unless invocation.status == 200
        warn "Lambda runtime stops: status #{invocation.status} #{invocation.body}"
        exit!(1)
      end
      id = invocation.headers['lambda-runtime-aws-request-id']
      # Where AWS's runtime has it, too; libraries look there.
      $_global_aws_request_id = id
      trace_id(invocation.headers['lambda-runtime-trace-id'])
      body, type = answer(handler, invocation)
    rescue NameError, SystemExit => e
      # Also NoMethodError: the code that is loaded does not hold together. And an exit is an exit.
      e.is_a?(SystemExit) ? raise : fail_critically(id, e)
    rescue StandardError => e
      fault = Fault.new('Function', e)
      tell('Error raised from handler method', fault)
      check(@client.post_error(id, JSON.generate(fault.document), fault.headers))
    rescue Exception => e # rubocop:disable Lint/RescueException -- NoMemoryError, SystemStackError and their like
      fail_critically(id, e)
    else
      check(@client.post_response(id, body, type))
    end

    def answer(handler, invocation)
      json = invocation.headers.fetch('content-type', 'application/json').start_with?('application/json')
      body = invocation.body.force_encoding(Encoding::UTF_8)
      result = handler.call(json ? JSON.parse(body) : body, LambdaContext.new(invocation.headers, @env))
      # Bytes pass as they are.
      return [result.read, 'application/unknown'] if defined?(StringIO) && result.is_a?(StringIO)

      [JSON.generate(result), 'application/json']
    end

    def fail_critically(id, error)
      fault = Fault.new('Function', error)
      tell('Critical exception from handler', fault)
      check(@client.post_error(id, JSON.generate(fault.document), fault.headers))
      exit!(CRITICAL)
    end

    def tell(message, fault)
      puts message
      puts JSON.pretty_generate(fault.document)
    end

    # The environment stays of use when an answer was refused (too large, too late …), unless the platform is broken.
    def check(answer)
      return if answer.status < 300

      warn "Runtime API refused the answer: status #{answer.status} #{answer.body}"
      exit!(1) if answer.status >= 500
    end

    def trace_id(value)
      value && !value.empty? ? @env['_X_AMZN_TRACE_ID'] = value : @env.delete('_X_AMZN_TRACE_ID')
    end
  end
end
