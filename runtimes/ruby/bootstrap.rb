# frozen_string_literal: true

# lambent's Ruby runtime: runs a handler on the AWS Lambda Runtime API.

module LambentRuntime
  HERE = File.dirname(File.expand_path(__FILE__))
  TASK_ROOT = '/var/task'

  # Fault is a handler that cannot be used.
  class Fault < StandardError; end

  # Control is the other end of descriptor 3, where the driver listens: what the
  # bytes mean is in runtimes/README.md. Without one it says nothing.
  class Control
    def initialize
      @blank = ENV.delete('LAMBENT_BLANK')
      @io = ENV.delete('LAMBENT_CONTROL') && IO.for_fd(3, 'r+b') # close-on-exec, as all of Ruby's
    end

    def blank? = !@blank.nil?

    # specialise waits for the function and takes its environment on.
    def specialise
      @io.syswrite('B')
      size = read(4).unpack1('N')
      exit!(1) if size > 1 << 20
      ENV.replace(JSON.parse(read(size).force_encoding('UTF-8')).fetch('env'))
      Dir.chdir(ENV['LAMBDA_TASK_ROOT'] || TASK_ROOT)
      Random.srand
    end

    def turn_to_function = @io&.syswrite(['T', Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)].pack('aQ>'))

    def close
      @io&.close
      @io = nil
    end

    private

    def read(size) = @io.read(size).then { |data| data && data.bytesize == size ? data : exit!(0) }
  end

  # Client speaks HTTP on one connection. A request whose connection had gone stale,
  # as it may while the sandbox is frozen, is sent once more.
  class Client
    API = '/2018-06-01/runtime'

    def initialize(address)
      @host, _, @port = address.rpartition(':')
      @common = "Host: #{address}\r\nUser-Agent: lambent-ruby/#{RUBY_VERSION}\r\n"
      @socket = nil
    end

    # next asks for an event: headers and body.
    def next
      status, headers, body = request("GET #{API}/invocation/next HTTP/1.1\r\n#{@common}\r\n", '')
      raise IOError, "the Runtime API answered #{status} to next" if status != 200

      [headers, body]
    end

    # post sends body. An answer that the platform has no more use for (410) or finds
    # too large (413) is in order: the caller has been told.
    def post(path, body, headers)
      lines = headers.map { |name, value| "#{name}: #{line(value)}\r\n" }.join
      head = "POST #{API}#{path} HTTP/1.1\r\n#{@common}#{lines}Content-Length: #{body.bytesize}\r\n\r\n"
      status, _, answer = request(head, body)
      return if [202, 410, 413].include?(status)

      raise IOError, "the Runtime API answered #{status} to #{path}: #{answer[0, 500]}"
    end

    private

    # line is a value that cannot break out of its header.
    def line(value) = value.to_s.encode('US-ASCII', invalid: :replace, undef: :replace).gsub(/[^ -~]/, ' ')[0, 256]

    def request(head, body)
      fresh = @socket.nil?
      begin
        @socket ||= connect
        @socket.write(head, body)
        first = @socket.gets("\r\n") or raise EOFError, 'the Runtime API closed the connection'
      rescue SystemCallError, EOFError
        @socket&.close
        @socket = nil
        raise if fresh

        fresh = true
        retry
      end
      answer(first)
    end

    def connect
      socket = TCPSocket.new(@host, @port)
      socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
      socket.binmode
      socket
    end

    def answer(first)
      headers = {}
      while (text = @socket.gets("\r\n")) && text != "\r\n"
        name, _, value = text.partition(':')
        headers[name.downcase] = value.strip.force_encoding('UTF-8')
      end
      body = headers['transfer-encoding'] == 'chunked' ? chunks : @socket.read(headers['content-length'].to_i)
      [first[9, 3].to_i, headers, body]
    end

    def chunks
      body = +''
      until (size = @socket.gets("\r\n").to_i(16)).zero?
        body << @socket.read(size)
        @socket.gets("\r\n")
      end
      nil while (text = @socket.gets("\r\n")) && text != "\r\n"
      body
    end
  end

  class << self
    attr_reader :request_id

    def main
      preload
      control = Control.new
      control.specialise if control.blank?
      set_up
      client = Client.new(ENV.fetch('AWS_LAMBDA_RUNTIME_API'))
      control.turn_to_function
      handler = load_handler(client, ENV['_HANDLER'].to_s)
      control.close
      loop { handle(client, handler, *client.next) }
    rescue IOError, SystemCallError => e
      warn("lambent: #{e.message}")
      exit!(1)
    end

    private

    # preload takes the libraries from Ruby's own folders, whatever a function has
    # under the same names.
    def preload
      all = $LOAD_PATH.dup
      $LOAD_PATH.replace(all - ENV['RUBYLIB'].to_s.split(':'))
      require 'socket'
      require 'json'
      $LOAD_PATH.replace(all)
    end

    def set_up
      $stdout.sync = $stderr.sync = true
      $PROGRAM_NAME = 'bootstrap'
      require 'lambent_late'
      $LOAD_PATH.delete(HERE)
    end

    # load_handler reads the file that a string such as "file.method" or
    # "file.Module::Class.method" names and returns what calls the method.
    def load_handler(client, name)
      file, *rest = name.split('.')
      unless rest.size.between?(1, 2)
        raise Fault, "Bad handler '#{name}': it has the form FILE.METHOD or FILE.CLASS.METHOD"
      end
      method = rest.pop.to_sym
      require(File.exist?("#{Dir.pwd}/#{file}.rb") ? "#{Dir.pwd}/#{file}" : file)
      owner = rest.first
      return ->(**arguments) { TOPLEVEL_BINDING.receiver.__send__(method, **arguments) } unless owner

      ->(**arguments) { Kernel.const_get(owner).__send__(method, **arguments) }
    rescue Exception => e # rubocop:disable Lint/RescueException
      shown = shape('Init', e)
      log("Init error when loading handler #{name}", shown)
      client.post('/init/error', JSON.generate(shown), error_headers(shown))
      exit!(252) # -4, as on AWS
    end

    def handle(client, handler, headers, body)
      @request_id = headers['lambda-runtime-aws-request-id']
      ENV['_X_AMZN_TRACE_ID'] = headers['lambda-runtime-trace-id']
      tag = headers['lambda-runtime-invocation-id']
      sent = tag ? { 'Lambda-Runtime-Invocation-Id' => tag } : {}
      path = "/invocation/#{@request_id}"
      begin
        answer, type = call(handler, headers, body)
      rescue Exception => e # rubocop:disable Lint/RescueException
        fail_with(client, path, sent, e)
      else
        client.post("#{path}/response", answer, sent.merge('Content-Type' => type))
      end
    end

    def call(handler, headers, body)
      event = body
      if headers.fetch('content-type', 'application/json') == 'application/json'
        event = JSON.parse(body.force_encoding('UTF-8'))
      end
      answer = handler.call(event: event, context: LambdaContext.new(headers))
      return [answer.read.to_s, 'application/unknown'] if answer.is_a?(IO) || answer.is_a?(StringIO)

      [JSON.dump(answer), 'application/json']
    end

    # fail_with tells the caller. What a handler cannot recover from, in AWS's view
    # any name that is not there and whatever is no StandardError, ends the process.
    def fail_with(client, path, sent, error)
      critical = error.is_a?(NameError) || !error.is_a?(StandardError)
      shown = shape('Function', error)
      log(critical ? 'Critical exception from handler' : 'Error raised from handler method', shown)
      client.post("#{path}/error", JSON.generate(shown), sent.merge(error_headers(shown)))
      exit(255) if critical # -1, as on AWS
    end

    def error_headers(shown)
      { 'Content-Type' => 'application/json', 'Lambda-Runtime-Function-Error-Type' => shown[:errorType] }
    end

    # shape is the error as AWS shows it, with the trace down to the function's own
    # code.
    def shape(kind, error)
      trace = (error.backtrace || []).first(100).reject { |l| l.start_with?(HERE, '<internal:', 'bootstrap:') }
      { errorMessage: error.message.to_s.scrub, errorType: "#{kind}<#{error.class}>", stackTrace: trace.map(&:scrub) }
    end

    # log writes one record, which is one line.
    def log(what, shown)
      return $stderr.write(JSONFormat.line('ERROR', Time.now, what, shown)) if json_log?

      $stderr.write("#{what}\r#{JSON.pretty_generate(shown).gsub("\n", "\r")}\n")
    end
  end
end

$LOAD_PATH.unshift(LambentRuntime::HERE)
LambentRuntime.main
