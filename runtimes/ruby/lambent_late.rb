# frozen_string_literal: true

# What a function sees of the runtime: the context, loggers with the request id,
# and RubyGems from the moment at which something needs them.

require 'stringio'

# LambdaContext is the keyword argument context of a handler, with the names that
# AWS documents.
class LambdaContext
  attr_reader :aws_request_id, :invoked_function_arn, :log_group_name, :log_stream_name, :function_name,
              :memory_limit_in_mb, :function_version, :identity, :client_context, :deadline_ms, :tenant_id, :clock_diff

  def initialize(headers)
    @clock_diff = 0
    @deadline_ms = headers['lambda-runtime-deadline-ms'].to_i
    @aws_request_id = headers['lambda-runtime-aws-request-id']
    @invoked_function_arn = headers['lambda-runtime-invoked-function-arn']
    @tenant_id = headers['lambda-runtime-aws-tenant-id']
    @log_group_name = ENV['AWS_LAMBDA_LOG_GROUP_NAME']
    @log_stream_name = ENV['AWS_LAMBDA_LOG_STREAM_NAME']
    @function_name = ENV['AWS_LAMBDA_FUNCTION_NAME']
    @memory_limit_in_mb = ENV['AWS_LAMBDA_FUNCTION_MEMORY_SIZE']
    @function_version = ENV['AWS_LAMBDA_FUNCTION_VERSION']
    @identity = parse(headers['lambda-runtime-cognito-identity'])
    @client_context = parse(headers['lambda-runtime-client-context'])
  end

  def get_remaining_time_in_millis # rubocop:disable Naming/AccessorMethodName
    [@deadline_ms - Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond), 0].max
  end

  private

  def parse(text) = text && JSON.parse(text)
end

module LambentRuntime
  # LogFormat is Ruby's own with the request id in it.
  module LogFormat
    def self.call(severity, time, progname, message)
      text = case message
             when String then message
             when Exception then "#{message.message} (#{message.class})\n#{message.backtrace&.join("\n")}"
             else message.inspect
             end
      stamp = time.strftime('%Y-%m-%dT%H:%M:%S.%6N')
      format("%.1s, [%s #%d] %5s %s -- %s: %s\n", severity, stamp, Process.pid, severity,
             LambentRuntime.request_id, progname, text.gsub("\n", "\r"))
    end
  end

  # LogPatch gives that format to loggers that write to the function's log.
  module LogPatch
    def initialize(device = nil, *rest, **options)
      super
      self.formatter ||= LogFormat if [nil, $stdout, $stderr].include?(device)
    end
  end

  def self.patch_logger
    @patched ||= ::Logger.prepend(LogPatch)
  end
end

# RubyGems are loaded when a library is not found without them, or when they are
# named: most functions do without, and start in an eighth of the time.
autoload :Gem, 'rubygems'

module Kernel
  original = instance_method(:require)

  define_method(:require) do |name|
    loaded = begin
      original.bind_call(self, name)
    rescue LoadError => e
      raise if !Object.autoload?(:Gem) || e.path != name.to_s

      Gem # loads them, and they replace this method
      require(name)
    end
    LambentRuntime.patch_logger if loaded && defined?(::Logger)
    loaded
  end

  def gem(...)
    Kernel.send(:remove_method, :gem)
    Gem
    gem(...)
  end

  private :require, :gem
end
