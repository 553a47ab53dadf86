# frozen_string_literal: true

require 'json'

module LambfoldRuntime
  # An error of the user's code, in the documents that AWS makes of it.
  class Fault
    # Classes whose names go into the error type; others are a `UserException`.
    NAMED = %w[
      ArgumentError EncodingError EOFError FiberError FloatDomainError FrozenError IndexError IOError KeyError LoadError
      LocalJumpError NameError NoMethodError NotImplementedError RangeError RegexpError RuntimeError ScriptError
      SecurityError SignalException StandardError StopIteration SyntaxError SystemExit SystemStackError ThreadError
      TypeError UncaughtThrowError ZeroDivisionError
    ].freeze

    def initialize(kind, error)
      @kind = kind
      @error = error
    end

    def document
      {
        'errorMessage' => utf8(@error.message),
        'errorType' => "#{@kind}<#{@error.class}>",
        'stackTrace' => own_frames.map { |frame| utf8(frame) }
      }
    end

    def headers
      name = NAMED.include?(@error.class.name) ? @error.class.name : 'UserException'
      { 'Content-Type' => 'application/json', 'Lambda-Runtime-Function-Error-Type' => "#{@kind}<#{name}>" }
    end

    private

    # From where it was raised to the last frame that is not the runtime's.
    def own_frames
      frames = @error.backtrace || []
      runtime = "#{__dir__}/"
      frames.take_while { |frame| !frame.start_with?(runtime) }
    end

    def utf8(text)
      text.to_s.encode('UTF-8', invalid: :replace, undef: :replace)
    end
  end
end
