# A function that does what its event says: {"do": "echo", ...}. The verbs are
# those of the other languages beside this folder.

require 'logger'
require 'json'

class Custom < StandardError; end

$count = 0
$kept = []

VERBS = {
  'echo' => ->(event, _) { event['value'] },
  'error' => ->(event, _) { raise Custom, event.fetch('message', 'went wrong') },
  'exit' => ->(event, _) { exit(event.fetch('code', 1)) },
  'exit_now' => ->(event, _) { exit!(event.fetch('code', 1)) },
  'crash' => ->(*) { Process.kill(:SEGV, $$); sleep },
  'no_method' => ->(*) { nil.absent },
  'sleep' => ->(event, _) { $count += 1; sleep(event.fetch('seconds', 3600)); 'woke' },
  'oom' => ->(*) { loop { $kept << 'x' * (8 << 20) } },
  'big' => ->(event, _) { 'x' * event.fetch('bytes', 6 << 20) },
  'size' => ->(event, _) { event.fetch('value', '').length },
  'count' => ->(*) { { count: $count += 1, pid: $$ } },
  'env' => ->(*) { ENV.to_h },
  'context' => lambda { |_, context|
    {
      aws_request_id: context.aws_request_id, function_name: context.function_name,
      function_version: context.function_version, invoked_function_arn: context.invoked_function_arn,
      memory_limit_in_mb: context.memory_limit_in_mb, log_group_name: context.log_group_name,
      log_stream_name: context.log_stream_name, remaining: context.get_remaining_time_in_millis,
      client_context: context.client_context, identity: context.identity && context.identity['cognitoIdentityId'],
      trace: ENV['_X_AMZN_TRACE_ID'], w3c: context.w3c
    }
  },
  'where' => lambda { |*|
    require 'etc'
    { cwd: Dir.pwd, uid: Process.uid, user: Etc.getpwuid.name, task: Dir.children('.').sort, path: $LOAD_PATH,
      version: RUBY_VERSION, gems: !Object.autoload?(:Gem) }
  },
  'files' => lambda { |event, _|
    path = event['path']
    next File.write(path, event['write']) if event.key?('write')
    next Dir.children(path).sort if File.directory?(path)

    File.read(path, event.fetch('limit', 65_536))
  },
  'log' => lambda { |event, _|
    line = "#{'y' * 99}\n" * 1000
    (event.fetch('bytes', 100 << 20) / 100_000).times { $stdout.write(line) }
    'logged'
  },
  'say' => lambda { |event, _|
    text = event.fetch('value', 'hello')
    puts "print #{text}"
    warn "stderr #{text}"
    log = Logger.new($stdout, progname: 'named')
    log.error("error #{text}")
    log.info("two\nlines")
    log.debug("debug #{text}")
    begin
      raise Custom, 'odd'
    rescue Custom => e
      log.warn(e)
    end
    'said'
  },
  'gems' => ->(*) { require 'bundled_nowhere'; 'found' },
  'gem_version' => ->(*) { Gem::Version.new('1.10') > Gem::Version.new('1.9') },
  'unserialisable' => ->(*) { "\xff" },
  'stream' => ->(*) { require 'stringio'; StringIO.new('plain text') },
  'run' => ->(event, _) { IO.popen(event['command'], &:read) }
}.freeze

def handler(event:, context:)
  return event unless event.is_a?(Hash) && event.key?('do')

  VERBS.fetch(event['do']).call(event, context)
end

module Nested
  class Handler
    def self.process(event:, context:) = 'class method'
  end
end
