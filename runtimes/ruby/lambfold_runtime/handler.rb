# frozen_string_literal: true

module LambfoldRuntime
  # What `_HANDLER` names: `path/to/file.method` or `path/to/file.Class.method`.
  class Handler
    FORM = 'Invalid handler, must be of form FILENAME.METHOD or FILENAME.CLASS.METHOD where FILENAME corresponds with an ' \
           'existing Ruby source file FILENAME.rb, CLASS is an optional module/class namespace and METHOD is a callable ' \
           'method. If using CLASS, METHOD must be a class-level method.'

    def initialize(name)
      parts = name.split('.')
      raise ArgumentError, FORM unless [2, 3].include?(parts.size)

      @file, *class_name, @method = parts
      @class_name = class_name.first
    end

    def load
      require @file
    end

    def call(event, context)
      target = @class_name ? Object.const_get(@class_name) : TOPLEVEL_BINDING.receiver
      target.__send__(@method, event: event, context: context)
    end
  end
end
