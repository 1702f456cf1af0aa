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
    sent = @client_context.delete('w3c') if @client_context.is_a?(Hash)
    @w3c = sent.is_a?(Hash) ? sent.slice('traceparent', 'tracestate', 'baggage').select { |_, v| v.is_a?(String) } : {}
  end

  # w3c is the trace that the caller is in, in W3C's fields.
  def w3c = @w3c.dup

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
      text = text_of(message)
      text = "#{message.message} (#{message.class})\n#{message.backtrace&.join("\n")}" if message.is_a?(Exception)
      stamp = time.strftime('%Y-%m-%dT%H:%M:%S.%6N')
      format("%.1s, [%s #%d] %5s %s -- %s: %s\n", severity, stamp, Process.pid, severity,
             LambentRuntime.request_id, progname, text.gsub("\n", "\r"))
    end

    def self.text_of(message) = message.is_a?(String) ? message : message.inspect
  end

  # JSONFormat is for functions whose log is JSON, with the names of AWS's runtime.
  module JSONFormat
    def self.call(severity, time, progname, message)
      more = { logger: progname&.to_s }
      if message.is_a?(Exception)
        trace = message.backtrace || []
        more.merge!(errorType: message.class.to_s, errorMessage: message.message, stackTrace: trace,
                    location: location(trace.first))
        message = message.message
      end
      line(severity, time, LogFormat.text_of(message), more)
    end

    def self.location(frame)
      parts = /\A(.+):(\d+):in [`'](.+)'\z/.match(frame.to_s)
      parts ? "#{parts[1]}:#{parts[3]}:#{parts[2]}" : frame
    end

    def self.line(severity, time, text, more)
      out = { timestamp: time.getutc.strftime('%Y-%m-%dT%H:%M:%S.%6NZ'), level: severity, message: text,
              requestId: LambentRuntime.request_id }.merge(more).compact
      "#{JSON.generate(out.transform_values { |v| valid(v) })}\n"
    end

    def self.valid(value)
      value.is_a?(Array) ? value.map { |v| valid(v) } : value.encode('UTF-8', invalid: :replace, undef: :replace).scrub
    end
  end

  def self.json_log? = ENV['AWS_LAMBDA_LOG_FORMAT'].to_s.casecmp?('json')

  # LogPatch gives these formats to loggers that write to the function's log, and its level.
  module LogPatch
    def initialize(device = nil, *rest, **options)
      super
      return unless [nil, $stdout, $stderr].include?(device)

      json = LambentRuntime.json_log?
      self.formatter ||= json ? JSONFormat : LogFormat
      wanted = ENV['AWS_LAMBDA_LOG_LEVEL'].to_s.downcase
      self.level = wanted == 'trace' ? 'debug' : wanted if json && !options.key?(:level) && !wanted.empty?
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
