<?php

// lambent's PHP runtime: runs a handler on the AWS Lambda Runtime API.

namespace Lambent\Runtime;

const API = '/2018-06-01/runtime';

/** Fault is an error of which the runtime chooses the type. */
final class Fault extends \Exception
{
    public function __construct(public readonly string $kind, string $message)
    {
        parent::__construct($message);
    }
}

/** Control is descriptor 3, where the driver listens: runtimes/README.md. */
final class Control
{
    /** @var resource|null */
    private $stream = null;
    public readonly bool $blank;

    public function __construct()
    {
        $this->blank = getenv('LAMBENT_BLANK') !== false;
        if (getenv('LAMBENT_CONTROL') !== false) {
            $this->stream = fopen('php://fd/3', 'r+');
            stream_set_timeout($this->stream, PHP_INT_MAX >> 32); // a blank waits, and PHP gives sockets a minute
        }
        foreach (['LAMBENT_CONTROL', 'LAMBENT_BLANK'] as $name) {
            putenv($name);
            unset($_ENV[$name], $_SERVER[$name]);
        }
    }

    /** specialise waits for the function and takes its environment on. */
    public function specialise(): void
    {
        fwrite($this->stream, 'B');
        $size = unpack('N', $this->read(4))[1];
        $env = json_decode($this->read($size), true, 8, JSON_THROW_ON_ERROR)['env'];
        foreach (array_keys(getenv()) as $name) {
            putenv($name);
            unset($_ENV[$name], $_SERVER[$name]);
        }
        foreach ($env as $name => $value) {
            putenv("$name=$value");
            $_ENV[$name] = $_SERVER[$name] = $value;
        }
        chdir($env['LAMBDA_TASK_ROOT'] ?? '/var/task');
    }

    public function turnToFunction(): void
    {
        if ($this->stream !== null) {
            fwrite($this->stream, 'T' . pack('J', hrtime(true)));
        }
    }

    /** close: what PHP opened is a copy, and only FFI can close the original. */
    public function close(): void
    {
        if ($this->stream === null) {
            return;
        }
        fclose($this->stream);
        $this->stream = null;
        if (class_exists(\FFI::class, false)) {
            \FFI::cdef('int close(int fd);')->close(3);
        }
    }

    private function read(int $size): string
    {
        for ($data = ''; strlen($data) < $size; $data .= $part) {
            $part = fread($this->stream, $size - strlen($data));
            if ($part === '' || $part === false) {
                exit(0); // the driver has gone
            }
        }
        return $data;
    }
}

/**
 * Client speaks HTTP on one connection. A request whose connection had gone
 * stale, as it may while the sandbox is frozen, is sent once more.
 */
final class Client
{
    /** @var resource|null */
    private $socket = null;
    private string $common;

    public function __construct(private string $address)
    {
        $this->common = "Host: $address\r\nUser-Agent: lambent-php/" . PHP_VERSION . "\r\n";
    }

    /** @return array{array<string, string>, string} headers and body of an event */
    public function next(): array
    {
        [$status, $headers, $body] = $this->request('GET ' . API . "/invocation/next HTTP/1.1\r\n{$this->common}\r\n");
        if ($status !== 200) {
            throw new \RuntimeException("the Runtime API answered $status to next");
        }
        return [$headers, $body];
    }

    /**
     * post sends body. An answer that the platform has no more use for (410) or
     * finds too large (413) is in order: the caller has been told.
     */
    public function post(string $path, string $body, array $headers): void
    {
        $lines = '';
        foreach ($headers as $name => $value) {
            $lines .= "$name: " . substr(preg_replace('/[^ -~]/', ' ', $value), 0, 256) . "\r\n";
        }
        $lines .= 'Content-Length: ' . strlen($body) . "\r\n\r\n";
        [$status, , $answer] = $this->request('POST ' . API . "$path HTTP/1.1\r\n{$this->common}$lines$body");
        if (!in_array($status, [202, 410, 413], true)) {
            throw new \RuntimeException("the Runtime API answered $status to $path: " . substr($answer, 0, 500));
        }
    }

    private function request(string $text): array
    {
        for ($fresh = false;;) {
            if ($this->socket === null) {
                $this->connect();
                $fresh = true;
            }
            $sent = @fwrite($this->socket, $text);
            $first = $sent === strlen($text) ? fgets($this->socket) : false;
            if ($first !== false) {
                return $this->answer($first);
            }
            fclose($this->socket);
            $this->socket = null;
            if ($fresh) {
                throw new \RuntimeException('the Runtime API closed the connection');
            }
        }
    }

    private function connect(): void
    {
        $options = stream_context_create(['socket' => ['tcp_nodelay' => true]]);
        $socket = @stream_socket_client("tcp://{$this->address}", $code, $message, 60, STREAM_CLIENT_CONNECT, $options);
        if ($socket === false) {
            throw new \RuntimeException("cannot reach the Runtime API: $message");
        }
        stream_set_timeout($socket, PHP_INT_MAX >> 32); // an event may take its time
        $this->socket = $socket;
    }

    private function answer(string $first): array
    {
        $headers = [];
        while (($line = fgets($this->socket)) !== false && $line !== "\r\n") {
            [$name, $value] = explode(':', $line, 2);
            $headers[strtolower($name)] = trim($value);
        }
        if (($headers['transfer-encoding'] ?? '') === 'chunked') {
            $body = '';
            while (($size = hexdec(trim((string) fgets($this->socket)))) > 0) {
                $body .= $this->exactly($size);
                fgets($this->socket);
            }
            while (($line = fgets($this->socket)) !== false && $line !== "\r\n");
        } else {
            $body = $this->exactly((int) ($headers['content-length'] ?? 0));
        }
        return [(int) substr($first, 9, 3), $headers, $body];
    }

    private function exactly(int $size): string
    {
        return $size > 0 ? (string) stream_get_contents($this->socket, $size) : '';
    }
}

/** Loop is the runtime's life after its start. */
final class Loop
{
    private ?string $path = '/init/error'; // where an error goes now
    private array $tag = [];

    public function __construct(private Client $client)
    {
    }

    public function run(Control $control, string $name): void
    {
        register_shutdown_function($this->onShutdown(...));
        try {
            $handler = load($name);
            $events = eventForm($handler);
        } catch (\Throwable $error) {
            $this->report($error);
            exit(1);
        }
        $control->close();
        for (;;) {
            $this->path = null;
            [$headers, $body] = $this->client->next();
            $this->handle($handler, $events, $headers, $body);
        }
    }

    private function handle(callable $handler, string $events, array $headers, string $body): void
    {
        $id = $headers['lambda-runtime-aws-request-id'] ?? '';
        $this->path = "/invocation/$id/error";
        $this->tag = isset($headers['lambda-runtime-invocation-id']) ?
            ['Lambda-Runtime-Invocation-Id' => $headers['lambda-runtime-invocation-id']] : [];
        $trace = $headers['lambda-runtime-trace-id'] ?? '';
        putenv($trace === '' ? '_X_AMZN_TRACE_ID' : "_X_AMZN_TRACE_ID=$trace");
        $_ENV['_X_AMZN_TRACE_ID'] = $_SERVER['_X_AMZN_TRACE_ID'] = $trace;
        try {
            $answer = encode($handler(decode($events, $headers, $body), new \LambdaContext($headers)));
        } catch (\Throwable $error) {
            $this->report($error);
            return;
        }
        $this->client->post("/invocation/$id/response", $answer, ['Content-Type' => 'application/json'] + $this->tag);
    }

    /** report logs an error, as one line, and tells the caller. */
    private function report(\Throwable $error): void
    {
        $this->tell(shape($error));
    }

    private function tell(array $shown): void
    {
        $flags = JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE;
        $text = json_encode($shown, $flags);
        fwrite(STDERR, ($this->path === '/init/error' ? 'Init Error' : 'Invoke Error') . "\t$text\n");
        $this->client->post($this->path, $text, [
            'Content-Type' => 'application/json', 'Lambda-Runtime-Function-Error-Type' => $shown['errorType'],
        ] + $this->tag);
    }

    /** onShutdown tells what PHP itself ended the script for: memory, mostly. */
    private function onShutdown(): void
    {
        $last = error_get_last();
        $fatal = E_ERROR | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR;
        if ($this->path === null || $last === null || !($last['type'] & $fatal)) {
            return; // the handler called exit
        }
        ini_set('memory_limit', '-1');
        [$message] = explode("\n", $last['message'], 2);
        $this->tell(['errorType' => 'FatalError', 'errorMessage' => $message, 'stackTrace' => ["{$last['file']}:{$last['line']}"]]);
    }
}

/**
 * load finds the handler: "file.function", "file.Class::method", or "file.php"
 * for a file that returns something to call.
 */
function load(string $name): callable
{
    $root = getenv('LAMBDA_TASK_ROOT') ?: '/var/task';
    if (is_file("$root/vendor/autoload.php")) {
        require "$root/vendor/autoload.php";
    }
    $dot = strrpos($name, '.');
    if ($dot === false || str_contains($name, '..')) {
        throw new Fault('Runtime.MalformedHandlerName', "Bad handler '$name': it has the form FILE.FUNCTION");
    }
    $file = substr($name, 0, $dot);
    $function = substr($name, $dot + 1);
    if (!is_file("$root/$file.php")) {
        throw new Fault('Runtime.ImportModuleError', "There is no file $file.php");
    }
    $returned = include_once "$root/$file.php";
    if ($function === 'php') {
        $handler = is_object($returned) && method_exists($returned, 'handle') ? [$returned, 'handle'] : $returned;
    } else {
        [$class, $method] = explode('::', $function, 2) + [1 => null];
        $handler = $class;
        if ($method !== null && class_exists($class) && method_exists($class, $method)) {
            $handler = (new \ReflectionMethod($class, $method))->isStatic() ? [$class, $method] : [new $class(), $method];
        }
    }
    if (!is_callable($handler)) {
        throw new Fault('Runtime.HandlerNotFound', "Handler '$name' is not something to call");
    }
    return $handler;
}

/** eventForm is what the handler's first parameter asks for. */
function eventForm(callable $handler): string
{
    $parameter = (new \ReflectionFunction($handler(...)))->getParameters()[0] ?? null;
    $type = (string) $parameter?->getType();
    return match (true) {
        $type === 'string' => 'text',
        preg_match('/\b(object|stdClass)\b/', $type) === 1 => 'objects',
        default => 'arrays',
    };
}

function decode(string $form, array $headers, string $body): mixed
{
    if ($form === 'text' || ($headers['content-type'] ?? 'application/json') !== 'application/json') {
        return $body;
    }
    try {
        return json_decode($body, $form === 'arrays', 512, JSON_THROW_ON_ERROR);
    } catch (\JsonException $error) {
        throw new Fault('Runtime.UnmarshalError', 'Unable to unmarshal input: ' . $error->getMessage());
    }
}

function encode(mixed $answer): string
{
    try {
        return json_encode($answer, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_PRESERVE_ZERO_FRACTION);
    } catch (\JsonException $error) {
        throw new Fault('Runtime.MarshalError', 'Unable to marshal response: ' . $error->getMessage());
    }
}

/** shape is the error for the caller, with the trace down to the function's own code. */
function shape(\Throwable $error): array
{
    $lines = [];
    foreach (array_merge([['file' => $error->getFile(), 'line' => $error->getLine()]], $error->getTrace()) as $frame) {
        if (($frame['file'] ?? '') === __FILE__) {
            break;
        }
        $call = ($frame['class'] ?? '') . ($frame['type'] ?? '') . ($frame['function'] ?? '');
        $lines[] = ($frame['file'] ?? '[internal]') . ':' . ($frame['line'] ?? 0) . ($call === '' ? '' : " $call()");
    }
    $shown = [
        'errorType' => $error instanceof Fault ? $error->kind : get_class($error),
        'errorMessage' => $error->getMessage(),
        'stackTrace' => array_slice($lines, 0, 100),
    ];
    return $error->getPrevious() === null ? $shown : $shown + ['cause' => shape($error->getPrevious())];
}

/** setUp is what a start and a blank have in common. */
function setUp(): void
{
    error_reporting(E_ALL);
    $megabytes = (int) getenv('AWS_LAMBDA_FUNCTION_MEMORY_SIZE');
    if ($megabytes > 0) {
        // PHP itself, its libraries and a child or two have the rest.
        ini_set('memory_limit', intdiv($megabytes * 85, 100) . 'M');
    }
    unset($GLOBALS['argv'], $GLOBALS['argc'], $_SERVER['argv'], $_SERVER['argc']);
}

require __DIR__ . '/context.php';

(static function (): void {
    $control = new Control();
    if ($control->blank) {
        $control->specialise();
    }
    setUp();
    $client = new Client((string) getenv('AWS_LAMBDA_RUNTIME_API'));
    $control->turnToFunction();
    try {
        (new Loop($client))->run($control, (string) getenv('_HANDLER'));
    } catch (\RuntimeException $error) {
        fwrite(STDERR, "lambent: {$error->getMessage()}\n");
        exit(1);
    }
})();
