# frozen_string_literal: true

require 'json'

module LambfoldRuntime
  # One invocation as its handler sees it: the `context:` of a handler.
  class LambdaContext
    attr_reader :aws_request_id, :invoked_function_arn, :log_group_name, :log_stream_name, :function_name,
                :memory_limit_in_mb, :function_version, :deadline_ms, :identity, :client_context, :tenant_id

    def initialize(headers, env)
      @aws_request_id = headers['lambda-runtime-aws-request-id']
      @deadline_ms = headers['lambda-runtime-deadline-ms'].to_i
      @invoked_function_arn = headers['lambda-runtime-invoked-function-arn']
      @tenant_id = headers['lambda-runtime-aws-tenant-id']
      @client_context = parsed(headers['lambda-runtime-client-context'])
      @identity = parsed(headers['lambda-runtime-cognito-identity'])
      @log_group_name = env['AWS_LAMBDA_LOG_GROUP_NAME']
      @log_stream_name = env['AWS_LAMBDA_LOG_STREAM_NAME']
      @function_name = env['AWS_LAMBDA_FUNCTION_NAME']
      @memory_limit_in_mb = env['AWS_LAMBDA_FUNCTION_MEMORY_SIZE']
      @function_version = env['AWS_LAMBDA_FUNCTION_VERSION']
    end

    # Milliseconds until the function times out, never below 0.
    def get_remaining_time_in_millis
      [@deadline_ms - Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond), 0].max
    end

    def log(message)
      puts message
    end

    private

    def parsed(text)
      JSON.parse(text) if text && !text.empty?
    end
  end
end
