# frozen_string_literal: true

require 'json'
require 'logger'

module LambfoldRuntime
  # What functions log: `puts` and a `Logger` of standard output write whole records, as AWS's runtime has it, so that one of
  # several lines is one event.
  module Log
    # Where records go: framed to the descriptor that the platform names, or else to standard output.
    class Sink
      TEXT_FRAME = 0xa55a0003

      def initialize(descriptor)
        @file = descriptor && IO.for_fd(descriptor.to_i, 'wb', autoclose: false)
        @file&.sync = true
      end

      # As a whole, so that records of several threads do not mix.
      def write(record)
        return $stdout.write(record) unless @file

        $stdout.flush
        microseconds = Process.clock_gettime(Process::CLOCK_REALTIME, :microsecond)
        @file.write([TEXT_FRAME, record.bytesize, microseconds].pack('L>L>Q>') + record.b)
      end

      # It is a device of `Logger`, which must not close it.
      def close; end
    end

    # A line for people.
    class TextFormatter < ::Logger::Formatter
      def call(severity, time, program, message)
        text = format('%s, [%s #%d] %5s %s -- %s: %s', severity[0], format_datetime(time), Process.pid, severity,
                      $_global_aws_request_id, program, msg2str(message))
        "#{Log.valid(text)}\n"
      end
    end

    # A line for machines.
    class JsonFormatter < ::Logger::Formatter
      def call(severity, time, program, message)
        error = message.is_a?(Exception) ? message : nil
        record = {
          timestamp: time.utc.strftime('%Y-%m-%dT%H:%M:%S.%6NZ'), level: severity,
          message: Log.valid(error ? error.message : msg2str(message)), requestId: $_global_aws_request_id,
          logger: program.to_s.empty? ? nil : Log.valid(program.to_s), **fields(error)
        }
        "#{JSON.generate(record.compact)}\n"
      end

      private

      def fields(error)
        return {} unless error

        trace = Array(error.backtrace).map { |line| Log.valid(line) }
        { errorType: error.class.to_s, errorMessage: Log.valid(error.message), stackTrace: trace, location: place(trace.first) }
      end

      def place(line)
        parts = line&.match(/\A(.+):(\d+):in [`'](.+)'\z/)
        parts ? "#{parts[1]}:#{parts[3]}:#{parts[2]}" : line
      end
    end

    # What a `Logger` of standard output or error, or of nothing, is by default.
    module Defaults
      def initialize(device = nil, *rotation, level: nil, formatter: nil, **others)
        if device.nil? || device == $stdout || device == $stderr
          device = Log.sink
          formatter ||= Log.formatter.new
          level ||= Log.level
        end
        super(device, *rotation, level: level || ::Logger::DEBUG, formatter: formatter, **others)
      end
    end

    class << self
      attr_reader :sink, :formatter, :level

      # `env` says where records go and how they look.
      def install(env)
        @sink = Sink.new(env.delete('_LAMBDA_TELEMETRY_LOG_FD'))
        @formatter = env['AWS_LAMBDA_LOG_FORMAT'].to_s.casecmp?('JSON') ? JsonFormatter : TextFormatter
        @level = level_named(env['AWS_LAMBDA_LOG_LEVEL'])
        ::Logger.prepend(Defaults)
        whole_puts
      end

      # In UTF-8, whatever it was.
      def valid(text)
        text.to_s.encode('UTF-8', invalid: :replace, undef: :replace, replace: "\u{fffd}").scrub("\u{fffd}")
      end

      private

      def level_named(name)
        known = %w[DEBUG INFO WARN ERROR FATAL]
        known.include?(name) ? ::Logger.const_get(name) : ::Logger::DEBUG
      end

      # Standard output's own `puts` stays.
      def whole_puts
        sink = @sink
        ::Kernel.module_eval do
          define_method(:puts) do |*values|
            text = values.flatten.map { |value| LambfoldRuntime::Log.valid(value) }.join("\n")
            sink.write(text.end_with?("\n") ? text : "#{text}\n")
            nil
          end
          private :puts
        end
      end
    end
  end
end
