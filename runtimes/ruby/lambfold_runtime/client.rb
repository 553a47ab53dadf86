# frozen_string_literal: true

require 'socket'

module LambfoldRuntime
  # Speaks the Runtime API on one kept-alive connection, which is opened again when it was dropped.
  class Client
    Answer = Struct.new(:status, :headers, :body)

    # The platform does not speak HTTP as it should.
    class Broken < StandardError; end

    BASE = '/2018-06-01/runtime/'

    def initialize(address)
      @address = address
      @host, @port = address.split(':', 2)
      @socket = nil
    end

    # Blocks without a limit: the process may be frozen in here for hours.
    def next_invocation
      request('GET', 'invocation/next')
    end

    def post_response(request_id, body, content_type)
      request('POST', "invocation/#{request_id}/response", body, 'Content-Type' => content_type)
    end

    def post_error(request_id, body, headers)
      request('POST', "invocation/#{request_id}/error", body, headers)
    end

    def post_init_error(body, headers)
      request('POST', 'init/error', body, headers)
    end

    private

    def request(method, path, body = nil, headers = {})
      fresh = @socket.nil?
      begin
        attempt(method, path, body, headers)
      rescue SystemCallError, EOFError
        @socket&.close
        @socket = nil
        raise if fresh

        # The connection was dropped while it was idle.
        fresh = true
        retry
      end
    end

    def attempt(method, path, body, headers)
      @socket ||= TCPSocket.new(@host, Integer(@port)).tap { |it| it.setsockopt(:TCP, :NODELAY, true) }
      head = +"#{method} #{BASE}#{path} HTTP/1.1\r\nHost: #{@address}\r\nUser-Agent: lambfold-ruby/#{RUBY_VERSION}\r\n"
      headers.each { |name, value| head << "#{name}: #{value}\r\n" }
      head << "Content-Length: #{body.bytesize}\r\n" if body
      head << "\r\n"
      @socket.write(head.b, body ? body.b : '')
      read_answer
    end

    def read_answer
      status = line.split(' ', 3)[1].to_i
      headers = {}
      until (text = line).empty?
        name, value = text.split(':', 2)
        headers[name.downcase] = value.to_s.strip
      end
      length = Integer(headers['content-length'] || 0)
      body = length.zero? ? +'' : @socket.read(length)
      raise EOFError, 'the answer ended early' if body.nil? || body.bytesize < length

      Answer.new(status, headers, body)
    end

    def line
      text = @socket.gets("\r\n", 65_536) or raise EOFError, 'the connection was closed'
      raise Broken, 'a header line is too long' unless text.end_with?("\r\n")

      text.chomp("\r\n")
    end
  end
end
