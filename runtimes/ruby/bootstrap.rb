# frozen_string_literal: true

# Entry point of Lambfold's Ruby runtime: `ruby /var/runtime/bootstrap.rb`.

require_relative 'lambfold_runtime/runtime'

LambfoldRuntime::Runtime.new(ENV).run
